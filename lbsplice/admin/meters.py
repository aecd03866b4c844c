"""Rates: how much a counter grows in a second, and the most it ever did.

As HAProxy's frequency counters: what came in the second that is running, and of the second
before the part that lies within the last 1,000 ms. Pure; whoever has the clock and the
counters tells both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

PERIOD_S = 1.0

Columns = Mapping[str, Sequence[int]]
"""A counter of each number, by kind."""

_NONE: Columns = MappingProxyType({})


class Rates:
    """The rates of columns of counters. `peaks` are the highest ones, by kind and number;
    `peaked` is told of higher ones."""

    def __init__(
        self,
        peaks: Mapping[tuple[str, int], int],
        peaked: Callable[[str, int, int], None],
    ) -> None:
        self._peaks = peaks
        self._peaked = peaked
        self._began: float | None = None
        self._then: Columns = _NONE
        self._second_before: Columns = _NONE

    def tick(self, now: float, columns: Columns) -> None:
        """A second is over, more or less."""
        if self._began is not None and now > self._began:
            seconds = max(PERIOD_S, now - self._began)
            self._second_before = {
                kind: [round(grown / seconds) for grown in self._grown(kind, column)]
                for kind, column in columns.items()
            }
            for kind, column in self._second_before.items():
                self._note_peaks(kind, column)
        self._began = now
        self._then = {kind: tuple(column) for kind, column in columns.items()}

    def read(self, now: float, kind: str, column: Sequence[int]) -> list[tuple[int, int]]:
        """The rates of one kind at this moment and their peaks, by number."""
        left = 0.0 if self._began is None else max(0.0, 1.0 - (now - self._began) / PERIOD_S)
        before = self._second_before.get(kind, ())
        grown = self._grown(kind, column)
        self._note_peaks(kind, grown)
        return [
            (
                more + (int(before[number] * left) if number < len(before) else 0),
                self._peaks.get((kind, number), 0),
            )
            for number, more in enumerate(grown)
        ]

    def _note_peaks(self, kind: str, rates: Sequence[int]) -> None:
        for number, rate in enumerate(rates):
            if rate and rate > self._peaks.get((kind, number), 0):
                self._peaked(kind, number, rate)

    def _grown(self, kind: str, column: Sequence[int]) -> list[int]:
        """Since the last tick. Who had no number then begins with what there is now."""
        then = self._then.get(kind, ())
        known = [max(0, now - before) for now, before in zip(column, then, strict=False)]
        return known + [0] * (len(column) - len(known))
