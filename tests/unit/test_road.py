"""What is remembered of an order, and when: always together with the state that it is
about, until every thread has obeyed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from lbsplice.kill_orders import KillOrder
from lbsplice.road import Road
from lbsplice.roster import KillSessions, Publish
from lbsplice.terms import Cause

SLOT = 7


class Rig:
    """A road whose workers only note what they are told; each list is in order."""

    def __init__(self):
        self.told = []
        self.saved = []  # the slots of the orders that each writing of the journal had
        workers = SimpleNamespace(
            sizes=SimpleNamespace(threads=2),
            kill_slot=lambda slot, cause: self.told.append(("kill", slot, cause)),
            counters=SimpleNamespace(generations=lambda: (self.road.generation,)),
        )
        self.road = Road(
            workers,
            generation=4,
            publish=lambda generation: self.told.append(("publish", generation)),
            save=self.save,
            slot_of=lambda _key: SLOT,
            say=lambda *_: None,
        )

    def save(self):
        self.saved.append([order.slot for order in self.road.kills.pending])


def play(scene):
    """Run it on a loop, and let the loop have its turns."""

    async def played():
        rig = Rig()
        scene(rig)
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.sleep(0.005)
        return rig

    return asyncio.run(played())


def test_order_is_remembered_from_the_moment_it_is_given():
    """A journal that is written before the order is carried out has it already."""

    def scene(rig):
        rig.road.carry_out([Publish("b"), KillSessions(("b", "s"))])
        rig.save()

    assert play(scene).saved[0] == [SLOT]


def test_order_is_written_down_then_the_plan_published_then_the_sessions_killed():
    rig = play(lambda rig: rig.road.carry_out([KillSessions(("b", "s")), Publish("b")]))
    assert rig.saved == [[SLOT]]
    assert rig.told == [("publish", 5), ("kill", SLOT, Cause.DOWN)]


def test_order_is_carried_out_when_every_thread_has_answered_once():
    rig = play(lambda rig: rig.road.carry_out([KillSessions(("b", "s"))]))
    assert not rig.road.kills.answered(SLOT, 0)
    assert not rig.road.kills.answered(SLOT, 0)
    assert rig.road.kills.answered(SLOT, 1)
    assert rig.road.kills.pending == ()


def test_order_of_the_worker_before_is_given_again():
    order = KillOrder(SLOT, 1.0, Cause.DOWN)
    rig = play(lambda rig: rig.road.kill_again(order))
    assert rig.road.kills.pending == (order,)
    assert rig.told == [("kill", SLOT, Cause.DOWN)]
