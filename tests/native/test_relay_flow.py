"""Bytes on their way: every byte exact, whatever the sizes, the pipes and the readers."""

from __future__ import annotations

import random
import threading

import pytest

from lbsplice.terms import Cause
from tests.support.dataplane import Make, Rig, ffi, held, lib
from tests.support.peers import Listener, Peer
from tests.support.waiting import holds_for, wait_until

DATA = random.Random(11).randbytes(8 << 20)


def streams(source: Peer, target: Peer, data: bytes) -> None:
    """`data` arrives, byte for byte."""
    sender = threading.Thread(target=source.sends, args=(data,))
    sender.start()
    got = target.reads_count(len(data))
    sender.join()
    assert got == data


@pytest.mark.parametrize("pipe_bytes", [0, 4096, 65536])
def test_megabytes_arrive_exactly_both_ways(rig: Make, pipe_bytes: int) -> None:
    lb = rig(pipe_bytes=pipe_bytes)
    client, server = lb.session()
    up = threading.Thread(target=streams, args=(client, server, DATA))
    up.start()
    streams(server, client, DATA[::-1])
    up.join()
    totals = lb.counters.workers()
    assert totals.spliced_bytes == 2 * len(DATA)
    client.closes()
    server.closes()
    record = lb.last_session().record
    assert record.bytes_from_client == record.bytes_from_server == len(DATA)


@pytest.mark.parametrize("pipe_bytes", [0, 4096])
def test_thousands_of_single_bytes_arrive_exactly(rig: Make, pipe_bytes: int) -> None:
    lb = rig(pipe_bytes=pipe_bytes)
    client, server = lb.session()
    data = DATA[:5000]
    reader = threading.Thread(target=lambda: [client.sends(bytes([byte])) for byte in data])
    reader.start()
    got = server.reads_count(len(data))
    reader.join()
    assert got == data


def test_every_size_around_a_page_and_a_pipe_arrives_exactly(rig: Make) -> None:
    lb = rig(pipe_bytes=4096)
    client, server = lb.session()
    for size in [1, 2, 15, 16, 17, 4095, 4096, 4097, 8191, 8192, 65535, 65536, 65537, 524289]:
        streams(client, server, DATA[:size])
        streams(server, client, DATA[-size:])


def test_pipe_of_one_page_was_really_made(rig: Make) -> None:
    """Otherwise the tests of one-page pipes test nothing."""
    lb = rig(pipe_bytes=4096)
    client, _ = lb.session()
    taken = client.sends_what_fits()
    in_pipe = held(lb.records()[0].relays[lib.LBS_CLIENT])
    assert 0 < in_pipe <= 4096 < taken


def test_what_a_pipe_holds_is_known_beyond_four_gigabytes(rig: Make) -> None:
    """Of the bytes read only the low 32 bits are kept."""
    lb = rig([Listener(receive_buffer=16384)], pipe_bytes=65536)
    client, server = lb.session()
    record = lb.records()[0]
    before = (1 << 32) - 1000
    counts = ffi.cast("lbs_relay *", ffi.addressof(record.relays[lib.LBS_CLIENT]))
    counts.taken = counts.moved = before
    sent = client.sends_what_fits()
    assert record.relays[lib.LBS_CLIENT].moved > 1 << 32 > before
    assert 0 < held(counts) <= 65536
    assert server.reads_count(sent) == bytes(sent)
    wait_until(lambda: held(counts) == 0, "the pipe is empty")
    assert counts.moved == before + sent


@pytest.mark.parametrize("to_server", [True, False])
def test_source_is_stopped_while_nobody_reads(rig: Make, to_server: bool) -> None:
    """What is under way is bounded by socket buffers and one pipe; later all arrives."""
    lb = rig([Listener(receive_buffer=16384)], pipe_bytes=65536)
    client, server = lb.session(receive_buffer=16384)
    source, target = (client, server) if to_server else (server, client)
    side = lib.LBS_CLIENT if to_server else lib.LBS_SERVER
    taken = source.sends_what_fits()
    assert taken < 64 << 20
    record = lb.records()[0]
    assert 0 < held(record.relays[side]) <= 65536
    batches = lb.counters.workers().batches
    holds_for(lambda: lb.counters.workers().batches <= batches + 3, "the worker sleeps", 0.1)
    assert target.reads_count(taken) == bytes(taken)
    assert record.relays[side].moved == taken
    wait_until(lambda: held(record.relays[side]) == 0, "the pipe is empty")
    assert record.relays[side].pipe == lib.LBS_NONE


