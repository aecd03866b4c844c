"""One road down: publish the plan without the server, then kill its sessions. No byte that
we hold for a client is lost to the reset, and none of its sessions survives."""

from __future__ import annotations

import random
import select
import time

import pytest

from lbsplice.terms import Algorithm, Cause
from tests.native.test_ends_table import full_backlog
from tests.support.dataplane import Make, Rig, held, lib
from tests.support.peers import Listener, Peer
from tests.support.waiting import wait_until

BOUND_S = 1.0
"""What a killed session may take to deliver what we hold for its client."""

DATA = random.Random(3).randbytes(4 << 20)


def marks_down(lb: Rig, slot: int, *, left: tuple[int, ...] = ()) -> None:
    lb.publish(usable=left)
    lb.workers.kill_slot(slot, Cause.DOWN)


@pytest.mark.parametrize("threads", [1, 2])
def test_all_sessions_of_the_server_end_and_no_other(rig: Make, threads: int) -> None:
    lb = rig(servers=2, threads=threads, sessions=40 // threads)
    pairs = [lb.session(number % 2) for number in range(40)]
    marks_down(lb, 0, left=(1,))
    assert lb.killed() == 20
    for client, server in pairs[0::2]:
        client.reads_reset()
        server.reads_reset()
    for client, server in pairs[1::2]:
        client.sends(b"still here")
        server.reads(b"still here")
    assert {event.slot for event in lb.ends(20)} == {0}
    assert lb.counters.slot_sessions(0).now == 0
    assert lb.counters.slot_sessions(1).now == 20
    assert lb.counters.slot(0).killed == 20
    workers = lb.counters.workers()
    assert (workers.killed_down, workers.killed_up, workers.killed_order) == (20, 0, 0)


def test_once_killed_nobody_holds_the_server_and_nobody_gets_it(rig: Make) -> None:
    """Publish first, kill second, while clients come and go."""
    lb = rig(servers=2, threads=2)
    clients: list[Peer] = []
    for round_ in range(30):
        lb.publish(usable=(0, 1))
        clients += [lb.connects() for _ in range(10)]
        marks_down(lb, 0, left=(1,))
        clients += [lb.connects() for _ in range(10)]
        lb.killed(round_ + 1)
        assert lb.counters.slot_sessions(0).now == 0
        assert not [record for record in lb.records() if record.slot == 0 and record.state != 5]
    for server in lb.servers:
        for peer in server.accepts_waiting():
            peer.resets()


def test_bytes_held_for_a_client_are_delivered_before_its_reset(lb: Rig) -> None:
    client, server = lb.session(receive_buffer=16384)
    taken = server.sends_what_fits()
    record = lb.records()[0]
    received = record.relays[lib.LBS_SERVER].moved + held(record.relays[lib.LBS_SERVER])
    assert held(record.relays[lib.LBS_SERVER])
    marks_down(lb, 0)
    server.reads_reset()
    got = len(client.reads_until_reset())
    assert received == got <= taken
    ended = lb.last_session()
    assert ended.letters == "DD"
    assert ended.record.bytes_from_server == got


def test_client_that_reads_nothing_is_reset_at_the_bound(lb: Rig) -> None:
    client, server = lb.session(receive_buffer=16384)
    server.sends_what_fits()
    started = time.monotonic()
    marks_down(lb, 0)
    server.reads_reset()
    assert time.monotonic() - started < BOUND_S / 2
    lb.ends()
    assert BOUND_S - 0.05 <= time.monotonic() - started <= BOUND_S + 0.4
    client.reads_until_reset()
    wait_until(lambda: not lb.records(), "the record is free")


def test_slow_client_that_reads_on_gets_all_within_the_bound(lb: Rig) -> None:
    client, server = lb.session()
    server.sends(DATA[: 1 << 19])
    wait_until(
        lambda: lb.records()[0].relays[lib.LBS_SERVER].moved == 1 << 19, "it is in the send queue"
    )
    marks_down(lb, 0)
    assert client.reads_until_reset() == DATA[: 1 << 19]


def test_client_is_reset_at_once_when_there_is_nothing_to_deliver(lb: Rig) -> None:
    client, _ = lb.session()
    started = time.monotonic()
    marks_down(lb, 0)
    client.reads_reset()
    assert time.monotonic() - started < BOUND_S / 4


def test_what_the_client_still_sends_is_not_waited_for(lb: Rig) -> None:
    client, _ = lb.session()
    client.sends_what_fits()
    marks_down(lb, 0)
    client.reads_reset()
    assert lb.last_session().letters == "DD"


@pytest.mark.parametrize("half_closed", ["client", "server"])
def test_half_closed_sessions_are_killed_like_any_other(lb: Rig, half_closed: str) -> None:
    client, server = lb.session()
    closer, other = (client, server) if half_closed == "client" else (server, client)
    closer.shuts_output()
    other.reads_end()
    marks_down(lb, 0)
    closer.reads_reset()
    other.breaks()
    assert lb.last_session().letters == "DD"


def test_session_that_connects_goes_to_another_server(rig: Make) -> None:
    lb = rig([Listener(backlog=0), Listener()], algorithm=Algorithm.FIRST)
    with full_backlog(lb):
        client = lb.connects().sends(b"ask")
        wait_until(lambda: lb.records() and lb.records()[0].slot == 0, "it is connecting")
        marks_down(lb, 0, left=(1,))
        lb.accepts(1).reads(b"ask").sends(b"answer").closes()
        client.reads(b"answer").reads_end().closes()
    ended = lb.last_session()
    assert (ended.letters, ended.record.slot, ended.record.redispatched) == ("--", 1, 1)
    assert lb.killed() == 1


def test_session_that_connects_ends_when_no_other_server_is_left(rig: Make) -> None:
    lb = rig([Listener(backlog=0)])
    with full_backlog(lb):
        client = lb.connects()
        wait_until(lambda: lb.records(), "it is connecting")
        marks_down(lb, 0)
        client.reads_end()
    assert lb.last_session().letters == "SC"


def test_session_that_connects_ends_by_the_operators_order(rig: Make) -> None:
    lb = rig([Listener(backlog=0)])
    with full_backlog(lb):
        lb.connects()
        wait_until(lambda: lb.records(), "it is connecting")
        lb.workers.kill_all(Cause.KILLED)
        assert lb.last_session().letters == "KC"


def test_kill_of_a_server_without_sessions_is_answered_too(rig: Make) -> None:
    lb = rig(servers=2, threads=2)
    lb.workers.kill_slot(1, Cause.DOWN)
    assert lb.killed() == 0


def test_kill_of_one_session_spares_the_others(rig: Make) -> None:
    lb = rig(threads=2)
    first, second = lb.session(), lb.session()
    port = first[0].socket.getsockname()[1]
    serial = next(record.serial for record in lb.records() if record.client_port == port)
    lb.workers.kill_session(serial, Cause.KILLED)
    first[0].reads_reset()
    second[0].sends(b"here")
    second[1].reads(b"here")
    lb.workers.kill_session(serial, Cause.KILLED)
    assert len(lb.records()) == 1


def many_sessions(lb: Rig, sessions: int) -> list[Peer]:
    """The clients of so many established sessions of the first server."""
    clients: list[Peer] = []
    while len(clients) < sessions:
        clients += [lb.connects() for _ in range(100)]
        wait_until(lambda: lb.live() >= len(clients), "all are established")  # noqa: B023
        for peer in lb.servers[0].accepts_waiting():
            lb._keeps(peer)
    return clients


def test_order_to_end_all_sessions_is_carried_out_in_chunks_and_leaves_none(rig: Make) -> None:
    sessions = 2500
    lb = rig(sessions=4000)
    clients = many_sessions(lb, sessions)
    # Free records lie between those in use.
    for client in clients[::10]:
        client.closes()
    for peer in lb.servers[0].accepts_waiting():
        lb._keeps(peer)
    batches = lb.counters.workers().batches
    lb.workers.kill_all(Cause.KILLED)
    lb.ends(sessions)
    wait_until(lambda: not lb.records(), "every record is free")
    assert lb.counters.workers().batches >= batches + 4, "sockets were looked at in between"
    for client in clients[1::10]:
        client.reads_reset()
    lb.balanced_books()


def test_thousands_of_sessions_are_killed_while_bytes_flow(rig: Make) -> None:
    """A stream of another server is exact throughout, every client is told, and at once."""
    sessions = 3000
    lb = rig(servers=2, threads=2, usable=(0,), sessions=4000)
    clients = many_sessions(lb, sessions)
    lb.publish(usable=(1,))
    client, server = lb.session(1)
    server.socket.setblocking(False)
    sent = server.socket.send(DATA)
    started = time.monotonic()
    lb.workers.kill_slot(0, Cause.DOWN)
    poll = select.poll()
    for peer in clients:
        poll.register(peer.socket, 0)
    wait_until(lambda: len(poll.poll(0)) == sessions, "every client is told")
    took = time.monotonic() - started
    assert lb.killed() == sessions
    assert took < BOUND_S, f"{sessions} sessions killed in {took:.3f} s"
    assert client.reads_count(sent) == DATA[:sent]
    assert len([e for e in lb.ends(sessions) if chr(e.cause) + chr(e.phase) == "DD"]) == sessions
    lb.balanced_books()
