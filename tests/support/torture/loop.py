"""A process full of ends: one epoll, one heap of pauses, and a line of JSON for whatever
the caller has to know.

Lines it reads: {"do": "calm"} no new sessions; {"do": "finish"} bring all to their end.
Lines it writes: {"ready": true}, {"rest": connects}, {"trouble": text}, {"progress": {...}},
{"done": {session: [sent, received]}}."""

from __future__ import annotations

import heapq
import json
import os
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.torture.end import End, Trouble
from tests.support.torture.script import LASTING, SHORT

PROGRESS_S = 0.1
PATIENCE_S = 20.0  # a short session, or anything after it was told, may not take longer

BROKEN = select.EPOLLERR | select.EPOLLHUP


def tell(**message: Any) -> None:
    """A line for the caller. Ends the process if nobody hears."""
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        os._exit(1)


class Loop:
    """`tick` is called about every 10 ms with the time."""

    def __init__(self, tick: Callable[[float], None] | None = None) -> None:
        self.ends: dict[int, End] = {}  # by descriptor
        self.live: Counter[str] = Counter()
        self.over: Counter[str] = Counter()
        self.calm = False
        self.told = False
        self.leaves = False
        self.totals: dict[int, tuple[int, int]] = {}  # of lasting sessions that are through
        self.bytes = 0  # received by those that are through
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._pauses: list[tuple[float, int, int]] = []
        self._epoll = select.epoll()
        self._tick = tick
        self._input = b""
        self._told_done = False

    # ---- who takes part ----

    def watch(self, sock: socket.socket, mask: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the events of a socket that is no end (yet)."""
        self._handlers[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), mask)

    def unwatch(self, sock: socket.socket) -> None:
        del self._handlers[sock.fileno()]
        self._epoll.unregister(sock.fileno())

    def add(self, end: End) -> None:
        """Take part from now on; its socket is watched by nobody."""
        fd = end.socket.fileno()
        self.ends[fd] = end
        self.live[end.kind.name] += 1
        end.told = self.told and end.kind in LASTING
        self._epoll.register(fd, 0)
        self._turn(fd, end, time.monotonic())

    # ---- the work ----

    def run(self) -> None:
        """Until the caller is gone."""
        os.set_blocking(0, False)
        self._epoll.register(0, select.EPOLLIN)
        next_tick = next_progress = 0.0
        while not self.leaves:
            now = time.monotonic()
            self._resume(now)
            if self._tick is not None and now >= next_tick:
                next_tick = now + 0.01
                self._tick(now)
            if now >= next_progress:
                next_progress = now + PROGRESS_S
                self._report(now)
            due = min(next_tick if self._tick else next_progress, next_progress)
            if self._pauses:
                due = min(due, self._pauses[0][0])
            # Rounded up: a wait of zero that is a little too short would be a busy one.
            for fd, events in self._epoll.poll(max(0.0, due - time.monotonic()) + 0.0005):
                self._event(fd, events)

    def _event(self, fd: int, events: int) -> None:
        if fd == 0:
            self._obey()
        elif fd in self._handlers:
            self._handlers[fd](events)
        elif fd in self.ends:
            end = self.ends[fd]
            if events & BROKEN:  # reported whether wanted or not: so look at it at once
                end.read_at = 0.0
            self._turn(fd, end, time.monotonic())

    def _resume(self, now: float) -> None:
        while self._pauses and self._pauses[0][0] <= now:
            _, fd, number = heapq.heappop(self._pauses)
            end = self.ends.get(fd)
            if end is not None and end.number == number:
                end.wake = None
                self._turn(fd, end, now)

    def _turn(self, fd: int, end: End, now: float) -> None:
        try:
            end.turn(now)
        except Trouble as trouble:
            tell(trouble=str(trouble))
            self._remove(fd, end)
            return
        if end.finished:
            self._remove(fd, end)
            return
        mask = 0
        if end.wants_to_read(now):
            mask |= select.EPOLLIN
        if end.wants_to_send(now):
            mask |= select.EPOLLOUT
        if mask != end.mask:
            end.mask = mask
            self._epoll.modify(fd, mask)
        wake = end.wakes_at(now)
        if wake is not None and (end.wake is None or wake < end.wake):
            end.wake = wake
            heapq.heappush(self._pauses, (wake, fd, end.number))

    def _remove(self, fd: int, end: End) -> None:
        del self.ends[fd]
        end.close()
        self.live[end.kind.name] -= 1
        self.over[end.kind.name] += 1
        self.bytes += end.received
        if end.kind in LASTING:
            self.totals[end.number] = (end.sent, end.received)

    # ---- the caller ----

    def _obey(self) -> None:
        try:
            got = os.read(0, 65536)
        except BlockingIOError:
            return
        if not got:
            self.leaves = True
            return
        self._input += got
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            order = json.loads(line)["do"]
            self.calm = True
            if order == "finish":
                self._finish()

    def _finish(self) -> None:
        self.told = True
        now = time.monotonic()
        for fd, end in list(self.ends.items()):
            end.told = True
            end.began = now
            self._turn(fd, end, now)

    def _report(self, now: float) -> None:
        for fd, end in list(self.ends.items()) if self.told else self.shorts():
            if now - end.began > PATIENCE_S:
                tell(trouble=f"{end}: hangs")
                self._remove(fd, end)
        tell(
            progress={
                "live": dict(self.live),
                "over": dict(self.over),
                "bytes": self.bytes + sum(end.received for end in self.ends.values()),
            }
        )
        if self.told and not self.ends and not self._told_done:
            self._told_done = True
            tell(done={str(number): totals for number, totals in self.totals.items()})

    def shorts(self) -> list[tuple[int, End]]:
        """The short sessions under way."""
        if not any(self.live[kind.name] for kind in SHORT):
            return []
        return [(fd, end) for fd, end in self.ends.items() if end.kind in SHORT]


def settings() -> dict[str, Any]:
    """What the caller wants of this process."""
    return dict(json.loads(sys.argv[1]))
