"""When a health check starts and how long it may take. Times are milliseconds.

A check starts one interval after the END of the one before it, so a silent server is
asked every interval plus connect limit."""

from __future__ import annotations

from collections.abc import Sequence

from lbsplice.config.model import Check, Timeouts
from lbsplice.health import judge

SPREAD_FROM_MS = 1000
"""Only servers with an interval of at least this stretch the spread of the first checks;
quicker ones keep to their own interval."""


def interval_ms(check: Check, health: int) -> int:
    """The pause after a check that left the server with this health: `inter` when fully
    up, `downinter` when fully down, `fastinter` while a change is under way (also before
    the first result)."""
    if health == judge.best(check.rise, check.fall):
        return check.inter
    if health == 0:
        return check.inter if check.downinter is None else check.downinter
    return check.inter if check.fastinter is None else check.fastinter


def first_delays_ms(checks: Sequence[Check]) -> tuple[float, ...]:
    """How long after the start each server is first asked: in order, spread over the
    shortest interval, or over its own where that is longer."""
    intervals = [interval_ms(check, check.rise) for check in checks]
    shortest = min((each for each in intervals if each >= SPREAD_FROM_MS), default=0)
    return tuple(
        max(own, shortest) * position / len(intervals) for position, own in enumerate(intervals)
    )


def jittered_ms(interval: float, spread_percent: int, draw: float) -> float:
    """An interval moved by up to `spread-checks` percent either way; `draw` is in 0..1."""
    return interval * (1 + spread_percent / 100 * (2 * draw - 1))


def connect_limit_ms(check: Check, timeouts: Timeouts) -> int:
    """How long a check's connect may take: `inter`, and with `timeout check` set not
    longer than `timeout connect` either. fastinter and downinter do not shorten it."""
    if timeouts.check is None or timeouts.connect is None:
        return check.inter
    return min(timeouts.connect, check.inter)
