"""A ledger of other sizes, or of an older layout: everything that adoption needs is carried
over, and what can not be is refused before anything has changed."""

from __future__ import annotations

import os
import struct
from dataclasses import replace

import pytest

from lbsplice.dataplane import ledger
from lbsplice.dataplane.ledger import Sizes
from lbsplice.errors import DataplaneError
from tests.support.dataplane import descriptors, lib
from tests.support.oldledger import as_version_1, as_version_2
from tests.support.rawledger import Raw
from tests.support.succession import Line, MakeLine, books_balance, ends, letters, raw, talk
from tests.support.waiting import wait_until


def bad_copy(it: Line, sizes: Sizes) -> str:
    """Why these sizes are refused."""
    open_before = descriptors()
    with pytest.raises(DataplaneError) as caught:
        ledger.convert(it.memfd, sizes)
    assert descriptors() == open_before
    return str(caught.value)


def test_a_ledger_says_its_version_and_sizes(line: MakeLine) -> None:
    it = line(threads=2)
    assert ledger.read(it.memfd) == (ledger.VERSION, it.sizes)


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(100_000)])
def test_what_is_no_ledger_is_refused(content: bytes) -> None:
    fd = os.memfd_create("no-ledger")
    os.write(fd, content)
    with pytest.raises(DataplaneError, match="none"):
        ledger.read(fd)
    with pytest.raises(DataplaneError):
        ledger.convert(fd, Sizes(1, 10, 10))
    assert ledger.highest(fd) == -1
    assert ledger.crash(fd) is None
    os.close(fd)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 2), (3, 2)])
def test_sessions_go_on_with_other_sizes(line: MakeLine, before: int, after: int) -> None:
    it = line(servers=2, threads=before, pipes=64, events=64)
    pairs = [it.session(i % 2) for i in range(30)]
    for client, server in pairs[:10]:
        talk(client, server)
        client.closes()
        server.reads_end().closes()
    pairs = pairs[10:]
    wait_until(lambda: it.ask("live") == len(pairs), "ten have ended")
    full = it.session(0, receive_buffer=4096)
    sent = full[1].sends_what_fits()
    half = it.session(1)
    half[0].sends(b"all").shuts_output()
    half[1].reads(b"all").reads_end()
    it.ask("park")
    old = it.ask("counters")
    serials = {s.serial for s in it.ask("sessions")}
    sizes = replace(it.sizes, threads=after, sessions=100, slots=128, backends=16, events=1024)
    told = it.succeeds(sizes=sizes)
    assert (told.sessions, told.resets) == (len(pairs) + 2, 0)
    assert told.bytes
    new = it.ask("counters")
    for name in ("frontend", "backend", "slots", "gauges", "slot_gauges"):
        assert new[name] == old[name], name
    for name in ("accepted", "ended", "events_dropped", "spliced_bytes"):
        assert getattr(new["workers"], name) == getattr(old["workers"], name)
    assert {s.serial for s in it.ask("sessions")} == serials
    for client, server in pairs:
        talk(client, server)
    full[1].shuts_output()
    assert full[0].reads_count(sent) == bytes(sent)
    full[0].reads_end()
    half[1].sends(b"answer").closes()
    half[0].reads(b"answer").reads_end()
    assert len(ends(it, 11)) == 11
    books_balance(it)
    for _ in range(5):
        talk(*it.session(0))
        talk(*it.session(1))
    assert len({s.serial for s in it.ask("sessions")}) == len(it.ask("sessions"))


def test_the_old_ledger_is_as_good_as_before(line: MakeLine) -> None:
    """A successor that failed is followed by another one, or the old worker carries on."""
    it = line()
    client, server = it.session()
    it.ask("park")
    before = bytes(raw(it.memfd).data)
    os.close(ledger.convert(it.memfd, replace(it.sizes, threads=2)))
    assert bytes(raw(it.memfd).data) == before
    client.sends(b"while parked")
    server.sees_nothing()
    it.ask("carry_on")
    server.reads(b"while parked")
    talk(client, server)
    it.ask("park")
    assert it.succeeds().sessions == 1
    talk(client, server)


