"""The lines that tell of checks and of servers going up and down, in HAProxy's words.

The roster makes `Tell`s, as values; the orchestrator, who knows how many sessions a
server has, renders them and sends each to the logs of its backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from lbsplice.health.judge import CheckResult, Score
from lbsplice.plan.leaving import configured_name
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import CheckStatus, LogLevel

DESCRIPTIONS: Mapping[CheckStatus, str] = MappingProxyType(
    {
        CheckStatus.UNKNOWN: "Unknown",
        CheckStatus.INITIALIZING: "Initializing",
        CheckStatus.SOCKET_ERROR: "Socket error",
        CheckStatus.L4_OK: "Layer4 check passed",
        CheckStatus.L4_TIMEOUT: "Layer4 timeout",
        CheckStatus.L4_CONNECTION: "Layer4 connection problem",
        CheckStatus.L6_OK: "Layer6 check passed",
        CheckStatus.L6_TIMEOUT: "Layer6 timeout",
        CheckStatus.L6_RESPONSE: "Layer6 invalid response",
        CheckStatus.L7_OK: "Layer7 check passed",
        CheckStatus.L7_OK_CONDITIONALLY: "Layer7 check conditionally passed",
        CheckStatus.L7_TIMEOUT: "Layer7 timeout",
        CheckStatus.L7_RESPONSE: "Layer7 invalid response",
        CheckStatus.L7_STATUS: "Layer7 wrong status",
        CheckStatus.PROC_ERROR: "External check error",
        CheckStatus.PROC_TIMEOUT: "External check timeout",
        CheckStatus.PROC_OK: "External check passed",
    }
)
"""What `reason:` and `show stat`'s check_desc say for a check status."""


class Event(Enum):
    """What happened to a server, or to a backend as a whole (the last one)."""

    CHECK = auto()  # one result (`option log-health-checks`)
    DOWN = auto()
    UP = auto()
    MAINT = auto()
    MAINT_WHILE_DOWN = auto()
    MAINT_LEFT = auto()
    DRAIN = auto()
    DRAIN_LEFT = auto()
    STILL_DRAINING = auto()
    SET_UP = auto()  # by an operator, as are the next two
    SET_DOWN = auto()
    SET_STOPPING = auto()
    NO_SERVER = auto()


@dataclass(frozen=True, slots=True)
class Usable:
    """How many servers of a backend may receive sessions."""

    active: int = 0
    backups: int = 0

    @property
    def total(self) -> int:
        return self.active + self.backups


@dataclass(frozen=True, slots=True)
class Tell:
    """One thing to be logged. All fields say how things stand after the event."""

    event: Event
    key: ServerKey
    usable: Usable = Usable()
    up: bool = True
    draining: bool = False
    backup: bool = False  # a `backup` server
    listen: bool = False  # the backend is half of a `listen` section
    result: CheckResult | None = None  # the check that the line is about or gives as reason
    score: Score | None = None
    removed: bool = False  # a reload took it out of the configuration; sessions are left

    @property
    def proxy(self) -> str:
        """The backend whose log targets get the line."""
        return self.key[0]


def render(tell: Tell, *, sessions: int = 0) -> tuple[LogLevel, str]:
    """The severity and the text of a line. `sessions` is how many the server has now,
    before any of them is ended; the lines that tell of no server's end ignore it."""
    level, text = _LINES[tell.event]
    return level(tell), text(tell, sessions)


@dataclass(frozen=True, slots=True)
class Busy:
    """Sessions of a server, or of half a proxy: now, and since the start."""

    now: int = 0
    total: int = 0


def server_dump(key: ServerKey, up: bool, sessions: Busy) -> str:
    """How a server is, for SIGHUP."""
    return (
        f"SIGHUP: Server {key[0]}/{key[1]} is {'UP' if up else 'DOWN'}. "
        f"Conn: {sessions.now} act, 0 pend, {sessions.total} tot."
    )


def proxy_dump(proxy: str, usable: Usable | None, front: Busy, back: Busy) -> str:
    """How a proxy is, for SIGHUP. `usable` is None where there are no servers at all."""
    if usable is None:
        state = "has no servers."
    elif usable.active:
        state = f"has {usable.active} active servers and {usable.backups} backup servers available."
    elif usable.backups:
        state = "is running on backup servers !"
    else:
        state = "has no server available !"
    return (
        f"SIGHUP: Proxy {proxy} {state} Conn: act(FE+BE): {front.now}+{back.now}, "
        f"0 pend (0 unass), tot(FE+BE): {front.total}+{back.total}."
    )


