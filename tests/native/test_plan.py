"""Plans that replace one another while sessions come and go."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lbsplice.dataplane.ledger import Sizes
from lbsplice.dataplane.worker import Workers
from lbsplice.errors import DataplaneError, PlanError
from lbsplice.plan.tables import (
    NO_SLOT,
    BackendRow,
    FrontendRow,
    ListenerRow,
    Plan,
    Redispatch,
    SlotRow,
)
from lbsplice.terms import Algorithm
from tests.native.test_connect import Refusing
from tests.support.dataplane import Make, Rig
from tests.support.peers import connected
from tests.support.storm import Storm, seed_from_environment
from tests.support.waiting import wait_until


def test_plans_replace_one_another_under_load_and_are_freed(rig: Make) -> None:
    seed = seed_from_environment()
    print(f"LBSPLICE_SEED={seed}")
    lb = rig(servers=4, threads=2)
    storm = Storm(lb, seed, sessions=1500, at_once=80)
    published = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(storm.run, 90)
        while not running.done() or published < 300:
            usable = tuple(slot for slot in range(4) if slot != published % 5)
            algorithm = list(Algorithm)[published % 6]
            lb.publish(usable=usable, algorithm=algorithm, weights=(1 + published % 7, 1, 2, 3))
            assert 1 <= lb.counters.plans_alive() <= 3
            published += 1
            lb.collect()  # each plan that is taken is told: nobody else makes room for the ends
        running.result()
    lb.ends(1500)
    wait_until(lambda: lb.counters.plans_alive() == 1, "older plans are freed")
    lb.balanced_books()


def test_burst_of_plans_ends_with_the_last_one(rig: Make) -> None:
    lb = rig(servers=2, threads=2)
    for generation in range(2, 300):
        shape = replace(lb.shape, usable=(generation % 2,))
        lb.workers.publish(shape.plan(generation), {0: lb.listening.fileno()})
    lb.generation = 299
    lb.wait_taken()
    wait_until(lambda: lb.counters.plans_alive() == 1, "older plans are freed")
    lb.session(1)
    taken = [e.number for e in lb.collect() if e.kind == 3 and e.thread == 0]
    assert taken == list(range(1, 300)), "each plan is told of, in order"


CONTRADICTIONS: dict[str, Callable[[Plan], Plan]] = {
    "frontend of a listener": lambda p: replace(p, listeners=(ListenerRow(0, 5),)),
    "backend of a frontend": lambda p: replace(p, frontends=(FrontendRow(0, 5),)),
    "backend out of range": lambda p: replace(p, frontends=(FrontendRow(0, NO_SLOT - 1),)),
    "backend of a slot": lambda p: replace(p, slots=(SlotRow(0, 3, p.slots[0].address),)),
    "no address": lambda p: replace(p, slots=(SlotRow(0, 0, b""),)),
    "slot number": lambda p: replace(p, slots=(SlotRow(64, 0, p.slots[0].address),)),
    "listener number": lambda p: replace(p, listeners=(ListenerRow(8, 0),)),
    "usable slot": lambda p: backend(p, usable=(7,), wheel=(7,)),
    "wheel's slot": lambda p: backend(p, wheel=(0, 7)),
    "point's slot": lambda p: backend(p, points=((1, 7),)),
    "usable and no wheel": lambda p: backend(p, wheel=()),
    "interval of 0": lambda p: backend(p, redispatch=Redispatch.INTERVAL),
    "negative timeout": lambda p: backend(p, timeout_connect=-1),
    "long interface": lambda p: replace(p, slots=(replace(p.slots[0], source_interface="x" * 16),)),
    "long address": lambda p: replace(p, slots=(replace(p.slots[0], address=bytes(113)),)),
    "ports the wrong way round": lambda p: replace(
        p, slots=(replace(p.slots[0], source_port_low=9, source_port_high=8),)
    ),
}


def backend(plan: Plan, **changes: object) -> Plan:
    row: BackendRow = replace(plan.backends[0], **changes)  # type: ignore[arg-type]
    return replace(plan, backends=(row,))


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_contradictory_plan_is_refused_and_changes_nothing(lb: Rig, what: str) -> None:
    client, server = lb.session()
    bad = CONTRADICTIONS[what](lb.shape.plan(99))
    numbers = [row.number for row in bad.listeners]
    with pytest.raises(PlanError):
        lb.workers.publish(bad, dict.fromkeys(numbers, lb.listening.fileno()))
    assert lb.counters.generations() == [1]
    assert lb.counters.plans_alive() == 1
    client.sends(b"still here")
    server.reads(b"still here")
    lb.session()


def test_full_mailbox_refuses_a_plan_and_keeps_none_of_it() -> None:
    """A worker that does not run takes nothing; the 1025th command finds no place."""
    workers = Workers(Sizes(2, 8, 8, 8, 8, 8, 8, 64), max_pipes=8)
    try:
        for generation in range(1, 1025):
            workers.publish(Plan(generation, 0), {})
        with pytest.raises(DataplaneError):
            workers.publish(Plan(1025, 0), {})
        assert workers.counters.plans_alive() == 1024
    finally:
        workers.close()


def test_listeners_appear_and_disappear(rig: Make) -> None:
    lb = rig(threads=2)
    first = lb.shape.plan(2)
    with socket.create_server(("127.0.0.1", 0)) as second:
        second.setblocking(False)
        fds = {0: lb.listening.fileno(), 3: second.fileno()}
        both = replace(first, listeners=(ListenerRow(0, 0), ListenerRow(3, 0)))
        lb.publish_plan(both, fds)
        kept, kept_server = lb._keeps(connected(second.getsockname())), lb.accepts()
        lb.session()
        assert lb.counters.listener_sessions(3).now == 1

        lb.publish_plan(replace(both, generation=3, listeners=(ListenerRow(0, 0),)), fds)
        waits = lb._keeps(connected(second.getsockname()).sends(b"waits"))
        lb.servers[0].accepts_nobody()
        kept.sends(b"still here")
        kept_server.reads(b"still here")

        lb.publish_plan(replace(both, generation=4), fds)
        lb.accepts().reads(b"waits")
        waits.sees_nothing()


def test_listener_that_moves_to_another_socket_is_followed(rig: Make) -> None:
    lb = rig()
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        lb.publish_plan(lb.shape.plan(2), {0: other.fileno()})
        lb._keeps(connected(other.getsockname()))
        lb.accepts()
        lb.connects()
        lb.servers[0].accepts_nobody()


def test_session_whose_backend_left_the_plan_while_it_paused_ends(rig: Make) -> None:
    lb = rig([Refusing()], backend={"timeout_connect": 100, "retries": 5})
    client = lb.connects()
    wait_until(lambda: lb.counters.slot(0).retries == 1, "it pauses")
    plan = lb.shape.plan(2)
    # The number of its server is another backend's now.
    moved = replace(
        plan,
        frontends=(FrontendRow(0, 1),),
        backends=(replace(plan.backends[0], number=1),),
        slots=(replace(plan.slots[0], backend=1),),
    )
    lb.publish_plan(moved)
    client.reads_end()
    assert lb.last_session().letters == "SC"


def test_sessions_go_on_when_all_that_made_them_left_the_plan(lb: Rig) -> None:
    client, server = lb.session()
    lb.publish_plan(Plan(2, 0))
    client.sends(b"ask").shuts_output()
    server.reads(b"ask").reads_end().sends(b"answer").closes()
    client.reads(b"answer").reads_end()
    record = lb.last_session().record
    assert (record.frontend, record.backend, record.slot) == (0, 0, 0)


def test_plan_keeps_the_timeouts_a_session_began_with(rig: Make) -> None:
    lb = rig(frontend={"timeout_client": 150}, backend={"timeout_server": 150})
    client, _ = lb.session()
    lb.publish(frontend={}, backend={})
    client.reads_end()
    late, _ = lb.session()
    late.sees_nothing(0.25)
