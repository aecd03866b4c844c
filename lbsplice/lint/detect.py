"""When a silent death is noticed: the best and the worst moment, and what decides it.

The server's host (or the client's) vanishes: nothing comes from it any more, not even a
reset. Times start at that moment. "Noticed" means that the other side is told: the client
by the end of its session when the server died, the server when the client died.

Idle timeouts count from the last byte, which is taken to have passed at the death. Checks
and keepalive probes run in cycles: at best the death falls just before the next of them, at
worst just after one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from lbsplice.config.model import Place
from lbsplice.lint.facts import Checking, Host, Leg, checking, client_leg, server_leg
from lbsplice.lint.model import Model, Path, Said
from lbsplice.sysctl import tcp
from lbsplice.sysctl.tcp import Span


class Side(Enum):
    """Who dies."""

    SERVER = "server"
    CLIENT = "client"


class Session(Enum):
    """Which sessions notice."""

    NEW = "new"  # none of theirs is sent to the dead server any more
    IDLE = "idle"
    UNACKED = "unacked"  # something was sent to the dead side and not acknowledged


@dataclass(frozen=True, slots=True)
class Way:
    """One thing that would end a session, and the setting it comes from (`place` is None
    for a sysctl)."""

    span: Span
    setting: str
    place: Place | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """When one kind of session notices one kind of death. None is never; `setting` then is
    the one that would have to be there."""

    side: Side
    session: Session
    best_ms: int | None
    worst_ms: int | None
    setting: str
    place: Place | None = None

    @property
    def never(self) -> bool:
        return self.worst_ms is None


@dataclass(frozen=True, slots=True)
class Detection:
    """All estimates of one path. `refused` is when new sessions stop going to a server
    whose host is alive and answers with resets; `connect_ms` is how long a new session to
    the dead server waits for one attempt, of `attempts`."""

    path: Path
    estimates: tuple[Estimate, ...]
    refused: Span | None
    connect_ms: int
    attempts: int

    def of(self, side: Side, session: Session) -> Estimate:
        return next(e for e in self.estimates if (e.side, e.session) == (side, session))


def detect(model: Model, path: Path, host: Host) -> Detection:
    """The estimates for one path on one machine."""
    checks = checking(model, path.backend, path.server)
    connect = path.backend.timeouts.get("connect")
    connect_ms = min(connect.value, host.connect_ms) if connect else host.connect_ms
    retries = path.backend.numbers.get("retries")
    attempts = 1 + (retries.value if retries else 3)
    client, server = client_leg(path, host), server_leg(path, host)
    checked = list(_by_checks(path, checks))
    after_server = list(_by_timeouts(path, Side.SERVER, server, host))
    after_client = list(_by_timeouts(path, Side.CLIENT, client, host))
    ways = {
        (Side.SERVER, Session.IDLE): [
            *checked,
            *_by_keepalive(server, after_server),
            *after_server,
        ],
        (Side.SERVER, Session.UNACKED): [*checked, *_by_kernel(server, host), *after_server],
        (Side.CLIENT, Session.IDLE): [*_by_keepalive(client, after_client), *after_client],
        (Side.CLIENT, Session.UNACKED): [*_by_kernel(client, host), *after_client],
    }
    return Detection(
        path,
        (
            _new(path, checks, connect_ms),
            *(_estimate(side, session, found) for (side, session), found in ways.items()),
        ),
        refused=refused_span(checks) if checks else None,
        connect_ms=connect_ms,
        attempts=attempts,
    )


def silent_span(checks: Checking) -> Span:
    """When checks mark a server down that has gone silent."""
    more = (checks.fall - 1) * (checks.fastinter + checks.connect_limit)
    slow = 1 + checks.spread / 100
    first_best = first_worst = checks.connect_limit
    first_worst += round(checks.inter * slow)
    if checks.answer_limit is not None:  # the death may fall into the wait for an answer
        first_best = min(first_best, checks.answer_limit)
        first_worst = max(first_worst, checks.answer_limit)
    jitter = round((checks.fall - 1) * checks.fastinter * checks.spread / 100)
    return Span(first_best + more - jitter, first_worst + more + jitter)


def refused_span(checks: Checking) -> Span:
    """When checks mark a server down whose host answers with resets."""
    more = (checks.fall - 1) * checks.fastinter
    jitter = round(more * checks.spread / 100)
    longest = round(checks.inter * (1 + checks.spread / 100))
    return Span(more - jitter, longest + more + jitter)


def _new(path: Path, checks: Checking | None, connect_ms: int) -> Estimate:
    if checks is None:
        return Estimate(Side.SERVER, Session.NEW, None, None, "'check' on the server")
    span = silent_span(checks)
    best = span.best_ms
    if path.server.has("observe"):  # failed connects count as well
        best = min(best, connect_ms)
    return Estimate(Side.SERVER, Session.NEW, best, span.worst_ms, checks.words, checks.place)


def _by_checks(path: Path, checks: Checking | None) -> Iterator[Way]:
    if checks and path.server.shuts_sessions:
        action = path.server.settings["on-marked-down"]
        yield Way(silent_span(checks), f"{checks.words} {action.words}", action.place)


def _by_keepalive(leg: Leg, timeouts: list[Way]) -> Iterator[Way]:
    alive, limit = leg.keepalive, leg.user_timeout
    if alive is None or any(way.span.best_ms <= 1000 * alive.idle for way in timeouts):
        return  # off, or no session is idle long enough for the first probe
    span = tcp.keepalive(alive.idle, alive.interval, alive.count, limit.value if limit else None)
    shown = (
        f"{alive.words}: {alive.idle} s idle, then {alive.count} probes {alive.interval} s apart"
    )
    if limit:
        shown = f"{limit.words} with {alive.words} ({alive.idle} s idle)"
    yield Way(span, shown, alive.place)


def _by_kernel(leg: Leg, host: Host) -> Iterator[Way]:
    limit = leg.user_timeout
    span = tcp.unacknowledged(host.retries2, host.rto_max_ms, limit.value if limit else None)
    if limit:
        yield Way(span, limit.words, limit.place)
    else:
        yield Way(span, f"net.ipv4.tcp_retries2 = {host.retries2}", None)


@dataclass(frozen=True, slots=True)
class _Timers:
    """The idle timeouts as a death sees them: of the side that lives, and of the one that
    is dead; `closing` is the dead side's time after our half-close."""

    tunnel: Said[int] | None
    living: Said[int] | None
    dead: Said[int] | None
    closing: Said[int] | None