def test_answers_flow_while_the_other_direction_is_stuck(lb: Rig) -> None:
    client, server = lb.session()
    stuck = client.sends_what_fits()
    streams(server, client, DATA[: 1 << 20])
    assert server.reads_count(stuck) == bytes(stuck)


def test_idle_session_holds_no_pipe(lb: Rig) -> None:
    client, server = lb.session()
    streams(client, server, b"ask")
    streams(server, client, b"answer")
    relays = lb.records()[0].relays
    wait_until(lambda: {relay.pipe for relay in relays} == {lib.LBS_NONE}, "no pipe is held")


@pytest.mark.parametrize("max_pipes", [1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_sessions_go_on_with_hardly_any_pipe(rig: Make, max_pipes: int, threads: int) -> None:
    # As many records as sessions, so that every thread gets its share of them.
    lb = rig(max_pipes=max_pipes, threads=threads, sessions=12 // threads)
    pairs = [lb.session() for _ in range(12)]
    for round_ in range(20):
        data = DATA[round_ * 1000 : round_ * 1000 + 20000]
        for client, server in pairs:
            client.sends(data)
            server.sends(data[::-1])
        for client, server in pairs:
            assert server.reads_count(len(data)) == data
            assert client.reads_count(len(data)) == data[::-1]


def test_pipe_comes_free_while_the_next_in_the_queue_ends(rig: Make) -> None:
    """The turn of one that has ended goes to the one behind it."""
    lb = rig(servers=2, max_pipes=1, usable=(0,))
    waiting, _ = lb.session()
    stuck, _ = lb.session()
    lb.publish(usable=(1,))
    client, server = lb.session(server=1)
    stuck.sends_what_fits()
    for count, peer in enumerate([waiting, client], start=1):
        peer.sends(b"waits")
        wait_until(lambda n=count: lb.counters.workers().pipe_waits >= n, "it waits for a pipe")
    lb.workers.kill_slot(0, Cause.DOWN)
    server.reads(b"waits")


@pytest.mark.parametrize("holder", ["by a stuck session", "by nobody"])
def test_thread_without_a_pipe_gets_one_from_another_thread(rig: Make, holder: str) -> None:
    lb = rig(max_pipes=1, threads=2, sessions=4)
    pairs = [lb.session() for _ in range(8)]
    client, server = pairs[0]
    stuck = client.sends_what_fits() if holder == "by a stuck session" else 0
    for client, _ in pairs[1:]:
        client.sends(b"waits")
    if stuck:
        wait_until(lambda: lb.counters.workers().pipe_waits >= 7, "seven directions wait")
        for _, other in pairs[1:]:
            other.sees_nothing(0.005)
        assert server.reads_count(stuck) == bytes(stuck)
    for _, other in pairs[1:]:
        other.reads(b"waits")


def test_pipes_with_bytes_in_them_are_closed_with_their_session(rig: Make) -> None:
    lb = rig(max_pipes=64)
    pairs = [lb.session() for _ in range(20)]
    for client, _ in pairs:
        client.sends_what_fits(0.01)
    assert lb.counters.workers().pipes_open >= 20
    lb.workers.kill_all(Cause.KILLED)
    for client, _ in pairs:
        client.reads_reset()
    lb.ends(20)
    assert lb.counters.workers().pipes_open <= 1
    # None that is left holds a byte of theirs.
    client, server = lb.session()
    streams(client, server, DATA[:100_000])
    lb.workers.kill_all(Cause.KILLED)
    client.reads_reset()
    lb.ends(21)
    lb.balanced_books()
