"""What is at work: an inventory, the states of its servers, its listening sockets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from lbsplice.dataplane.counters import Counters
from lbsplice.health.checker import Watched, watched
from lbsplice.memory import inventory_text
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.leaving import Leaving, server_key
from lbsplice.plan.tables import Plan
from lbsplice.roster import Roster
from lbsplice.service import Sockets


@dataclass(frozen=True)
class InForce:
    """What a reload replaces, all at once."""

    inventory: Inventory
    roster: Roster
    sockets: Sockets
    maxconn: int

    @cached_property
    def text(self) -> str:
        """The inventory for the journal."""
        return inventory_text(self.inventory)

    @cached_property
    def checks(self) -> tuple[Watched, ...]:
        """Whom to check. Raises ConfigError."""
        return watched(self.inventory.config, self.inventory.leaving.servers)

    def plan(self, generation: int, *, accepting: bool = True) -> Plan:
        """The plan of the moment. Raises PlanError."""
        plan = compile_plan(
            self.inventory.config,
            self.inventory.numbers,
            self.roster.weight,
            generation=generation,
            maxconn=self.maxconn,
            leaving=self.inventory.leaving,
        )
        return plan if accepting else replace(plan, listeners=())

    def descriptors(self) -> dict[int, int]:
        """The listening socket of each listener's number."""
        numbers = self.inventory.numbers.listeners
        return {numbers[key]: sock.fileno() for key, sock in self.sockets.items()}

    def idle(self, counters: Counters) -> Leaving:
        """What is leaving and has no session at this moment."""
        numbers, leaving = self.inventory.numbers, self.inventory.leaving
        front, back = counters.frontend_sessions, counters.backend_sessions
        slot = counters.slot_sessions
        return Leaving(
            tuple(p for p in leaving.frontends if not front(numbers.frontends[p.name]).now),
            tuple(p for p in leaving.backends if not back(numbers.backends[p.name]).now),
            tuple(p for p in leaving.servers if not slot(numbers.slots[server_key(p)]).now),
        )

    def without(self, gone: Leaving) -> InForce:
        """The same when some of what was leaving is gone."""
        inventory = self.inventory.without(gone)
        if inventory is self.inventory:
            return self
        states, keys = self.roster.states, inventory.numbers.slots
        roster = Roster(
            inventory.config,
            leaving=inventory.leaving.servers,
            known={key: state for key, state in states.items() if key in keys},
        )
        return replace(self, inventory=inventory, roster=roster)
