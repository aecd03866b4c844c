"""The supervisor's loop: descriptors, signals, children, timers.

It is one thread and keeps nothing that a fork would break: a child that is forked from
one of its callbacks calls `abandon` and goes its own way."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

Callback = Callable[[], None]

_JUST_LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT


class HasFileno(Protocol):
    def fileno(self) -> int: ...


Source: TypeAlias = HasFileno | int


@dataclass(order=True, slots=True)
class Timer:
    """One call that is to come. After `cancel` it does not."""

    at: float
    number: int
    callback: Callback | None = field(compare=False)

    def cancel(self) -> None:
        self.callback = None


class Reactor:
    """Call `run` once. Callbacks must not block: while one runs, no other does."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._numbers = itertools.count()
        self._signals: dict[int, Callback] = {}
        self._children: dict[int, Callable[[int | None], None]] = {}
        self.others: set[int] = set()  # children that somebody else waits for
        self._woken, self._wakes = socket.socketpair()
        for each in (self._woken, self._wakes):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._read_signals)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        self.on_signal(signal.SIGCHLD, self._reap)
        self._running = False

    # ---- what it waits for ----

    def on_signal(self, number: signal.Signals, callback: Callback) -> None:
        """Call this for the signal, between two other callbacks."""
        self._signals[number] = callback
        signal.signal(number, lambda _number, _frame: None)

    def watch(self, source: Source, readable: Callback) -> None:
        """Call `readable` whenever there is something to read. Once for each source."""
        self._selector.register(source, selectors.EVENT_READ, readable)

    def want_write(self, source: Source, wanted: bool) -> None:
        """Call the callback of a watched source when it can be written to, too."""
        key = self._selector.get_key(source)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        if key.events != events:
            self._selector.modify(source, events, key.data)

    def forget(self, source: Source) -> None:
        """Before a watched source is closed."""
        self._selector.unregister(source)

    def after(self, seconds: float, callback: Callback) -> Timer:
        timer = Timer(time.monotonic() + seconds, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    def on_exit(self, pid: int, callback: Callable[[int | None], None]) -> None:
        """Call this once when a process has ended, with its wait status if it is a child
        of ours, else with None."""
        if is_child(pid):
            self._children[pid] = callback
            self.after(0, self._reap)  # it may have ended before anybody asked
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.after(0, lambda: callback(None))
            return

        def ended() -> None:
            self._selector.unregister(pidfd)
            os.close(pidfd)
            callback(None)

        self._selector.register(pidfd, selectors.EVENT_READ, ended)

    # ---- at work ----

    def run(self) -> None:
        """Until `stop`."""
        self._running = True
        while self._running:
            self.turn(None)

    def stop(self) -> None:
        self._running = False

    def turn(self, limit_s: float | None) -> None:
        """Wait for at most this long, and do what there is to do."""
        if self._timers:
            due = max(0.0, self._timers[0].at - time.monotonic())
            limit_s = due if limit_s is None else min(limit_s, due)
        watched = self._selector.get_map()
        for key, _ in self._selector.select(limit_s):
            now_there = watched.get(key.fd)
            if now_there is not None and now_there.data is key.data:  # else forgotten meanwhile
                key.data()
        now = time.monotonic()
        while self._timers and self._timers[0].at <= now:
            callback = heapq.heappop(self._timers).callback
            if callback is not None:
                callback()

    def _read_signals(self) -> None:
        try:
            numbers: Iterable[int] = self._woken.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in self._signals:
                self._signals[number]()

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._children.pop(pid)(status)
        # Vaults of workers that died before they could say who that is are ours, too.
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, _JUST_LOOK)) is not None:
                if found.si_pid in self._children or found.si_pid in self.others:
                    return  # its own turn comes
                os.waitpid(found.si_pid, 0)

    # ---- the end ----

    def close(self) -> None:
        """Take no more signals. Those that come now are ignored."""
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._woken.close()
        self._wakes.close()

    @staticmethod
    def abandon() -> None:
        """In a forked child: hear no signals for the parent. Its descriptors are the
        child's to close; nothing is unregistered, the kernel's set is the parent's."""
        signal.set_wakeup_fd(-1)


def is_child(pid: int) -> bool:
    """Is there such a child of ours, alive or still to be waited for?"""
    try:
        os.waitid(os.P_PID, pid, _JUST_LOOK)
    except ChildProcessError:
        return False
    return True
