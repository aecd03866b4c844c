"""How often a server was chosen and tried, and how long its sessions took: against the events
of the same sessions, which are made apart from the counters."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest

from lbsplice.dataplane.counters import Table, Totals
from lbsplice.errors import DataplaneError
from lbsplice.plan.tables import Redispatch
from lbsplice.report.record import Record
from lbsplice.terms import Algorithm, Cause
from tests.native.test_connect import Refusing
from tests.support.dataplane import Make, Rig
from tests.support.peers import Listener
from tests.support.succession import MakeLine, ends, talk
from tests.support.waiting import wait_until

WINDOW = 512
SHORT = 100


def run(lb: Rig, count: int, servers: int = 1) -> list[Record]:
    """Sessions that last differently long; as they ended."""
    pairs = [lb.session(number % servers) for number in range(count)]
    for client, server in pairs:
        server.closes()
        client.reads_end().closes()
    wait_until(lambda: not lb.records(), "all have ended")
    return lb.ends(count)


def of_events(events: Iterable[Record]) -> tuple[int, ...]:
    connects = [event.connect_ms for event in events]
    totals = [event.total_ms for event in events]
    return sum(connects), sum(totals), max(connects), max(totals)


def of_counters(totals: Totals) -> tuple[int, ...]:
    return totals.connect_sum, totals.total_sum, totals.connect_max, totals.total_max


@pytest.mark.parametrize("threads", [1, 3])
def test_times_are_those_of_the_sessions_that_ended(rig: Make, threads: int) -> None:
    """No sample of one thread is lost to another's."""
    lb = rig(2, threads=threads)
    events = run(lb, 60, servers=2)
    backend = lb.counters.backend(0)
    assert backend.samples == 60
    assert of_counters(backend) == of_events(events)
    assert backend.total_max > 0
    for slot in (0, 1):
        mine = [event for event in events if event.slot == slot]
        assert lb.counters.slot(slot).samples == len(mine) == 30
        assert of_counters(lb.counters.slot(slot)) == of_events(mine)
    queue = {(t.queue_sum, t.queue_max) for t in (backend, *map(lb.counters.slot, (0, 1)))}
    assert queue == {(0, 0)}, "nobody waits in a queue"
    assert lb.counters.frontend(0).samples == 0


