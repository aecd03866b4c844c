"""What the lab reads from the proxy's log: a server's status, and how a session ended.

lbsplice writes HAProxy's lines, so one reader serves both."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CHECK = re.compile(
    r"Health check for server [^/\s]+/(?P<server>\S+) (?:conditionally )?(?:succeeded|failed), "
    r"reason: (?P<detail>.*), status: (?P<health>\d+)/(?P<limit>\d+) (?P<state>UP|DOWN)\.?$"
)
_CHANGE = re.compile(
    r"Server [^/\s]+/(?P<server>\S+) is (?P<state>UP|DOWN)(?:[.,] *(?P<detail>.*))?$"
)
_SESSION = re.compile(
    r"(?P<address>\S+):(?P<port>\d+) \[[^]]*\] \S+ [^/\s]+/(?P<server>\S+) "
    r"(?P<times>\S+) (?P<bytes>\S+) (?P<state>\S\S) "
)
_ADOPTION = re.compile(
    r"[Ww]orker (?P<worker>\d+) .*; its successor took over (?P<sessions>\d+) sessions? "
    r"within (?P<took>\d+) ms"
)


@dataclass(frozen=True)
class StatusLine:
    """A server's status at one moment, in `show stat`'s words (`UP`, `UP 1/2`, `DOWN`)."""

    server: str
    status: str
    detail: str
    settled: bool
    """False for a failed check that is about to mark the server down: the proxy says so itself in
    its next line."""


@dataclass(frozen=True)
class SessionLine:
    """The line that a session leaves behind (`option tcplog`)."""

    client: tuple[str, int]
    server: str
    state: str
    """HAProxy's two letters: cause and phase."""


@dataclass(frozen=True)
class Adoption:
    """A worker died and its successor is at work."""

    worker: int
    """The pid of the one that died."""
    sessions: int
    took_ms: float


def read_status(line: str) -> StatusLine | None:
    """The status that a log line tells, or None when it tells none."""
    if found := _CHECK.search(line):
        health, limit, state = int(found["health"]), int(found["limit"]), found["state"]
        partial = health < limit if state == "UP" else health > 0
        return StatusLine(
            server=found["server"],
            status=f"{state} {health}/{limit}" if partial else state,
            detail=found["detail"],
            settled=state == "UP" or partial,
        )
    if found := _CHANGE.search(line):
        return StatusLine(found["server"], found["state"], found["detail"] or "", settled=True)
    return None


def read_session(line: str) -> SessionLine | None:
    """The end of a session that a log line tells, or None when it tells none."""
    found = _SESSION.match(line)
    if not found:
        return None
    return SessionLine((found["address"], int(found["port"])), found["server"], found["state"])


def read_adoption(line: str) -> Adoption | None:
    """A successor's first words, or None when the line is something else."""
    found = _ADOPTION.search(line)
    if not found:
        return None
    return Adoption(int(found["worker"]), int(found["sessions"]), float(found["took"]))
