"""The counters of what is configured now. The workers count by number, and a number may
have been somebody else's before: what it stood at then is not counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lbsplice.dataplane.counters import Counters, Table, Totals
from lbsplice.dataplane.tables import Sums
from lbsplice.memory import Base, Bases
from lbsplice.plan.slots import K, Numbers

_Table = Mapping[int, tuple[int, ...]]


class Tallies:
    """Totals by number. `bases` are those of the numbers that are in force."""

    def __init__(self, counters: Counters, bases: Bases | None = None) -> None:
        self._counters = counters
        self._set(bases or Bases())

    def _set(self, bases: Bases) -> None:
        self.bases = bases
        self._frontends: _Table = dict(bases.frontends)
        self._backends: _Table = dict(bases.backends)
        self._slots: _Table = dict(bases.slots)

    def frontend(self, number: int) -> Totals:
        return self._counters.frontend(number).above(self._frontends.get(number))

    def backend(self, number: int) -> Totals:
        return self._counters.backend(number).above(self._backends.get(number))

    def slot(self, number: int) -> Totals:
        return self._counters.slot(number).above(self._slots.get(number))

    def frontends(self, rows: Sequence[Sums]) -> list[Sums]:
        """The same for a whole table of counts."""
        return _all_above(rows, self._frontends)

    def backends(self, rows: Sequence[Sums]) -> list[Sums]:
        return _all_above(rows, self._backends)

    def slots(self, rows: Sequence[Sums]) -> list[Sums]:
        return _all_above(rows, self._slots)

    def clear(self, numbers: Numbers) -> None:
        """Everything that has a number begins with zero."""
        c = self._counters
        self._set(
            Bases(
                tuple((n, tuple(c.frontend(n))) for n in numbers.frontends.values()),
                tuple((n, tuple(c.backend(n))) for n in numbers.backends.values()),
                tuple((n, tuple(c.slot(n))) for n in numbers.slots.values()),
            )
        )

    def clear_slot(self, number: int) -> None:
        """One server does."""
        slots = {**self._slots, number: tuple(self._counters.slot(number))}
        self._set(replace(self.bases, slots=tuple(slots.items())))

    def renumber(self, before: Numbers, after: Numbers) -> None:
        """Other numbers are in force: those that were not there before begin with zero."""
        c = self._counters
        for table, old, new in (
            (Table.LISTENERS, before.listeners, after.listeners),
            (Table.FRONTENDS, before.frontends, after.frontends),
            (Table.BACKENDS, before.backends, after.backends),
            (Table.SLOTS, before.slots, after.slots),
        ):
            for number in {*new.values()} - {*old.values()}:
                c.forget(table, number, everything=True)
        self._set(
            Bases(
                _bases(before.frontends, after.frontends, self._frontends, c.frontend),
                _bases(before.backends, after.backends, self._backends, c.backend),
                _bases(before.slots, after.slots, self._slots, c.slot),
            )
        )


def _all_above(rows: Sequence[Sums], table: _Table) -> list[Sums]:
    found = list(rows)
    for number, base in table.items():
        if number < len(found):
            found[number] = found[number].above(base)
    return found


def _bases(
    before: Mapping[K, int],
    after: Mapping[K, int],
    table: _Table,
    read: Callable[[int], Totals],
) -> tuple[Base, ...]:
    old, new = set(before.values()), set(after.values())
    kept = {number: base for number, base in table.items() if number in new & old}
    for number in new - old:
        if any(totals := read(number)):
            kept[number] = tuple(totals)
    return tuple(kept.items())
