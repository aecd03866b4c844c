"""Random sessions, byte for byte, and the books that must balance behind them.

A run that fails prints its seed; LBSPLICE_SEED=N repeats it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.dataplane import Make, Rig, lib
from tests.support.storm import Storm, seed_from_environment
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("name", "sessions", "at_once", "settings"),
    [
        ("two threads", 3500, 200, {"threads": 2, "servers": 3}),
        ("pipes of one page", 1500, 100, {"pipe_bytes": 4096}),
        ("two pipes for two threads", 1000, 60, {"max_pipes": 2, "threads": 2, "sessions": 40}),
        ("one pipe", 700, 60, {"max_pipes": 1, "pipe_bytes": 4096}),
        ("clients wait", 1300, 100, {"threads": 2}),
    ],
)
def test_every_byte_of_a_storm_arrives_and_no_cut_stream_ends_cleanly(
    rig: Make, name: str, sessions: int, at_once: int, settings: dict[str, Any]
) -> None:
    seed = seed_from_environment()
    print(f"LBSPLICE_SEED={seed}")
    lb = rig(**settings)
    Storm(lb, seed, sessions, at_once, client_waits=name == "clients wait").run(within_s=90)
    lb.ends(sessions)
    calm(lb)
    lb.balanced_books()


def calm(lb: Rig) -> None:
    """Nothing is left of any session: no record, no gauge, no held pipe."""
    wait_until(lambda: not lb.records(), "every record is free")
    counters = lb.counters
    totals = counters.workers()
    assert totals.accepted == totals.ended
    assert counters.process_sessions().now == 0
    assert counters.frontend_sessions(0).now == 0
    assert counters.backend_sessions(0).now == 0
    assert counters.listener_sessions(0).now == 0
    slots = range(len(lb.servers))
    assert [counters.slot_sessions(slot).now for slot in slots] == [0] * len(lb.servers)
    assert sum(counters.slot(slot).ended for slot in slots) == totals.ended
    backend, frontend = counters.backend(0), counters.frontend(0)
    assert frontend.sessions == backend.sessions == totals.accepted
    assert totals.spliced_bytes == frontend.bytes_in + frontend.bytes_out
    assert (backend.bytes_in, backend.bytes_out) == (frontend.bytes_in, frontend.bytes_out)


@pytest.mark.parametrize("wanted", [True, False])
def test_each_end_is_delivered_dropped_or_unwanted(rig: Make, wanted: bool) -> None:
    """Also when the ring is far too small and nobody reads it."""
    lb = rig(events=16, frontend={"want_end_event": wanted})
    lb.collect()
    for _ in range(100):
        client, server = lb.session()
        client.closes()
        server.closes()
        wait_until(lambda: not lb.records(), "the session ended")
    totals = lb.counters.workers()
    assert totals.ended == 100
    assert totals.events_unwanted == (0 if wanted else 100)
    assert totals.events_dropped == (84 if wanted else 0)
    assert lib.LBS_EVENT_SESSION_ENDED in {event.kind for event in lb.collect()} or not wanted
    lb.balanced_books()
