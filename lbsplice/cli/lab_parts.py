"""What the commands of `lbsplice lab` have in common: options, and how each of them ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import click

from lbsplice.errors import LbspliceError
from lbsplice.lab.scene import Happening, Proxy
from lbsplice.lab.verdict import Claim

if TYPE_CHECKING:
    from lbsplice.lab.shows import SceneShow

_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM
_BOTH = "both"

proxy_option = click.option(
    "--proxy",
    type=click.Choice([*(proxy.value for proxy in Proxy), _BOTH]),
    default=Proxy.LBSPLICE.value,
    envvar="LBSPLICE_LAB_PROXY",
    show_default=True,
    show_envvar=True,
    help="Which proxy plays the balancer; both: HAProxy, then lbsplice.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object at the end, for each proxy."
)


class Played(Protocol):
    """What a case came to."""

    @property
    def claims(self) -> Sequence[Claim]: ...


_Case = TypeVar("_Case", bound=Enum)
_Result = TypeVar("_Result", bound=Played)
_Command = Callable[[Callable[..., Any]], Callable[..., Any]]


def case_option(cases: Iterable[Enum]) -> _Command:
    """`--case`, which names one of these; any number of times."""
    return click.option(
        "--case",
        "cases",
        type=click.Choice([case.value for case in cases]),
        multiple=True,
        help="Play only this one; repeatable.  [default: all]",
    )


def fall_option(default: int, least: int = 1) -> _Command:
    return click.option(
        "--fall",
        type=click.IntRange(least, 100),
        default=default,
        show_default=True,
        help="Failed checks until the server is down.",
    )


def inter_option(default_ms: int) -> _Command:
    return click.option(
        "--inter",
        type=click.IntRange(10, 60_000),
        default=default_ms,
        show_default=True,
        metavar="MS",
        help="Milliseconds between checks, and for one check.",
    )


def watch_option(
    default_s: float,
    help_text: str = "How long a silent session is watched before it counts as hanging.",
) -> _Command:
    return click.option(
        "--watch",
        type=click.FloatRange(0.1, 3600),
        default=default_s,
        show_default=True,
        metavar="SECONDS",
        help=help_text,
    )


def chosen_cases(cases: type[_Case], named: Sequence[str]) -> list[_Case]:
    """Those that `--case` names, in the order of the scene; without it, all."""
    return [case for case in cases if not named or case.value in named]


def play_cases(
    show: SceneShow,
    cases: Sequence[_Case],
    title: Callable[[_Case], str],
    play: Callable[[_Case, Callable[[Happening], None]], _Result],
) -> list[_Result]:
    """Play one after the other before the reader's eyes."""
    results = []
    for number, case in enumerate(cases, 1):
        show.case_opens(number, title(case))
        result = play(case, show.happens)
        show.case_closes(result.claims)
        results.append(result)
    return results


def in_turn(proxy: str, play: Callable[[Proxy], bool]) -> Callable[[], bool]:
    """Play with the proxy that `--proxy` names, or with one after the other. Returns whether all
    happened that should, each time."""
    chosen = [Proxy.HAPROXY, Proxy.LBSPLICE] if proxy == _BOTH else [Proxy(proxy)]

    def play_chosen() -> bool:
        held = [play(one) for one in chosen]
        return all(held)

    return play_chosen


def leave(context: click.Context, play: Callable[[], bool]) -> NoReturn:
    """Play, and end the command with what it came to."""
    try:
        with _ended_by_sigterm():
            held = play()
    except LbspliceError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("interrupted; the lab is taken down", err=True)
        context.exit(_INTERRUPTED)
    context.exit(0 if held else 1)


def scene_show(as_json: bool) -> SceneShow:
    """Who shows a scene to this reader: a program, a terminal, or a file."""
    from rich.console import Console

    from lbsplice.lab.shows import JsonSceneShow, PlainSceneShow, TerminalSceneShow

    if as_json:
        return JsonSceneShow(sys.stdout)
    console = Console()
    return TerminalSceneShow(console) if console.is_terminal else PlainSceneShow(sys.stdout)


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
