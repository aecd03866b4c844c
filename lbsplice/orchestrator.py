"""Holds the parts together while lbsplice runs: check results go to the roster, what it
asks for is carried out on the workers, and what they tell goes to the log.

There is one road down (DESIGN, idea 5): roster -> actions -> a new plan published ->
sessions killed. Actions of one turn of the loop are carried out together, so that many
servers that fail at once cost one plan."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lbsplice.config.model import Config, Proxy
from lbsplice.dataplane.events import ROOM
from lbsplice.dataplane.ledger import Sizes
from lbsplice.dataplane.worker import Workers
from lbsplice.errors import DataplaneBusy, DataplaneError
from lbsplice.health.checker import Checker
from lbsplice.health.judge import CheckResult
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.slots import ListenerKey, ServerKey, assign
from lbsplice.plan.tables import Plan
from lbsplice.report import healthlog, record
from lbsplice.report.healthlog import Busy, Tell
from lbsplice.report.hub import Hub
from lbsplice.report.record import Record
from lbsplice.roster import Action, KillSessions, Publish, Roster
from lbsplice.terms import AdminState, Cause, LogLevel

_COLLECT_SECONDS = 0.02
"""While events flow, rings are read this often; a ring holds 8,192 of them."""
_BUSY_SECONDS = 0.01
_LOOK_AGAIN_SECONDS = 0.001
_TAKEN_SECONDS = 1.0
"""How long a line waits for the workers to take the plan that it tells of."""
_LAST_WORDS_SECONDS = 2.0
"""How long killed sessions may take to deliver what is left (the workers allow one)."""


@dataclass(frozen=True, slots=True)
class KillAll:
    """End every session."""

    cause: Cause


_LISTENERS = Publish("")
"""A new plan because of what may be accepted, not because of a backend's servers."""