def slid(samples: Iterable[int]) -> int:
    """HAProxy's sliding sum over its window of 512, whose beginning is a plain sum."""
    total = 0
    for number, sample in enumerate(samples):
        fades = -(-total // WINDOW) if number >= WINDOW else 0
        total += sample - fades
    return total


def test_average_slides_once_the_window_is_full(rig: Make) -> None:
    lb = rig()
    totals = [event.total_ms for event in run(lb, WINDOW + 200)]
    slot = lb.counters.slot(0)
    assert slot.total_sum == slid(totals) != sum(totals)
    assert slot.averages.total == -(-slot.total_sum // WINDOW)
    assert min(totals) <= slot.averages.total <= max(totals)


def test_average_is_of_the_sessions_there_were(rig: Make) -> None:
    lb = rig()
    for _ in range(3):
        client, server = lb.session()
        started = time.monotonic()
        wait_until(lambda t=started: time.monotonic() > t + SHORT / 1000, "it lasts")  # type: ignore[misc]
        server.closes()
        client.reads_end().closes()
    wait_until(lambda: not lb.records(), "all have ended")
    averages = lb.counters.slot(0).averages
    assert SHORT - 2 <= averages.total <= lb.counters.slot(0).total_max
    assert averages.connect < SHORT


def test_session_that_was_never_connected_has_no_times(rig: Make) -> None:
    lb = rig([Refusing()], backend={"retries": 2, "timeout_connect": SHORT})
    lb.connects().reads_end()
    lb.ends()
    for totals in (lb.counters.slot(0), lb.counters.backend(0)):
        assert (totals.samples, totals.total_sum, totals.total_max) == (0, 0, 0)
        assert totals.averages == (0, 0, 0)
        assert (totals.chosen, totals.connects, totals.connect_errors) == (1, 3, 1)
        assert totals.retries == 2
    assert lb.counters.slot(0).sessions == 3, "HAProxy's stot of a server: its attempts"


def test_redispatched_session_chose_twice_and_tried_nobody_twice(rig: Make) -> None:
    """What HAProxy counts with `option redispatch 1` and a first server that refuses."""
    lb = rig(
        [Refusing(), Listener()],
        algorithm=Algorithm.FIRST,
        backend={"redispatch": Redispatch.LAST, "redispatch_first_failure": True},
    )
    client = lb.connects()
    lb.accepts(1).closes()
    client.reads_end().closes()
    lb.ends()
    first, second, backend = lb.counters.slot(0), lb.counters.slot(1), lb.counters.backend(0)
    assert (first.chosen, first.connects, first.connect_errors) == (1, 1, 0)
    assert (second.chosen, second.connects, second.connect_errors) == (1, 1, 0)
    assert (backend.chosen, backend.connects, backend.connect_errors) == (2, 2, 0)
    assert (first.retries, first.redispatches) == (0, 1)
    assert (backend.retries, backend.redispatches) == (0, 1)
    assert (first.samples, second.samples, backend.samples) == (0, 1, 1)


def test_backend_without_a_server_is_an_error_of_the_backend(rig: Make) -> None:
    lb = rig(usable=())
    lb.connects().reads_end()
    lb.ends()
    totals = lb.counters.backend(0)
    assert (totals.connect_errors, totals.chosen, totals.connects) == (1, 0, 0)
    assert totals.last_session_s == 0
    assert lb.counters.slot(0).connect_errors == 0


def test_latest_session_is_when_it_was_assigned(lb: Rig) -> None:
    assert lb.counters.slot(0).last_session_s == lb.counters.backend(0).last_session_s == 0
    before = int(time.time())
    lb.session()
    for totals in (lb.counters.slot(0), lb.counters.backend(0)):
        assert before <= totals.last_session_s <= time.time()


def test_server_that_breaks_off_is_a_response_error_and_its_silence_is_none(rig: Make) -> None:
    lb = rig(backend={"timeout_server": SHORT})
    client, server = lb.session()
    server.resets()
    client.reads_reset()
    client, server = lb.session()
    client.reads_end().closes()
    client, server = lb.session()
    client.resets()
    server.reads_reset()
    wait_until(lambda: not lb.records(), "all have ended")
    for totals in (lb.counters.slot(0), lb.counters.backend(0)):
        assert (totals.response_errors, totals.server_aborts, totals.client_aborts) == (1, 2, 1)


def test_maxima_begin_anew_and_everything_does_on_demand(lb: Rig) -> None:
    run(lb, 10)
    lb.session()
    before = lb.counters.slot(0)
    assert before.total_max > 0
    assert lb.counters.slot_sessions(0) == (1, 10)
    for table in Table:
        lb.counters.forget(table)
    peaks = (
        *(lb.counters.process_sessions(), lb.counters.listener_sessions(0)),
        *(lb.counters.frontend_sessions(0), lb.counters.backend_sessions(0)),
        lb.counters.slot_sessions(0),
    )
    assert set(peaks) == {(1, 1)}
    after = lb.counters.slot(0)
    assert after == before._replace(connect_max=0, total_max=0)
    assert lb.counters.backend(0).total_max == 0
    lb.counters.forget(Table.SLOTS, 0, everything=True)
    assert lb.counters.slot(0) == before._replace(
        total_sum=0, connect_sum=0, total_max=0, connect_max=0, samples=0, last_session_s=0
    )
    with pytest.raises(DataplaneError):
        lb.counters.forget(Table.SLOTS, lb.workers.sizes.slots)


def test_times_survive_a_crash_and_go_on(line: MakeLine) -> None:
    it = line(threads=2)
    pairs = [it.session() for _ in range(5)]
    for client, server in pairs[:3]:
        server.closes()
        client.reads_end().closes()
    wait_until(lambda: it.ask("counters")["slots"][0].samples == 3, "three have ended")
    before = it.ask("counters")
    it.dies()
    it.succeeds()
    after = it.ask("counters")
    assert (after["slots"], after["backend"]) == (before["slots"], before["backend"])
    for client, server in pairs[3:]:
        talk(client, server)
        server.closes()
        client.reads_end().closes()
    it.waits_gone()
    events = ends(it, 5)
    for totals in (it.ask("counters")["slots"][0], it.ask("counters")["backend"]):
        assert totals.samples == 5
        assert of_counters(totals) == of_events(events)
        assert (totals.chosen, totals.connects) == (5, 5)


def test_pipes_in_use_are_those_that_hold_something(line: MakeLine) -> None:
    def pipes() -> tuple[int, int]:
        workers = it.ask("counters")["workers"]
        return workers.pipes_open, workers.pipes_free

    it = line()
    assert pipes() == (0, 0)
    talk(*it.session())
    wait_until(lambda: pipes()[0], "a pipe was used")
    opened, free = pipes()
    assert opened == free
    _, server = it.session(receive_buffer=4096)
    server.sends_what_fits()
    opened, free = pipes()
    assert opened == free + 1
    it.dies()
    it.succeeds()
    assert pipes() == (opened, free)


def test_thread_that_relays_is_busy(lb: Rig) -> None:
    client, server = lb.session()

    def talks() -> int:
        for _ in range(50):
            talk(client, server)
        return lb.workers.busy_percent(0)

    assert 1 <= wait_until(talks, "it works") <= 100
    assert lb.workers.busy_percent(1) == 0
    lb.workers.kill_all(Cause.KILLED)
