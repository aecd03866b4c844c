"""The counters of what is configured now. The workers count by number, and a number may
have been somebody else's before: what it stood at then is not counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from lbsplice.dataplane.counters import Counters, ListenerTotals, Table, Totals
from lbsplice.dataplane.tables import Counted, Extent, Sums, Tables, count_of
from lbsplice.memory import Base, Bases
from lbsplice.plan.slots import K, Numbers
from lbsplice.terms import Cause

_Table = Mapping[int, tuple[int, ...]]
_Row = TypeVar("_Row", Sums, ListenerTotals)


class Tallies:
    """Totals by number. `bases` are those of the numbers that are in force."""

    def __init__(self, counters: Counters, tables: Tables, bases: Bases | None = None) -> None:
        self._counters = counters
        self._tables = tables
        self._set(bases or Bases())

    def _set(self, bases: Bases) -> None:
        self.bases = bases
        self._listeners: _Table = dict(bases.listeners)
        self._frontends: _Table = dict(bases.frontends)
        self._backends: _Table = dict(bases.backends)
        self._slots: _Table = dict(bases.slots)

    def frontend(self, number: int) -> Totals:
        """Without the bytes of open sessions, here and in the next two."""
        return self._counters.frontend(number).above(self._frontends.get(number))

    def backend(self, number: int) -> Totals:
        return self._counters.backend(number).above(self._backends.get(number))

    def slot(self, number: int) -> Totals:
        return self._counters.slot(number).above(self._slots.get(number))

    def above(self, counted: Counted) -> Counted:
        """What was counted of those who have the numbers now."""
        return Counted(
            _all_above(counted.listeners, self._listeners),
            _all_above(counted.frontends, self._frontends),
            _all_above(counted.backends, self._backends),
            _all_above(counted.slots, self._slots),
        )

    def kills(self) -> dict[str, int]:
        """Sessions that we have ended, by the letter of the cause."""
        before = self.bases.kills or (0,) * len(_KILLS)
        now = self._killed()
        return {
            cause.value: count - then
            for cause, count, then in zip(_KILLS, now, before, strict=True)
        }

    def _killed(self) -> tuple[int, ...]:
        found = self._counters.workers()
        return found.killed_down, found.killed_up, found.killed_order

    def clear(self, numbers: Numbers) -> None:
        """Everything that has a number begins with zero, and so do the kills."""
        read = _Readings(self._counters, self._tables, numbers)
        self._set(
            Bases(
                tuple((n, read.frontend(n)) for n in numbers.frontends.values()),
                tuple((n, read.backend(n)) for n in numbers.backends.values()),
                tuple((n, read.slot(n)) for n in numbers.slots.values()),
                tuple((n, read.listener(n)) for n in numbers.listeners.values()),
                self._killed(),
            )
        )

    def clear_slot(self, number: int) -> None:
        """One server does."""
        read = _Readings(self._counters, self._tables, Numbers(slots={("", ""): number}))
        slots = {**self._slots, number: read.slot(number)}
        self._set(replace(self.bases, slots=tuple(slots.items())))

    def renumber(self, before: Numbers, after: Numbers) -> None:
        """Other numbers are in force: those that were not there before begin with zero."""
        for table, old, new in (
            (Table.LISTENERS, before.listeners, after.listeners),
            (Table.FRONTENDS, before.frontends, after.frontends),
            (Table.BACKENDS, before.backends, after.backends),
            (Table.SLOTS, before.slots, after.slots),
        ):
            for number in {*new.values()} - {*old.values()}:
                self._counters.forget(table, number, everything=True)
        read = _Readings(self._counters, self._tables, after)
        self._set(
            Bases(
                _bases(before.frontends, after.frontends, self._frontends, read.frontend),
                _bases(before.backends, after.backends, self._backends, read.backend),
                _bases(before.slots, after.slots, self._slots, read.slot),
                _bases(before.listeners, after.listeners, self._listeners, read.listener),
                self.bases.kills,
            )
        )


_KILLS = (Cause.DOWN, Cause.UP, Cause.KILLED)


class _Readings:
    """What counters stand at, with what open sessions have moved until now: a base."""

    def __init__(self, counters: Counters, tables: Tables, numbers: Numbers) -> None:
        self._counters = counters
        self._counted = tables.counted(extent_of(numbers))

    def listener(self, number: int) -> tuple[int, ...]:
        return tuple(self._counted.listeners[number])

    def frontend(self, number: int) -> tuple[int, ...]:
        return _with_bytes(self._counters.frontend(number), self._counted.frontends[number])

    def backend(self, number: int) -> tuple[int, ...]:
        return _with_bytes(self._counters.backend(number), self._counted.backends[number])

    def slot(self, number: int) -> tuple[int, ...]:
        return _with_bytes(self._counters.slot(number), self._counted.slots[number])


def _with_bytes(totals: Totals, counted: Sums) -> tuple[int, ...]:
    return tuple(totals._replace(bytes_in=counted.bytes_in, bytes_out=counted.bytes_out))


def extent_of(numbers: Numbers) -> Extent:
    """How long the tables have to be to hold all of these."""
    return Extent(
        count_of([*numbers.listeners.values()]),
        count_of([*numbers.frontends.values()]),
        count_of([*numbers.backends.values()]),
        count_of([*numbers.slots.values()]),
    )


def _all_above(rows: Sequence[_Row], table: _Table) -> list[_Row]:
    found = list(rows)
    for number, base in table.items():
        if number < len(found):
            found[number] = found[number].above(base)
    return found


def _bases(
    before: Mapping[K, int],
    after: Mapping[K, int],
    table: _Table,
    read: Callable[[int], tuple[int, ...]],
) -> tuple[Base, ...]:
    old, new = set(before.values()), set(after.values())
    kept = {number: base for number, base in table.items() if number in new & old}
    for number in new - old:
        if any(totals := read(number)):
            kept[number] = totals
    return tuple(kept.items())
