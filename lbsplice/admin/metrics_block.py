"""The rows of many things of one kind, a block of text for each of their metrics.

A scrape of many servers must be cheap. A row that is the very object of the scrape before has
its values still; a metric whose values are those of the scrape before is the very text of that
scrape; another one is made by one format string, in which names and labels stand already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, is_
from typing import Any

from lbsplice.admin.metrics_kind import Metric

_Column = tuple[Any, ...]


def label(name: str, value: str) -> str:
    """One label as it stands between the braces."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{escaped}"'


def head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


class Blocks:
    """`labels` tell the rows apart, and stand for as long as this does."""

    def __init__(self, labels: Sequence[str], metrics: Sequence[Metric]) -> None:
        self.labels = labels
        self._metrics = metrics
        self._formats = [_format(metric, labels) for metric in metrics]
        sources = list(dict.fromkeys(metric.source for metric in metrics if metric.source))
        self._places = [sources.index(m.source) if m.source else None for m in metrics]
        self._read = _reader(sources)
        self._rows: Sequence[Any] = ()
        self._values: list[_Column] = []
        self._columns: list[_Column] = []
        self._texts: list[bytes] = []

    def of(self, rows: Sequence[Any]) -> list[bytes]:
        """The blocks of these rows, in the order of the labels."""
        if self._texts and all(map(is_, rows, self._rows)):
            return self._texts
        read = self._read
        if self._rows:
            before = zip(rows, self._rows, self._values, strict=True)
            self._values = [kept if row is old else read(row) for row, old, kept in before]
        else:
            self._values = [read(row) for row in rows]
        self._rows = rows
        columns = list(zip(*self._values, strict=True))
        changed = [
            not self._columns or column != self._columns[place]
            for place, column in enumerate(columns)
        ]
        self._columns = columns
        self._texts = [
            self._block(index, place)
            if not self._texts or (place is not None and changed[place])
            else self._texts[index]
            for index, place in enumerate(self._places)
        ]
        return self._texts

    def _block(self, index: int, place: int | None) -> bytes:
        metric = self._metrics[index]
        values: Sequence[Any] = (
            (None,) * len(self.labels) if place is None else self._columns[place]
        )
        if metric.made is not None:
            made = {value: metric.made(value) for value in set(values)}
            values = [made[value] for value in values]
        if metric.states:
            values = [int(value == state) for value in values for state in metric.states]
        return (self._formats[index] % tuple(values)).encode()


def _reader(sources: Sequence[str]) -> Callable[[Any], _Column]:
    if len(sources) > 1:
        return attrgetter(*sources)
    return lambda row: tuple(attrgetter(source)(row) for source in sources)


def _format(metric: Metric, labels: Sequence[str]) -> str:
    rows = [head(metric.name, metric.kind, metric.help)]
    for own in labels:
        for state in metric.states or ("",):
            every = ",".join(filter(None, (own, state and label("state", state))))
            braces = f"{{{every}}}" if every else ""
            rows.append(f"{metric.name}{braces}".replace("%", "%%") + " %s\n")
    return "".join(rows)