def _timers(path: Path, dead: Side) -> _Timers:
    front, back = path.frontend.timeouts.get, path.backend.timeouts.get
    if dead is Side.CLIENT:
        return _Timers(back("tunnel"), back("server"), front("client"), front("client-fin"))
    return _Timers(back("tunnel"), front("client"), back("server"), back("server-fin"))


def _by_timeouts(path: Path, side: Side, leg: Leg, host: Host) -> Iterator[Way]:
    """How inactivity ends the session for the side that lives.

    The timeout of the dead side ends it. That of the living side alone does not: it makes a
    half-close toward the dead side, and the rest waits for the dead side's own timeout, for
    its `-fin` timeout instead where there is one, or for the kernel to give up on the FIN."""
    timers = _timers(path, side)
    if timers.tunnel:
        yield _timed(timers.tunnel)
        return
    living, dead = timers.living, timers.dead
    if living is None or (dead and dead.value <= living.value):
        if dead:
            yield _timed(dead)
        return
    if timers.closing:
        way = _timed(timers.closing)
        yield replace(
            way,
            span=way.span.after(living.value),
            setting=f"{living.words}, then {way.setting}",
        )
    elif dead:
        yield _timed(dead)
    for way in _by_kernel(leg, host):
        yield replace(
            way, span=way.span.after(living.value), setting=f"{living.words}, then {way.setting}"
        )


def _timed(said: Said[int]) -> Way:
    return Way(Span(said.value, said.value), said.words, said.place)


_MISSING = {
    Side.SERVER: "'timeout server' in the backend",
    Side.CLIENT: "'timeout client' in the frontend",
}


def _estimate(side: Side, session: Session, ways: list[Way]) -> Estimate:
    """The first of all ways, whichever that is at best and at worst."""
    if not ways:
        return Estimate(side, session, None, None, _MISSING[side])
    last = min(ways, key=lambda way: way.span.worst_ms)
    return Estimate(
        side,
        session,
        min(way.span.best_ms for way in ways),
        last.span.worst_ms,
        last.setting,
        last.place,
    )
