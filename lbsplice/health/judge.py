"""When check results change a server's health (rise and fall).
One integer in 0..rise+fall-1; the server is up from `rise` on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lbsplice.terms import CheckStatus


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one health check found.

    `duration_ms` runs from the start of the connect to the answer, or is None where
    nothing was sent. `text` is what the system said, e.g. `ECONNREFUSED returned by OS
    (Connection refused)`, or empty. `counts` is false when our own machine lacked the
    means (descriptors, memory) to ask: this says nothing about the server."""

    passed: bool
    status: CheckStatus
    duration_ms: int | None = None
    text: str = ""
    counts: bool = True


class Score(NamedTuple):
    """Health as operators read it: `1/3`, of the successes (down) or failures (up) that
    a change needs."""

    value: int
    of: int

    def __str__(self) -> str:
        return f"{self.value}/{self.of}"


def best(rise: int, fall: int) -> int:
    """The highest health there is."""
    return rise + fall - 1


def is_up(health: int, rise: int) -> bool:
    """Whether a server of this health may receive sessions."""
    return health >= rise


def judge(health: int, passed: bool, rise: int, fall: int) -> int:
    """The health after one more result.

    While up any success restores the best health and each failure takes one; below
    `rise` the server is down with health 0. While down each success adds one and any
    failure takes all."""
    if passed:
        health = min(health + 1, best(rise, fall))
        return best(rise, fall) if is_up(health, rise) else health
    return health - 1 if is_up(health - 1, rise) else 0


def rescaled(health: int, old: tuple[int, int], new: tuple[int, int]) -> int:
    """A health under another (rise, fall): up stays up and down stays down, and what is
    steady stays steady. A change that is under way keeps its successes or failures, as far
    as they do not complete it."""
    rise, fall = new
    if health == best(*old):
        return best(rise, fall)
    if is_up(health, old[0]):
        return max(rise, best(rise, fall) - (best(*old) - health))
    return min(health, rise - 1)


def score(health: int, rise: int, fall: int) -> Score:
    """What is shown of a health: `2/3` of up (of `fall`) or of down (of `rise`)."""
    if is_up(health, rise):
        return Score(health - rise + 1, fall)
    return Score(health, rise)


def is_steady(health: int, rise: int, fall: int) -> bool:
    """Whether no change is under way: fully up, or down without one success."""
    return health in (0, best(rise, fall))
