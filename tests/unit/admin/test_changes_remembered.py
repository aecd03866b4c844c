"""Whoever is told that a change is done can rely on it: it stands in the journal by then,
with nothing left to a later turn of the loop."""

from __future__ import annotations

import asyncio

import pytest

from lbsplice.edits import FrontendEdit
from lbsplice.memory import Memory
from lbsplice.service import Succession
from lbsplice.terms import AdminState, Cause
from tests.support.admin_stage import AdminStage, admin_stage, at_work, does, plays

A = ("l", "a")
CHECKED = "check inter 1h fall 3 rise 2"
CRASH = Succession("worker 1 was killed", 0.0)
UPGRADE = Succession("lbsplice was upgraded", 0.0, planned=True)


def remembered(stage: AdminStage) -> Memory:
    state = stage.journal.read()
    assert state is not None
    return Memory.from_json(state)


CHANGES = {
    "maint": (
        lambda service: service.set_admin(A, AdminState.MAINT, "me"),
        lambda memory: memory.states[A].admin is AdminState.MAINT,
    ),
    "drain": (
        lambda service: service.set_admin(A, AdminState.DRAIN, "me"),
        lambda memory: memory.states[A].admin is AdminState.DRAIN,
    ),
    "health down": (
        lambda service: service.set_health(A, False, "me"),
        lambda memory: memory.states[A].health == 0,
    ),
    "health stopping": (
        lambda service: service.set_health(A, None, "me"),
        lambda memory: memory.states[A].stopping,
    ),
    "checks off": (
        lambda service: service.set_checks(A, False, "me"),
        lambda memory: memory.states[A].checks_off,
    ),
    "weight": (
        lambda service: service.set_weight(A, "256", "me"),
        lambda memory: memory.states[A].run_weight == 256,
    ),
    "address": (
        lambda service: service.set_address(A, "127.0.0.9", None, "me"),
        lambda memory: memory.edits.moved[0].endpoint.host == "127.0.0.9",
    ),
    "add server": (
        lambda service: service.add_server(("l", "new"), ["127.0.0.1:9"], "me"),
        lambda memory: memory.edits.added[0].server.name == "new",
    ),
    "disable frontend": (
        lambda service: service.set_frontend("l", False, "me"),
        lambda memory: memory.edits.frontends == (FrontendEdit("l", paused=True),),
    ),
    "shutdown frontend": (
        lambda service: service.shutdown_frontend("l", "me"),
        lambda memory: memory.edits.frontends == (FrontendEdit("l", shut=True),),
    ),
    "maxconn of a frontend": (
        lambda service: service.set_frontend_maxconn("l", 7, "me"),
        lambda memory: memory.edits.frontends[0].maxconn == 7,
    ),
    "maxconn": (
        lambda service: service.set_maxconn(7, "me"),
        lambda memory: memory.edits.maxconn == 7,
    ),
    "clear counters": (
        lambda service: service.clear_counters(True),
        lambda memory: bool(memory.bases.slots),
    ),
    "end the sessions of a server": (
        lambda service: service.kill_server_sessions(A, "me"),
        lambda memory: [order.cause for order in memory.kills] == [Cause.KILLED],
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_answered_is_remembered(what):
    change, is_remembered = CHANGES[what]
    with admin_stage(words=CHECKED) as stage:

        async def scene(service, _plane):
            change(service)
            assert is_remembered(remembered(stage))

        plays(stage, scene)


def test_a_server_that_was_removed_stays_so():
    with admin_stage(servers=2) as stage:

        async def scene(service, _plane):
            service.set_admin(A, AdminState.MAINT, "me")
            service.del_server(A, "me")
            assert remembered(stage).edits.removed == (A,)

        plays(stage, scene)


def test_a_server_that_an_upgrade_brings_back_begins_anew():
    """As after a reload, even if it has not been let go yet."""
    with admin_stage(servers=2) as stage:

        async def run():
            async with at_work(stage) as (service, first):
                service.set_admin(A, AdminState.MAINT, "me")
                service.set_weight(A, "7", "me")
                service.del_server(A, "me")
                await first.park()
            async with at_work(stage, UPGRADE) as (_, plane):
                state = plane.roster.state(A)
                assert (state.admin, state.user_weight) == (AdminState.READY, 1)
                assert plane.roster.usable("l").total == 2

        asyncio.run(run())


def test_a_session_that_was_to_end_is_ended_by_the_successor():
    """The order stands in the journal; the worker dies before a relay thread has it."""
    with admin_stage() as stage:

        async def run():
            async with at_work(stage) as (service, first):
                ended = await stage.session()
                (seen,), _ = service.sessions(0, 10**6)
                other = await stage.session()
                serial = seen.serial
                service.kill_session(serial, "me")
                memory = remembered(stage)
                assert [order.serial for order in memory.sessions] == [serial]
                first._road._pending.clear()  # as if it had died here
                await first.park()
            async with at_work(stage, CRASH):
                await does(ended[0].reads_reset)
                await does(ended[1].reads_reset)
                other[0].sends(b"ask")
                await does(other[1].reads, b"ask")

        asyncio.run(run())
