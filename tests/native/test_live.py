"""Bytes of sessions that are still open are counted beside the relays, and what is counted
never becomes less."""

from __future__ import annotations

from lbsplice.dataplane.counters import ListenerTotals
from lbsplice.dataplane.tables import Counted, Extent
from lbsplice.terms import Cause
from tests.support.dataplane import Make, Rig
from tests.support.waiting import wait_until

ALL = Extent(listeners=1, frontends=1, backends=1, slots=2)


def counted(lb: Rig) -> Counted:
    return lb.workers.tables.counted(ALL)


def moved(lb: Rig) -> list[tuple[int, int]]:
    """The bytes in and out of the listener, the frontend, the backend and the servers."""
    return [(row.bytes_in, row.bytes_out) for table in counted(lb) for row in table]


def settles(lb: Rig, wanted: list[tuple[int, int]]) -> None:
    """The peers have them a moment before they are counted."""
    wait_until(lambda: moved(lb) == wanted, lambda: f"{moved(lb)} instead of {wanted}")


def test_bytes_of_open_sessions_are_counted_where_they_belong(rig: Make) -> None:
    lb = rig(servers=2, threads=2)
    settles(lb, [(0, 0)] * 5)
    first, second = lb.session(0), lb.session(1)
    first[0].sends(b"ask")
    first[1].reads(b"ask").sends(b"answer")
    first[0].reads(b"answer")
    settles(lb, [(3, 6)] * 4 + [(0, 0)])
    second[0].sends(b"12345")
    second[1].reads(b"12345")
    settles(lb, [(8, 6)] * 3 + [(3, 6), (5, 0)])
    assert lb.counters.frontend(0).bytes_in == 0, "none has ended"


def test_bytes_of_a_session_are_counted_once_when_it_ends(rig: Make) -> None:
    lb = rig(servers=2)
    client, server = lb.session(0)
    client.sends(b"ask")
    server.reads(b"ask").sends(b"answer")
    client.reads(b"answer")
    before = [(3, 6)] * 4 + [(0, 0)]
    settles(lb, before)
    lb.workers.kill_slot(0, Cause.DOWN)
    client.reads_reset()
    lb.ends(1)
    assert moved(lb) == before
    wait_until(lambda: not lb.records(), "its record is free")
    assert moved(lb) == before
    assert lb.counters.slot(0).bytes_out == 6
    assert counted(lb).listeners == [ListenerTotals(sessions=1, bytes_in=3, bytes_out=6, ended=1)]


def test_what_is_counted_never_becomes_less_while_sessions_end(rig: Make) -> None:
    """Records are used again and again, and looked at all the time."""
    lb = rig(servers=2, threads=2, sessions=8)
    rounds = 60
    last = moved(lb)
    for _ in range(rounds):
        pairs = [lb.session(slot) for slot in (0, 1)]
        for client, server in pairs:
            client.sends(b"12345")
            server.reads(b"12345").sends(b"123")
            client.reads(b"123").closes()
            last = grown(lb, last)
            server.closes()
            last = grown(lb, last)
    every = (2 * rounds * 5, 2 * rounds * 3)
    settles(lb, [every] * 3 + [(rounds * 5, rounds * 3)] * 2)


def grown(lb: Rig, last: list[tuple[int, int]]) -> list[tuple[int, int]]:
    now = moved(lb)
    for (came, went), (came_before, went_before) in zip(now, last, strict=True):
        assert came >= came_before
        assert went >= went_before
    return now
