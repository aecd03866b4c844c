"""One server as it stands: what the operator wants of it, its health, and what follows.

Two facts are kept, admin state and health; status and eligibility are derived from them
by one table. `now` is monotonic seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lbsplice.config.model import Server
from lbsplice.health import judge
from lbsplice.health.judge import CheckResult, Score
from lbsplice.terms import AdminState, CheckStatus


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

_STOPPING = _Row("NOLB", scored=True, eligible=False)
_STOPPING_UNCHECKED = _Row("NOLB", scored=False, eligible=False)


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as it stands. `last_check` is None until the first result; `failed_checks`
    counts failures that cost health; `down_transitions` counts each end of service, by a
    check or by maintenance. `run_weight` was set at run time and counts in place of the
    configured one. An operator may have switched configured checks off (`checks_off`) and
    may let a server that is up get no new sessions (`stopping`) until a check succeeds.
    Times are monotonic seconds."""

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
    run_weight: int | None = None
    config_disabled: bool = False
    checks_off: bool = False
    stopping: bool = False

    @property
    def is_up(self) -> bool:
        """Whether its health is good, whatever the operator wants of it."""
        return judge.is_up(self.health, self.rise)

    @property
    def user_weight(self) -> int:
        """The weight that is wished for, whether it may receive sessions now or not."""
        return self.config_weight if self.run_weight is None else self.run_weight

    @property
    def weight(self) -> int:
        """The weight in force; 0 if it may not receive sessions."""
        return self.user_weight if self._row.eligible else 0

    @property
    def check_status(self) -> CheckStatus:
        return CheckStatus.INITIALIZING if self.last_check is None else self.last_check.status

    @property
    def score(self) -> Score:
        return judge.score(self.health, self.rise, self.fall)

    @property
    def status_text(self) -> str:
        """`UP`, `UP 1/2`, `DOWN`, `DOWN 1/3`, `DRAIN`, `DRAIN 1/2`, `NOLB`, `MAINT` or
        `no check`."""
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
        if self.stopping and self.is_up and self.admin is AdminState.READY:
            return _STOPPING if self.checked else _STOPPING_UNCHECKED
        # One without checks may have been set down.
        known = self.checked or not self.is_up
        return _ROWS[self.admin, self.is_up if known else _UNCHECKED]


def first_state(server: Server, now: float) -> ServerState:
    """How a server starts: up, one failure from down; a `disabled` one in maintenance."""
    return ServerState(
        admin=AdminState.MAINT if server.disabled else AdminState.READY,
        health=server.check.rise,
        rise=server.check.rise,
        fall=server.check.fall,
        checked=server.check.enabled,
        config_weight=server.weight,
        changed_at=now,
        down_since=now if server.disabled else None,
        config_disabled=server.disabled,
    )


def carried(old: ServerState, server: Server, now: float) -> ServerState:
    """The state of a server that stays, under what the configuration says of it now. A
    weight that was set at run time gives way to one that was changed in the file. A server
    that is no more checked is up."""
    check = server.check
    new = replace(
        old,
        rise=check.rise,
        fall=check.fall,
        checked=check.enabled and not old.checks_off,
        checks_off=check.enabled and old.checks_off,
        health=judge.rescaled(old.health, (old.rise, old.fall), (check.rise, check.fall)),
        config_weight=server.weight,
        run_weight=old.run_weight if server.weight == old.config_weight else None,
        config_disabled=server.disabled,
    )
    if check.enabled == (old.checked or old.checks_off):
        return new
    new = replace(new, health=check.rise, last_check=None)
    back = not old.is_up and old.admin is not AdminState.MAINT
    return went_up(new, now) if back else new


def left_over(old: ServerState) -> ServerState:
    """The state of a server that a reload removed: it never receives sessions again."""
    return replace(old, config_weight=0, run_weight=None)


def went_down(state: ServerState, now: float) -> ServerState:
    """With the end of service noted that begins now."""
    return replace(
        state,
        changed_at=now,
        down_since=now,
        down_transitions=state.down_transitions + 1,
        stopping=False,
    )


def went_up(state: ServerState, now: float) -> ServerState:
    """With the end of service noted as over."""
    return replace(state, changed_at=now, down_since=None, down_before=state.downtime(now))
