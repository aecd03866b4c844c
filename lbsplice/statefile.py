"""Server states as text: what HAProxy's `show servers state` writes (version 1) and
`load-server-state-from-file` reads.

Of what is in such a file, admin and operational state, weight, the time of the last change
and the last check count. Addresses and ports are the configuration's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag
from ipaddress import ip_address
from types import MappingProxyType

from lbsplice.config.model import AddressKind, Config, Endpoint, Proxy, SavedServer, Server
from lbsplice.health import judge
from lbsplice.health.judge import CheckResult
from lbsplice.plan.slots import ServerKey
from lbsplice.plan.wheel import MAX_WEIGHT
from lbsplice.server_state import ServerState, first_state
from lbsplice.terms import AdminState, CheckStatus

VERSION = "1"

HEADER = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "
    "srv_iweight srv_time_since_last_change srv_check_status srv_check_result "
    "srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn "
    "srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port"
)
FIRST_LINES = f"{VERSION}\n# {HEADER}\n"
COLUMNS = tuple(HEADER.split())
_NEEDED = COLUMNS.index("srv_check_health") + 1
"""Older files end early; what stands there is not used."""


class OpState(IntEnum):
    STOPPED = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3


class Admin(IntFlag):
    FORCED_MAINT = 0x01
    CONFIG_MAINT = 0x04
    FORCED_DRAIN = 0x08


class Result(IntEnum):
    UNKNOWN = 0
    NEUTRAL = 1
    FAILED = 2
    PASSED = 3
    CONDITIONALLY = 4


STATUSES: Mapping[CheckStatus, int] = MappingProxyType(
    {
        CheckStatus.UNKNOWN: 0,
        CheckStatus.INITIALIZING: 1,
        CheckStatus.SOCKET_ERROR: 5,
        CheckStatus.L4_OK: 6,
        CheckStatus.L4_TIMEOUT: 7,
        CheckStatus.L4_CONNECTION: 8,
        CheckStatus.L6_OK: 9,
        CheckStatus.L6_TIMEOUT: 10,
        CheckStatus.L6_RESPONSE: 11,
        CheckStatus.L7_TIMEOUT: 12,
        CheckStatus.L7_RESPONSE: 13,
        CheckStatus.L7_OK: 15,
        CheckStatus.L7_OK_CONDITIONALLY: 16,
        CheckStatus.L7_STATUS: 17,
        CheckStatus.PROC_ERROR: 18,
        CheckStatus.PROC_TIMEOUT: 19,
        CheckStatus.PROC_OK: 20,
    }
)
_WORDS = {number: status for status, number in STATUSES.items()}
_LAST_STATUS = max(_WORDS)

_CHECK_ENABLED, _CHECK_PAUSED = 0x02 | 0x04, 0x08


# ---- writing ----


def render(
    config: Config,
    states: Mapping[ServerKey, ServerState],
    now: float,
    backend: str | None = None,
) -> str:
    """The file, of all backends or of one."""
    return FIRST_LINES + "".join(
        line(proxy, server, states[proxy.name, server.name], now)
        for proxy in config.proxies
        if proxy.has_backend and backend in (None, proxy.name)
        for server in proxy.servers
    )


def line(proxy: Proxy, server: Server, state: ServerState, now: float) -> str:
    """One server's line, with its newline."""
    return " ".join(map(str, _row(proxy, server, state, now))) + "\n"


def _row(proxy: Proxy, server: Server, state: ServerState, now: float) -> tuple[object, ...]:
    maint = state.admin is AdminState.MAINT
    up = state.is_up or not state.checked
    last = state.last_check
    check = server.check
    return (
        *(proxy.id, proxy.name, server.id, server.name, _host(server.endpoint)),
        int(OpState.RUNNING if up and not maint else OpState.STOPPED),
        int(_admin(state)),
        *(state.user_weight, state.config_weight, int(max(0.0, now - state.changed_at))),
        STATUSES[CheckStatus.INITIALIZING if last is None else last.status],
        int(Result.UNKNOWN if last is None else Result.PASSED if last.passed else Result.FAILED),
        0 if maint else state.health,
        _CHECK_ENABLED * check.enabled
        | _CHECK_PAUSED * (maint and (check.enabled or state.config_disabled)),
        *(0, 0, 0, "-", server.endpoint.port or 0, "-", 0),
        *(check.port or 0, "-" if check.address is None else _host(check.address), "-", 0),
    )


def _admin(state: ServerState) -> Admin:
    if state.admin is AdminState.DRAIN:
        return Admin.FORCED_DRAIN
    if state.admin is AdminState.READY:
        return Admin(0)
    return Admin.FORCED_MAINT | (Admin.CONFIG_MAINT if state.config_disabled else Admin(0))


