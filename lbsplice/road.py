"""The one road down: what has been decided is remembered, published, carried out, told.

Orders of one turn of the loop go together, so that many servers that fail at once cost
one plan. They stand in the journal before they are carried out, so that a successor
carries out what was left."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from lbsplice.dataplane.worker import Workers
from lbsplice.errors import DataplaneBusy
from lbsplice.kill_orders import KillOrder, KillOrders, SessionOrder
from lbsplice.plan.slots import ServerKey
from lbsplice.report import healthlog
from lbsplice.report.healthlog import Tell
from lbsplice.roster import Action, KillSessions, Publish
from lbsplice.terms import Cause, LogLevel

_BUSY_SECONDS = 0.01
_LOOK_AGAIN_SECONDS = 0.001
_TAKEN_SECONDS = 1.0
"""How long a line waits for the workers to take the plan that it tells of."""


@dataclass(frozen=True, slots=True)
class KillAll:
    """End every session."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class KillSession:
    """End this session, because an operator wants it so."""

    serial: int


Order = Action | KillAll | KillSession

LISTENERS = Publish("")
"""A new plan because of what may be accepted, not because of a backend's servers."""


class Road:
    """The orders to running workers, on the event loop.

    `publish` compiles the plan of this generation and publishes it; `save` writes the
    journal; `slot_of` is a server's number; `say` writes a line about a proxy."""

    def __init__(
        self,
        workers: Workers,
        *,
        generation: int,
        publish: Callable[[int], None],
        save: Callable[[], None],
        slot_of: Callable[[ServerKey], int],
        say: Callable[[str, LogLevel, str], None],
    ) -> None:
        self.generation = generation
        self.kills = KillOrders(workers.sizes.threads)
        self._workers = workers
        self._publish = publish
        self._save = save
        self._slot_of = slot_of
        self._say = say
        self._pending: list[Order] = []
        self._publish_due = False
        self._commands: deque[Callable[[], None]] = deque()
        self._one_by_one: list[KillOrder] = []
        self._flush_planned = False
        self._lines: list[tuple[str, LogLevel, str]] = []
        self._telling = False
        self._held = False

    # ---- orders ----

    def carry_out(self, orders: Sequence[Order]) -> None:
        """In the next turn of the loop: publish first, then kill, then tell. Once a worker
        has obeyed the kill, none of its sessions has that server and none can choose it."""
        self._pending += orders
        for order in orders:
            if isinstance(order, KillSessions):
                # Known from now on: whatever is remembered of the server's new state, the
                # order is remembered with it.
                slot = self._slot_of(order.key)
                self.kills.give(KillOrder(slot, time.monotonic(), order.cause))
            elif isinstance(order, KillSession):
                self.kills.give_session(SessionOrder(order.serial, time.monotonic()))
        if orders:
            self._plan_flush()

    def publish(self) -> None:
        """A new plan now; again in a moment if a worker is busy. Raises PlanError."""
        try:
            self._publish(self.generation + 1)
        except DataplaneBusy:
            self._publish_due = True
            self._plan_flush()
        else:
            self.generation += 1
            self._publish_due = False

    def kill_again(self, order: KillOrder) -> None:
        """An order that a worker before this one may not have carried out."""
        self.kills.give(order)
        self._command_kill(order.slot, order.cause)
        self._plan_flush()

    def _command_kill(self, slot: int, cause: Cause) -> None:
        self._commands.append(partial(self._workers.kill_slot, slot, cause))

    def kill_one_by_one(self, order: KillOrder, serials: Iterable[int]) -> None:
        """The same for a server that has other sessions by now."""
        self.kills.give_one_by_one(order, 0)
        self._one_by_one.append(order)
        self._commands += [
            partial(self._workers.kill_session, serial, order.cause) for serial in serials
        ]
        self._plan_flush()

    @property
    def is_clear(self) -> bool:
        """Has everything been given to the workers, and taken?"""
        return not (self._pending or self._commands) and self.plan_is_taken()

    def plan_is_taken(self) -> bool:
        """Does every worker use the plan that was published last?"""
        return self.generation_taken() >= self.generation

    def generation_taken(self) -> int:
        """The plan that every worker has, or a later one."""
        return min(self._workers.counters.generations())

    # ---- carrying them out ----

    def _plan_flush(self, delay_s: float = 0.0) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            asyncio.get_running_loop().call_later(delay_s, self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        if not self._held:
            self.flush()

    def flush(self) -> None:
        """Carry out what waits, at once."""
        pending, self._pending = self._pending, []
        # Before the kills: a line tells how many sessions the server had.
        self._lines += [self._line(order) for order in pending if isinstance(order, Tell)]
        for order in pending:
            if isinstance(order, Publish):
                self._publish_due = True
            elif isinstance(order, KillSessions):
                self._command_kill(self._slot_of(order.key), order.cause)
            elif isinstance(order, KillSession):
                self._commands.append(
                    partial(self._workers.kill_session, order.serial, Cause.KILLED)
                )
            elif isinstance(order, KillAll):
                self._commands.append(partial(self._workers.kill_all, order.cause))
        if pending:
            self._save()
        try:
            self._carry_out()
        except DataplaneBusy:
            # Nothing is lost: what was not done comes first the next time.
            self._plan_flush(_BUSY_SECONDS)
        if not self._telling:
            self._tell_when_taken(time.monotonic() + _TAKEN_SECONDS)

    def _carry_out(self) -> None:
        if self._publish_due:
            self._publish(self.generation + 1)
            self.generation += 1
            self._publish_due = False
        while self._commands:
            self._commands[0]()
            self._commands.popleft()
        if self._one_by_one:
            # Commands are obeyed in order: who has taken this plan has obeyed them.
            self._publish(self.generation + 1)
            self.generation += 1
            for order in self._one_by_one:
                self.kills.give_one_by_one(order, self.generation)
            self._one_by_one.clear()

    # ---- lines ----

    def _line(self, tell: Tell) -> tuple[str, LogLevel, str]:
        sessions = self._workers.counters.slot_sessions(self._slot_of(tell.key)).now
        return (tell.proxy, *healthlog.render(tell, sessions=sessions))

    def _tell_when_taken(self, deadline: float) -> None:
        """Write the lines that wait, once every worker has the plan in force: when the log
        says that a server is down, no session is sent there any more. A worker that does
        not answer does not hold the log back for long."""
        if self._held:
            self._telling = False
            return
        self._telling = not self.plan_is_taken() and time.monotonic() < deadline
        if self._telling:
            loop = asyncio.get_running_loop()
            loop.call_later(_LOOK_AGAIN_SECONDS, self._tell_when_taken, deadline)
        else:
            self.tell_lines()

    def tell_lines(self) -> None:
        """Write the lines that wait."""
        lines, self._lines = self._lines, []
        for proxy, level, text in lines:
            self._say(proxy, level, text)

    # ---- standing still ----

    def hold(self) -> None:
        """Carry out nothing from here on; orders wait."""
        self._held = True
        self.tell_lines()

    def release(self) -> None:
        """Go on."""
        self._held = False
        self._plan_flush()
