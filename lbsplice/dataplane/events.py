"""Takes events out of a worker's ring, as `Record` values."""

from __future__ import annotations

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

    def take(self) -> list[Record]:
        """Up to ROOM events, oldest first; fewer mean that the ring was empty."""
        taken = lib.lbs_events_take(self._plane, self._thread, self._buffer, ROOM)
        make = Record._make
        return [make(values) for values in LAYOUT.iter_unpack(self._view[: taken * LAYOUT.size])]

    def arm(self) -> bool:
        """Ask for a signal at the next event; False if there are events to take first."""
        return not lib.lbs_events_arm(self._plane, self._thread)
