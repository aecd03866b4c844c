"""`lbsplice top`: the servers, live, on the whole screen."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from lbsplice.admin.spans import many
from lbsplice.cli.client import Lbsplice, Refused, Where, asking
from lbsplice.errors import EnvironmentLacks, LbspliceError, UnitError
from lbsplice.rendezvous import Unreachable
from lbsplice.units import parse_duration

if TYPE_CHECKING:
    from lbsplice.cli.top_model import Model, Order

_LEAST_S = 0.1


def _interval(_context: click.Context, option: click.Parameter, value: str) -> float:
    try:
        return max(_LEAST_S, parse_duration(value, unit="s") / 1000)
    except UnitError as why:
        raise click.BadParameter(f"'{value}' is no time such as 1s or 500ms", param=option) from why


@click.command()
@click.option(
    "--interval", callback=_interval, default="1s", show_default=True, help="Between two looks."
)
@asking
def top(where: Where, interval: float) -> None:
    """Watch the servers of the running lbsplice on the whole screen.

    It shows their state, sessions and traffic, what happened last, and how many sessions
    that has ended.

    Keys: arrows (or j, k) select a server; d drains it, r makes it ready, m puts it into
    maintenance, K ends its sessions; s sorts, S the other way round; / filters; p pauses; ?
    shows the keys; q quits.

    \b
    Example:
      lbsplice top --interval 500ms
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise EnvironmentLacks("top needs a terminal; `lbsplice status` tells the same as text")
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise EnvironmentLacks(
            f"top needs a terminal that can do more than TERM={os.environ.get('TERM', '')};"
            " `lbsplice status` tells the same as text"
        )
    there = where.find()
    there.status()  # whoever does not answer at all is told of before the screen is taken
    _run(there, interval)


def _run(there: Lbsplice, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from lbsplice.cli.keyboard import Keyboard
    from lbsplice.cli.top_model import Model
    from lbsplice.cli.top_view import screen

    model = Model()
    console = Console()

    def stops() -> None:
        console.set_alt_screen(False)
        console.show_cursor(True)

    def goes_on() -> None:
        console.set_alt_screen(True)
        console.show_cursor(False)

    with (
        suppress(KeyboardInterrupt),
        Keyboard(stops, goes_on) as keyboard,
        Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live,
    ):
        looks = _Looks(there, keyboard.wake)
        due = time.monotonic()
        while not model.quit:
            looks.show(model)
            if time.monotonic() >= due:
                looks.begin()
                due = time.monotonic() + interval
            size = console.size
            live.update(screen(model, size.width, size.height), refresh=True)
            for key in keyboard.typed(max(0.0, due - time.monotonic())):
                order = model.key(key)
                if order is not None:
                    _carry_out(there, model, order)
                    due = time.monotonic()


class _Looks:
    """Asks in a thread of its own, one question at a time: keys are obeyed while it waits.
    `wake` is called there when an answer has come."""

    def __init__(self, there: Lbsplice, wake: Callable[[], None]) -> None:
        self._there = there
        self._wake = wake
        self._answers: SimpleQueue[dict[str, Any] | Exception] = SimpleQueue()
        self._asking = False

    def begin(self) -> None:
        if not self._asking:
            self._asking = True
            Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            self._answers.put(self._there.status())
        except Exception as why:  # it is raised where it is seen
            self._answers.put(why)
        self._wake()

    def show(self, model: Model) -> None:
        """What has come since the last time."""
        with suppress(Empty):
            answer = self._answers.get_nowait()
            self._asking = False
            if isinstance(answer, (Unreachable, Refused)):
                model.fails(f"no answer: {answer}")
            elif isinstance(answer, Exception):
                raise answer
            else:
                model.look(answer, time.monotonic())


def _carry_out(there: Lbsplice, model: Model, order: Order) -> None:
    try:
        if order.words[0] == "lbsplice":
            killed = there.object(*order.words)["killed"]
            model.message = f"{order.server}: ended {many(killed, 'session')}"
        else:
            there.order(*order.words)
            model.message = f"{order.server}: {order.words[-1]}"
    except LbspliceError as why:
        model.message = f"{order.server}: {why}"