def _server(tell: Tell) -> str:
    return f"{'Backup ' if tell.backup else ''}Server {_name(tell)}"


def _name(tell: Tell) -> str:
    backend, server = tell.key
    if tell.removed:
        return f"{backend}/{configured_name(server)} (no longer configured)"
    return f"{backend}/{server}"


def _reason(result: CheckResult) -> str:
    parts = [f", reason: {DESCRIPTIONS[result.status]}"]
    if result.text:
        parts.append(f', info: "{result.text}"')
    if result.duration_ms is not None:
        parts.append(f", check duration: {result.duration_ms}ms")
    return "".join(parts)


def _check(tell: Tell, _sessions: int) -> str:
    assert tell.result is not None
    verdict = "succeeded" if tell.result.passed else "failed"
    return (
        f"Health check for {'backup ' if tell.backup else ''}server {_name(tell)} {verdict}"
        f"{_reason(tell.result)}, status: {tell.score} {'UP' if tell.up else 'DOWN'}."
    )


def _what_is_left(tell: Tell, sessions: int) -> str:
    usable = tell.usable
    on_backup = " Running on backup." if usable.backups and not usable.active else ""
    counts = f"{usable.active} active and {usable.backups} backup servers"
    if tell.up:
        return f". {counts} online.{on_backup} 0 sessions requeued, 0 total in queue."
    return (
        f". {counts} left.{on_backup} {sessions} sessions active, 0 requeued, 0 remaining in queue."
    )


def _with_counts(what: str) -> Callable[[Tell, int], str]:
    def text(tell: Tell, sessions: int) -> str:
        reason = "" if tell.result is None else _reason(tell.result)
        return f"{_server(tell)} {what}{reason}{_what_is_left(tell, sessions)}"

    return text


def _plain(what: str) -> Callable[[Tell, int], str]:
    return lambda tell, _sessions: f"{_server(tell)} {what}."


def _maint_left(tell: Tell, _sessions: int) -> str:
    now = "DRAIN" if tell.draining else "READY"
    return f"{_server(tell)} is {_word(tell)}/{now} (leaving forced maintenance)."


def _drain_left(tell: Tell, _sessions: int) -> str:
    return f"{_server(tell)} is {_word(tell)} (leaving forced drain)."


def _word(tell: Tell) -> str:
    return "UP" if tell.up else "DOWN"


def _no_server(tell: Tell, _sessions: int) -> str:
    return f"{'proxy' if tell.listen else 'backend'} {tell.proxy} has no server available!"


def _notice(_tell: Tell) -> LogLevel:
    return LogLevel.NOTICE


def _emerg(_tell: Tell) -> LogLevel:
    return LogLevel.EMERG


def _alert_unless_drained(tell: Tell) -> LogLevel:
    return LogLevel.NOTICE if tell.draining else LogLevel.ALERT


_Line = tuple[Callable[[Tell], LogLevel], Callable[[Tell, int], str]]

_LINES: Mapping[Event, _Line] = MappingProxyType(
    {
        Event.CHECK: (_notice, _check),
        Event.DOWN: (_alert_unless_drained, _with_counts("is DOWN")),
        Event.UP: (_notice, _with_counts("is UP")),
        Event.MAINT: (_alert_unless_drained, _with_counts("is going DOWN for maintenance")),
        Event.MAINT_WHILE_DOWN: (_notice, _plain("was DOWN and now enters maintenance")),
        Event.MAINT_LEFT: (_notice, _maint_left),
        Event.DRAIN: (_notice, _with_counts("enters drain state")),
        Event.DRAIN_LEFT: (_notice, _drain_left),
        Event.STILL_DRAINING: (_notice, _plain("remains in forced drain mode")),
        Event.SET_UP: (_notice, _with_counts("is UP, changed from CLI")),
        Event.SET_DOWN: (_alert_unless_drained, _with_counts("is DOWN, changed from CLI")),
        Event.SET_STOPPING: (_notice, _with_counts("is stopping, changed from CLI")),
        Event.NO_SERVER: (_emerg, _no_server),
    }
)
