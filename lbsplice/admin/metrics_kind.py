"""What a metric is, and how its values are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Made = Callable[[Any], Any]
Source = tuple[str, str] | tuple[str, str, Made]
"""A text of help, an attribute, and what is made of it."""

NAN = "NaN"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `source` is the attribute of a row that it shows, with dots; "" for none.
    What stands there is `made` of it: a number, NaN for none. A metric with `states` has a
    row for each of them, 1 for the one that the value names."""

    name: str
    help: str
    source: str
    made: Made | None = None
    states: tuple[str, ...] = ()
    kind: str = "gauge"


def family(prefix: str, rows: Mapping[str, Source]) -> list[Metric]:
    """The metrics of a table, by the ends of their names."""
    metrics = []
    for name, (text, source, *made) in rows.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        metrics.append(Metric(prefix + name, text, source, made[0] if made else None, (), kind))
    return metrics


def seconds(ms: float) -> str:
    return f"{max(0, ms) / 1000:.6f}"


def limit(most: int) -> int | str:
    return most or NAN


def always(value: int | str) -> Made:
    return lambda _: value


def none(text: str) -> Source:
    """Of something that lbsplice has not."""
    return (f"{text}; always 0 in lbsplice", "", always(0))
