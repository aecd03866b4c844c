"""Whole tables of the workers' counters at once: what a look at a thousand servers reads.

Row by row and field by field (lbsplice.dataplane.counters) this would take ten times as
long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import add, sub
from struct import Struct
from typing import Any, NamedTuple

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.dataplane.counters import Gauge, Totals
from lbsplice.dataplane.ledger import Sizes


class Sums(NamedTuple):
    """What happened to a frontend, backend or server (lbs_totals), all threads together."""

    sessions: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connect_errors: int = 0
    retries: int = 0
    redispatches: int = 0
    client_aborts: int = 0
    server_aborts: int = 0
    killed: int = 0
    ended: int = 0
    chosen: int = 0
    connects: int = 0
    response_errors: int = 0

    def above(self, base: tuple[int, ...]) -> Sums:
        """What was counted since the counters stood at `base` (of Totals)."""
        return Sums._make(map(sub, self, _counts(base)))


class Spent(NamedTuple):
    """How long sessions took (lbs_times)."""

    samples: int = 0
    queue_sum: int = 0
    connect_sum: int = 0
    total_sum: int = 0
    last_session_s: int = 0
    queue_max: int = 0
    connect_max: int = 0
    total_max: int = 0

    def average(self, total: int) -> int:
        """Of one of the sums, in ms, rounded up as HAProxy does."""
        count = min(self.samples, WINDOW)
        return -(-total // count) if count else 0


WINDOW: int = lib.LBS_TIMES_WINDOW
"""Of how many sessions the averages are."""

_PLACES = tuple(Totals._fields.index(name) for name in Sums._fields)


def _counts(base: tuple[int, ...]) -> tuple[int, ...]:
    """Those of Totals that are counts; an older release has fewer of them."""
    return tuple(base[place] if place < len(base) else 0 for place in _PLACES)


_SUMS = Struct(f"={len(Sums._fields)}Q")
_SPENT = Struct("=5Q3I12x")
_GAUGE = Struct("=2I")
assert _SUMS.size == ffi.sizeof("lbs_totals")
assert _SPENT.size == ffi.sizeof("lbs_times")
assert _GAUGE.size == ffi.sizeof("lbs_gauge")


class Tables:
    """The tables of a data plane, each from number 0 up to a count."""

    def __init__(self, plane: object, sizes: Sizes) -> None:
        self._plane = plane
        self._threads = range(sizes.threads)
        self._most_frontends = sizes.frontends

    def frontends(self, count: int) -> list[Sums]:
        return self._sums(lib.lbs_frontend_totals, count)

    def backends(self, count: int) -> list[Sums]:
        return self._sums(lib.lbs_backend_totals, count)

    def slots(self, count: int) -> list[Sums]:
        return self._sums(lib.lbs_slot_totals, count)

    def backend_times(self, count: int) -> list[Spent]:
        return [
            Spent._make(row) for row in _rows(_SPENT, lib.lbs_backend_times(self._plane), count)
        ]

    def slot_times(self, count: int) -> list[Spent]:
        return [Spent._make(row) for row in _rows(_SPENT, lib.lbs_slot_times(self._plane), count)]

    def frontend_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_frontend_gauges, count)

    def backend_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_backend_gauges, count)

    def slot_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_slot_gauges, count)

    def of_all_frontends(self, name: str) -> int:
        """One of the sums, over every frontend that ever had a number."""
        place, size = Sums._fields.index(name), len(Sums._fields)
        total = 0
        for thread in self._threads:
            table = lib.lbs_frontend_totals(self._plane, thread)
            words = memoryview(ffi.buffer(table, self._most_frontends * _SUMS.size)).cast("Q")
            total += sum(words[place::size])
        return total

    def _sums(self, table: Callable[[object, int], Any], count: int) -> list[Sums]:
        first, *others = (
            list(_rows(_SUMS, table(self._plane, thread), count)) for thread in self._threads
        )
        for rows in others:
            first = [tuple(map(add, one, other)) for one, other in zip(first, rows, strict=True)]
        return [Sums._make(row) for row in first]

    def _gauges(self, table: Callable[[object], Any], count: int) -> list[Gauge]:
        return [Gauge._make(row) for row in _rows(_GAUGE, table(self._plane), count)]


def _rows(layout: Struct, table: Any, count: int) -> Sequence[tuple[int, ...]]:
    return list(layout.iter_unpack(ffi.buffer(table, count * layout.size)))


def count_of(*numbers: Sequence[int]) -> int:
    """How many rows there have to be for these numbers."""
    return max(chain.from_iterable(numbers), default=-1) + 1
