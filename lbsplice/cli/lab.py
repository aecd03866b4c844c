"""`lbsplice lab`: scenes that show, on one machine, what a failure does to sessions.

What plays them is imported when one is played: the netlink library would make every start of
`lbsplice run` a fifth of a second slower."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from lbsplice.errors import LbspliceError
from lbsplice.lab.scene import Case, Fault, Proxy, Settings

if TYPE_CHECKING:
    from lbsplice.lab.timeline import Show

_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM


@click.group()
def lab() -> None:
    """Scenes in network namespaces that show what a failure does to sessions.

    \b
    Example:
      sudo lbsplice lab failover
    """


@lab.command()
@click.option(
    "--proxy",
    type=click.Choice([proxy.value for proxy in Proxy]),
    default=Proxy.LBSPLICE.value,
    show_default=True,
    help="Which proxy plays the balancer.",
)
@click.option(
    "--how",
    type=click.Choice([fault.value for fault in Fault]),
    default=Fault.OUTPUT_DROP.value,
    show_default=True,
    help="How the server fails.",
)
@click.option(
    "--action/--no-action",
    default=None,
    help="Play only the case with, or without, on-marked-down shutdown-sessions.",
)
@click.option(
    "--back-in-time",
    is_flag=True,
    help="Play only the case where the server is back before anybody gave up.",
)
@click.option(
    "--fall",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Failed checks until the server is down.",
)
@click.option(
    "--inter",
    type=click.IntRange(10, 60_000),
    default=200,
    show_default=True,
    metavar="MS",
    help="Milliseconds between checks, and for one check.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0.1, 3600),
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a silent session is watched before it counts as hanging.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.pass_context
def failover(
    context: click.Context,
    proxy: str,
    how: str,
    action: bool | None,
    back_in_time: bool,
    fall: int,
    inter: int,
    watch: float,
    as_json: bool,
) -> None:
    """Break a server under a long session and see what its client is told.

    A client, the balancer and two servers are set up in network namespaces of their own. A long
    session is opened to one server; the way to that server is broken; the checks mark it down.
    Three cases are played: without on-marked-down shutdown-sessions (the session hangs), with it
    (the session is ended), and without it but with the server back in time (the session goes on).
    A session to the other server must never notice. All is taken down at the end, also after
    Ctrl-C.

    The exit status is 0 only if what should happen happened. Needs root, and iptables for the
    faults that are firewall rules.

    \b
    Examples:
      sudo lbsplice lab failover
      sudo lbsplice lab failover --proxy haproxy --how far-drop
      sudo lbsplice lab failover --action --fall 3 --json
    """
    settings = Settings(Proxy(proxy), Fault(how), fall, inter, watch)
    cases = _cases(action, back_in_time)
    try:
        with _ended_by_sigterm():
            held = _play_all(settings, cases, _show(as_json))
    except LbspliceError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("interrupted; the lab is taken down", err=True)
        context.exit(_INTERRUPTED)
    context.exit(0 if held else 1)


def _cases(action: bool | None, back_in_time: bool) -> list[Case]:
    if back_in_time:
        if action:
            raise click.UsageError(
                "--back-in-time plays without the action, which would end the session: "
                "leave out --action"
            )
        return [Case.BACK_IN_TIME]
    if action is None:
        return list(Case)
    return [Case.WITH_ACTION if action else Case.WITHOUT_ACTION]


def _show(as_json: bool) -> Show:
    from rich.console import Console

    from lbsplice.lab.timeline import JsonShow, PlainShow, TerminalShow

    if as_json:
        return JsonShow(sys.stdout)
    console = Console()
    return TerminalShow(console) if console.is_terminal else PlainShow(sys.stdout)


def _play_all(settings: Settings, cases: list[Case], show: Show) -> bool:
    from lbsplice.lab.failover import check_machine, play
    from lbsplice.lab.proxies import version

    check_machine(settings)
    show.opens(settings, version(settings.proxy))
    results = []
    for number, case in enumerate(cases, 1):
        show.case_opens(number, case)
        result = play(settings, case, show.happens)
        show.case_closes(result)
        results.append(result)
    show.closes(results)
    return all(result.held for result in results)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the command the way Ctrl-C does: from inside, with everything taken down."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
