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


@dataclass(frozen=True)
class Raw:
    """A ledger's areas and sizes, read by offset (native/ledger.h)."""

    data: memoryview
    sizes: Sizes
    areas: dict[str, int]

    AREAS = (
        *("process_gauge", "listener_gauges", "frontend_gauges", "backend_gauges"),
        *("slot_gauges", "cursors", "threads", "thread_bytes", "head", "frontend_totals"),
        *("backend_totals", "slot_totals", "slot_heads", "pipes", "ring", "sessions", "total"),
    )
    SIZES_AT = 8
    AREAS_AT = 48
    CRASH_AT = AREAS_AT + 17 * 8
    WORKING_AT = 104  # in a thread's head
    ACCEPTING_AT = 108
    ENDING_AT = 112

    @classmethod
    def of(cls, data: memoryview) -> Raw:
        count = len(fields(Sizes))
        sizes = Sizes(*struct.unpack_from(f"={count}I", data, cls.SIZES_AT))
        areas = struct.unpack_from(f"={len(cls.AREAS)}Q", data, cls.AREAS_AT)
        return cls(data, sizes, dict(zip(cls.AREAS, areas, strict=True)))

    def thread(self, number: int, area: str) -> int:
        a = self.areas
        return a["threads"] + number * a["thread_bytes"] + a[area]

    def session(self, thread: int, index: int) -> int:
        return self.thread(thread, "sessions") + 256 * index

    def high(self, thread: int) -> int:
        return int(struct.unpack_from("=I", self.data, self.thread(thread, "head") + 92)[0])

    def pipe_high(self, thread: int) -> int:
        return int(struct.unpack_from("=I", self.data, self.thread(thread, "head") + 100)[0])

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
