"""What `lab failover` showed, as rows for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lbsplice.lab.scene import Case, Happening, Settings, Tone
from lbsplice.lab.verdict import (
    CLOCK_SLACK_S,
    Claim,
    End,
    Expectation,
    Observed,
    When,
    expectation,
)


@dataclass(frozen=True)
class Leg:
    """One socket of the session in the balancer, with its timer as `netstat -o` shows it."""

    side: str
    local: str
    peer: str
    timer: str


@dataclass(frozen=True)
class CaseResult:
    """What one case showed. `legs_before` are the session's two sockets before the fault,
    `legs_after` at the end of the watch (none when the session has ended)."""

    case: Case
    observed: Observed
    claims: tuple[Claim, ...]
    legs_before: tuple[Leg, ...]
    legs_after: tuple[Leg, ...]

    @property
    def held(self) -> bool:
        """Whether all happened that should."""
        return all(claim.held for claim in self.claims)


SUMMARY_COLUMNS = (
    "case",
    "server's status",
    "its session",
    "after fault",
    "after DOWN",
    "other",
    "expected",
)

CASE_WORDS = {
    Case.WITHOUT_ACTION: "no action",
    Case.WITH_ACTION: "action",
    Case.BACK_IN_TIME: "back in time",
}

END_WORDS = {
    End.HANGS: "hangs",
    End.RESET: "reset",
    End.FIN: "clean FIN",
    End.ERROR: "error",
    End.GOES_ON: "goes on",
}

END_TONES = {
    End.HANGS: Tone.BAD,
    End.RESET: Tone.GOOD,
    End.FIN: Tone.FAULT,
    End.ERROR: Tone.BAD,
    End.GOES_ON: Tone.GOOD,
}


def milliseconds(seconds: float | None) -> str:
    """A span for people: `761 ms`, or `-` when there is none."""
    if seconds is None:
        return "-"
    return "under 1 ms" if seconds < 0.001 else f"{seconds * 1000:.0f} ms"


def summary_row(result: CaseResult) -> tuple[str, ...]:
    """One case in the columns of SUMMARY_COLUMNS."""
    seen = result.observed
    return (
        CASE_WORDS[result.case],
        ", ".join(seen.statuses),
        END_WORDS[seen.end],
        milliseconds(seen.ended_s),
        milliseconds(_after_down(seen)),
        "lives" if seen.bystander_lives else "broken",
        "yes" if result.held else "NO",
    )


def moral(settings: Settings, results: Sequence[CaseResult]) -> str:
    """What to remember of it, a sentence a line."""
    if not all(result.held for result in results):
        return "Not all happened that should: see the lines marked NO above."
    sentences = []
    for result in results:
        expected = expectation(settings.proxy, settings.fault, result.case)
        sentences.append(_sentence(result, expected))
    return "\n".join(dict.fromkeys(sentences))


def as_object(
    settings: Settings,
    proxy_version: str,
    results: Sequence[CaseResult],
    timelines: Sequence[Sequence[Happening]],
) -> dict[str, object]:
    """Everything, for `--json`. Spans ending in `_ms` are milliseconds; those since the fault are
    null for what came before it or did not happen."""
    return {
        "command": "lab failover",
        "proxy": settings.proxy.value,
        "version": proxy_version,
        "how": settings.fault.value,
        "fall": settings.fall,
        "inter_ms": settings.inter_ms,
        "watch_s": settings.watch_s,
        "held": all(result.held for result in results),
        "cases": [
            _case_object(result, timeline)
            for result, timeline in zip(results, timelines, strict=True)
        ],
    }


def _sentence(result: CaseResult, expected: Expectation) -> str:
    seen = result.observed
    if expected.end is End.HANGS:
        return "Without the action the client of a dead server waits, and nobody tells it anything."
    if expected.end is End.GOES_ON:
        return "A session that nobody ended goes on when its server is back in time."
    told = "reset" if expected.end is End.RESET else "ended with a plain FIN"
    if expected.after is When.DOWN:
        return (
            f"With the action it is {told}, {milliseconds(_after_down(seen))} after it went DOWN."
        )
    if expected.after is When.QUESTION:
        return f"Without the action it is {told}, but only when its client speaks."
    return f"Here the session is {told} at once, action or not: the server's kernel says so."


def _after_down(seen: Observed) -> float | None:
    """Seconds from the mark-down to the session's end; None when one is missing or the end came
    first, by more than the two clocks' readers can differ."""
    if seen.ended_s is None or seen.down_s is None:
        return None
    delay = seen.ended_s - seen.down_s
    return None if delay < -CLOCK_SLACK_S else max(0.0, delay)


def _case_object(result: CaseResult, timeline: Sequence[Happening]) -> dict[str, object]:
    seen = result.observed
    return {
        "case": result.case.value,
        "action": result.case.action,
        "held": result.held,
        "statuses": list(seen.statuses),
        "end": seen.end.value,
        "end_after_fault_ms": _ms(seen.ended_s),
        "down_after_fault_ms": _ms(seen.down_s),
        "asked_after_fault_ms": _ms(seen.asked_s),
        "session_state": seen.session_state,
        "lines_answered": seen.lines_answered,
        "other_session": {
            "lives": seen.bystander_lives,
            "lines_answered": seen.bystander_answered,
        },
        "legs_before": [asdict(leg) for leg in result.legs_before],
        "legs_after": [asdict(leg) for leg in result.legs_after],
        "claims": [asdict(claim) for claim in result.claims],
        "timeline": [
            {
                "since_fault_ms": _ms(line.since_fault_s),
                "who": line.who.value,
                "what": line.what,
            }
            for line in timeline
        ],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
