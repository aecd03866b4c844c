"""Whole tables of the workers' counters at once: what a look at a thousand servers reads,
with what open sessions have moved so far.

Row by row and field by field (lbsplice.dataplane.counters) this would take ten times as
long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import add, sub
from struct import Struct
from typing import Any, NamedTuple

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.dataplane.counters import Gauge, ListenerTotals, Totals
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
        found = Sums._make(map(sub, self, _counts(base)))
        if found.bytes_in < 0 or found.bytes_out < 0:  # a session is just being counted
            found = found._replace(
                bytes_in=max(0, found.bytes_in), bytes_out=max(0, found.bytes_out)
            )
        return found


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


class Extent(NamedTuple):
    """How many rows of each table are wanted, from number 0 on."""

    listeners: int = 0
    frontends: int = 0
    backends: int = 0
    slots: int = 0


class Counted(NamedTuple):
    """The counts of one moment, by number."""

    listeners: list[ListenerTotals]
    frontends: list[Sums]
    backends: list[Sums]
    slots: list[Sums]


_PLACES = tuple(Totals._fields.index(name) for name in Sums._fields)


def _counts(base: tuple[int, ...]) -> tuple[int, ...]:
    """Those of Totals that are counts; an older release has fewer of them."""
    return tuple(base[place] if place < len(base) else 0 for place in _PLACES)


_SUMS = Struct(f"={len(Sums._fields)}Q")
_LISTENER = Struct(f"={len(ListenerTotals._fields)}Q")
_MOVED = Struct("=2Q")
_SPENT = Struct("=5Q3I12x")
_GAUGE = Struct("=2I")
assert _SUMS.size == ffi.sizeof("lbs_totals")
assert _LISTENER.size == ffi.sizeof("lbs_listener_totals")
assert _MOVED.size == ffi.sizeof("lbs_moved")
assert _SPENT.size == ffi.sizeof("lbs_times")
assert _GAUGE.size == ffi.sizeof("lbs_gauge")


class Tables:
    """The tables of a data plane, each from number 0 up to a count."""

    def __init__(self, plane: object, sizes: Sizes) -> None:
        self._plane = plane
        self._threads = range(sizes.threads)
        self._most: tuple[dict[int, tuple[int, int]], ...] = ({}, {}, {}, {})

    def frontends(self, count: int) -> list[Sums]:
        """The bytes are those of sessions that have ended; `counted` knows the others', too."""
        return [Sums._make(row) for row in self._sums(_SUMS, lib.lbs_frontend_totals, count)]

    def backends(self, count: int) -> list[Sums]:
        return [Sums._make(row) for row in self._sums(_SUMS, lib.lbs_backend_totals, count)]

    def slots(self, count: int) -> list[Sums]:
        return [Sums._make(row) for row in self._sums(_SUMS, lib.lbs_slot_totals, count)]

    def counted(self, extent: Extent) -> Counted:
        """All counts of this moment. Bytes never become fewer: a session that ends at this
        moment may be missed, then its bytes are those that were there the last time."""
        totals = (  # first: what ends from here on is in neither
            self._sums(_LISTENER, lib.lbs_listener_totals_of, extent.listeners),
            self._sums(_SUMS, lib.lbs_frontend_totals, extent.frontends),
            self._sums(_SUMS, lib.lbs_backend_totals, extent.backends),
            self._sums(_SUMS, lib.lbs_slot_totals, extent.slots),
        )
        every = [
            _together(rows, moved, most)
            for rows, moved, most in zip(totals, self._moved(extent), self._most, strict=True)
        ]
        return Counted(
            [ListenerTotals._make(row) for row in every[0]],
            *([Sums._make(row) for row in rows] for rows in every[1:]),
        )

    def backend_times(self, count: int) -> list[Spent]:
        return [
            Spent._make(row) for row in _rows(_SPENT, lib.lbs_backend_times(self._plane), count)
        ]

    def slot_times(self, count: int) -> list[Spent]:
        return [Spent._make(row) for row in _rows(_SPENT, lib.lbs_slot_times(self._plane), count)]

    def listener_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_listener_gauges, count)

    def frontend_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_frontend_gauges, count)

    def backend_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_backend_gauges, count)

    def slot_gauges(self, count: int) -> list[Gauge]:
        return self._gauges(lib.lbs_slot_gauges, count)

    def _sums(
        self, layout: Struct, table: Callable[[object, int], Any], count: int
    ) -> Sequence[tuple[int, ...]]:
        first, *others = (
            _rows(layout, table(self._plane, thread), count) for thread in self._threads
        )
        for rows in others:
            first = [tuple(map(add, one, other)) for one, other in zip(first, rows, strict=True)]
        return first

    def _moved(self, extent: Extent) -> list[Sequence[tuple[int, ...]]]:
        """What open sessions have moved, by number, table by table."""
        tables = [ffi.new("lbs_moved[]", count) for count in extent]
        into = ffi.new("lbs_live *", (*tables, *extent))
        lib.lbs_live_bytes(self._plane, into)
        return [_rows(_MOVED, *each) for each in zip(tables, extent, strict=True)]

    def _gauges(self, table: Callable[[object], Any], count: int) -> list[Gauge]:
        return [Gauge._make(row) for row in _rows(_GAUGE, table(self._plane), count)]


def _together(
    rows: Sequence[tuple[int, ...]],
    moved: Sequence[tuple[int, ...]],
    most: dict[int, tuple[int, int]],
) -> list[tuple[int, ...]]:
    """Counts, with what was moved added to their bytes: at least as many as the `most`
    there were, which are noted."""
    found = []
    for number, (row, (came, went)) in enumerate(zip(rows, moved, strict=True)):
        sessions, bytes_in, bytes_out, *rest = row
        most_in, most_out = most.get(number, _NOTHING)
        bytes_in, bytes_out = max(bytes_in + came, most_in), max(bytes_out + went, most_out)
        if bytes_in > most_in or bytes_out > most_out:
            most[number] = bytes_in, bytes_out
        found.append((sessions, bytes_in, bytes_out, *rest))
    return found


_NOTHING = (0, 0)


def _rows(layout: Struct, table: Any, count: int) -> Sequence[tuple[int, ...]]:
    return list(layout.iter_unpack(ffi.buffer(table, count * layout.size)))


def count_of(*numbers: Sequence[int]) -> int:
    """How many rows there have to be for these numbers."""
    return max(chain.from_iterable(numbers), default=-1) + 1
