"""`clear counters`: what is shown is counted from then on. The workers' own counters go on;
what they stood at is kept in the journal, so that a successor shows the same."""

from __future__ import annotations

from lbsplice.dataplane.counters import Table
from lbsplice.orchestrator import Orchestrator
from lbsplice.plan.slots import ServerKey


class Baselines:
    """The counters of a running control plane, to be cleared."""

    def __init__(self, plane: Orchestrator) -> None:
        self._plane = plane

    def clear(self, everything: bool, key: ServerKey | None = None) -> None:
        """Maxima begin anew; with `everything` all that is counted does. Of one server, or
        of all and of every proxy. Raises KeyError for a server that there is not."""
        if key is None:
            self._clear_all(everything)
        else:
            self._clear_server(everything, key)

    def _clear_all(self, everything: bool) -> None:
        plane, numbers = self._plane, self._plane.numbers
        forget = plane.workers.counters.forget
        forget(Table.PROCESS, everything=everything)
        for table, known in (
            (Table.LISTENERS, numbers.listeners.values()),
            (Table.FRONTENDS, numbers.frontends.values()),
            (Table.BACKENDS, numbers.backends.values()),
            (Table.SLOTS, numbers.slots.values()),
        ):
            for number in known:
                forget(table, number, everything=everything)
        plane.chronicle.forget_peaks()
        if everything:
            plane.tallies.clear(numbers)
            for name in numbers.backends:
                plane.chronicle.base_backend(name)
            for key in plane.roster:
                plane.chronicle.base_checks(numbers.slots[key], plane.roster.state(key))

    def _clear_server(self, everything: bool, key: ServerKey) -> None:
        plane, slot = self._plane, self._plane.numbers.slots[key]
        plane.workers.counters.forget(Table.SLOTS, slot, everything=everything)
        plane.chronicle.forget_peaks("server", slot)
        if everything:
            plane.tallies.clear_slot(slot)
            plane.chronicle.base_checks(slot, plane.roster.state(key))
