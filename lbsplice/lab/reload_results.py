"""What `lab reload` showed, as rows for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbsplice.lab.reload_scene import (
    ReloadCase,
    ReloadObserved,
    ReloadSettings,
    pids_text,
    title,
)
from lbsplice.lab.results import END_WORDS, milliseconds
from lbsplice.lab.scene import Happening, Proxy
from lbsplice.lab.summary import NOT_HELD, Summary, claims_told, rounded_ms, timeline_told
from lbsplice.lab.topology import BALANCER, CLIENT, PORT, SERVERS, SERVICE_ADDRESS
from lbsplice.lab.verdict import Claim, End

_COLUMNS = ("case", "processes", "server's status", "its session", "after DOWN", "expected")


@dataclass(frozen=True)
class ReloadResult:
    """What one case showed, judged."""

    case: ReloadCase
    observed: ReloadObserved
    claims: tuple[Claim, ...]
    timeline: tuple[Happening, ...]

    @property
    def held(self) -> bool:
        """Whether all happened that should."""
        return all(claim.held for claim in self.claims)


def opening_lines(settings: ReloadSettings, proxy_version: str) -> list[str]:
    """Who plays, and how servers are checked."""
    servers = "  ".join(f"{server.name} {server.address}:{PORT}" for server in SERVERS)
    return [
        f"{proxy_version}; on-marked-down shutdown-sessions is set",
        f"client    {CLIENT.address}",
        f"balancer  {SERVICE_ADDRESS}:{PORT}, also {BALANCER.address}",
        f"servers   {servers}",
        f"checks    inter {settings.inter_ms} ms, fall {settings.fall}",
    ]


def summary(settings: ReloadSettings, results: Sequence[ReloadResult]) -> Summary:
    """The end of the scene, for people."""
    held = all(result.held for result in results)
    rows = tuple(_row(result) for result in results)
    return Summary(_COLUMNS, rows, _moral(settings, results) if held else NOT_HELD, held)


def as_object(
    settings: ReloadSettings, proxy_version: str, results: Sequence[ReloadResult]
) -> dict[str, object]:
    """Everything, for `--json`. Names ending in `_ms` are milliseconds after the server's death,
    null for what did not happen."""
    return {
        "command": "lab reload",
        "proxy": settings.proxy.value,
        "version": proxy_version,
        "fall": settings.fall,
        "inter_ms": settings.inter_ms,
        "watch_s": settings.watch_s,
        "held": all(result.held for result in results),
        "cases": [_case_object(result) for result in results],
    }


def _after_down_s(result: ReloadResult) -> float | None:
    session = result.observed.session
    if session.ended_s is None or session.down_s is None:
        return None
    return max(0.0, session.ended_s - session.down_s)  # two readers: the end may come first


def _row(result: ReloadResult) -> tuple[str, ...]:
    seen = result.observed
    return (
        result.case.value,
        pids_text(seen.workers_after),
        ", ".join(seen.session.statuses),
        END_WORDS[seen.session.end],
        milliseconds(_after_down_s(result)),
        "yes" if result.held else "NO",
    )


def _moral(settings: ReloadSettings, results: Sequence[ReloadResult]) -> str:
    """What to remember of it, a sentence a line."""
    sentences = []
    for result in results:
        told = "reset" if result.observed.session.end is End.RESET else "ended with a plain FIN"
        if result.case is ReloadCase.BEFORE:
            sentences.append(f"Without a reload the session is {told} when its server goes DOWN.")
        elif settings.proxy is Proxy.HAPROXY:
            sentences.append(
                "After a reload the session is in the old process, which checks no more: "
                "the hang is back."
            )
        else:
            sentences.append(
                f"After a reload the same process has it, and checks: it is {told} as before."
            )
    return "\n".join(sentences)


def _case_object(result: ReloadResult) -> dict[str, object]:
    seen, session = result.observed, result.observed.session
    return {
        "case": result.case.value,
        "title": title(result.case),
        "held": result.held,
        "workers_before": list(seen.workers_before),
        "workers_after": list(seen.workers_after),
        "statuses": list(session.statuses),
        "end": session.end.value,
        "end_after_fault_ms": rounded_ms(session.ended_s),
        "down_after_fault_ms": rounded_ms(session.down_s),
        "session_state": session.session_state,
        "lines_answered": session.lines_answered,
        "other_session": {
            "lives": session.bystander_lives,
            "lines_answered": session.bystander_answered,
        },
        "claims": claims_told(result.claims),
        "timeline": timeline_told(result.timeline),
    }