@pytest.mark.parametrize(
    "change", [{"sessions": 4}, {"slots": 1}, {"frontends": 1}, {"backends": 1}, {"listeners": 1}]
)
def test_sizes_that_do_not_hold_what_is_there_are_refused(
    line: MakeLine, change: dict[str, int]
) -> None:
    it = line(servers=2)
    pairs = [it.session(i % 2) for i in range(5)]
    it.ask("park")
    book = raw(it.memfd)
    for _, _, record in book.sessions():
        record.frontend = record.backend = record.listener = 1
    assert "does not fit" in bad_copy(it, replace(it.sizes, **change))
    for _, _, record in book.sessions():
        record.frontend = record.backend = record.listener = 0
    it.ask("carry_on")
    for client, server in pairs:
        talk(client, server)


def test_counters_of_what_would_have_no_row_are_not_dropped(line: MakeLine) -> None:
    it = line(servers=2)
    client, server = it.session(0)
    other = it.session(1)
    for peer in other:
        peer.closes()
    wait_until(lambda: it.ask("live") == 1, "the other one has ended")
    it.ask("park")
    assert "does not fit" in bad_copy(it, replace(it.sizes, slots=1))
    it.ask("carry_on")
    talk(client, server)


def test_pipes_that_hold_something_need_places(line: MakeLine) -> None:
    it = line()
    pairs = [it.session(receive_buffer=4096) for _ in range(3)]
    sent = [server.sends_what_fits() for _, server in pairs]
    it.ask("park")
    assert "does not fit" in bad_copy(it, replace(it.sizes, pipes=2))
    assert it.succeeds(sizes=replace(it.sizes, pipes=3)).pipes == 3
    for (client, server), count in zip(pairs, sent, strict=True):
        server.shuts_output()
        assert client.reads_count(count) == bytes(count)
        client.reads_end()
    books_balance(it)


def test_events_that_find_no_room_are_counted_as_dropped(line: MakeLine) -> None:
    it = line(threads=2, events=64)
    for _ in range(40):
        client, server = it.session()
        client.closes()
        server.reads_end().closes()
    it.waits_gone()
    it.ask("park")
    waiting = it.ask("counters")["workers"]
    assert waiting.events_dropped == 0
    it.succeeds(sizes=replace(it.sizes, threads=1, events=16), publish=False)
    found = it.ask("events")
    assert len(found) == 16
    # 40 ends, and what else the threads had told (a plan taken, that they stopped).
    assert it.ask("counters")["workers"].events_dropped >= 40 - 16
    it.publish()


def half_count(book: Raw) -> int:
    """Leave the only session as a worker does that dies in the middle of counting its end:
    3 bytes in, 6 out. Returns its thread."""
    ((thread, index, record),) = book.sessions()
    head, ring = book.thread(thread, "head"), book.thread(thread, "ring")
    (written,) = struct.unpack_from("=Q", book.data, ring)
    undo, at = book.half_counted(index, written), head + book.layout.ending_at
    book.data[at : at + len(undo)] = undo
    struct.pack_into("=Q", book.data, head + 8, 1)
    for area in ("frontend_totals", "backend_totals"):
        struct.pack_into("=3Q", book.data, book.thread(thread, area), 1, 3, 6)
        struct.pack_into("=Q", book.data, book.thread(thread, area) + 72, 1)
    record.ending = lib.LBS_ENDING_BEGUN
    return thread


def test_an_end_that_was_half_counted_is_counted_once_in_the_new_ledger(line: MakeLine) -> None:
    """The worker died while it was parked."""
    it = line()
    client, server = it.session()
    talk(client, server)
    it.ask("park")
    it.dies()
    book = raw(it.memfd)
    thread = half_count(book)
    struct.pack_into("=4Q", book.data, book.thread(thread, "listener_totals"), 1, 3, 6, 1)
    it.succeeds(sizes=replace(it.sizes, threads=2))
    client.reads_end()
    it.waits_gone()
    counters = it.ask("counters")
    for totals in (counters["frontend"], counters["backend"], counters["slots"][0]):
        assert (totals.sessions, totals.bytes_in, totals.bytes_out, totals.ended) == (1, 3, 6, 1)
    assert counters["listener"] == (1, 3, 6, 1)
    assert letters(ends(it)[0]) == "--"
    books_balance(it)


# ---- other layouts ----


