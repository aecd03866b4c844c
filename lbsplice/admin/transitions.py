"""The chronicle of a service: servers that change, with the sessions that each change
ended, backends that have no server left, workers that died.

It is told of every order that goes down the road, and asks for nothing by itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from lbsplice.admin.history import (
    MOST_TRANSITIONS,
    BackendPast,
    ChecksBase,
    Counting,
    History,
    Passed,
    Peak,
)
from lbsplice.admin.view import Transition
from lbsplice.health.judge import CheckResult
from lbsplice.plan.slots import ServerKey
from lbsplice.report.healthlog import DESCRIPTIONS, Event, Tell
from lbsplice.roster import KillSessions, Roster
from lbsplice.server_state import ServerState
from lbsplice.terms import Cause

_COUNTS_FOR_S = 3.0
"""Sessions that are ended have so long to deliver what is left for their clients, and
somewhat more (native/session_reset.c)."""


class Chronicle:
    """What `text`, of the journal, says, and what is told from here on. `planned` says how
    the worker before was succeeded; None: there was none."""

    def __init__(
        self,
        text: str = "",
        planned: bool | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        past = History.from_text(text) or History(began=clock(), began_unix=wall())
        self.began, self.began_unix = past.began, past.began_unix
        self.boot_ms = past.boot_ms
        self.adoptions = past.adoptions + (planned is not None)
        self.crashes = past.crashes + (planned is False)
        self.dropped_logs_before = self._dropped_logs = past.dropped_logs
        self._warnings_before = self._warnings = past.warnings
        self.kill_latency_s = 0.0
        self._passed: deque[Passed] = deque(past.transitions, MOST_TRANSITIONS)
        self._number = self._passed[-1].number if self._passed else 0
        self._counting = list(past.counting)
        self._backends = {each.name: each for each in past.backends}
        self._peaks = {(each.kind, each.number): each.per_second for each in past.peaks}
        self._checks = {each.slot: each for each in past.checks}
        self._text: str | None = None
        self._shown: tuple[Transition, ...] | None = None
        self.orders = 0  # how often something was ordered

    # ---- for the journal ----

    @property
    def is_dirty(self) -> bool:
        """Is there something that `text` was not asked for yet?"""
        return self._text is None

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = History(
                began=self.began,
                began_unix=self.began_unix,
                boot_ms=self.boot_ms,
                adoptions=self.adoptions,
                crashes=self.crashes,
                dropped_logs=self._dropped_logs,
                warnings=self._warnings,
                transitions=tuple(self._passed),
                counting=tuple(self._counting),
                backends=tuple(self._backends.values()),
                peaks=tuple(Peak(*key, value) for key, value in self._peaks.items()),
                checks=tuple(self._checks.values()),
            ).to_text()
        return self._text

    def _changed(self) -> None:
        self._text = None
        self._shown = None

    # ---- what happens ----

    def note(
        self,
        orders: Sequence[object],
        roster: Roster,
        slot_of: Callable[[ServerKey], int],
        killed: Callable[[int], int],
    ) -> None:
        """These follow from a change in the roster, and are about to be carried out.
        `killed` is how many sessions of a slot were ended by order until now."""
        now = self._clock()
        self.orders += bool(orders)
        for order in orders:
            if isinstance(order, Tell):
                self._tell(order, roster, now)
        for order in orders:  # it stands before what is told of it
            if isinstance(order, KillSessions):
                slot = slot_of(order.key)
                self._count_no_more(slot, killed)
                if order.cause is Cause.DOWN:
                    self._count(slot, killed(slot), now)

    def _tell(self, tell: Tell, roster: Roster, now: float) -> None:
        state = roster.state(tell.key)
        if (words := _WORDS.get(tell.event)) is not None:
            before, why = words
            self._number += 1
            self._passed.append(
                Passed(
                    self._number,
                    self._wall(),
                    *tell.key,
                    before(tell, state) or self._last_word(tell.key),
                    state.word,
                    why or _reason(state.last_check),
                )
            )
            self._changed()
        self._backend(tell.proxy, bool(roster.usable(tell.proxy).total), now)

    def _last_word(self, key: ServerKey) -> str:
        """Of one that is back: stopping, if that is what was told of it last."""
        for passed in reversed(self._passed):
            if (passed.backend, passed.server) == key:
                return passed.after if passed.after == "NOLB" else "DOWN"
        return "DOWN"

    def _backend(self, name: str, has_servers: bool, now: float) -> None:
        past = self.backend(name)
        if has_servers == (past.down_since is None):
            return
        if has_servers:
            new = replace(past, changed_at=now, down_since=None, down_before=past.downtime(now))
        else:
            new = replace(past, changed_at=now, down_since=now, downs=past.downs + 1)
        self._backends[name] = new
        self._changed()

    def _count_no_more(self, slot: int, killed: Callable[[int], int]) -> None:
        """From here on its sessions end for another reason."""
        self.settle(killed)
        self._counting = [each for each in self._counting if each.slot != slot]

    def _count(self, slot: int, killed: int, now: float) -> None:
        self._counting.append(Counting(self._number, slot, killed, now + _COUNTS_FOR_S))
        self._changed()

    def settle(self, killed: Callable[[int], int]) -> None:
        """Look how many sessions have ended by what was ordered."""
        now = self._clock()
        left = []
        for each in self._counting:
            ended = killed(each.slot) - each.killed
            self._ended(each.transition, ended)
            if now < each.until:
                left.append(each)
        if len(left) < len(self._counting):
            self._changed()
        self._counting = left

    def _ended(self, number: int, ended: int) -> None:
        for place in range(len(self._passed) - 1, -1, -1):
            passed = self._passed[place]
            if passed.number == number:
                if ended > passed.ended:
                    self._passed[place] = replace(passed, ended=ended)
                    self._changed()
                return

    def obeyed(self, given_at: float) -> None:
        """The last relay thread has obeyed an order that was given then."""
        self.kill_latency_s = max(0.0, self._clock() - given_at)

    def booted(self, after_s: float) -> None:
        """New sessions are accepted; the program is so old (0: nobody knows). What the
        first worker says holds."""
        if not (self.boot_ms or self.adoptions):
            self.boot_ms = round(after_s * 1000)
            self._changed()

    def dropped(self, lines: int) -> None:
        """The log of this worker has lost so many lines."""
        if self.dropped_logs_before + lines != self._dropped_logs:
            self._dropped_logs = self.dropped_logs_before + lines
            self._changed()

    def warned(self, lines: int) -> None:
        """This worker has told so many warnings."""
        if self._warnings_before + lines != self._warnings:
            self._warnings = self._warnings_before + lines
            self._changed()

    # ---- what is asked for ----

    @property
    def transitions(self) -> tuple[Transition, ...]:
        """The last ones, newest last."""
        if self._shown is None:
            self._shown = tuple(
                Transition(p.at_unix, (p.backend, p.server), p.before, p.after, p.why, p.ended)
                for p in self._passed
            )
        return self._shown

    @property
    def dropped_logs(self) -> int:
        return self._dropped_logs

    @property
    def warnings(self) -> int:
        return self._warnings

    def backend(self, name: str) -> BackendPast:
        return self._backends.get(name) or BackendPast(name, self.began)

    @property
    def checks(self) -> Mapping[int, ChecksBase]:
        """What checks are counted from, by slot."""
        return MappingProxyType(self._checks)

    @property
    def peaks(self) -> Mapping[tuple[str, int], int]:
        """The highest rates, by kind and number."""
        return MappingProxyType(self._peaks)

    # ---- what is kept for others ----

    def peaked(self, kind: str, number: int, per_second: int) -> None:
        """A rate was higher than ever."""
        self._peaks[kind, number] = per_second
        self._changed()

    def forget_peaks(self, kind: str | None = None, number: int | None = None) -> None:
        """Of this one, or of all."""
        for key in [k for k in self._peaks if kind is None or k == (kind, number)]:
            del self._peaks[key]
            self._changed()

    def base_checks(self, slot: int, state: ServerState) -> None:
        """What is told of this server's checks is counted from here on."""
        self._checks[slot] = ChecksBase(slot, state.failed_checks, state.down_transitions)
        self._changed()

    def base_backend(self, name: str) -> None:
        """The same for a backend that had no server left."""
        if name in self._backends:
            self._backends[name] = replace(self._backends[name], downs=0)
            self._changed()

    def keep(self, backends: frozenset[str], slots: frozenset[int]) -> None:
        """Forget what was kept of backends and slots that are no more."""
        if not (self._backends.keys() <= backends and self._checks.keys() <= slots):
            self._backends = {n: each for n, each in self._backends.items() if n in backends}
            self._checks = {n: each for n, each in self._checks.items() if n in slots}
            self._changed()


