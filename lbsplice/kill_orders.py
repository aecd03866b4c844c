"""Orders to end the sessions of a server, from the moment that they are given until every
relay thread has obeyed. What is pending when a worker dies is what its successor has to
give again. Pure: who carries them out tells here when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lbsplice.terms import Cause


@dataclass(frozen=True, slots=True)
class KillOrder:
    """End the sessions that were on `slot` at `at` (monotonic seconds)."""

    slot: int
    at: float
    cause: Cause = Cause.DOWN


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """End the session of this number, which no other one ever gets; given at `at`."""

    serial: int
    at: float


SESSION_ORDERS_LAST_S = 5.0
"""Nobody answers those: they are obeyed, or given again, long before that."""


@dataclass(frozen=True, slots=True)
class _Pending:
    order: KillOrder
    answers: tuple[int, ...] = ()  # that each thread still has to give
    generation: int = 0  # ... or obeyed when every thread has this plan


class KillOrders:
    """What is pending, of so many threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pending: dict[int, _Pending] = {}
        self.sessions: tuple[SessionOrder, ...] = ()
        self.obeyed_last = KillOrder(0, 0.0)  # that was carried out last

    @property
    def pending(self) -> tuple[KillOrder, ...]:
        return tuple(each.order for each in self._pending.values())

    def give(self, order: KillOrder) -> None:
        """It is about to be given to every thread, each of which answers once. An older
        one for the same slot is a part of it."""
        before = self._pending.get(order.slot)
        answers = before.answers if before and before.answers else (0,) * self._threads
        self._pending[order.slot] = _Pending(order, tuple(count + 1 for count in answers))

    def give_one_by_one(self, order: KillOrder, generation: int) -> None:
        """Its sessions are ended one by one, without an answer: all threads have obeyed
        once they have this plan, which is published after the last of the commands."""
        self._pending[order.slot] = _Pending(order, generation=generation)

    def give_session(self, order: SessionOrder) -> None:
        """It is about to be given to the thread that has the session."""
        recent = order.at - SESSION_ORDERS_LAST_S
        self.sessions = (*(each for each in self.sessions if each.at > recent), order)

    def answered(self, slot: int, thread: int) -> bool:
        """A thread has obeyed. Is this order carried out with that?"""
        pending = self._pending.get(slot)
        if pending is None or not pending.answers:
            return False
        answers = tuple(
            max(0, count - (number == thread)) for number, count in enumerate(pending.answers)
        )
        self._pending[slot] = replace(pending, answers=answers)
        return self._drop([slot] if not any(answers) else [])

    def taken(self, generation: int) -> bool:
        """Every thread has this plan. Is any order carried out with that?"""
        return self._drop(
            [s for s, each in self._pending.items() if 0 < each.generation <= generation]
        )

    def _drop(self, slots: Iterable[int]) -> bool:
        dropped = [self._pending.pop(slot) for slot in slots]
        if dropped:
            self.obeyed_last = dropped[-1].order
        return bool(dropped)
