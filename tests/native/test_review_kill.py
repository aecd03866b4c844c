"""Killing a server's sessions while some of them come and go."""

from __future__ import annotations

import time

from lbsplice.terms import Cause
from tests.support.dataplane import Make
from tests.support.peers import Listener
from tests.support.waiting import wait_until

ESTABLISHED = 2500  # several chunks of a killing
PAUSING = 600


def test_sessions_whose_pause_ends_during_a_killing_are_found(rig: Make) -> None:
    """They leave the server's list and come back to its head, behind the killing."""
    gone, spare = Listener(), Listener()
    lb = rig(
        [gone, spare], usable=(0,), sessions=8192, backend={"retries": 1000, "timeout_connect": 500}
    )
    on_gone = lb.counters.slot_sessions
    servers = []
    for number in range(ESTABLISHED):
        lb.connects()
        if number % 100 == 99:
            wait_until(lambda at=number: on_gone(0).now > at, "all have a server")  # type: ignore[misc]
            servers += gone.accepts_waiting()
    wait_until(lambda: lb.live() == ESTABLISHED, "all are established", within_s=20)
    gone.closes()
    start = time.monotonic()
    for number in range(PAUSING):
        lb.connects()
        # Over the length of a pause, so that pauses end all the time from here on.
        due = start + 0.5 * number / PAUSING
        wait_until(lambda at=due: time.monotonic() >= at, "its turn")  # type: ignore[misc]
    wait_until(lambda: on_gone(0).now == ESTABLISHED + PAUSING, "they wait for the server")
    lb.publish(usable=(1,))
    lb.workers.kill_slot(0, Cause.DOWN)
    assert lb.killed() == ESTABLISHED + PAUSING
    assert on_gone(0).now == 0, "a session of the dead server was passed over"
    for peer in servers:
        peer.closes()


def test_connecting_session_does_not_go_to_the_dead_server_again(rig: Make) -> None:
    """Even if the plan still has it: an order to kill is obeyed, not argued with."""
    full = Listener(backlog=0)
    lb = rig([full], backend={"timeout_connect": 5000, "retries": 0})
    filling = [lb.connects() for _ in range(8)]
    # The order is obeyed once: a client that is accepted behind it may go there (the plan says).
    wait_until(lambda: lb.counters.slot_sessions(0).now == len(filling), "all have a server")
    assert lb.live() < len(filling), "some still connect"
    lb.workers.kill_slot(0, Cause.DOWN)
    lb.killed()
    assert lb.counters.slot_sessions(0).now == 0
    assert len(lb.ends(len(filling))) == len(filling)
