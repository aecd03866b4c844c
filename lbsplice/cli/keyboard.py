"""The keys of a terminal, each when it is pressed, and what else interrupts the wait for one:
a new size, a stop, an end from outside."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

_ESCAPE_S = 0.05
"""So long may the rest of an arrow key be on its way."""

_KEYS = {"[A": "up", "[B": "down", "OA": "up", "OB": "down"}
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Keyboard:
    """`with Keyboard(stops, goes_on) as keyboard`: keys come at once and are not shown. The
    terminal is as it was before when the block ends, also by SIGTERM, and while the program is
    stopped (ctrl-Z): `stops` and `goes_on` are called around that."""

    def __init__(self, stops: Callable[[], None], goes_on: Callable[[], None]) -> None:
        self._fd = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._fd)
        self._stops, self._goes_on = stops, goes_on
        self._woken, self._waker = socket.socketpair()
        self._undo = ExitStack()

    def __enter__(self) -> Keyboard:
        with ExitStack() as stack:
            for end in (self._woken, self._waker):
                stack.enter_context(end).setblocking(False)
            before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
            stack.callback(signal.set_wakeup_fd, before)
            stack.enter_context(_obeying(signal.SIGWINCH, lambda _number, _frame: None))
            stack.enter_context(_obeying(signal.SIGTSTP, self._suspend))
            for number in _ENDS:
                stack.enter_context(_obeying(number, _end))
            stack.callback(self._as_before)
            tty.setcbreak(self._fd)
            self._undo = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def _as_before(self) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._stops()
        self._as_before()
        os.kill(os.getpid(), signal.SIGSTOP)
        tty.setcbreak(self._fd)
        self._goes_on()

    def wake(self) -> None:
        """Have `typed` return at once. From any thread, also when the block has ended."""
        with suppress(OSError):
            self._waker.send(b"\0")

    def typed(self, within_s: float) -> Iterator[str]:
        """The keys that are pressed within this time, as soon as there are any; none when
        it is woken, or the window has another size."""
        there = select.select([self._fd, self._woken], [], [], within_s)[0]
        if self._woken in there:
            self._woken.recv(4096)
        if self._fd in there:
            yield from self._keys()

    def _keys(self) -> Iterator[str]:
        data = self._read()
        if not data:
            yield "q"  # the terminal is gone
            return
        while data:
            key, data = data[0], data[1:]
            if key == "\x1b":
                if not data and select.select([self._fd], [], [], _ESCAPE_S)[0]:
                    data = self._read()
                if data[:1] in ("[", "O"):
                    name, data = _sequence(data)
                    yield _KEYS.get(name, "")
                    continue
                yield "escape"
            elif key in "\r\n":
                yield "enter"
            elif key in "\x7f\b":
                yield "backspace"
            else:
                yield key

    def _read(self) -> str:
        try:
            return os.read(self._fd, 1024).decode(errors="ignore")
        except OSError:
            return ""  # the terminal is gone


def _sequence(data: str) -> tuple[str, str]:
    """A key's name after the escape, and what comes after it: `[5~` ends with its `~`."""
    for end in range(1, len(data)):
        if "@" <= data[end] <= "~":
            return data[: end + 1], data[end + 1 :]
    return data, ""


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def _obeying(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
