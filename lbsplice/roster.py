"""Every server: what the operator wants of it, its health, and what follows from both.

Two facts are kept, admin state and health; status and eligibility are derived from them
by one table. Each change answers with Actions, in the order in which they must be
carried out: publish first, kill second, then tell. `now` is monotonic seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lbsplice.config.model import Config, Proxy, ProxyKind, Server
from lbsplice.health import judge
from lbsplice.health.judge import CheckResult, Score
from lbsplice.plan.slots import ServerKey
from lbsplice.report.healthlog import Event, Tell, Usable
from lbsplice.terms import AdminState, CheckStatus


@dataclass(frozen=True, slots=True)
class Publish:
    """Who may receive sessions of this backend has changed: a new plan is due."""

    backend: str


@dataclass(frozen=True, slots=True)
class KillSessions:
    """The server went down or into maintenance and is marked `on-marked-down
    shutdown-sessions`: end its sessions, once the plan without it is published."""

    key: ServerKey


Action = Publish | KillSessions | Tell


@dataclass(frozen=True, slots=True)
class _Row:
    word: str
    scored: bool  # `1/3` is shown while a change is under way
    eligible: bool


_UNCHECKED, _UP, _DOWN = None, True, False

_ROWS: Mapping[tuple[AdminState, bool | None], _Row] = MappingProxyType(
    {
        (AdminState.READY, _UP): _Row("UP", scored=True, eligible=True),
        (AdminState.READY, _DOWN): _Row("DOWN", scored=True, eligible=False),
        (AdminState.READY, _UNCHECKED): _Row("no check", scored=False, eligible=True),
        (AdminState.DRAIN, _UP): _Row("DRAIN", scored=True, eligible=False),
        (AdminState.DRAIN, _DOWN): _Row("DOWN", scored=True, eligible=False),
        (AdminState.DRAIN, _UNCHECKED): _Row("DRAIN", scored=False, eligible=False),
        (AdminState.MAINT, _UP): _Row("MAINT", scored=False, eligible=False),
        (AdminState.MAINT, _DOWN): _Row("MAINT", scored=False, eligible=False),
        (AdminState.MAINT, _UNCHECKED): _Row("MAINT", scored=False, eligible=False),
    }
)


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as it stands. `last_check` is None until the first result; `failed_checks`
    counts failures that cost health; `down_transitions` counts each end of service, by a
    check or by maintenance. Times are monotonic seconds."""

    admin: AdminState
    health: int
    rise: int
    fall: int
    checked: bool
    config_weight: int
    changed_at: float = 0.0
    last_check: CheckResult | None = None
    failed_checks: int = 0
    down_transitions: int = 0
    down_since: float | None = None
    down_before: float = 0.0  # seconds of outages that are over

    @property
    def is_up(self) -> bool:
        """Whether its health is good, whatever the operator wants of it."""
        return judge.is_up(self.health, self.rise)

    @property
    def weight(self) -> int:
        """The weight in force; 0 if it may not receive sessions."""
        return self.config_weight if self._row.eligible else 0

    @property
    def check_status(self) -> CheckStatus:
        return CheckStatus.INITIALIZING if self.last_check is None else self.last_check.status

    @property
    def score(self) -> Score:
        return judge.score(self.health, self.rise, self.fall)

    @property
    def status_text(self) -> str:
        """`UP`, `UP 1/2`, `DOWN`, `DOWN 1/3`, `DRAIN`, `DRAIN 1/2`, `MAINT` or `no check`."""
        steady = judge.is_steady(self.health, self.rise, self.fall)
        return f"{self._row.word} {self.score}" if self._row.scored and not steady else self.word

    @property
    def word(self) -> str:
        """The status without the score."""
        return self._row.word

    def downtime(self, now: float) -> float:
        """Seconds out of service (down or in maintenance) in all."""
        return self.down_before + (0.0 if self.down_since is None else now - self.down_since)

    @property
    def _row(self) -> _Row:
        return _ROWS[self.admin, self.is_up if self.checked else _UNCHECKED]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the configuration says of a server, as far as the roster needs it."""

    backup: bool
    kills: bool
    listen: bool
    log_checks: bool


class Roster:
    """All servers of a configuration, keyed by (backend name, server name). A server
    starts up, one failure from down; a `disabled` one starts in maintenance."""

    def __init__(self, config: Config, now: float = 0.0) -> None:
        self._states: dict[ServerKey, ServerState] = {}
        self._entries: dict[ServerKey, _Entry] = {}
        self._usable: dict[str, Usable] = {}
        for proxy in config.proxies:
            if proxy.has_backend:
                self._usable[proxy.name] = Usable()
                for server in proxy.servers:
                    key = (proxy.name, server.name)
                    self._entries[key] = _entry(proxy, server)
                    self._states[key] = _first_state(server, now)
                    self._count(key, int(self._states[key].weight > 0))

    def __iter__(self) -> Iterator[ServerKey]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def state(self, key: ServerKey) -> ServerState:
        """Raises KeyError for a server that the configuration does not have."""
        return self._states[key]

    def weight(self, key: ServerKey) -> int:
        """The weight in force; 0 if the server may not receive sessions."""
        return self._states[key].weight

    def usable(self, backend: str) -> Usable:
        """How many of a backend's servers may receive sessions."""
        return self._usable[backend]

    def check_result(self, key: ServerKey, result: CheckResult, now: float) -> tuple[Action, ...]:
        """Take in one check. A result for a server in maintenance came too late and is
        ignored; one that does not count is kept for show but changes no health."""
        old = self._states[key]
        if old.admin is AdminState.MAINT or not old.checked:
            return ()
        health = old.health
        if result.counts:
            health = judge.judge(health, result.passed, old.rise, old.fall)
        lost = not result.passed and health < old.health
        new = replace(old, health=health, last_check=result, failed_checks=old.failed_checks + lost)
        tells: list[Tell] = []
        log_checks = self._entries[key].log_checks
        if log_checks and (health != old.health or new.check_status is not old.check_status):
            tells.append(self._tell(Event.CHECK, key, new, result=result))
        if new.is_up == old.is_up:
            self._states[key] = new
            return tuple(tells)
        new = _went_up(new, now) if new.is_up else _went_down(new, now)
        event = Event.UP if new.is_up else Event.DOWN
        return self._enter(key, new, event, tells, reason=None if log_checks else result)

    def set_admin(self, key: ServerKey, admin: AdminState, now: float) -> tuple[Action, ...]:
        """Do as the operator wants. Asking for what already is changes nothing."""
        old = self._states[key]
        if admin is old.admin:
            return ()
        new = replace(old, admin=admin)
        if admin is AdminState.MAINT:
            if not old.is_up:
                return self._enter(key, new, Event.MAINT_WHILE_DOWN, [])
            return self._enter(key, _went_down(new, now), Event.MAINT, [])
        if old.admin is AdminState.MAINT:
            # Up, but one failure from down: nobody has asked it for a while.
            new = replace(new, health=new.rise)
            return self._enter(key, _went_up(new, now), Event.MAINT_LEFT, [])
        event = Event.DRAIN if admin is AdminState.DRAIN else Event.DRAIN_LEFT
        return self._enter(key, replace(new, changed_at=now), event, [])

    def _enter(
        self,
        key: ServerKey,
        new: ServerState,
        event: Event,
        tells: list[Tell],
        reason: CheckResult | None = None,
    ) -> tuple[Action, ...]:
        """Put a server into a new state that is worth telling; the actions that follow.
        `tells` is what has to be told before it."""
        old = self._states[key]
        self._states[key] = new
        usable_before = self._usable[key[0]].total
        self._count(key, (new.weight > 0) - (old.weight > 0))
        draining = AdminState.DRAIN in (old.admin, new.admin)
        tells.append(self._tell(event, key, new, result=reason, draining=draining))
        if new.admin is AdminState.DRAIN and event is not Event.DRAIN:
            tells.append(self._tell(Event.STILL_DRAINING, key, new, draining=draining))
        if usable_before and not self._usable[key[0]].total:
            tells.append(self._tell(Event.NO_SERVER, key, new))
        actions: list[Action] = []
        if new.weight != old.weight:
            actions.append(Publish(key[0]))
        if self._entries[key].kills and event in (Event.DOWN, Event.MAINT):
            actions.append(KillSessions(key))
        return (*actions, *tells)

    def _tell(
        self,
        event: Event,
        key: ServerKey,
        state: ServerState,
        *,
        result: CheckResult | None = None,
        draining: bool = False,
    ) -> Tell:
        entry = self._entries[key]
        return Tell(
            event=event,
            key=key,
            usable=self._usable[key[0]],
            up=state.is_up and state.admin is not AdminState.MAINT,
            draining=draining,
            backup=entry.backup,
            listen=entry.listen,
            result=result,
            score=state.score,
        )

    def _count(self, key: ServerKey, change: int) -> None:
        usable = self._usable[key[0]]
        if self._entries[key].backup:
            self._usable[key[0]] = Usable(usable.active, usable.backups + change)
        else:
            self._usable[key[0]] = Usable(usable.active + change, usable.backups)


def _first_state(server: Server, now: float) -> ServerState:
    return ServerState(
        admin=AdminState.MAINT if server.disabled else AdminState.READY,
        health=server.check.rise,
        rise=server.check.rise,
        fall=server.check.fall,
        checked=server.check.enabled,
        config_weight=server.weight,
        changed_at=now,
        down_since=now if server.disabled else None,
    )


def _entry(proxy: Proxy, server: Server) -> _Entry:
    return _Entry(
        backup=server.backup,
        kills=server.shutdown_sessions_on_marked_down,
        listen=proxy.kind is ProxyKind.LISTEN,
        log_checks=proxy.log_health_checks,
    )


def _went_down(state: ServerState, now: float) -> ServerState:
    return replace(
        state, changed_at=now, down_since=now, down_transitions=state.down_transitions + 1
    )


def _went_up(state: ServerState, now: float) -> ServerState:
    return replace(state, changed_at=now, down_since=None, down_before=state.downtime(now))
