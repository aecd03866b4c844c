"""How a run is shown: a line while it goes on, a table for people, an object for programs."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.table import Table

from tests.support.torture.load import Load
from tests.support.torture.pauses import summary
from tests.support.torture.run import Result


def line(result: Result, load: Load) -> str:
    return (
        f"kills {result.kills}/{result.settings.kills}  harms {len(result.harms)}  "
        f"sessions {load.lasting + load.shorts:,}  {load.bytes / 1e9:.2f} GB  "
        f"troubles {len(load.troubles)}"
    )


def table(results: dict[str, Result]) -> Table:
    """One column for each run."""
    shown = Table(title="lbsplice under torture")
    shown.add_column("")
    for title in results:
        shown.add_column(title, justify="right")
    runs = list(results.values())
    rows: dict[str, list[str]] = {
        "seed": [str(run.settings.seed) for run in runs],
        "seconds": [f"{run.seconds:.0f}" for run in runs],
        "sessions, lasting": [f"{sum(run.settings.counts.values()):,}" for run in runs],
        "connections in all": [f"{run.sessions:,}" for run in runs],
        "bytes, checked at both ends": [f"{run.bytes / 1e9:.2f} GB" for run in runs],
        "workers killed": [f"{run.kills:,}" for run in runs],
    }
    for what in sorted({each.what for run in runs for each in run.harms}):
        rows[f"  {what}"] = [f"{run.by_kind()[what]:,}" for run in runs]
    rows["adoption, median / worst"] = [_ms([ms for _, ms in run.adoptions]) for run in runs]
    for what in sorted({kind for run in runs for kind in run.pauses}):
        rows[f"pause, {what}, median / worst"] = [_ms(run.pauses.get(what, [])) for run in runs]
    for who in ("supervisor", "worker", "vault"):
        rows[f"memory of the {who} (gained)"] = [
            f"{run.memory_kb[who]:,} KiB ({run.grown_kb[who]:+,})" if run.memory_kb else "-"
            for run in runs
        ]
    rows["did not hold"] = [str(len(run.failures)) for run in runs]
    for title, cells in rows.items():
        shown.add_row(title, *cells)
    return shown


def _ms(values: list[float]) -> str:
    """Pauses that are too short to be told are below 2 ms."""
    if not values:
        return "-"
    middle, worst = summary(values)
    return f"{middle:.1f} / {worst:.1f} ms"


def as_json(results: dict[str, Result]) -> dict[str, Any]:
    return {
        title: {
            "seed": run.settings.seed,
            "seconds": round(run.seconds, 3),
            "lasting": sum(run.settings.counts.values()),
            "connections": run.sessions,
            "bytes": run.bytes,
            "kills": run.kills,
            "harms": dict(run.by_kind()),
            "adoption_ms": {
                "median": median(ms for _, ms in run.adoptions) if run.adoptions else None,
                "worst": max((ms for _, ms in run.adoptions), default=None),
            },
            "pause_ms": {
                what: dict(zip(("median", "worst"), summary(values), strict=True))
                for what, values in run.pauses.items()
            },
            "memory_kb": run.memory_kb,
            "grown_kb": run.grown_kb,
            "failures": run.failures,
        }
        for title, run in results.items()
    }
