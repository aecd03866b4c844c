"""`lbsplice reload`, `lbsplice upgrade`: find what runs, ask it, tell how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from lbsplice import rendezvous
from lbsplice.errors import LbspliceError, UnitError
from lbsplice.rendezvous import SUPERVISOR, Outcome, Running, Unreachable
from lbsplice.units import parse_duration

FAILED = 1
AMBIGUOUS = 2
NONE_RUNS = 3


class NotFound(LbspliceError):
    """There is no process to ask, or more than one."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def find(files: Sequence[str], pid: int | None, there: Sequence[Running]) -> Running:
    """The supervisor that is meant, of the processes that are there. Raises NotFound."""
    meant = list(there)
    of = ""
    if files:
        base = rendezvous.name_of(files)
        names = {base, rendezvous.worker_name(base)}
        meant = [one for one in meant if one.name in names]
        of = f" with {' '.join(files)}"
    if pid is not None:
        names = {_base(one) for one in meant if one.pid == pid}
        meant = [one for one in meant if _base(one) in names]
        of += f" as process {pid}"
    supervisors = [one for one in meant if one.role == SUPERVISOR]
    if len(supervisors) == 1:
        return supervisors[0]
    if supervisors:
        listed = "\n".join(f"  --pid {one.pid}  {' '.join(one.files)}" for one in supervisors)
        raise NotFound(f"lbsplice runs more than once; say which one:\n{listed}", AMBIGUOUS)
    if meant:
        raise NotFound(
            f"the supervisor is dead; its worker process {meant[0].pid} serves on. Start "
            "`lbsplice run` with the same configuration, it takes over.",
            NONE_RUNS,
        )
    raise NotFound(f"lbsplice is not running{of}", NONE_RUNS)


def _base(one: Running) -> str:
    """The name without its process's part."""
    return "/".join(one.name.split("/")[:2])


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value, unit="s") / 1000
    except UnitError as why:
        raise click.BadParameter(f"'{value}' is no duration such as 30s or 2m") from why


_of_files = click.option(
    "-f",
    "files",
    multiple=True,
    metavar="FILE|DIR",
    help="Ask the process that runs with this configuration; repeatable, as it was started.",
)
_of_pid = click.option(
    "--pid", type=click.IntRange(1), metavar="PID", help="Ask the process with this number."
)
_timeout = click.option(
    "--timeout",
    callback=_seconds,
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long to wait for the outcome.",
)


@click.command()
@_of_files
@_of_pid
@_timeout
def reload(files: tuple[str, ...], pid: int | None, timeout: float) -> None:
    """Make the running lbsplice read its configuration again.

    Sessions stay, those on servers that are gone, too. A configuration with errors
    changes nothing. Exit status 0: done; 1: refused, with the reasons; 2: several run,
    say which one; 3: none runs.

    \b
    Example:
      lbsplice reload -f /etc/lbsplice/lbsplice.cfg
    """
    _command(rendezvous.RELOAD, "has read its configuration again", files, pid, timeout)


@click.command()
@_of_files
@_of_pid
@_timeout
def upgrade(files: tuple[str, ...], pid: int | None, timeout: float) -> None:
    """Make the running lbsplice go on as the program that is installed now.

    The supervisor keeps its process number; a new worker process adopts all sessions from
    the old one. If the new program does not start, or its configuration has errors, the old
    one carries on. The exit status is as that of `lbsplice reload`.

    \b
    Example:
      pip install --upgrade lbsplice && lbsplice upgrade
    """
    _command(rendezvous.UPGRADE, "runs the installed program", files, pid, timeout)


def _command(
    request: str, done: str, files: tuple[str, ...], pid: int | None, timeout_s: float
) -> None:
    try:
        one = find(files, pid, rendezvous.running())
    except NotFound as why:
        click.echo(why, err=True)
        sys.exit(why.status)
    try:
        letter = rendezvous.call(one.name, {"request": request}, timeout_s, of_any_user=True)
    except Unreachable as why:
        click.echo(f"lbsplice ({one.pid}): {_hint(str(why), one)}", err=True)
        sys.exit(FAILED)
    letter.close()
    outcome = Outcome.of(letter.values)
    for line in outcome.messages:
        click.echo(line, err=True)
    if outcome.error is not None:
        click.echo(f"lbsplice ({one.pid}): {request} refused: {outcome.error}", err=True)
        sys.exit(FAILED)
    click.echo(f"lbsplice ({one.pid}) {done}")


def _hint(why: str, one: Running) -> str:
    if not one.answers and os.geteuid() != 0:
        return f"{why}; it belongs to another user, ask as that one or as root"
    return why
