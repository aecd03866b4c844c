"""What a worker has counted and told when it dies is counted and told once."""

from __future__ import annotations

import struct

import pytest

from lbsplice.report.record import SESSION_ENDED
from tests.support.dataplane import lib
from tests.support.succession import MakeLine, books_balance, ends, raw, talk


def test_events_that_nobody_had_read_are_read_by_the_successor(line: MakeLine) -> None:
    it = line()
    for _ in range(3):
        client, server = it.session()
        client.closes()
        server.reads_end().closes()
    it.waits_gone()
    it.dies()
    it.succeeds()
    assert len(ends(it, 3)) == 3


def test_counters_and_peaks_are_kept(line: MakeLine) -> None:
    it = line(threads=2)
    for client, server in [it.session() for _ in range(10)]:
        talk(client, server)
        client.closes()
        server.reads_end().closes()
    it.waits_gone()
    client, server = it.session()
    talk(client, server)
    before = it.ask("counters")
    it.dies()
    it.succeeds()
    after = it.ask("counters")
    for name in ("listener", "frontend", "backend", "slots", "gauges", "slot_gauges"):
        assert after[name] == before[name]
    assert after["gauges"][0] == (1, 10)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("reset", [0, 3])
def test_an_end_that_was_half_counted_is_counted_once(
    line: MakeLine, told: bool, reset: int
) -> None:
    """`told`: the event was written, and the record not yet closed."""
    it = line()
    client, server = it.session()
    talk(client, server)
    it.dies()
    book = raw(it.memfd)
    ((thread, index, record),) = book.sessions()
    head = book.thread(thread, "head")
    ring = book.thread(thread, "ring")
    # The end was being counted: `ended` was 0 before, and so was every total.
    (written,) = struct.unpack_from("=Q", book.data, ring)
    undo = book.half_counted(index, written)
    struct.pack_into("=Q", book.data, head + 8, 1)
    at = head + book.layout.ending_at
    book.data[at : at + len(undo)] = undo
    for area in ("frontend_totals", "backend_totals"):
        struct.pack_into("=3Q", book.data, book.thread(thread, area), 1, 3, 6)
        struct.pack_into("=Q", book.data, book.thread(thread, area) + 72, 1)
    struct.pack_into("=4Q", book.data, book.thread(thread, "listener_totals"), 1, 3, 6, 1)
    record.ending = lib.LBS_ENDING_BEGUN | reset
    if told:
        struct.pack_into("=3Q", book.data, book.thread(thread, "slot_totals"), 1, 3, 6)
        struct.pack_into("=Q", book.data, book.thread(thread, "slot_totals") + 72, 1)
        event = ring + 3 * 64 + 144 * written
        struct.pack_into("=B", book.data, event, SESSION_ENDED)
        struct.pack_into("=Q", book.data, ring, written + 1)
    assert it.succeeds().sessions == 0
    for peer in (client, server):
        if reset:
            peer.reads_reset()
        else:
            peer.reads_end()
    it.waits_gone()
    counters = it.ask("counters")
    assert counters["workers"].ended == 1
    for totals in (counters["frontend"], counters["backend"], counters["slots"][0]):
        assert (totals.sessions, totals.bytes_in, totals.bytes_out, totals.ended) == (1, 3, 6, 1)
    assert counters["listener"] == (1, 3, 6, 1)
    ends(it, 1)
    books_balance(it)
