"""A parked worker's ledger as an earlier version of the layout would have it, by offset: what
the worker before an upgrade leaves behind."""

from __future__ import annotations

import os
import struct

from lbsplice.dataplane.ledger import Sizes
from tests.support.rawledger import AREAS_AT, LAYOUTS, Layout, Raw, raw

RETRIES_AT = 244
"""Of retries_left in a record."""
EVENT_BYTES = 144
RING_BYTES = 3 * 64


def areas_of(layout: Layout, s: Sizes) -> dict[str, int]:
    """Where versions 1 and 2 had their areas for tables of these sizes."""
    found = {}
    end = layout.crash_at + 24

    def place(name: str, count: int) -> None:
        nonlocal end
        found[name] = (end + 63) & ~63
        end = found[name] + count

    for name, count in _shared(s):
        place(name, count)
    found["threads"] = (end + 4095) & ~4095
    end = 0
    place("head", layout.head_bytes)
    place("frontend_totals", layout.totals_bytes * s.frontends)
    place("backend_totals", layout.totals_bytes * s.backends)
    place("slot_totals", layout.totals_bytes * s.slots)
    place("slot_heads", 4 * s.slots)
    place("pipes", 16 * s.pipes)
    place("ring", RING_BYTES + EVENT_BYTES * s.events)
    end = (end + 4095) & ~4095
    place("sessions", 256 * s.sessions)
    found["thread_bytes"] = (end + 4095) & ~4095
    found["total"] = found["threads"] + s.threads * found["thread_bytes"]
    return found


def as_version_2(memfd: int) -> int:
    """Totals had 10 numbers and a thread's counters 10, and there were no averages."""
    now, layout = raw(memfd), LAYOUTS[2]
    areas = areas_of(layout, now.sizes)
    old = os.memfd_create("ledger-2")
    os.ftruncate(old, areas["total"])
    header = bytes(now.data[0:AREAS_AT])
    os.pwrite(old, header + struct.pack("=17Q", *(areas[name] for name in layout.areas)), 0)
    os.pwrite(old, struct.pack("=I", 2), 4)
    book = raw(old)
    for name, count in _shared(now.sizes):
        at, into = now.areas[name], areas[name]
        book.data[into : into + count] = now.data[at : at + count]
    for thread in range(now.sizes.threads):
        _head(now, book, thread)
        for name, rows in _tables(now.sizes):
            for row in range(rows):
                _copy(now, book, thread, name, row)
        for name in ("slot_heads", "pipes", "ring", "sessions"):
            at, into = now.thread(thread, name), book.thread(thread, name)
            count = _bytes_of(now.sizes, name)
            book.data[into : into + count] = now.data[at : at + count]
    return old


def _shared(s: Sizes) -> tuple[tuple[str, int], ...]:
    """What all threads share, in its order, with its bytes."""
    return (
        ("process_gauge", 8),
        ("listener_gauges", 8 * s.listeners),
        ("frontend_gauges", 8 * s.frontends),
        ("backend_gauges", 8 * s.backends),
        ("slot_gauges", 8 * s.slots),
        ("cursors", 4 * s.backends),
    )


def _tables(sizes: Sizes) -> tuple[tuple[str, int], ...]:
    return (
        ("frontend_totals", sizes.frontends),
        ("backend_totals", sizes.backends),
        ("slot_totals", sizes.slots),
    )


def _bytes_of(s: Sizes, name: str) -> int:
    return {
        "slot_heads": 4 * s.slots,
        "pipes": 16 * s.pipes,
        "ring": RING_BYTES + EVENT_BYTES * s.events,
        "sessions": 256 * s.sessions,
    }[name]


def _copy(now: Raw, book: Raw, thread: int, name: str, row: int) -> None:
    wide = book.layout.totals_bytes
    at = now.thread(thread, name) + row * now.layout.totals_bytes
    into = book.thread(thread, name) + row * wide
    book.data[into : into + wide] = now.data[at : at + wide]


def _head(now: Raw, book: Raw, thread: int) -> None:
    at, into = now.thread(thread, "head"), book.thread(thread, "head")
    counters = book.layout.counters_bytes
    book.data[into : into + counters] = now.data[at : at + counters]
    # From the serial number up to the totals of the undo journal nothing has moved.
    count = book.layout.ending_at + 40 - book.layout.serial_at
    at, into = at + now.layout.serial_at, into + book.layout.serial_at
    book.data[into : into + count] = now.data[at : at + count]
    at, into = at + count, into + count
    for _ in range(3):
        wide = book.layout.totals_bytes
        book.data[into : into + wide] = now.data[at : at + wide]
        at, into = at + now.layout.totals_bytes, into + wide


def as_version_1(memfd: int, retries: int) -> int:
    """A direction had the number of bytes in its pipe, a session 32 bits of `retries`, and a
    thread's head ended behind its pipes."""
    old = as_version_2(memfd)
    book = raw(old)
    struct.pack_into("=I", book.data, 4, 1)
    at = book.layout.crash_at
    book.data[at : at + 24] = b"\xff" * 24
    for thread in range(book.sizes.threads):
        after = book.thread(thread, "head") + book.layout.working_at
        book.data[after : after + 64] = b"\xee" * 64
    for thread, index, record in book.sessions():
        for relay in record.relays:
            relay.taken = (relay.taken - relay.moved) & 0xFFFFFFFF
        struct.pack_into("=I", book.data, book.session(thread, index) + RETRIES_AT, retries)
    return old