def test_unknown_version_is_told_with_ours(line: MakeLine) -> None:
    it = line()
    it.ask("park")
    version = ledger.VERSION + 1
    book = raw(it.memfd)
    struct.pack_into("=I", book.data, 4, version)
    told = bad_copy(it, it.sizes)
    assert f"version {version}" in told
    assert f"version {ledger.VERSION}" in told
    struct.pack_into("=I", book.data, 4, ledger.VERSION)
    it.ask("carry_on")


def test_version_1_is_carried_over(line: MakeLine) -> None:
    it = line(threads=2)
    pairs = [it.session() for _ in range(10)]
    for client, server in pairs:
        talk(client, server)
    full = it.session(receive_buffer=4096)
    sent = full[1].sends_what_fits()
    it.ask("park")
    old = as_version_1(it.memfd, retries=70_000)
    assert ledger.read(old) == (1, it.sizes)
    new = ledger.convert(old, it.sizes)
    os.close(old)
    told = it.succeeds(memfd=new)
    assert (told.sessions, told.pipes, told.resets) == (11, 1, 0)
    assert {r.retries_left for _, _, r in raw(it.memfd).sessions()} == {65535}
    for client, server in pairs:
        talk(client, server)
    full[1].shuts_output()
    assert full[0].reads_count(sent) == bytes(sent)
    full[0].reads_end()
    books_balance(it)


@pytest.mark.parametrize("threads", [2, 3])
def test_version_2_is_carried_over_with_its_counters(line: MakeLine, threads: int) -> None:
    """It had no averages: they begin with the first session that ends."""
    it = line(servers=2, threads=2)
    for client, server in [it.session(i % 2) for i in range(6)]:
        talk(client, server)
        client.closes()
        server.reads_end().closes()
    it.waits_gone()
    pairs = [it.session(i % 2) for i in range(4)]
    full = it.session(receive_buffer=4096)
    sent = full[1].sends_what_fits()
    it.ask("park")
    before = it.ask("counters")
    old = as_version_2(it.memfd)
    assert ledger.read(old) == (2, it.sizes)
    it.sizes = replace(it.sizes, threads=threads)
    new = ledger.convert(old, it.sizes)
    os.close(old)
    told = it.succeeds(memfd=new)
    assert (told.sessions, told.pipes, told.resets) == (5, 1, 0)
    after = it.ask("counters")
    for mine, its in (
        (after["frontend"], before["frontend"]),
        (after["backend"], before["backend"]),
        *zip(after["slots"], before["slots"], strict=True),
    ):
        assert mine == (*its[:10], *(0,) * (len(its) - 10))
    for name in ("accepted", "ended", "spliced_bytes", "pipes_open"):
        assert getattr(after["workers"], name) == getattr(before["workers"], name)
    for client, server in pairs:
        talk(client, server)
        client.closes()
        server.reads_end().closes()
    full[1].shuts_output()
    assert full[0].reads_count(sent) == bytes(sent)
    full[0].reads_end()
    assert len(ends(it, 10)) == 10
    books_balance(it)
    backend = it.ask("counters")["backend"]
    assert (backend.samples, backend.ended) == (4, 10)


def test_an_end_that_version_2_had_half_counted_is_counted_once(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    talk(client, server)
    it.ask("park")
    it.dies()
    old = as_version_2(it.memfd)
    half_count(raw(old))
    new = ledger.convert(old, it.sizes)
    os.close(old)
    it.succeeds(memfd=new)
    client.reads_end()
    it.waits_gone()
    counters = it.ask("counters")
    for totals in (counters["frontend"], counters["backend"], counters["slots"][0]):
        assert (totals.sessions, totals.bytes_in, totals.bytes_out, totals.ended) == (1, 3, 6, 1)
    assert letters(ends(it)[0]) == "--"
    books_balance(it)


def test_averages_go_into_a_ledger_of_other_sizes(line: MakeLine) -> None:
    it = line(servers=2, threads=2)
    for client, server in [it.session(i % 2) for i in range(6)]:
        server.closes()
        client.reads_end().closes()
    it.waits_gone()
    before = it.ask("counters")
    it.ask("park")
    it.succeeds(sizes=replace(it.sizes, threads=1, slots=100, backends=20))
    after = it.ask("counters")
    assert after["backend"].samples == 6
    assert (after["backend"], after["slots"]) == (before["backend"], before["slots"])
