"""The workers' counters, summed over threads. Read at any time, without asking anyone."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from lbsplice.dataplane.binding import lib
from lbsplice.errors import DataplaneError


class Totals(NamedTuple):
    """What happened to a frontend, backend or server since the start (lbs_totals), and how
    long its sessions took (lbs_times; a frontend has none of that).

    The sums are sliding ones over the last sessions; `averages` says what they mean."""

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
    chosen: int = 0  # by balancing (HAProxy's lbtot)
    connects: int = 0  # attempts to connect
    queue_sum: int = 0
    connect_sum: int = 0
    total_sum: int = 0
    queue_max: int = 0  # milliseconds, as all times here
    connect_max: int = 0
    total_max: int = 0
    last_session_s: int = 0  # Unix time of the latest one assigned; 0: there was none
    response_errors: int = 0  # a server broke an established session off
    samples: int = 0  # sessions that the sums are made of: connected, and ended

    @property
    def averages(self) -> Averages:
        """Over the last sessions that were connected and have ended."""
        window = min(self.samples, lib.LBS_TIMES_WINDOW)
        if not window:
            return Averages(0, 0, 0)
        sums = (self.queue_sum, self.connect_sum, self.total_sum)
        return Averages(*((total + window - 1) // window for total in sums))

    def above(self, base: tuple[int, ...] | None) -> Totals:
        """What was counted since the counters stood at `base`, which may be of a release
        that had fewer of them. Times are no counts, and stay as they are."""
        if base is None:
            return self
        known = zip(self._fields, base, strict=False)
        then = {name: count for name, count in known if name not in TIMES}
        # A base has the bytes of sessions that were open then, too.
        return self._replace(**{name: max(0, getattr(self, name) - then[name]) for name in then})


class ListenerTotals(NamedTuple):
    """What happened to a listener since the start (lbs_listener_totals)."""

    sessions: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    ended: int = 0

    def above(self, base: tuple[int, ...]) -> ListenerTotals:
        """What was counted since the counters stood at `base`."""
        return ListenerTotals(*(max(0, now - then) for now, then in zip(self, base, strict=True)))


class Averages(NamedTuple):
    """Milliseconds."""

    queue: int
    connect: int
    total: int


TIMES = (
    *("queue_sum", "connect_sum", "total_sum", "queue_max", "connect_max", "total_max"),
    *("last_session_s", "samples"),
)
"""The fields of Totals that lbs_times has."""
COUNTS = tuple(name for name in Totals._fields if name not in TIMES)
"""Those that lbs_totals has, one for each thread."""


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
    pipes_free: int  # of those open: empty, in the threads' pools
    maxconn_reached: int  # sessions accepted with which the process was full
    killed_down: int  # sessions that ended with cause D
    killed_up: int  # U
    killed_order: int  # K


class Gauge(NamedTuple):
    """Concurrent sessions: now, and the most there were."""

    now: int
    max: int


class Table(IntEnum):
    """What has numbers (enum lbs_table)."""

    PROCESS = lib.LBS_TABLE_PROCESS
    LISTENERS = lib.LBS_TABLE_LISTENERS
    FRONTENDS = lib.LBS_TABLE_FRONTENDS
    BACKENDS = lib.LBS_TABLE_BACKENDS
    SLOTS = lib.LBS_TABLE_SLOTS


class Counters:
    def __init__(self, plane: object, threads: int) -> None:
        self._plane = plane
        self._threads = range(threads)

    def _totals(
        self,
        table: Callable[[object, int], Any],
        times: Callable[[object], Any] | None,
        number: int,
    ) -> Totals:
        rows = [table(self._plane, thread)[number] for thread in self._threads]
        found = {name: sum(getattr(row, name) for row in rows) for name in COUNTS}
        if times is not None:
            row = times(self._plane)[number]
            found.update((name, getattr(row, name)) for name in TIMES)
        return Totals(**found)

    def frontend(self, number: int) -> Totals:
        return self._totals(lib.lbs_frontend_totals, None, number)

    def backend(self, number: int) -> Totals:
        return self._totals(lib.lbs_backend_totals, lib.lbs_backend_times, number)

    def slot(self, number: int) -> Totals:
        return self._totals(lib.lbs_slot_totals, lib.lbs_slot_times, number)

    def forget(self, table: Table, number: int = 0, *, everything: bool = False) -> None:
        """The most sessions there were at once begins anew with what there are now, and the
        longest times with nothing; with `everything` the averages and the latest session do
        as well. Counts stay (Tallies)."""
        if lib.lbs_forget(self._plane, table, number, everything) < 0:
            raise DataplaneError(f"there is no number {number} among the {table.name.lower()}")

    def workers(self) -> Workers:
        return Workers(*map(sum, zip(*self.by_thread(), strict=True)))

    def by_thread(self) -> list[Workers]:
        """What each of them did."""
        rows = [lib.lbs_thread_counts(self._plane, thread) for thread in self._threads]
        return [Workers(*(getattr(row, name) for name in Workers._fields)) for row in rows]

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
