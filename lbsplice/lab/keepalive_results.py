"""What `lab keepalive` showed, as rows for people and as one object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from lbsplice.lab.keepalive_scene import (
    KeepaliveCase,
    KeepaliveSettings,
    expected,
    keepalive_lines,
    timeout_of,
    title,
)
from lbsplice.lab.keepalive_verdict import KeepaliveObserved, seconds
from lbsplice.lab.results import END_WORDS
from lbsplice.lab.scene import Happening
from lbsplice.lab.summary import NOT_HELD, Summary, claims_told, rounded_ms, timeline_told
from lbsplice.lab.topology import BALANCER, CLIENT, PORT, SERVICE_ADDRESS, VICTIM
from lbsplice.lab.verdict import Claim

_COLUMNS = (
    "case",
    "keepalive",
    "dies",
    "probes",
    "answered",
    "ended, computed",
    "measured",
    "client",
    "expected",
)


@dataclass(frozen=True)
class KeepaliveResult:
    """What one case showed, judged."""

    case: KeepaliveCase
    observed: KeepaliveObserved
    claims: tuple[Claim, ...]
    timeline: tuple[Happening, ...]

    @property
    def held(self) -> bool:
        """Whether all happened that should."""
        return all(claim.held for claim in self.claims)


def opening_lines(settings: KeepaliveSettings, proxy_version: str) -> list[str]:
    """Who plays, and with which settings."""
    return [
        f"{proxy_version}; times are seconds after the last byte of a session",
        f"client    {CLIENT.address}",
        f"balancer  {SERVICE_ADDRESS}:{PORT}, also {BALANCER.address}",
        f"server    {VICTIM.name} {VICTIM.address}:{PORT}, not checked",
        f"keepalive idle {settings.idle_s} s, interval {settings.interval_s} s, "
        f"count {settings.count}: an idle peer is given up after "
        f"{settings.idle_s} + {settings.count} x {settings.interval_s} "
        f"= {settings.dead_after_s:g} s",
    ]


def case_title(case: KeepaliveCase, settings: KeepaliveSettings) -> str:
    """The case in a line, with its `timeout client`."""
    return f"{title(case)} ({timeout_of(case, settings)})"


def summary(settings: KeepaliveSettings, results: Sequence[KeepaliveResult]) -> Summary:
    """The end of the scene, for people."""
    held = all(result.held for result in results)
    rows = tuple(_row(settings, result) for result in results)
    return Summary(_COLUMNS, rows, _moral(settings, results) if held else NOT_HELD, held)


def as_object(
    settings: KeepaliveSettings, proxy_version: str, results: Sequence[KeepaliveResult]
) -> dict[str, object]:
    """Everything, for `--json`. Names ending in `_ms` are milliseconds after the last byte, null
    for what did not, or should not, happen."""
    return {
        "command": "lab keepalive",
        "proxy": settings.proxy.value,
        "version": proxy_version,
        "idle_s": settings.idle_s,
        "interval_s": settings.interval_s,
        "count": settings.count,
        "timeout_client_s": settings.timeout_s,
        "held": all(result.held for result in results),
        "cases": [_case_object(settings, result) for result in results],
    }


def _row(settings: KeepaliveSettings, result: KeepaliveResult) -> tuple[str, ...]:
    case, seen = result.case, result.observed
    return (
        case.value,
        case.probed.option if case.probed else "-",
        case.dies.value if case.dies else "-",
        str(len(seen.probes_s)),
        str(seen.answers),
        seconds(expected(case, settings).ended_s),
        seconds(seen.ended_s),
        END_WORDS[seen.told],
        "yes" if result.held else "NO",
    )


def _moral(settings: KeepaliveSettings, results: Sequence[KeepaliveResult]) -> str:
    """What to remember of it, a sentence a line."""
    ended = {result.case: seconds(result.observed.ended_s) for result in results}
    sentences = {
        KeepaliveCase.PROBED: "Probes that are answered keep no session alive: timeout client "
        f"ended it all the same, after {ended.get(KeepaliveCase.PROBED)}.",
        KeepaliveCase.OTHER_LEG: "Probes on the client's leg say nothing of the server: "
        "its client waits, and nobody tells it anything.",
        KeepaliveCase.DEAD_SERVER: "Probes on the server's leg find a server that is gone, after "
        f"{ended.get(KeepaliveCase.DEAD_SERVER)} (computed: {settings.dead_after_s:g} s).",
        KeepaliveCase.DEAD_CLIENT: "Probes on the client's leg find a client that is gone, after "
        f"{ended.get(KeepaliveCase.DEAD_CLIENT)} (computed: {settings.dead_after_s:g} s).",
    }
    return "\n".join(sentences[result.case] for result in results if result.case in sentences)


def _case_object(settings: KeepaliveSettings, result: KeepaliveResult) -> dict[str, object]:
    case, seen = result.case, result.observed
    wanted = expected(case, settings)
    return {
        "case": case.value,
        "title": title(case),
        "held": result.held,
        "configuration": [
            f"timeout client {timeout_of(case, settings)}",
            *keepalive_lines(case, settings),
        ],
        "dies": case.dies.value if case.dies else None,
        "ended_computed_ms": rounded_ms(wanted.ended_s),
        "ended_measured_ms": rounded_ms(seen.ended_s),
        "client": seen.told.value,
        "session_state": seen.state,
        "probes": [
            {"computed_ms": rounded_ms(computed), "measured_ms": rounded_ms(measured)}
            for computed, measured in zip_longest(wanted.probes_s, seen.probes_s)
        ],
        "probes_answered": seen.answers,
        "claims": claims_told(result.claims),
        "timeline": timeline_told(result.timeline),
    }
