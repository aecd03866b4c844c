"""Which pause of the stream of timestamps belongs to what was done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from tests.support.torture.harm import Done

LATE_S = 1.0  # what comes later has another reason
BEFORE_S = 0.003  # a gap begins with the answer before it, a little earlier than its reason


def worst(gaps: Iterable[tuple[float, float]], begin: float, end: float) -> float:
    """Milliseconds of the longest gap that began in that time; 0 if none was told."""
    begin, end = begin - BEFORE_S, end - BEFORE_S
    return 1000 * max((gap for at, gap in gaps if begin < at - gap < end), default=0.0)


def by_kind(
    gaps: Sequence[tuple[float, float]], harms: Sequence[Done], end: float
) -> dict[str, list[float]]:
    """For each kind of harm the pause of every one, in milliseconds."""
    found: dict[str, list[float]] = {}
    nexts = [*(each.at for each in harms[1:]), end]
    for each, until in zip(harms, nexts, strict=False):
        pause = worst(gaps, each.at, min(until, each.at + LATE_S))
        found.setdefault(each.what, []).append(pause)
    return found


def summary(pauses: Sequence[float]) -> tuple[float, float]:
    """Median and worst."""
    return (median(pauses), max(pauses)) if pauses else (0.0, 0.0)


BUDGET_MS = 100.0
NOISE_MS = 10.0
"""What a machine under load does to two series of pauses that are the same."""


def budgets(found: dict[str, list[float]]) -> list[str]:
    """What is over its budget, in words: a crash and an upgrade have one; a reload is not
    to be told from nothing at all."""
    over = []
    for what, values in found.items():
        _, longest = summary(values)
        if what not in ("reload", "nothing") and longest > BUDGET_MS:
            over.append(f"{what}: a pause of {longest:.1f} ms, the budget is {BUDGET_MS:.0f} ms")
    if "reload" in found and "nothing" in found:
        middle, longest = summary(found["reload"])
        usual, noise = summary(found["nothing"])
        if longest > noise + NOISE_MS or middle > usual + NOISE_MS / 2:
            over.append(
                f"reload: pauses of {middle:.1f} / {longest:.1f} ms, without one "
                f"{usual:.1f} / {noise:.1f} ms (median / worst)"
            )
    return over
