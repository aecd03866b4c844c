"""`lbsplice sysctl`: what the kernel's settings mean for long sessions, and setting them so
that it can be undone."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbsplice.errors import LbspliceError, UnitError
from lbsplice.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from lbsplice.kernel.sysctl_file import Step
    from lbsplice.lint.model import Model
    from lbsplice.sysctl.plan import SysctlPlan
    from lbsplice.sysctl.values import Sysctls

_FILE = "/etc/sysctl.d/90-lbsplice.conf"


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say for what the values are meant."""
    for option in reversed(
        (
            click.option("-f", "files", multiple=True, metavar="FILE", help="The configuration."),
            click.option(
                "--detect", metavar="TIME", help="Find a dead peer within this time, as 10s."
            ),
            click.option(
                "--sessions", type=click.IntRange(1, 100_000_000), help="Sessions at once."
            ),
        )
    ):
        command = option(command)
    return command


_file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_FILE,
    show_default=True,
    help="Where the values are kept.",
)
_set_option = click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="A value of your own."
)


class _Group(click.Group):
    """Commands whose errors are told in one line."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LbspliceError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
def sysctl() -> None:
    """What the kernel's settings mean for long TCP sessions, and which ones would find a dead
    peer in time.

    \b
    Examples:
      lbsplice sysctl explain -f haproxy.cfg
      lbsplice sysctl plan --detect 10s --sessions 50000 -f haproxy.cfg
      sudo lbsplice sysctl apply --detect 10s --sessions 50000 --dry-run
      sudo lbsplice sysctl revert
    """


@sysctl.command()
@click.option("-f", "files", multiple=True, metavar="FILE", help="The configuration.")
@click.option("--sysctl", "sysctl_file", metavar="FILE", help="Output of `sysctl -a` elsewhere.")
def explain(files: tuple[str, ...], sysctl_file: str | None) -> None:
    """Say what each setting means, with its present value, in seconds and sessions."""
    from rich.console import Console
    from rich.markup import escape

    from lbsplice.config.messages import printable
    from lbsplice.sysctl.explain import Question
    from lbsplice.sysctl.explain import explain as explained

    console = Console()
    for found in explained(Question(_values(sysctl_file), _model(files))):
        value = "" if found.value is None else f" = {found.value}"
        text = escape(printable(found.means))
        if found.here:
            colour = "yellow" if found.is_tight else "cyan"
            text += f"\n    [{colour}]here: {escape(printable(found.here))}[/{colour}]"
        head = f"[bold]{escape(found.name + value)}[/bold]"
        console.print(f"{head}\n    {text}", highlight=False, soft_wrap=True)


@sysctl.command()
@_shared
@click.option("--sysctl", "sysctl_file", metavar="FILE", help="Output of `sysctl -a` elsewhere.")
def plan(
    files: tuple[str, ...], detect: str | None, sessions: int | None, sysctl_file: str | None
) -> None:
    """Print the configuration lines and host-wide values that reach a detection time and a
    number of sessions. Changes nothing."""
    from lbsplice.sysctl.plan import summary

    found = _plan(files, detect, sessions, _values(sysctl_file))
    for line in summary(found):
        click.echo(f"# {line}")
    for section, lines in found.lines:
        click.echo(f"\n# {section}")
        for line in lines:
            click.echo(f"    {line}")
    click.echo("\n# host-wide (`lbsplice sysctl apply` sets these)")
    for change in found.changes:
        click.echo(f"{change.name} = {change.value}\n    # now {change.present}: {change.why}")
    if not found.changes:
        click.echo("# nothing: the present values are enough")
    for warning in found.warnings:
        click.echo(f"\n# note: {warning}")


@sysctl.command()
@_shared
@_set_option
@_file_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def apply(
    files: tuple[str, ...],
    detect: str | None,
    sessions: int | None,
    given: tuple[str, ...],
    file: Path,
    dry_run: bool,
) -> None:
    """Set the host-wide values of the plan, and those of --set, at once and for the next
    start. What was there before is kept in the same file."""
    from lbsplice.kernel import sysctl_file as store

    wanted = _wanted(files, detect, sessions, given, file)
    if dry_run:
        _show(store.prepared(file, wanted)[1], "would set")
    else:
        _show(store.apply(file, wanted), "set")
    for warning in store.overridden(file, wanted):
        click.echo(f"note: {warning}", err=True)


@sysctl.command()
@_file_option
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def revert(file: Path, dry_run: bool) -> None:
    """Undo `apply`: the values from before, and no file."""
    from lbsplice.kernel import sysctl_file as store

    if dry_run:
        steps, foreign = store.steps_back(store.kept(file))
    else:
        steps, foreign = store.revert(file)
    _show(steps, "would set" if dry_run else "set")
    for name in foreign:
        click.echo(f"note: {name} was changed by somebody else since: left alone", err=True)


@sysctl.command()
@_shared
@_set_option
@_file_option
def diff(
    files: tuple[str, ...],
    detect: str | None,
    sessions: int | None,
    given: tuple[str, ...],
    file: Path,
) -> None:
    """Show what `apply` with the same words would change; without any, what has changed
    since the last `apply`. Exit status 1 if there is a difference."""
    from lbsplice.kernel import sysctl_file as store

    old = store.kept(file)
    asked = bool(files or detect or sessions or given)
    wanted = _wanted(files, detect, sessions, given, file) if asked else dict(old.values)
    steps = store.steps_to(old, wanted)
    before = [f"{step.name} = {step.present}" for step in steps]
    after = [f"{step.name} = {step.value}" for step in steps]
    for line in difflib.unified_diff(before, after, "present", str(file), lineterm=""):
        click.echo(line)
    raise SystemExit(bool(steps))


def _values(file: str | None) -> Sysctls:
    from lbsplice.config.files import read_sources
    from lbsplice.kernel import sysctl as kernel
    from lbsplice.sysctl.values import parse_sysctls

    if file is None:
        return kernel.present()
    (source,) = read_sources([file])
    return parse_sysctls(source.text, file)


def _model(files: tuple[str, ...]) -> Model | None:
    from lbsplice.config.files import read_sources
    from lbsplice.lint.build import build
    from lbsplice.lint.reader import read

    return build(read(read_sources(files), os.environ)) if files else None


def _plan(
    files: tuple[str, ...], detect: str | None, sessions: int | None, values: Sysctls
) -> SysctlPlan:
    from lbsplice.sysctl.load import sessions_of
    from lbsplice.sysctl.plan import plan as planned

    model = _model(files)
    count = sessions or (sessions_of(model) if model else None)
    if detect is None:
        raise click.UsageError("say within which time a dead peer shall be found: --detect 10s")
    if count is None:
        raise click.UsageError("say how many sessions there may be: --sessions 50000")
    try:
        within = parse_duration(detect)
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint="--detect") from error
    return planned(within, count, values, model)


def _wanted(
    files: tuple[str, ...],
    detect: str | None,
    sessions: int | None,
    given: tuple[str, ...],
    file: Path,
) -> dict[str, str]:
    """The host-wide values that are asked for, checked. What an earlier `apply` has set
    is judged by what was there before it."""
    from lbsplice.kernel import sysctl as kernel
    from lbsplice.kernel import sysctl_file as store
    from lbsplice.sysctl.keys import key_of
    from lbsplice.sysctl.values import Sysctls

    wanted: dict[str, str] = {}
    if files or detect or sessions or not given:
        present = kernel.present()
        ours = {**present.values, **store.kept(file).before}
        found = _plan(files, detect, sessions, Sysctls(ours, present.origin))
        wanted.update((change.name, change.value) for change in found.changes)
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"'{text}' is not NAME=VALUE", param_hint="--set")
        wanted[name.strip()] = key_of(name.strip()).check(value)
    return wanted


def _show(steps: list[Step], verb: str) -> None:
    for step in steps:
        click.echo(f"{verb} {step.name} = {step.value} (was {step.present})")
    if not steps:
        click.echo("nothing to do")
