"""What `lab crash` showed, as rows for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from lbsplice.lab.crash_scene import CrashSettings
from lbsplice.lab.crash_verdict import CrashObserved, KillSeen, SessionFate, Verdict
from lbsplice.lab.results import END_WORDS
from lbsplice.lab.scene import Happening
from lbsplice.lab.verdict import Claim

Reduce = Callable[[Sequence[float]], float]

KILL_COLUMNS = ("kill", "when", "signal", "worker", "adoption", "transfer's pause", "line's answer")


@dataclass(frozen=True)
class CrashResult:
    """One run of the scene, judged."""

    observed: CrashObserved
    claims: tuple[Claim, ...]

    @property
    def held(self) -> bool:
        """Whether all happened that should."""
        return all(claim.held for claim in self.claims)


def span(milliseconds: float | None) -> str:
    """A span for people: `4.2 ms`, or `-` when there is none."""
    return "-" if milliseconds is None else f"{milliseconds:.1f} ms"


def size_text(count: float) -> str:
    """A number of bytes for people: `512 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def kill_row(number: int, kill: KillSeen) -> tuple[str, ...]:
    """One kill in the columns of KILL_COLUMNS."""
    return (
        str(number),
        f"+{kill.at_s:.3f} s",
        kill.signal,
        str(kill.pid),
        span(kill.adopted_ms),
        span(kill.pause_ms),
        span(kill.answer_ms),
    )


def kill_rows(seen: CrashObserved) -> list[tuple[str, ...]]:
    """The table of kills: before the first one, each of them, and what they come to."""
    rows: list[tuple[str, ...]] = [
        ("-", "before", "-", "-", "-", span(seen.calm_ms), span(seen.calm_answer_ms))
    ]
    rows += [kill_row(number, kill) for number, kill in enumerate(seen.kills, 1)]
    if len(seen.kills) > 1:
        columns = [
            [kill.adopted_ms for kill in seen.kills],
            [kill.pause_ms for kill in seen.kills],
            [kill.answer_ms for kill in seen.kills],
        ]
        for name, reduce in (("median", median), ("worst", max)):
            told = (span(_reduced(column, reduce)) for column in columns)
            rows.append((name, "", "", "", *told))
    return rows


def crash_moral(settings: CrashSettings, result: CrashResult) -> str:
    """What to remember of it, a sentence a line."""
    seen = result.observed
    kills = "1 kill" if len(seen.kills) == 1 else f"{len(seen.kills)} kills"
    arrived, size = size_text(seen.received), size_text(settings.size)
    fates = {
        Verdict.WHOLE: f"{kills}, {arrived} each way, checksums equal: nothing lost.",
        Verdict.LOST: f"Lost: {kills}, and the transfer ended after {arrived} of {size}"
        f"{_told(seen)}.",
        Verdict.DAMAGED: f"Damaged: {kills}, and the checksums differ.",
        Verdict.HANGS: f"Hanging: {kills}, and no byte more after {arrived} of {size}.",
    }
    sentences = [fates[seen.verdict]]
    if seen.verdict is Verdict.LOST and not seen.running:
        sentences.append("The service has ended, too: nobody listens any more.")
    if not result.held:
        sentences.append("Not all happened that should: see the lines marked NO above.")
    return "\n".join(sentences)


def crash_object(
    settings: CrashSettings,
    proxy_version: str,
    result: CrashResult,
    timeline: Sequence[Happening],
) -> dict[str, object]:
    """Everything, for `--json`. Spans ending in `_ms` are milliseconds, null when there was
    none; times in the timeline are null for what came before the transfer."""
    seen = result.observed
    return {
        "command": "lab crash",
        "proxy": settings.proxy.value,
        "version": proxy_version,
        "every_s": settings.every_s,
        "size": settings.size,
        "seconds": settings.seconds,
        "seed": settings.seed,
        "held": result.held,
        "verdict": seen.verdict.value,
        "transfer": {
            "received": seen.received,
            "took_s": round(seen.seconds, 3),
            "sent_sha256": seen.sent_sha256,
            "received_sha256": seen.received_sha256,
            "end": None if seen.end is None else seen.end.value,
            "longest_pause_before_ms": _rounded(seen.calm_ms),
        },
        "kills": [_kill_object(kill) for kill in seen.kills],
        "lines": {**_session_object(seen.lines), "slowest_before_ms": seen.calm_answer_ms},
        "idle": _session_object(seen.idle),
        "new_session": seen.new_session,
        "running": seen.running,
        "left_behind": seen.left_behind,
        "claims": [asdict(claim) for claim in result.claims],
        "timeline": [
            {
                "since_start_ms": _rounded(_in_ms(line.since_fault_s)),
                "who": line.who.value,
                "what": line.what,
            }
            for line in timeline
        ],
    }


def _told(seen: CrashObserved) -> str:
    return "" if seen.end is None else f" ({END_WORDS[seen.end]})"


def _reduced(column: Sequence[float | None], reduce: Reduce) -> float | None:
    known = [value for value in column if value is not None]
    return reduce(known) if known else None


def _kill_object(kill: KillSeen) -> dict[str, object]:
    return {
        "at_ms": _rounded(_in_ms(kill.at_s)),
        "pid": kill.pid,
        "signal": kill.signal,
        "adopted_ms": _rounded(kill.adopted_ms),
        "pause_ms": _rounded(kill.pause_ms),
        "answer_ms": _rounded(kill.answer_ms),
    }


def _session_object(session: SessionFate) -> dict[str, object]:
    return {"end": session.end.value, "answered": session.answered, "wrong": session.wrong}


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
