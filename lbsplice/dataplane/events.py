"""Takes events out of a worker's ring, as `Record` values."""

from __future__ import annotations

from collections.abc import Iterator

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.report.record import LAYOUT, Record

ROOM = 512
"""Events taken at a time: a few milliseconds of Python at most."""


class EventReader:
    """One thread's ring, read by the control plane."""

    def __init__(self, plane: object, thread: int) -> None:
        self._plane = plane
        self._thread = thread
        self._buffer = ffi.new("lbs_event[]", ROOM)
        self._view = memoryview(ffi.buffer(self._buffer))

    def look(self) -> list[Record]:
        """Up to ROOM events, oldest first; fewer mean that those are all. They are there
        again the next time, and for a successor, until `told`."""
        count = lib.lbs_events_look(self._plane, self._thread, self._buffer, ROOM)
        make = Record._make
        return [make(values) for values in LAYOUT.iter_unpack(self._view[: count * LAYOUT.size])]

    def told(self, count: int = 1) -> None:
        """So many of the oldest are dealt with."""
        lib.lbs_events_told(self._plane, self._thread, count)

    def one_by_one(self, records: list[Record]) -> Iterator[Record]:
        """What `look` has returned; each is told when the next one is asked for. If this
        process dies meanwhile its successor begins with the one that was being dealt with."""
        for record in records:
            yield record
            self.told()

    def take(self) -> list[Record]:
        """Look, and be done with all of them."""
        records = self.look()
        self.told(len(records))
        return records

    def arm(self) -> bool:
        """Ask for a signal at the next event; False if there are events to take first."""
        return not lib.lbs_events_arm(self._plane, self._thread)
