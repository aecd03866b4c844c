"""Reads what the relay threads tell: their rings of events, on the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable

from lbsplice.dataplane.events import ROOM
from lbsplice.dataplane.worker import Workers
from lbsplice.report.record import Record

_COLLECT_SECONDS = 0.02
"""While events flow, rings are read this often; a ring holds 8,192 of them."""


class Collector:
    """Hands on the events of running workers, a batch at a time, until it is stopped. `hear`
    has to go through all of a batch."""

    def __init__(self, workers: Workers, hear: Callable[[Iterable[Record]], None]) -> None:
        self._workers = workers
        self._hear = hear
        self._runs = False

    def start(self) -> None:
        """Begin, on the running loop. The workers have been started."""
        self._loop = asyncio.get_running_loop()
        self._runs = True
        for thread, fd in enumerate(self._workers.event_fds):
            self._loop.add_reader(fd, self._signalled, thread)
            self._collect(thread)

    def stop(self) -> None:
        """Leave the rings alone; what is in them stays."""
        if self._runs:
            self._runs = False
            for fd in self._workers.event_fds:
                self._loop.remove_reader(fd)

    def drain(self) -> None:
        """Hand on all that is left in the rings of workers that have stopped."""
        for reader in self._workers.readers:
            while records := reader.look():
                self._hear(reader.one_by_one(records))

    def _signalled(self, thread: int) -> None:
        os.eventfd_read(self._workers.event_fds[thread])
        self._collect(thread)

    def _collect(self, thread: int) -> None:
        """Read a ring until it is empty, then wait for its signal. While events flow it
        is looked at from time to time instead: signals cost the worker a system call."""
        if not self._runs:
            return
        reader = self._workers.readers[thread]
        records = reader.look()
        self._hear(reader.one_by_one(records))
        if len(records) == ROOM:
            self._loop.call_soon(self._collect, thread)
        elif records:
            self._loop.call_later(_COLLECT_SECONDS, self._collect, thread)
        elif not reader.arm():
            self._loop.call_soon(self._collect, thread)
