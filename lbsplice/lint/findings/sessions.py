"""Sessions that outlive their server: L1, L9, L10, L16."""

from __future__ import annotations

from collections.abc import Iterator

from lbsplice.lint.detect import Detection, Estimate, Session, Side
from lbsplice.lint.facts import checking
from lbsplice.lint.finding import Finding, Severity, Subject
from lbsplice.lint.model import Proxy, Server
from lbsplice.lint.wording import listed, spoken

LONG_MS = 60_000
PILING_UP_MS = 3_600_000


def hanging_sessions(subject: Subject) -> Iterator[Finding]:
    """L1: checks see the death, the sessions do not."""
    for backend in subject.model.backends():
        slow = [d for d in subject.of_backend(backend) if _hangs(subject, d)]
        if not slow:
            continue
        servers = _servers(slow)
        new = slow[0].of(Side.SERVER, Session.NEW)
        late = max((_old(d) for d in slow), key=_lateness)
        upgraded = "" if backend.is_tcp else " upgraded (WebSocket)"
        yield Finding(
            "L1",
            Severity.WARNING if backend.is_tcp else Severity.NOTE,
            servers[0].place,
            f"{_named(servers)} of {backend.title}: a silent death is seen by the checks within "
            f"{spoken(new.worst_ms)}, but{upgraded} sessions that are already there "
            + (
                "hang for ever"
                if late.never
                else f"hang for up to {spoken(late.worst_ms)} ({late.setting})"
            ),
            "add 'on-marked-down shutdown-sessions' to the server lines, or once as "
            "'default-server on-marked-down shutdown-sessions'",
        )


def _hangs(subject: Subject, found: Detection) -> bool:
    path = found.path
    if path.server.shuts_sessions or checking(subject.model, path.backend, path.server) is None:
        return False
    if not path.backend.is_tcp and "tunnel" not in path.backend.timeouts:
        return False
    new, old = found.of(Side.SERVER, Session.NEW), _old(found)
    return _lateness(old) > max(LONG_MS, new.worst_ms or 0)


def _old(found: Detection) -> Estimate:
    """The later of the two kinds of old sessions."""
    kinds = (Session.IDLE, Session.UNACKED)
    return max((found.of(Side.SERVER, kind) for kind in kinds), key=_lateness)


def _lateness(estimate: Estimate) -> float:
    return float("inf") if estimate.worst_ms is None else estimate.worst_ms


def _servers(found: list[Detection]) -> list[Server]:
    return list({d.path.server.place: d.path.server for d in found}.values())


def _named(servers: list[Server]) -> str:
    word = "server" if len(servers) == 1 else "servers"
    return f"{word} {listed([server.name for server in servers])}"


def unlogged_kills(subject: Subject) -> Iterator[Finding]:
    """L9: `logasap` writes the line before the end is known."""
    for frontend in subject.model.frontends():
        option = frontend.option("logasap")
        paths = [d.path for d in subject.detections if d.path.frontend is frontend]
        killed = [path.server for path in paths if path.server.shuts_sessions]
        if option and killed and frontend.is_tcp:
            yield Finding(
                "L9",
                Severity.WARNING,
                option.place,
                f"{frontend.title}: with 'option logasap' a session is logged when it is "
                f"connected and never again, so the sessions that a mark-down of "
                f"{listed([server.name for server in killed])} ends leave no trace",
                "remove 'option logasap', or log the states of servers elsewhere",
            )


def old_processes(subject: Subject) -> Iterator[Finding]:
    """L10: after a reload old processes live as long as their sessions, without checks."""
    limit = subject.model.globals.times.get("hard-stop-after")
    if limit and limit.value:
        return
    told = set()
    for detection in subject.detections:
        path = detection.path
        tunnel = path.backend.timeouts.get("tunnel")
        longest = tunnel or path.frontend.timeouts.get("client")
        if longest is None or longest.value < PILING_UP_MS or longest.place in told:
            continue
        told.add(longest.place)
        yield Finding(
            "L10",
            Severity.WARNING if path.backend.is_tcp else Severity.NOTE,
            longest.place,
            f"'{longest.words}' without 'hard-stop-after': after a reload the old process "
            f"stays until its last session ends, which may be idle for {spoken(longest.value)} "
            "at a time; it does no health checks, so a server's death no longer ends anything "
            "there",
            "add 'hard-stop-after' to the global section, with the longest time that an old "
            "process may live",
        )


def unnoticed_deaths(subject: Subject) -> Iterator[Finding]:
    """L16: a death that nothing ever notices."""
    for backend in subject.model.backends():
        found = subject.of_backend(backend)
        if not backend.is_tcp:
            continue
        for side, who in ((Side.SERVER, "server"), (Side.CLIENT, "client")):
            lost = [d for d in found if d.of(side, Session.IDLE).never]
            if lost:
                yield _never(backend, _servers(lost), lost[0].of(side, Session.IDLE), who)
        unchecked = [d for d in found if d.of(Side.SERVER, Session.NEW).never]
        if unchecked and len(backend.servers) > 1:
            yield _unchecked(backend, _servers(unchecked), unchecked[0])


def _never(backend: Proxy, servers: list[Server], estimate: Estimate, who: str) -> Finding:
    return Finding(
        "L16",
        Severity.WARNING,
        servers[0].place,
        f"{_named(servers)} of {backend.title}: when the {who} dies silently, an idle session "
        f"stays for ever: no timeout, no keepalive and no check would end it",
        f"set {estimate.setting}",
    )


def _unchecked(backend: Proxy, servers: list[Server], found: Detection) -> Finding:
    cost = found.attempts * found.connect_ms
    return Finding(
        "L16",
        Severity.NOTE,
        servers[0].place,
        f"{_named(servers)} of {backend.title}: without checks a silent death never "
        f"keeps new sessions away; each one sent there waits {spoken(found.connect_ms)} an "
        f"attempt, {spoken(cost)} in all for {found.attempts} attempts",
        "add 'check' to the server lines",
    )