def _host(endpoint: Endpoint) -> str:
    if endpoint.kind in (AddressKind.IPV4, AddressKind.IPV6):
        return str(ip_address(endpoint.host))
    return "-"


# ---- reading ----


@dataclass(frozen=True, slots=True)
class Saved:
    """What was found in a file, and what is to be told of it."""

    servers: tuple[SavedServer, ...] = ()
    warnings: tuple[str, ...] = ()


class _Wrong(Exception):
    """A column with a value that it can not have."""


def parse(text: str, file: str, wanted: Collection[ServerKey]) -> Saved:
    """Read a file. Servers that are not wanted are passed over; `file` is what warnings
    call it, such as `global server state file '/x'`."""
    lines = text.splitlines()
    if not lines or lines[0] != VERSION:
        return Saved(warnings=(f"config: Can't get version of the {file}.",))
    found: dict[ServerKey, SavedServer] = {}
    warnings = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not _NEEDED <= len(words) <= len(COLUMNS):
            warnings.append(f"config: corrupted {file} at line {number}.")
            continue
        row = dict(zip(COLUMNS, words, strict=False))
        key = (row["be_name"], row["srv_name"])
        if key not in wanted:
            continue
        try:
            found[key] = _saved(key, row)
        except _Wrong as why:
            warnings.append(f"server-state application failed for server '{'/'.join(key)}', {why}")
    return Saved(tuple(found.values()), tuple(warnings))


def _saved(key: ServerKey, row: Mapping[str, str]) -> SavedServer:
    return SavedServer(
        *key,
        op_state=_number(row, "srv_op_state", OpState.STOPPING),
        admin_state=_number(row, "srv_admin_state", 0x7F),
        user_weight=_number(row, "srv_uweight", MAX_WEIGHT),
        initial_weight=_number(row, "srv_iweight", MAX_WEIGHT),
        since_s=_number(row, "srv_time_since_last_change", 2**63),
        check_status=_number(row, "srv_check_status", _LAST_STATUS),
        check_result=_number(row, "srv_check_result", Result.CONDITIONALLY),
        check_health=_number(row, "srv_check_health", 2**31),
    )


def _number(row: Mapping[str, str], column: str, highest: int) -> int:
    word = row[column]
    if not (word.isascii() and word.isdecimal() and len(word) < 20 and int(word) <= highest):
        raise _Wrong(f"invalid {column} value '{word}'")
    return int(word)


# ---- applying ----


def saved_states(config: Config, now: float) -> dict[ServerKey, ServerState]:
    """The states that servers begin with because a file says so."""
    return {key: _state(server, saved, now) for key, server, saved in _matches(config)}


def _matches(config: Config) -> Iterator[tuple[ServerKey, Server, SavedServer]]:
    rows = {(row.backend, row.name): row for row in config.saved}
    for proxy in config.proxies:
        for server in proxy.servers if proxy.has_backend else ():
            key = (proxy.name, server.name)
            if key in rows:
                yield key, server, rows[key]


def _state(server: Server, saved: SavedServer, now: float) -> ServerState:
    """A server that the configuration disables stays so; one that it disabled then, and
    no more, is down until a check passes. A server without checks can not be down."""
    state = first_state(server, now)
    changed_at = now - saved.since_s
    check = server.check
    health = state.health
    admin = state.admin
    forced = saved.admin_state & (Admin.FORCED_MAINT | Admin.CONFIG_MAINT)
    if admin is AdminState.READY and forced == Admin.FORCED_MAINT:
        admin = AdminState.MAINT
    elif admin is AdminState.READY and saved.admin_state & Admin.FORCED_DRAIN:
        admin = AdminState.DRAIN
    if check.enabled and admin is not AdminState.MAINT:
        health = {
            OpState.STOPPED: 0,
            OpState.STARTING: max(
                check.rise, min(saved.check_health, judge.best(check.rise, check.fall))
            ),
        }.get(OpState(saved.op_state), judge.best(check.rise, check.fall))
    state = replace(
        state,
        admin=admin,
        health=health,
        changed_at=changed_at,
        last_check=_last_check(server, saved),
        run_weight=_weight(server, saved),
    )
    out = admin is AdminState.MAINT or not state.is_up
    return replace(state, down_since=changed_at if out else None)


def _weight(server: Server, saved: SavedServer) -> int | None:
    """A weight that was set at run time counts unless the configuration's was changed."""
    if saved.initial_weight != server.weight or saved.user_weight == server.weight:
        return None
    return saved.user_weight


def _last_check(server: Server, saved: SavedServer) -> CheckResult | None:
    status = _WORDS.get(saved.check_status, CheckStatus.UNKNOWN)
    if not server.check.enabled or status in (CheckStatus.UNKNOWN, CheckStatus.INITIALIZING):
        return None
    return CheckResult(saved.check_result in (Result.PASSED, Result.CONDITIONALLY), status)
