"""The counters of what is configured now. The workers count by number, and a number may
have been somebody else's before: what it stood at then is not counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lbsplice.dataplane.counters import Counters, Totals
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
        return _above(self._counters.frontend(number), self._frontends.get(number))

    def backend(self, number: int) -> Totals:
        return _above(self._counters.backend(number), self._backends.get(number))

    def slot(self, number: int) -> Totals:
        return _above(self._counters.slot(number), self._slots.get(number))

    def renumber(self, before: Numbers, after: Numbers) -> None:
        """Other numbers are in force: those that were not there before begin with zero."""
        c = self._counters
        self._set(
            Bases(
                _bases(before.frontends, after.frontends, self._frontends, c.frontend),
                _bases(before.backends, after.backends, self._backends, c.backend),
                _bases(before.slots, after.slots, self._slots, c.slot),
            )
        )


def _above(totals: Totals, base: tuple[int, ...] | None) -> Totals:
    if base is None:
        return totals
    return Totals(*(now - then for now, then in zip(totals, base, strict=False)))


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