def _reason(result: CheckResult | None) -> str:
    if result is None:
        return ""
    text = f" ({result.text})" if result.text else ""
    return f"{DESCRIPTIONS[result.status]}{text}"


_Before = Callable[[Tell, ServerState], str]


def _in_service(tell: Tell, state: ServerState) -> str:
    if tell.draining:
        return "DRAIN"
    return "UP" if state.checked else "no check"


def _undrained(tell: Tell, state: ServerState) -> str:
    if not state.checked:
        return "no check"
    return "UP" if tell.up else "DOWN"


def _drained(tell: Tell, state: ServerState) -> str:
    return "DRAIN" if tell.up or not state.checked else "DOWN"


def _as_told_last(_tell: Tell, _state: ServerState) -> str:
    return ""


def _always(word: str) -> _Before:
    return lambda _tell, _state: word


_WORDS: Mapping[Event, tuple[_Before, str]] = MappingProxyType(
    {
        Event.DOWN: (_in_service, ""),
        Event.UP: (_as_told_last, ""),
        Event.MAINT: (_in_service, "set to maintenance"),
        Event.MAINT_WHILE_DOWN: (_always("DOWN"), "set to maintenance"),
        Event.MAINT_LEFT: (_always("MAINT"), "left maintenance"),
        Event.DRAIN: (_undrained, "set to drain"),
        Event.DRAIN_LEFT: (_drained, "left drain"),
        Event.SET_UP: (_as_told_last, "set up"),
        Event.SET_DOWN: (_in_service, "set down"),
        Event.SET_STOPPING: (_undrained, "set to stopping"),
    }
)
"""What the server was before, and why it changed; empty: its last check is why."""
