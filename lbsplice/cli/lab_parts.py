"""What the commands of `lbsplice lab` have in common: options, and how each of them ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from lbsplice.errors import LbspliceError
from lbsplice.lab.scene import Proxy

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
