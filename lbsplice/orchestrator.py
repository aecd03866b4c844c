"""Holds the parts together while lbsplice runs: check results go to the roster, what it
asks for takes the road down to the workers (lbsplice.road), and what they tell goes to
the log. A reload replaces the configuration in place; what is remembered in the journal
is taken up by a successor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence

from lbsplice.collector import Collector
from lbsplice.config.model import Config
from lbsplice.dataplane.worker import Workers
from lbsplice.ending import Ending
from lbsplice.errors import DataplaneBusy, DataplaneError, EnvironmentLacks, LbspliceError
from lbsplice.health.checker import Checker
from lbsplice.health.judge import CheckResult
from lbsplice.in_force import InForce
from lbsplice.journal import Journal
from lbsplice.limits import Limits
from lbsplice.memory import Memory
from lbsplice.plan.leaving import Leaving
from lbsplice.plan.slots import Numbers, ServerKey
from lbsplice.proxy_lines import ProxyLines
from lbsplice.report import record
from lbsplice.report.hub import Hub
from lbsplice.report.record import Record
from lbsplice.restore import (
    JournalKeeper,
    carried_over,
    edited,
    is_back,
    sessions_before,
    successor_line,
)
from lbsplice.road import LISTENERS, KillAll, Order, Road
from lbsplice.rooms import check_room
from lbsplice.roster import Roster
from lbsplice.service import Sockets, Succession
from lbsplice.statefile import saved_states
from lbsplice.tallies import Tallies
from lbsplice.terms import AdminState, Cause, LogLevel

_LAST_WORDS_SECONDS = 2.0
"""How long killed sessions may take to deliver what is left (the workers allow one)."""
_TICK_SECONDS = 0.5
"""How far the journal may be behind in what decides nothing."""


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
        self._hub = hub
        self.workers = workers
        self._succession = succession
        self._keeper = JournalKeeper(journal, hub)
        self._past = past = self._keeper.read()
        inventory = past.inventory.after(config)
        check_room(inventory.numbers, workers.sizes)
        known = saved_states(config, now) if past.is_blank else past.states(inventory)
        roster = Roster(config, now, leaving=inventory.leaving.servers, known=known)
        self._force = InForce(inventory, roster, sockets, maxconn)
        self._edits = tuple(edited(config, past.states(inventory)))
        hub.replace(config, inventory.numbers, inventory.leaving)
        self.tallies = Tallies(workers.counters, past.memory.bases)
        self.tallies.renumber(past.inventory.numbers, inventory.numbers)
        self._accepting = past.memory.accepting
        self._kills_all = past.memory.ending
        self._ending = Ending(self._is_empty)
        self._road = Road(
            workers,
            generation=max(past.memory.generation, *workers.counters.generations()),
            publish=self._publish,
            save=self._save,
            slot_of=lambda key: self.numbers.slots[key],
            say=hub.proxy_line,
        )
        self._collector = Collector(workers, self._hear)
        self._checker = Checker(
            self._force.checks,
            self._checked,
            state_of=lambda key: self.roster.state(key),
            spread_checks=config.global_.spread_checks,
            due=past.due(inventory),
        )
        self._idle = Leaving()
        self._dirty = False
        self._parked = False
        self._closed = False

    @property
    def config(self) -> Config:
        return self._force.inventory.config

    @property
    def numbers(self) -> Numbers:
        return self._force.inventory.numbers

    @property
    def roster(self) -> Roster:
        return self._force.roster

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
        for key, admin in self._edits:
            self.set_admin(key, admin)
        if self._kills_all is not None:
            self.hard_stop(self._kills_all)
        elif not self._accepting:
            self._ending.when_empty()

    def _tell_succession(self) -> None:
        if (succession := self._succession) is not None:
            line = successor_line(succession, self.workers.adoption, self._relaying_s)
            level = LogLevel.NOTICE if succession.planned else LogLevel.ALERT
            self._hub.process_line(level, line)

    def _start_checks(self) -> None:
        self._checker.start().add_done_callback(self._checks_ended)

    # ---- down: results and orders become actions, actions are carried out ----

    def _checked(self, key: ServerKey, result: CheckResult) -> None:
        before = self.roster.state(key).health
        self._dirty = True
        self.carry_out(self.roster.check_result(key, result, time.monotonic()))
        if self.roster.state(key).health != before:
            # Workers that die more often than the journal is written must not forget it.
            self._loop.call_soon(self._save_changes)

    def set_admin(self, key: ServerKey, state: AdminState) -> None:
        """An operator's order; takes the same road as a failed check."""
        self.carry_out(self.roster.set_admin(key, state, time.monotonic()))

    def set_weight(self, key: ServerKey, weight: int) -> None:
        """The same. Raises RosterError."""
        actions = self.roster.set_weight(key, weight)
        if not actions:
            self._save()  # it counts once the server is back
        self.carry_out(actions)

    def carry_out(self, orders: Sequence[Order]) -> None:
        self._road.carry_out(orders)

    def _publish(self, generation: int) -> None:
        self.workers.publish(
            self._force.plan(generation, accepting=self._accepting),
            self._force.descriptors(),
            self.config.global_.maxaccept or 0,
        )

    # ---- what is remembered ----

    def _save(self) -> None:
        self._dirty = False
        self._keeper.write(
            Memory(
                inventory=self._force.text,
                generation=self._road.generation + 1,  # the one that is about to be published
                accepting=self._accepting,
                ending=self._kills_all,
                states=self.roster.states,
                due=self._checker.due,
                kills=self._road.kills.pending,
                bases=self.tallies.bases,
            )
        )

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(_TICK_SECONDS, self._tick)
        self._dirty |= self._road.kills.taken(self._road.generation_taken())
        self._let_go()
        self._save_changes()

    def _save_changes(self) -> None:
        if self._dirty and not self._parked and not self._closed:
            self._save()

    def _let_go(self) -> None:
        """Forget what was leaving and has no session any more. It has to be empty twice:
        the event of its last session may be on its way."""
        if not self._force.inventory.leaving or not self._road.is_clear:
            return
        idle = self._force.idle(self.workers.counters)
        after, self._idle = self._force.without(idle & self._idle), idle
        if after is not self._force:
            self._take(after)
            self._road.carry_out([LISTENERS])

    # ---- a reload ----

    def reload(self, config: Config, sockets: Sockets, limits: Limits) -> None:
        """Go on with this configuration and these listening sockets; sessions stay, on
        servers that are gone as well, which are still checked and still killed.

        Raises an LbspliceError and changes nothing if it can not be done."""
        if self._parked or self._closed or not self._accepting:
            raise LbspliceError("the worker is stopping")
        self._road.flush()  # what was ordered is ordered under the names of before
        inventory = self._force.inventory.after(config)
        check_room(inventory.numbers, self.workers.sizes, limits)
        known = carried_over(self.roster.states, self._force.inventory, inventory)
        now = time.monotonic()
        roster = Roster(config, now, leaving=inventory.leaving.servers, known=known)
        before = self._force
        after = InForce(inventory, roster, sockets, limits.maxconn)
        after.plan(0)  # raises what would be wrong with it
        _ = after.checks  # likewise
        self._take(after)
        try:
            self._save()
            self._road.publish()
        except LbspliceError:
            self._take(before)
            self._save()
            raise
        for key, admin in edited(config, known):
            self.set_admin(key, admin)

    def _take(self, force: InForce) -> None:
        """Put another inventory in force: for the log, the counters and all that follows."""
        inventory = force.inventory
        try:
            self._hub.replace(inventory.config, inventory.numbers, inventory.leaving)
        except EnvironmentLacks as why:
            self._hub.replace(inventory.config, inventory.numbers, inventory.leaving, make_do=True)
            self._hub.process_line(LogLevel.ALERT, f"{why}; the log goes where it went before.")
        self.tallies.renumber(self.numbers, inventory.numbers)
        due = carried_over(self._checker.due, self._force.inventory, inventory)
        self._force = force
        self._checker.replace(force.checks, inventory.config.global_.spread_checks, due)
        self._dirty = True

    # ---- up: events become log lines ----

    def _hear(self, records: Sequence[Record]) -> None:
        sessions = [
            one
            for one in records
            if one.kind == record.SESSION_ENDED or one.kind == record.SESSION_CONNECTED
        ]
        if sessions:
            self._road.tell_lines()  # why they ended stands before their ends
            self._hub.sessions(sessions)
        if len(sessions) == len(records):
            return
        for one in records:
            if one.kind == record.ACCEPT_PAUSED:
                name, line = self._proxy_lines().paused(one)
                self._hub.proxy_line(name, LogLevel.EMERG, line)
            elif one.kind == record.KILLED:
                self._dirty |= self._road.kills.answered(one.number, one.thread)

    def _proxy_lines(self) -> ProxyLines:
        return ProxyLines(self._force.inventory, self.workers.counters, self.tallies)

    def dump_states(self) -> None:
        """Write every server's and every proxy's state to the logs (SIGHUP)."""
        for name, line in self._proxy_lines().dump(self.roster):
            self._hub.proxy_line(name, LogLevel.NOTICE, line)

    def set_pid(self, pid: int) -> None:
        """The pid for log lines: another supervisor took over."""
        self._hub.set_pid(pid)

    # ---- a successor takes over, or does not ----

    async def park(self) -> None:
        """Stop the checks and, at the end of a batch, the relay threads, with the journal
        written. From here on nothing changes; sessions stay as they are."""
        await self._checker.stop()
        self._road.flush()
        self._road.hold()
        self._parked = True
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
        self._parked = False
        self.workers.carry_on()
        self._collector.start()
        self._road.release()
        self._start_checks()
        self._tick()

    # ---- the end ----

    def sessions(self) -> int:
        """Sessions that are open now."""
        return self.workers.counters.process_sessions().now

    def soft_stop(self) -> None:
        """Accept no more. Checks, mark-downs and the log go on until the last session
        has ended; then everything stops."""
        if not self._accepting:
            return
        self._accepting = False
        self.carry_out([LISTENERS])
        for name, line in self._proxy_lines().stopped():
            self._hub.proxy_line(name, LogLevel.WARNING, line)
        self._ending.when_empty()

    def hard_stop(self, cause: Cause = Cause.KILLED) -> None:
        """End all sessions now, then stop."""
        self._accepting = False
        self._kills_all = cause
        self.carry_out([LISTENERS, KillAll(cause)])
        self._ending.when_empty(_LAST_WORDS_SECONDS)

    def _is_empty(self) -> bool:
        """The plan without listeners has to be taken first: a session may begin until then."""
        return not (self._parked or self.sessions()) and self._road.is_clear

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
            await self._checker.stop()
        self._ticker.cancel()
        self._collector.stop()
        await self._stop_workers()
        self._collector.drain()
        self._road.hold()
        self._closed = True
        self.workers.close()
        self._hub.close()
        if self._ending.trouble is not None:
            raise self._ending.trouble
