"""Holds the parts together while lbsplice runs: check results go to the roster, what it
asks for takes the road down to the workers (lbsplice.road), and what they tell goes to
the log. A reload replaces the configuration in place; what is remembered in the journal
is taken up by a successor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from lbsplice.admin.transitions import Chronicle
from lbsplice.collector import Collector
from lbsplice.config.model import Config
from lbsplice.dataplane.worker import Workers
from lbsplice.edits import Edits
from lbsplice.ending import Ending
from lbsplice.errors import DataplaneBusy, DataplaneError, LbspliceError
from lbsplice.health.checker import Checker
from lbsplice.health.judge import CheckResult
from lbsplice.hearing import Hearing
from lbsplice.holding import Holding
from lbsplice.hush import Hush
from lbsplice.in_force import InForce
from lbsplice.journal import Journal
from lbsplice.limits import Limits
from lbsplice.memory import Memory
from lbsplice.plan.slots import Numbers, ServerKey
from lbsplice.proxy_lines import ProxyLines
from lbsplice.report.hub import Hub
from lbsplice.restore import (
    JournalKeeper,
    edited,
    is_back,
    sessions_before,
    successor_line,
)
from lbsplice.road import LISTENERS, KillAll, KillSession, Order, Road
from lbsplice.rooms import check_room
from lbsplice.roster import Roster
from lbsplice.server_state import ServerState, first_state
from lbsplice.service import Sockets, Succession
from lbsplice.tallies import Tallies
from lbsplice.terms import AdminState, Cause, LogLevel

_LAST_WORDS_SECONDS = 2.0
"""How long killed sessions may take to deliver what is left (the workers allow one)."""
_TICK_SECONDS = 0.5
"""How far the journal may be behind in what decides nothing."""
_PAUSES_PER_SAVE = 9
"""With so much time for other work after each: a storm of checks is no storm of writes."""


class Orchestrator:
    """One configuration at work. `workers` are fresh or adopted, and may run already:
    then whoever started them passes on to `worker_returned` what they tell. `sockets` are
    listening sockets, which stay the caller's. What `journal` holds is taken up.

    Raises NeedsRoom if the workers' tables are too small for it."""

    def __init__(
        self,
        config: Config,
        sockets: Sockets,
        hub: Hub,
        *,
        workers: Workers,
        journal: Journal,
        maxconn: int,
        succession: Succession | None = None,
    ) -> None:
        now = self._relaying_s = time.monotonic()
        self.hub = hub
        self.workers = workers
        self._succession = succession
        self._keeper = JournalKeeper(journal, hub)
        self._past = past = self._keeper.read()
        planned = None if succession is None else succession.planned
        force = InForce.first(past, config, sockets, maxconn, now, reread=planned)
        inventory = force.inventory
        config = inventory.config
        check_room(inventory.numbers, workers.sizes)
        self._edits = tuple(edited(config, past.states(inventory)))
        hub.replace(config, inventory.numbers, inventory.leaving)
        self.tallies = Tallies(workers.counters, workers.tables, past.memory.bases)
        self.tallies.renumber(past.inventory.numbers, inventory.numbers)
        self.chronicle = Chronicle(past.memory.history, planned)
        self.accepting = past.memory.accepting
        self._kills_all = past.memory.ending
        self._ending = Ending(self._is_empty)
        self._road = Road(
            workers,
            generation=max(past.memory.generation, *workers.counters.generations()),
            publish=self._publish,
            save=self._save_changes,
            slot_of=lambda key: self.numbers.slots[key],
            say=hub.proxy_line,
        )
        self._collector = Collector(
            workers, Hearing(hub, self._road, self.chronicle, self._proxy_lines, self._changed)
        )
        self.checker = Checker(
            force.checks,
            self._checked,
            state_of=lambda key: self.roster.state(key),
            spread_checks=config.global_.spread_checks,
            due=past.due(inventory),
        )
        self._hush = Hush(lambda: self.force, self._road.plan_is_taken)
        self._holding = Holding(
            force, hub, self.tallies, self.checker, self._road, self._hush, workers, self._save
        )
        self._dirty = self._save_is_planned = False
        self.parked = False
        self.closed = False

    @property
    def force(self) -> InForce:
        return self._holding.force

    @property
    def config(self) -> Config:
        return self.force.inventory.config

    @property
    def numbers(self) -> Numbers:
        return self.force.inventory.numbers

    @property
    def roster(self) -> Roster:
        return self.force.roster

    # ---- the beginning ----

    async def start(self) -> None:
        """Start what does not run yet, and go on where the worker before stopped. New
        sessions are accepted from here on."""
        self._loop = asyncio.get_running_loop()
        if not self.workers.event_fds:
            self.workers.start(on_return=self.worker_returned)
        self._collector.start()  # what the threads answered the worker before comes first
        self._take_up()
        self._start_checks()  # before the journal is written: it says when each is due
        self._save()
        self._road.publish()
        self._hush.keep_up()
        self._ticker = self._loop.call_later(_TICK_SECONDS, self._tick)
        self._tell_succession()

    def _take_up(self) -> None:
        """What the worker before has left undone. It goes down the road behind the plan."""
        for order in self._past.memory.kills:
            key = self.numbers.slot_keys.get(order.slot)
            if key is None:
                continue  # its last session has ended
            if is_back(self.roster.state(key)):
                self._road.kill_one_by_one(order, sessions_before(self.workers, order))
            else:
                self._road.kill_again(order)
        self.carry_out([KillSession(each.serial) for each in self._past.memory.sessions])
        for key, admin in self._edits:
            self.set_admin(key, admin)
        if self._kills_all is not None:
            self.hard_stop(self._kills_all)
        elif not self.accepting:
            self._ending.when_empty()

    def _tell_succession(self) -> None:
        if (succession := self._succession) is not None:
            line = successor_line(succession, self.workers.adoption, self._relaying_s)
            level = LogLevel.NOTICE if succession.planned else LogLevel.ALERT
            self.hub.process_line(level, line)

    def _start_checks(self) -> None:
        self.checker.start().add_done_callback(self._checks_ended)

    # ---- down: results and orders become actions, actions are carried out ----

    def _checked(self, key: ServerKey, result: CheckResult) -> None:
        before = self.roster.state(key).health
        self.carry_out(self.roster.check_result(key, result, time.monotonic()))
        if self.roster.state(key).health != before and not self._save_is_planned:
            # Workers that die more often than the journal is written must not forget it.
            self._save_is_planned = True
            self._loop.call_later(_PAUSES_PER_SAVE * self._keeper.took_s, self._save_changes)

    def set_admin(self, key: ServerKey, state: AdminState) -> None:
        """An operator's order; takes the same road as a failed check."""
        self.carry_out(self.roster.set_admin(key, state, time.monotonic()))

    def set_weight(self, key: ServerKey, weight: int) -> None:
        """The same. Raises RosterError."""
        self.carry_out(self.roster.set_weight(key, weight))

    def set_health(self, key: ServerKey, up: bool | None) -> None:
        """An operator's word against that of the checks; None: up, without new sessions."""
        self.carry_out(self.roster.set_health(key, up, time.monotonic()))

    def set_checks(self, key: ServerKey, on: bool) -> None:
        """Raises RosterError."""
        self.roster.set_checks(key, on)

    def remember(self) -> None:
        """Write the journal, before anybody is told that what he asked for is done."""
        self._dirty = True
        self._save_changes()

    def carry_out(self, orders: Sequence[Order]) -> None:
        self._dirty = True
        self.chronicle.note(orders, self.roster, self.numbers.slots.__getitem__, self.killed)
        self._road.carry_out(orders)

    def killed(self, slot: int) -> int:
        """How many sessions of a server we have ended so far."""
        return self.workers.counters.slot(slot).killed

    def _publish(self, generation: int) -> None:
        self.workers.publish(
            self.force.plan(generation, accepting=self.accepting),
            self.force.descriptors(),
            self.config.global_.maxaccept or 0,
        )

    # ---- what is remembered ----

    def _save(self) -> None:
        self._dirty = False
        self._keeper.write(
            Memory(
                inventory=self.force.text,
                generation=self._road.generation + 1,  # the one that is about to be published
                accepting=self.accepting,
                ending=self._kills_all,
                states=self.roster.states,
                due=self.checker.due,
                kills=self._road.kills.pending,
                sessions=self._road.kills.sessions,
                bases=self.tallies.bases,
                history=self.chronicle.text,
                edits=self.force.edits,
            )
        )

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(_TICK_SECONDS, self._tick)
        self._dirty |= self._road.kills.taken(self._road.generation_taken())
        self.chronicle.settle(self.killed)
        self._dirty |= self.chronicle.is_dirty
        self._dirty |= self._holding.let_go()
        self._save_changes()

    def _save_changes(self) -> None:
        self._save_is_planned = False
        if self._dirty and not self.parked and not self.closed:
            self._save()

    # ---- a reload ----

    def reload(self, config: Config, sockets: Sockets, limits: Limits) -> None:
        """Go on with this configuration and these listening sockets; sessions stay, on
        servers that are gone as well, which are still checked and still killed.

        Raises an LbspliceError and changes nothing if it can not be done."""
        self._check_serving()
        now, force = time.monotonic(), self.force
        edits = force.edits.over_reload(config, limits.maxconn)
        returned = {
            (proxy.name, server.name): first_state(server, now)
            for proxy in config.proxies
            for server in proxy.servers
            if (proxy.name, server.name) in force.edits.removed
        }
        known = self._holding.enter(config, edits, sockets, limits.maxconn, returned, limits)
        self._dirty = True
        for key, admin in edited(self.config, known):
            if key not in returned:
                self.set_admin(key, admin)

    def edit(self, edits: Edits, states: Mapping[ServerKey, ServerState]) -> None:
        """Go on with what an operator has changed, as by a reload; servers of `states` go
        on from those. Raises an LbspliceError and changes nothing if it can not be done."""
        self._check_serving()
        self._holding.edit(edits, states)

    def _check_serving(self) -> None:
        if self.parked or self.closed or not self.accepting:
            raise LbspliceError("the worker is stopping")

    # ---- up ----

    def _changed(self) -> None:
        self._dirty = True

    def _proxy_lines(self) -> ProxyLines:
        return ProxyLines(self.force.inventory, self.workers.counters, self.tallies)

    def dump_states(self) -> None:
        """Write every server's and every proxy's state to the logs (SIGHUP)."""
        for name, line in self._proxy_lines().dump(self.roster):
            self.hub.proxy_line(name, LogLevel.NOTICE, line)

    def set_pid(self, pid: int) -> None:
        """The pid for log lines: another supervisor took over."""
        self.hub.set_pid(pid)

    # ---- a successor takes over, or does not ----

    async def park(self) -> None:
        """Stop the checks and, at the end of a batch, the relay threads, with the journal
        written. From here on nothing changes; sessions stay as they are."""
        await self.checker.stop()
        self._road.flush()
        self._road.hold()
        self.parked = True
        self._hush.stop()
        self._ticker.cancel()
        self._collector.stop()
        await self._stop_workers()
        self._save()

    async def _stop_workers(self) -> None:
        while True:
            with contextlib.suppress(DataplaneBusy):  # no room for the order: in a moment
                await self._loop.run_in_executor(None, self.workers.stop)
                return
            await asyncio.sleep(0.01)

    async def carry_on(self) -> None:
        """After `park`: go on as if nothing had been."""
        self.parked = False
        self.workers.carry_on()
        self._collector.start()
        self._road.release()
        self._start_checks()
        self._hush.keep_up()
        self._tick()

    # ---- the end ----

    def sessions(self) -> int:
        """Sessions that are open now."""
        return self.workers.counters.process_sessions().now

    def soft_stop(self) -> None:
        """Accept no more. Checks, mark-downs and the log go on until the last session
        has ended; then everything stops."""
        if not self.accepting:
            return
        self.accepting = False
        self.carry_out([LISTENERS])
        self.tell_stopped()
        self._ending.when_empty()

    def tell_stopped(self, proxy: str | None = None) -> None:
        """Say in the log that this one, or all, accept no more."""
        for name, line in self._proxy_lines().stopped():
            if proxy in (None, name):
                self.hub.proxy_line(name, LogLevel.WARNING, line)

    def hard_stop(self, cause: Cause = Cause.KILLED) -> None:
        """End all sessions now, then stop."""
        self.accepting = False
        self._kills_all = cause
        self.carry_out([LISTENERS, KillAll(cause)])
        self._ending.when_empty(_LAST_WORDS_SECONDS)

    def _is_empty(self) -> bool:
        """The plan without listeners has to be taken first: a session may begin until then."""
        return not (self.parked or self.sessions()) and self._road.is_clear

    def worker_returned(self, thread: int, error: int) -> None:
        """On any thread: this relay thread has ended, told to (0) or not."""
        if error:
            why = DataplaneError(f"worker {thread} ended: {os.strerror(error)}")
            self._loop.call_soon_threadsafe(self._ending.fail, why)

    def _checks_ended(self, task: asyncio.Task[None]) -> None:
        """They end only when told to; otherwise the error brings everything down."""
        if not task.cancelled():
            self._ending.fail(task.exception())

    async def wait_stopped(self) -> None:
        """Return when everything has stopped after soft_stop or hard_stop. Raises what
        brought it down otherwise."""
        await self._ending.reached()
        with contextlib.suppress(Exception):  # noted by _checks_ended, raised below
            await self.checker.stop()
        self._hush.stop()
        self._ticker.cancel()
        self._collector.stop()
        await self._stop_workers()
        self._collector.drain()
        self._road.hold()
        self.closed = True
        self.workers.close()
        self.hub.close()
        if self._ending.trouble is not None:
            raise self._ending.trouble
