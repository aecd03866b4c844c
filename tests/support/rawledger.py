"""A ledger read and written by offset, as another program would (native/ledger.h): for what a
worker leaves behind that no test can make one do at will."""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, fields
from typing import Any

from lbsplice.dataplane.binding import ffi
from lbsplice.dataplane.ledger import Sizes

AREAS = (
    *("process_gauge", "listener_gauges", "frontend_gauges", "backend_gauges"),
    *("slot_gauges", "cursors", "threads", "thread_bytes", "head", "frontend_totals"),
    *("backend_totals", "slot_totals", "slot_heads", "pipes", "ring", "sessions", "total"),
)
SIZES_AT = 8
AREAS_AT = 48


@dataclass(frozen=True)
class Layout:
    """Where a version has what: names of areas, bytes of rows, offsets in a thread's head."""

    areas: tuple[str, ...]
    totals_bytes: int
    counters_bytes: int  # the head begins with them

    @property
    def crash_at(self) -> int:
        return AREAS_AT + 8 * len(self.areas)

    @property
    def serial_at(self) -> int:
        return self.counters_bytes

    @property
    def high_at(self) -> int:
        return self.serial_at + 12

    @property
    def pipe_high_at(self) -> int:
        return self.serial_at + 20

    @property
    def working_at(self) -> int:  # since version 2
        return self.serial_at + 24

    @property
    def accepting_at(self) -> int:
        return self.serial_at + 28

    @property
    def ending_at(self) -> int:
        return self.serial_at + 32

    @property
    def head_bytes(self) -> int:
        return self.ending_at + 40 + 3 * self.totals_bytes


EARLY = Layout(AREAS, 80, 80)
SINCE_3 = ("backend_times", "slot_times", "listener_totals")
LAYOUTS = {1: EARLY, 2: EARLY, 3: Layout((*AREAS, *SINCE_3), 104, 120)}


@dataclass(frozen=True)
class Raw:
    """A ledger's areas and sizes, read by offset (native/ledger.h)."""

    data: memoryview
    layout: Layout
    sizes: Sizes
    areas: dict[str, int]

    @classmethod
    def of(cls, data: memoryview) -> Raw:
        (version,) = struct.unpack_from("=I", data, 4)
        layout = LAYOUTS[version]
        sizes = Sizes(*struct.unpack_from(f"={len(fields(Sizes))}I", data, SIZES_AT))
        areas = struct.unpack_from(f"={len(layout.areas)}Q", data, AREAS_AT)
        return cls(data, layout, sizes, dict(zip(layout.areas, areas, strict=True)))

    def half_counted(self, index: int, written: int) -> bytes:
        """The undo journal (ledger_ending) of a session's end before which only one session
        had begun, and `written` events stood in the ring."""
        row = struct.pack("=Q", 1) + bytes(self.layout.totals_bytes - 8)
        undo = struct.pack("=II4Q", index, 0, 0, 0, 0, written) + 3 * row
        if "listener_totals" in self.layout.areas:
            undo += struct.pack("=7Q", 0, 0, 0, 1, 0, 0, 0)  # the kills, the listener
        return undo

    def thread(self, number: int, area: str) -> int:
        a = self.areas
        return a["threads"] + number * a["thread_bytes"] + a[area]

    def session(self, thread: int, index: int) -> int:
        return self.thread(thread, "sessions") + 256 * index

    def high(self, thread: int) -> int:
        return self._of_head(thread, self.layout.high_at)

    def pipe_high(self, thread: int) -> int:
        return self._of_head(thread, self.layout.pipe_high_at)

    def _of_head(self, thread: int, offset: int) -> int:
        return int(struct.unpack_from("=I", self.data, self.thread(thread, "head") + offset)[0])

    def sessions(self) -> list[tuple[int, int, Any]]:
        """(thread, index, record) of those in use."""
        found = []
        for thread in range(self.sizes.threads):
            for index in range(self.high(thread)):
                at = self.session(thread, index)
                record = ffi.from_buffer("lbs_session *", self.data[at : at + 256])
                if record.magic:
                    found.append((thread, index, record))
        return found


def raw(memfd: int) -> Raw:
    return Raw.of(memoryview(mmap.mmap(memfd, os.fstat(memfd).st_size)))
