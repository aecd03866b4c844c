"""Every server: its state, and what follows when a check or the operator changes it.

Each change answers with Actions, in the order in which they must be carried out: publish
first, kill second, then tell. `now` is monotonic seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lbsplice.config.model import Config, Proxy, ProxyKind, Server
from lbsplice.errors import LbspliceError
from lbsplice.health import judge
from lbsplice.health.judge import CheckResult
from lbsplice.plan.slots import ServerKey
from lbsplice.plan.wheel import MAX_WEIGHT
from lbsplice.report.healthlog import Event, Tell, Usable
from lbsplice.server_state import (
    ServerState,
    carried,
    first_state,
    left_over,
    went_down,
    went_up,
)
from lbsplice.terms import AdminState, Cause


@dataclass(frozen=True, slots=True)
class Publish:
    """Who may receive sessions of this backend has changed: a new plan is due."""

    backend: str


@dataclass(frozen=True, slots=True)
class KillSessions:
    """The server went down or into maintenance and is marked `on-marked-down
    shutdown-sessions`: end its sessions, once the plan without it is published. Or an
    operator wants it so."""

    key: ServerKey
    cause: Cause = Cause.DOWN


Action = Publish | KillSessions | Tell


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the configuration says of a server, as far as the roster needs it."""

    backup: bool
    kills: bool
    listen: bool
    log_checks: bool
    leaving: bool


class RosterError(LbspliceError):
    """An order that can not be given to this server."""


class Roster:
    """All servers of a configuration, keyed by (backend name, server name), and those
    that are `leaving` (backends with such servers, lbsplice.plan.leaving): removed, but
    not yet without sessions. They are judged like any other and never receive sessions.

    A server whose key is in `known` goes on from that state. Any other starts up, one
    failure from down; a `disabled` one starts in maintenance."""

    def __init__(
        self,
        config: Config,
        now: float = 0.0,
        *,
        leaving: Iterable[Proxy] = (),
        known: Mapping[ServerKey, ServerState] = MappingProxyType({}),
    ) -> None:
        self._states: dict[ServerKey, ServerState] = {}
        self._entries: dict[ServerKey, _Entry] = {}
        self._usable: dict[str, Usable] = {}
        for proxy in config.proxies:
            if proxy.has_backend:
                self._usable[proxy.name] = Usable()
                for server in proxy.servers:
                    old = known.get((proxy.name, server.name))
                    state = carried(old, server, now) if old else first_state(server, now)
                    self._add(proxy, server, state)
        for proxy in leaving:
            self._usable.setdefault(proxy.name, Usable())
            for server in proxy.servers:
                old = known.get((proxy.name, server.name))
                state = carried(old, server, now) if old else first_state(server, now)
                self._add(proxy, server, left_over(state), leaving=True)

    def _add(
        self, proxy: Proxy, server: Server, state: ServerState, *, leaving: bool = False
    ) -> None:
        key = (proxy.name, server.name)
        self._entries[key] = _Entry(
            backup=server.backup,
            kills=server.shutdown_sessions_on_marked_down,
            listen=proxy.kind is ProxyKind.LISTEN,
            log_checks=proxy.log_health_checks,
            leaving=leaving,
        )
        self._states[key] = state
        self._count(key, int(state.weight > 0))

    @property
    def states(self) -> Mapping[ServerKey, ServerState]:
        """All of them, as they are at this moment."""
        return MappingProxyType(dict(self._states))

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
        back = old.stopping and result.passed and result.counts
        if new.is_up == old.is_up and not back:
            self._states[key] = new
            return tuple(tells)
        if back:
            new = replace(new, stopping=False, changed_at=now)
        else:
            new = went_up(new, now) if new.is_up else went_down(new, now)
        event = Event.UP if new.is_up else Event.DOWN
        return self._enter(key, new, event, tells, reason=None if log_checks else result)

    def set_weight(self, key: ServerKey, weight: int) -> tuple[Action, ...]:
        """Do as the operator wants; the weight in the configuration counts no more.
        Raises RosterError for a weight out of range or a server that was removed."""
        if not 0 <= weight <= MAX_WEIGHT:
            raise RosterError(f"weight {weight} is out of range (0..{MAX_WEIGHT})")
        if self._entries[key].leaving:
            raise RosterError(f"server {'/'.join(key)} is not in the configuration any more")
        old = self._states[key]
        new = self._states[key] = replace(old, run_weight=weight)
        if new.weight == old.weight:
            return ()
        usable_before = self._usable[key[0]].total
        self._count(key, (new.weight > 0) - (old.weight > 0))
        if usable_before and not self._usable[key[0]].total:
            return Publish(key[0]), self._tell(Event.NO_SERVER, key, new)
        return (Publish(key[0]),)

    def set_health(self, key: ServerKey, up: bool | None, now: float) -> tuple[Action, ...]:
        """Take the operator's word for it (None: up, but without new sessions) until checks
        say otherwise. In maintenance it means nothing."""
        old = self._states[key]
        if old.admin is AdminState.MAINT:
            return ()
        health = 0 if up is False else judge.best(old.rise, old.fall)
        new = replace(old, health=health, stopping=up is None)
        if new.is_up == old.is_up and new.stopping == old.stopping:
            self._states[key] = new
            return ()
        if not new.is_up:
            return self._enter(key, went_down(new, now), Event.SET_DOWN, [])
        new = replace(new, changed_at=now) if old.is_up else went_up(new, now)
        return self._enter(key, new, Event.SET_STOPPING if up is None else Event.SET_UP, [])

    def set_checks(self, key: ServerKey, on: bool) -> None:
        """Let the configured checks rest, or go on. Raises RosterError where there are
        none to go on with."""
        state = self._states[key]
        if state.checks_off if on else state.checked:
            self._states[key] = replace(state, checked=on, checks_off=not on)
        elif on and not state.checked:
            raise RosterError(f"server {'/'.join(key)} has no checks")

    def set_admin(self, key: ServerKey, admin: AdminState, now: float) -> tuple[Action, ...]:
        """Do as the operator wants. Asking for what already is changes nothing."""
        old = self._states[key]
        if admin is old.admin:
            return ()
        new = replace(old, admin=admin)
        if admin is AdminState.MAINT:
            if not old.is_up:
                return self._enter(key, new, Event.MAINT_WHILE_DOWN, [])
            return self._enter(key, went_down(new, now), Event.MAINT, [])
        if old.admin is AdminState.MAINT:
            # Up, but one failure from down: nobody has asked it for a while.
            new = replace(new, health=new.rise, stopping=False)
            return self._enter(key, went_up(new, now), Event.MAINT_LEFT, [])
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
        if self._entries[key].kills and event in (Event.DOWN, Event.MAINT, Event.SET_DOWN):
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
            removed=entry.leaving,
        )

    def _count(self, key: ServerKey, change: int) -> None:
        usable = self._usable[key[0]]
        if self._entries[key].backup:
            self._usable[key[0]] = Usable(usable.active, usable.backups + change)
        else:
            self._usable[key[0]] = Usable(usable.active + change, usable.backups)
