"""What should happen in `lab crash`, and whether it did.

lbsplice loses nothing: the transfer arrives whole, the other sessions answer. HAProxy holds its
sessions in the worker that is killed, so the first kill ends them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from lbsplice.lab.crash_scene import CrashSettings, Gap, Kill, longest_within
from lbsplice.lab.scene import Proxy
from lbsplice.lab.verdict import Claim, End


class Verdict(Enum):
    """What became of the transfer."""

    WHOLE = "whole"
    """Every byte came back and the checksums are equal."""
    LOST = "lost"
    """It was cut: its client was told so, or took the cut for an end."""
    DAMAGED = "damaged"
    """It came to its end with other bytes."""
    HANGS = "hangs"
    """Not a byte more and not an end."""


EXPECTED = {Proxy.LBSPLICE: Verdict.WHOLE, Proxy.HAPROXY: Verdict.LOST}


@dataclass(frozen=True)
class KillSeen:
    """One kill and what followed. Times in `_ms` are milliseconds; None: there was none."""

    at_s: float
    pid: int
    signal: str
    adopted_ms: float | None
    """What the log says of the successor, from the end of the one before to the relay at work."""
    pause_ms: float | None
    """The longest time without a byte of the transfer, up to the next kill."""
    answer_ms: float | None
    """The longest that a line waited for its answer, up to the next kill."""


@dataclass(frozen=True)
class SessionFate:
    """A session beside the transfer. `end` is End.GOES_ON when it answers at the very end."""

    end: End
    answered: int
    wrong: int


@dataclass(frozen=True)
class CrashObserved:
    """What was seen. `calm_ms` and `calm_answer_ms` are as in KillSeen, of the time before the
    first kill. `end` is how the transfer's client was told, None when it came to its end."""

    kills: tuple[KillSeen, ...]
    received: int
    verdict: Verdict
    seconds: float
    sent_sha256: str = ""
    received_sha256: str = ""
    end: End | None = None
    calm_ms: float | None = None
    calm_answer_ms: float | None = None
    lines: SessionFate = SessionFate(End.HANGS, 0, 0)
    idle: SessionFate = SessionFate(End.HANGS, 0, 0)
    new_session: bool = False
    """Whether a session that is opened at the end is served."""
    running: bool = False
    """Whether the process that was started still runs at the end."""
    left_behind: int = 0
    """Processes of the proxy that are there after its stop."""


def kills_seen(
    kills: Sequence[Kill],
    adopted: Mapping[int, float],
    pauses: Sequence[Gap],
    waits: Sequence[Gap],
) -> tuple[KillSeen, ...]:
    """Each kill with what followed, up to the next one. `adopted` is by pid."""
    ends = [*(kill.at_s for kill in kills[1:]), math.inf][: len(kills)]
    return tuple(
        KillSeen(
            kill.at_s,
            kill.pid,
            kill.signal.name,
            adopted.get(kill.pid),
            longest_within(pauses, kill.at_s, end),
            longest_within(waits, kill.at_s, end),
        )
        for kill, end in zip(kills, ends, strict=True)
    )


def verdict_on(received: int, size: int, digests: tuple[str, str], end: End | None) -> Verdict:
    """The verdict on a transfer. `digests` are those of what was sent and of what came back;
    `end` is as in CrashObserved, End.HANGS when it stands still."""
    if end is End.HANGS:
        return Verdict.HANGS
    if end is not None:
        return Verdict.LOST
    return Verdict.WHOLE if received == size and digests[0] == digests[1] else Verdict.DAMAGED


def judge_crash(settings: CrashSettings, seen: CrashObserved) -> tuple[Claim, ...]:
    """All claims, each with whether it held."""
    if settings.proxy is Proxy.HAPROXY:
        claims = _lost_with_the_worker(seen)
    else:
        claims = _survives(settings, seen)
    left = Claim(
        "the proxy leaves no process behind", not seen.left_behind, f"{seen.left_behind} left"
    )
    return (*claims, left)


def _survives(settings: CrashSettings, seen: CrashObserved) -> list[Claim]:
    count = len(seen.kills)
    adopted = sum(kill.adopted_ms is not None for kill in seen.kills)
    lines, idle = seen.lines, seen.idle
    return [
        Claim(
            f"all {settings.size} bytes go to the server and come back, with one checksum",
            seen.verdict is Verdict.WHOLE,
            f"{seen.received} bytes, {seen.verdict.value}",
        ),
        Claim(
            "every worker that was killed had a successor that adopted its sessions",
            count > 0 and adopted == count,
            f"{adopted} of {count}",
        ),
        Claim(
            "the session with lines has every answer, in order",
            lines.end is End.GOES_ON and lines.answered > 0 and not lines.wrong,
            f"{lines.answered} answered, {lines.wrong} wrong, {lines.end.value}",
        ),
        Claim(
            "the idle session is there when it is needed",
            idle.end is End.GOES_ON and not idle.wrong,
            idle.end.value,
        ),
        Claim("a new session is served", seen.new_session, _served(seen.new_session)),
        Claim("the service is the same process", seen.running, _runs(seen.running)),
    ]


def _lost_with_the_worker(seen: CrashObserved) -> list[Claim]:
    return [
        Claim(
            "the transfer is cut by the first kill",
            seen.verdict is Verdict.LOST and len(seen.kills) == 1,
            f"{seen.received} bytes, {seen.verdict.value}",
        ),
        Claim(
            "the session with lines is cut",
            seen.lines.end in (End.RESET, End.FIN, End.ERROR),
            seen.lines.end.value,
        ),
        Claim(
            "the idle session is cut",
            seen.idle.end in (End.RESET, End.FIN, End.ERROR),
            seen.idle.end.value,
        ),
    ]


def _served(served: bool) -> str:
    return "served" if served else "not served"


def _runs(running: bool) -> str:
    return "it runs" if running else "it has ended"