class Orchestrator:
    """One configuration at work. `sockets` are listening sockets, which stay the
    caller's; `max_pipes` bounds the pipes of all threads together."""

    def __init__(
        self,
        config: Config,
        sockets: Mapping[ListenerKey, socket.socket],
        hub: Hub,
        *,
        threads: int,
        maxconn: int,
        max_pipes: int,
    ) -> None:
        self._config = config
        self._hub = hub
        self._maxconn = maxconn
        self.numbers = assign(config)
        hub.replace(config, self.numbers)
        self._descriptors = {
            self.numbers.listeners[key]: sock.fileno() for key, sock in sockets.items()
        }
        self.roster = Roster(config, time.monotonic())
        self.workers = Workers(
            _sizes(self, threads, maxconn, max_pipes),
            max_pipes=max_pipes,
            pipe_bytes=config.global_.pipesize or 0,
        )
        self._checker = Checker(config, self._checked, state_of=self.roster.state)
        self._generation = 0
        self._accepting = True
        self._pending: list[Action | KillAll] = []
        self._flush_planned = False
        self._lines: list[tuple[str, LogLevel, str]] = []
        self._telling = False
        self._started = False
        self._closed = False
        self._stopped = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None

    async def start(self) -> None:
        """Start the workers and the checks. New sessions are accepted from here on."""
        self._loop = asyncio.get_running_loop()
        self.workers.start(on_return=self._worker_returned)
        self._started = True
        for thread, fd in enumerate(self.workers.event_fds):
            self._loop.add_reader(fd, self._signalled, thread)
            self._collect(thread)
        self._publish()
        self._checker.start().add_done_callback(self._checks_ended)

    # ---- down: results and orders become actions, actions are carried out ----

    def _checked(self, key: ServerKey, result: CheckResult) -> None:
        self.carry_out(self.roster.check_result(key, result, time.monotonic()))

    def set_admin(self, key: ServerKey, state: AdminState) -> None:
        """An operator's order; takes the same road as a failed check."""
        self.carry_out(self.roster.set_admin(key, state, time.monotonic()))

    def carry_out(self, actions: Sequence[Action | KillAll]) -> None:
        self._pending += actions
        if self._pending and not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Publish first, then kill, then tell: once a worker has obeyed the kill, none of
        its sessions has that server and none can choose it."""
        self._flush_planned = False
        if self._closed:
            return
        actions, self._pending = self._pending, []
        # Before the kills: a line tells how many sessions the server had.
        lines = [self._line(action) for action in actions if isinstance(action, Tell)]
        orders = [action for action in actions if not isinstance(action, Tell)]
        orders.sort(key=lambda action: not isinstance(action, Publish))
        try:
            if orders and isinstance(orders[0], Publish):
                self._publish()
                orders = [action for action in orders if not isinstance(action, Publish)]
            while orders:
                self._kill(orders[0])
                del orders[0]
        except DataplaneBusy:
            # Nothing is lost: what was not done comes first the next time.
            self._pending[:0] = orders
            self._flush_planned = True
            self._loop.call_later(_BUSY_SECONDS, self._flush)
        self._lines += lines
        if not self._telling:
            self._tell_when_taken(self._loop.time() + _TAKEN_SECONDS)

    def _tell_when_taken(self, deadline: float) -> None:
        """Write the lines that wait, once every worker has the plan in force: when the log
        says that a server is down, no session is sent there any more. A worker that does
        not answer does not hold the log back for long."""
        if self._closed:
            return
        self._telling = not self._plan_is_taken() and self._loop.time() < deadline
        if self._telling:
            self._loop.call_later(_LOOK_AGAIN_SECONDS, self._tell_when_taken, deadline)
        else:
            self._tell_lines()

    def _plan_is_taken(self) -> bool:
        """Does every worker use the plan that was published last?"""
        return min(self.workers.counters.generations()) >= self._generation

    def _tell_lines(self) -> None:
        lines, self._lines = self._lines, []
        for proxy, level, text in lines:
            self._hub.proxy_line(proxy, level, text)

    def _kill(self, order: Action | KillAll) -> None:
        if isinstance(order, KillSessions):
            self.workers.kill_slot(self.numbers.slots[order.key], Cause.DOWN)
        elif isinstance(order, KillAll):
            self.workers.kill_all(order.cause)

    def _line(self, tell: Tell) -> tuple[str, LogLevel, str]:
        sessions = self.workers.counters.slot_sessions(self.numbers.slots[tell.key]).now
        level, text = healthlog.render(tell, sessions=sessions)
        return tell.proxy, level, text

    def _publish(self) -> None:
        self._generation += 1
        plan = compile_plan(
            self._config,
            self.numbers,
            self.roster.weight,
            generation=self._generation,
            maxconn=self._maxconn,
        )
        self.workers.publish(
            self._without_listeners(plan),
            self._descriptors,
            self._config.global_.maxaccept or 0,
        )

    def _without_listeners(self, plan: Plan) -> Plan:
        return plan if self._accepting else replace(plan, listeners=())

    # ---- up: events become log lines ----

    def _signalled(self, thread: int) -> None:
        os.eventfd_read(self.workers.event_fds[thread])
        self._collect(thread)

    def _collect(self, thread: int) -> None:
        """Read a ring until it is empty, then wait for its signal. While events flow it
        is looked at from time to time instead: signals cost the worker a system call."""
        if self._closed:
            return
        reader = self.workers.readers[thread]
        records = reader.take()
        self._hear(records)
        if len(records) == ROOM:
            self._loop.call_soon(self._collect, thread)
        elif records:
            self._loop.call_later(_COLLECT_SECONDS, self._collect, thread)
        elif not reader.arm():
            self._loop.call_soon(self._collect, thread)

    def _hear(self, records: Sequence[Record]) -> None:
        sessions = [
            one
            for one in records
            if one.kind == record.SESSION_ENDED or one.kind == record.SESSION_CONNECTED
        ]
        if sessions:
            self._tell_lines()  # why they ended stands before their ends
            self._hub.sessions(sessions)
        if len(sessions) == len(records):
            return
        for one in records:
            if one.kind == record.ACCEPT_PAUSED:
                self._tell_accept_paused(one)

    def _tell_accept_paused(self, one: Record) -> None:
        name = self.numbers.listener_keys[one.listener][0]
        self._hub.proxy_line(
            name,
            LogLevel.EMERG,
            f"Proxy {name} can not accept connections for the moment: {os.strerror(one.number)}. "
            "They wait in the backlog. Please check 'ulimit-n' and 'maxconn'.",
        )

    def dump_states(self) -> None:
        """Write every server's and every proxy's state to the logs (SIGHUP)."""
        counters = self.workers.counters
        for proxy in self._config.proxies:
            if proxy.disabled:
                continue
            lines = [f"SIGHUP received, dumping servers states for proxy {proxy.name}."]
            for key in [(proxy.name, server.name) for server in proxy.servers]:
                slot = self.numbers.slots[key]
                busy = Busy(counters.slot_sessions(slot).now, counters.slot(slot).sessions)
                lines.append(healthlog.server_dump(key, self.roster.state(key).is_up, busy))
            usable = self.roster.usable(proxy.name) if proxy.servers else None
            lines.append(healthlog.proxy_dump(proxy.name, usable, *self._halves(proxy)))
            for line in lines:
                self._hub.proxy_line(proxy.name, LogLevel.NOTICE, line)

    def _halves(self, proxy: Proxy) -> tuple[Busy, Busy]:
        """The sessions of a proxy as a frontend and as a backend. As in HAProxy, a frontend
        without a backend is its own."""
        counters = self.workers.counters
        front = back = Busy()
        if (number := self.numbers.frontends.get(proxy.name)) is not None and proxy.has_frontend:
            front = Busy(counters.frontend_sessions(number).now, counters.frontend(number).sessions)
        if (number := self.numbers.backends.get(proxy.name)) is not None and proxy.has_backend:
            back = Busy(counters.backend_sessions(number).now, counters.backend(number).sessions)
        elif proxy.has_frontend and self._config.backend_of(proxy) is None:
            back = front
        return front, back

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
        self.carry_out([_LISTENERS])
        self._tell_proxies_stopped()
        self._stopping = self._loop.create_task(self._finish_when_empty(None))
        self._stopping.add_done_callback(self._finished)

    def _tell_proxies_stopped(self) -> None:
        for proxy in self._config.proxies:
            if proxy.disabled:
                continue
            front, back = self._halves(proxy)
            self._hub.proxy_line(
                proxy.name,
                LogLevel.WARNING,
                f"Proxy {proxy.name} stopped (cumulated conns: FE: {front.total}, "
                f"BE: {back.total}).",
            )

    def hard_stop(self, cause: Cause = Cause.KILLED) -> None:
        """End all sessions now, then stop."""
        self._accepting = False
        self.carry_out([_LISTENERS, KillAll(cause)])
        if self._stopping is not None:
            self._stopping.remove_done_callback(self._finished)
            self._stopping.cancel()
        self._stopping = self._loop.create_task(self._finish_when_empty(_LAST_WORDS_SECONDS))
        self._stopping.add_done_callback(self._finished)

    async def _finish_when_empty(self, limit: float | None) -> None:
        deadline = None if limit is None else self._loop.time() + limit
        # The plan without listeners has to be taken first: a session may begin until then.
        while self._pending or self.sessions() or not self._plan_is_taken():
            if deadline is not None and self._loop.time() >= deadline:
                break
            await asyncio.sleep(0.005 if deadline else 0.05)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._trouble = self._trouble or (None if task.cancelled() else task.exception())
        self._stopped.set()

    def _worker_returned(self, thread: int, error: int) -> None:
        """On the worker's thread: it ended, told to or not."""
        if error:
            self._trouble = DataplaneError(f"worker {thread} ended: {os.strerror(error)}")
            self._loop.call_soon_threadsafe(self._stopped.set)

    def _checks_ended(self, task: asyncio.Task[None]) -> None:
        """They end only when told to; otherwise the error brings everything down."""
        if not task.cancelled():
            self._trouble = self._trouble or task.exception()
            self._stopped.set()

    async def wait_stopped(self) -> None:
        """Return when everything has stopped after soft_stop or hard_stop. Raises what
        brought it down otherwise."""
        await self._stopped.wait()
        with contextlib.suppress(Exception):  # noted by _checks_ended, raised below
            await self._checker.stop()
        await self._loop.run_in_executor(None, self.workers.stop)
        for thread, fd in enumerate(self.workers.event_fds):
            self._loop.remove_reader(fd)
            while records := self.workers.readers[thread].take():
                self._hear(records)
        self._tell_lines()
        self._closed = True
        self.workers.close()
        self._hub.close()
        if self._trouble is not None:
            raise self._trouble

    def close(self) -> None:
        """Give the memory back if it never started."""
        if not self._started:
            self.workers.close()


def _sizes(self: Orchestrator, threads: int, maxconn: int, max_pipes: int) -> Sizes:
    """Tables with room for what a later configuration may add; unused room costs nothing."""

    def room(count: int, least: int) -> int:
        return max(least, 2 * count)

    return Sizes(
        threads=threads,
        sessions=max(1, maxconn),
        pipes=max(1, max_pipes),
        listeners=room(len(self.numbers.listeners), 256),
        frontends=room(len(self.numbers.frontends), 256),
        backends=room(len(self.numbers.backends), 256),
        slots=room(len(self.numbers.slots), 1024),
    )
