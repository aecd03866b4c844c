"""What is at work: an inventory, the states of its servers, its listening sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from lbsplice.config.model import Config
from lbsplice.dataplane.counters import Counters
from lbsplice.edits import Edits
from lbsplice.health.checker import Watched, watched
from lbsplice.memory import inventory_text
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.leaving import Leaving, server_key
from lbsplice.plan.slots import ServerKey
from lbsplice.plan.tables import Plan
from lbsplice.restore import Past, carried_over
from lbsplice.roster import Roster
from lbsplice.server_state import ServerState
from lbsplice.service import Sockets
from lbsplice.statefile import saved_states


@dataclass(frozen=True)
class InForce:
    """What a reload replaces, all at once. `file` is the configuration as it was read, the
    inventory's has the `edits`; so is `limit` the most sessions there can be, and `maxconn`
    the most there may be."""

    inventory: Inventory
    roster: Roster
    sockets: Sockets
    limit: int
    file: Config
    edits: Edits = field(default_factory=Edits)

    @property
    def maxconn(self) -> int:
        return self.edits.maxconn_of(self.limit)

    @cached_property
    def text(self) -> str:
        """The inventory for the journal."""
        return inventory_text(self.inventory)

    @cached_property
    def checks(self) -> tuple[Watched, ...]:
        """Whom to check. Raises ConfigError."""
        return watched(self.inventory.config, self.inventory.leaving.servers)

    @classmethod
    def first(
        cls,
        past: Past,
        file: Config,
        sockets: Sockets,
        limit: int,
        now: float,
        *,
        reread: bool | None = None,
    ) -> InForce:
        """What a process begins with. `reread`: a worker before has put another reading of
        the file in force than this."""
        before = past.memory.edits
        edits = before.over_reload(file, limit) if reread else before
        config = edits.applied(file)
        inventory = past.inventory.after(config)
        known = saved_states(config, now) if past.is_blank else past.states(inventory)
        for key in () if before.removed == edits.removed else before.removed:
            known.pop(key, None)  # it is back, as the file has it
        roster = Roster(config, now, leaving=inventory.leaving.servers, known=known)
        return cls(inventory, roster, sockets, limit, file, edits)

    def after(
        self,
        file: Config,
        edits: Edits,
        sockets: Sockets,
        limit: int,
        now: float,
        states: Mapping[ServerKey, ServerState] = MappingProxyType({}),
    ) -> InForce:
        """What it becomes with these. Servers go on as they are, or from their `states`.
        Raises LbspliceError if it can not be put in force."""
        config = edits.applied(file)
        inventory = self.inventory.after(config)
        known = {**carried_over(self.roster.states, self.inventory, inventory), **states}
        roster = Roster(config, now, leaving=inventory.leaving.servers, known=known)
        after = InForce(inventory, roster, sockets, limit, file, edits)
        after.plan(0)
        _ = after.checks
        return after

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
        numbers = self.inventory.numbers.frontends
        quiet = {numbers.get(name) for name in self.edits.quiet}
        return replace(
            plan,
            listeners=tuple(
                row for row in plan.listeners if accepting and row.frontend not in quiet
            ),
        )

    def descriptors(self) -> dict[int, int]:
        """The listening socket of each listener's number; pages have none."""
        numbers = self.inventory.numbers.listeners
        return {numbers[key]: sock.fileno() for key, sock in self.sockets.items() if key in numbers}

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
