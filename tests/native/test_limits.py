"""Limits: who is over one waits in the kernel's backlog, never accepted only to be closed,
and is taken when a place comes free. A shortage of descriptors pauses, and never spins."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from lbsplice.dataplane.counters import Gauge
from tests.support.dataplane import Make, Rig, descriptors, lib
from tests.support.peers import Peer
from tests.support.waiting import holds_for, wait_until

LIMITS: dict[str, dict[str, Any]] = {
    "process": {"maxconn": 3},
    "frontend": {"frontend": {"maxconn": 3}},
    "listener": {"listener": {"maxconn": 3}},
    "records": {"sessions": 3},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_connections_over_the_limit_wait_until_a_session_ends(rig: Make, limit: str) -> None:
    lb = rig(**LIMITS[limit])
    clients = [lb.connects().sends(b"%d" % number) for number in range(6)]
    servers = [lb.accepts() for _ in range(3)]
    lb.servers[0].accepts_nobody(0.25)
    assert lb.counters.workers().accepted == 3
    for number, client in enumerate(clients[3:], start=3):
        client.sees_nothing(0.01)
        clients[number - 3].resets()
        servers[number - 3].reads_until_reset()
        servers.append(lb.accepts().reads(b"%d" % number))
    for gauge in gauges(lb):
        assert (gauge.now, gauge.max) == (3, 3)
    times = lb.counters.workers().maxconn_reached
    assert times == (4 if limit == "process" else 0), "with the third, and each that took a place"


def gauges(lb: Rig) -> list[Gauge]:
    counters = lb.counters
    return [
        counters.process_sessions(),
        counters.frontend_sessions(0),
        counters.listener_sessions(0),
        counters.backend_sessions(0),
        counters.slot_sessions(0),
    ]


@pytest.mark.parametrize("limit", ["process", "frontend", "listener"])
def test_session_that_ends_in_one_thread_lets_another_thread_accept(rig: Make, limit: str) -> None:
    lb = rig(threads=2, **LIMITS[limit])
    pairs = [lb.session() for _ in range(3)]
    for _ in range(60):
        waiting = lb.connects().sends(b"next")
        client, server = pairs.pop(0)
        client.resets()
        server.reads_until_reset()
        pairs.append((waiting, lb.accepts()))
    # A thread that looks in vain may be counted for a moment, but never over a limit.
    limited = ["process", "frontend", "listener"].index(limit)
    assert gauges(lb)[limited].max == 3
    assert [gauge.now for gauge in gauges(lb)[3:]] == [3, 3]


def test_thread_without_records_leaves_connections_to_the_others(rig: Make) -> None:
    lb = rig(threads=2, sessions=5)
    for _ in range(10):
        lb.session()
    assert sorted(record.serial >> 56 for record in lb.records()) == [0] * 5 + [1] * 5


def test_raised_limit_lets_in_who_waits(rig: Make) -> None:
    lb = rig(maxconn=1)
    for _ in range(3):
        lb.connects()
    lb.accepts()
    lb.servers[0].accepts_nobody()
    lb.publish(maxconn=3)
    lb.accepts()
    lb.accepts()


def test_lowered_limit_ends_nobody(rig: Make) -> None:
    lb = rig(maxconn=3)
    pairs = [lb.session() for _ in range(3)]
    lb.publish(maxconn=1)
    for client, server in pairs:
        client.sends(b"here")
        server.reads(b"here")
    late = lb.connects().sends(b"late")
    for client, _ in pairs[:2]:
        client.resets()
    wait_until(lambda: lb.live() == 1, "two are gone")
    lb.servers[0].accepts_nobody(0.15)
    pairs[2][0].resets()
    lb.accepts().reads(b"late")
    late.sees_nothing()


def test_worker_sleeps_while_connections_wait(rig: Make) -> None:
    lb = rig(maxconn=1)
    lb.session()
    for _ in range(5):
        lb.connects()
    before = lb.counters.workers().batches
    holds_for(lambda: lb.counters.workers().batches <= before + 20, "the worker sleeps", 0.4)


@contextmanager
def no_descriptors_left(but: int = 0) -> Iterator[list[int]]:
    """This process can open `but` more descriptors; more when the yielded are closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(256, descriptors() + 100), hard))
    fillers: list[int] = []
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
        for _ in range(but):
            os.close(fillers.pop())
        yield fillers
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


def waiting_clients(lb: Rig, count: int) -> list[Peer]:
    """Clients in the backlog of a rig that takes but one session."""
    lb.session()
    clients = [lb.connects().sends(b"ask") for _ in range(count)]
    lb.servers[0].accepts_nobody()
    return clients


def test_accept_pauses_without_descriptors_and_goes_on_when_there_are(rig: Make) -> None:
    lb = rig(maxconn=1)
    clients = waiting_clients(lb, 5)
    with no_descriptors_left() as fillers:
        lb.publish(maxconn=0)
        told = lb.waits_for(lib.LBS_EVENT_ACCEPT_PAUSED, 1)[0]
        assert (told.number, told.listener) == (errno.EMFILE, 0)
        before = lb.counters.workers()
        holds_for(
            lambda: lb.counters.workers().batches <= before.batches + 25, "it does not spin", 0.5
        )
        # A pause each 100 ms, and one event a second.
        assert 2 <= lb.counters.workers().accept_pauses - before.accept_pauses <= 7
        pauses = [e for e in lb.collect() if e.kind == lib.LBS_EVENT_ACCEPT_PAUSED]
        assert len(pauses) == 1
        assert lb.live() == 1
        while fillers:
            os.close(fillers.pop())
        wait_until(lambda: lb.live() == 6, "all are accepted")
    for client in clients:
        client.sees_nothing(0.005)
        lb.accepts().reads(b"ask")


def test_session_without_a_descriptor_for_its_server_ends_with_rc(rig: Make) -> None:
    lb = rig(maxconn=1)
    client = waiting_clients(lb, 1)[0]
    with no_descriptors_left(but=1):
        lb.publish(maxconn=0)
        ended = lb.last_session()
    assert ended.letters == "RC"
    assert lb.counters.slot(0).connect_errors == 0
    # The ask was never read: closing tells so with a reset.
    client.reads_reset()


def test_relays_go_on_when_no_descriptor_is_left_for_a_pipe(rig: Make) -> None:
    lb = rig()
    client, server = lb.session()
    with no_descriptors_left() as fillers:
        client.sends(b"ask")
        wait_until(lambda: lb.counters.workers().pipe_waits, "no pipe is to be had")
        while fillers:
            os.close(fillers.pop())
        server.reads(b"ask")
