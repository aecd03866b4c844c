"""How the results are shown: a table for people, one JSON object for programs."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.table import Table

from .rows import Outcome

VERDICTS = {True: "met", False: "MISSED", None: "-"}


def number(value: float) -> str:
    """Three figures that matter, thousands grouped."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(outcomes: list[Outcome], ours: str, theirs: str) -> Table:
    """One line a row: both medians, the median ratio with its range, the budget."""
    result = Table(title=f"{ours} and {theirs}, one core, medians")
    result.add_column("work")
    for title in (ours, theirs, "ratio", "range", "budget"):
        result.add_column(title, justify="right")
    result.add_column("")
    for outcome in outcomes:
        row = outcome.row
        ratios = [a / b for a, b in zip(outcome.ours, outcome.theirs, strict=False) if b]
        result.add_row(
            f"{row.title}, {row.unit}",
            number(median(outcome.ours)) if outcome.ours else "-",
            number(median(outcome.theirs)) if outcome.theirs else "-",
            f"{outcome.ratio:.3f}" if outcome.ratio is not None else "-",
            f"{min(ratios):.2f}..{max(ratios):.2f}" if ratios else "-",
            f"{row.judged.value} {row.budget:g}",
            VERDICTS[outcome.met],
        )
    return result


def as_json(outcomes: list[Outcome], settings: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, with the settings."""
    return {
        "settings": settings,
        "rows": [
            {
                "name": outcome.row.name,
                "title": outcome.row.title,
                "unit": outcome.row.unit,
                "sessions": outcome.row.sessions,
                "ours": list(outcome.ours),
                "theirs": list(outcome.theirs),
                "ratio": outcome.ratio,
                "budget": f"{outcome.row.judged.value} {outcome.row.budget:g}",
                "met": outcome.met,
            }
            for outcome in outcomes
        ],
    }
