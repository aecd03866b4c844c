"""The workers' counters, summed over threads. Read at any time, without asking anyone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lbsplice.dataplane.binding import lib


class Totals(NamedTuple):
    """What happened to a frontend, backend or server since the start (lbs_totals)."""

    sessions: int
    bytes_in: int
    bytes_out: int
    connect_errors: int
    retries: int
    redispatches: int
    client_aborts: int
    server_aborts: int
    killed: int
    ended: int


class Workers(NamedTuple):
    """What the threads did since the start (lbs_thread_counters)."""

    accepted: int
    ended: int
    events_dropped: int
    events_unwanted: int
    spliced_bytes: int
    pipes_open: int
    pipe_waits: int
    accept_pauses: int
    batches: int


class Gauge(NamedTuple):
    """Concurrent sessions: now, and the most there were."""

    now: int
    max: int


class Counters:
    def __init__(self, plane: object, threads: int) -> None:
        self._plane = plane
        self._threads = range(threads)

    def _totals(self, table: Callable[[object, int], Any], number: int) -> Totals:
        rows = [table(self._plane, thread)[number] for thread in self._threads]
        return Totals(*(sum(getattr(row, name) for row in rows) for name in Totals._fields))

    def frontend(self, number: int) -> Totals:
        return self._totals(lib.lbs_frontend_totals, number)

    def backend(self, number: int) -> Totals:
        return self._totals(lib.lbs_backend_totals, number)

    def slot(self, number: int) -> Totals:
        return self._totals(lib.lbs_slot_totals, number)

    def workers(self) -> Workers:
        rows = [lib.lbs_thread_counts(self._plane, thread) for thread in self._threads]
        return Workers(*(sum(getattr(row, name) for row in rows) for name in Workers._fields))

    def generations(self) -> list[int]:
        """The plan that each thread uses."""
        return [lib.lbs_thread_counts(self._plane, t).generation for t in self._threads]

    def batches(self) -> list[int]:
        """How often each thread has looked for work; the first time after it has adopted."""
        return [lib.lbs_thread_counts(self._plane, t).batches for t in self._threads]

    def process_sessions(self) -> Gauge:
        return _gauge(lib.lbs_process_gauge(self._plane)[0])

    def frontend_sessions(self, number: int) -> Gauge:
        return _gauge(lib.lbs_frontend_gauges(self._plane)[number])

    def listener_sessions(self, number: int) -> Gauge:
        return _gauge(lib.lbs_listener_gauges(self._plane)[number])

    def backend_sessions(self, number: int) -> Gauge:
        return _gauge(lib.lbs_backend_gauges(self._plane)[number])

    def slot_sessions(self, number: int) -> Gauge:
        return _gauge(lib.lbs_slot_gauges(self._plane)[number])

    def plans_alive(self) -> int:
        """Plans in memory: the one in force, and older ones until no worker uses them."""
        return int(lib.lbs_plans_alive(self._plane))


def _gauge(row: Any) -> Gauge:
    return Gauge(row.now, row.max)
