"""Holds what is in force, and replaces it as a whole: for the log, the counters, the checks
and the relay threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lbsplice.config.model import Config
from lbsplice.dataplane.worker import Workers
from lbsplice.edits import Edits
from lbsplice.errors import EnvironmentLacks, LbspliceError
from lbsplice.health.checker import Checker
from lbsplice.hush import Hush
from lbsplice.in_force import InForce
from lbsplice.limits import Limits
from lbsplice.plan.leaving import Leaving
from lbsplice.plan.slots import ServerKey
from lbsplice.report.hub import Hub
from lbsplice.restore import carried_over
from lbsplice.road import LISTENERS, Road
from lbsplice.rooms import check_room
from lbsplice.server_state import ServerState
from lbsplice.service import Sockets
from lbsplice.tallies import Tallies
from lbsplice.terms import LogLevel


@dataclass(slots=True)
class Holding:
    """`save` writes the journal."""

    force: InForce
    hub: Hub
    tallies: Tallies
    checker: Checker
    road: Road
    hush: Hush
    workers: Workers
    save: Callable[[], None]
    _idle: Leaving = field(default_factory=Leaving)

    def enter(
        self,
        file: Config,
        edits: Edits,
        sockets: Sockets,
        limit: int,
        states: Mapping[ServerKey, ServerState] = MappingProxyType({}),
        limits: Limits | None = None,
    ) -> Mapping[ServerKey, ServerState]:
        """Put this in force; servers go on as they are, or from their `states`. What is
        returned are the states they had before, under their keys of now.

        Raises an LbspliceError and changes nothing if it can not be done."""
        self.road.flush()  # what was ordered is ordered under the names of before
        before = self.force
        after = before.after(file, edits, sockets, limit, time.monotonic(), states)
        check_room(after.inventory.numbers, self.workers.sizes, limits)
        known = carried_over(before.roster.states, before.inventory, after.inventory)
        self._take(after)
        try:
            self.save()
            self.road.publish()
        except LbspliceError:
            self._take(before)
            self.save()
            raise
        self.hush.keep_up()
        return known

    def edit(self, edits: Edits, states: Mapping[ServerKey, ServerState]) -> None:
        """The same with what an operator has changed."""
        force = self.force
        self.enter(force.file, edits, force.sockets, force.limit, states)

    def let_go(self) -> bool:
        """Forget what was leaving and has no session any more. It has to be empty twice:
        the event of its last session may be on its way. Was there something?"""
        if not self.force.inventory.leaving or not self.road.is_clear:
            return False
        idle = self.force.idle(self.workers.counters)
        after, self._idle = self.force.without(idle & self._idle), idle
        if after is self.force:
            return False
        self._take(after)
        self.road.carry_out([LISTENERS])
        return True

    def _take(self, force: InForce) -> None:
        inventory, before = force.inventory, self.force.inventory
        try:
            self.hub.replace(inventory.config, inventory.numbers, inventory.leaving)
        except EnvironmentLacks as why:
            self.hub.replace(inventory.config, inventory.numbers, inventory.leaving, make_do=True)
            self.hub.process_line(LogLevel.ALERT, f"{why}; the log goes where it went before.")
        self.tallies.renumber(before.numbers, inventory.numbers)
        due = carried_over(self.checker.due, before, inventory)
        self.force = force
        self.checker.replace(force.checks, inventory.config.global_.spread_checks, due)
