"""The values that reach a wanted detection time and number of sessions: configuration
lines where a socket can have its own value, host-wide sysctls only where it can not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lbsplice.errors import ConfigError
from lbsplice.lint.model import Model
from lbsplice.lint.wording import spoken
from lbsplice.sysctl import tcp
from lbsplice.sysctl.keys import key_of
from lbsplice.sysctl.load import (
    DESCRIPTORS_A_SESSION,
    SOCKET_BYTES,
    Demand,
    checks_per_second,
    servers_of,
)
from lbsplice.sysctl.values import Sysctls

SHORTEST_MS = 5_000
"""Nothing below is reached by keepalive, which counts in seconds: checks do that."""
_PROBES = 3
_FALL = 3
_PACKETS_A_PROBE = 2
_PACKETS_A_CHECK = 4
_FIRST_PORT, _PORTS = 1024, 65536
_BURST = 10
"""This part of all clients is taken to come back at the same moment."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Values that find a dead peer within a time, kernel timers being an eighth late."""

    idle_s: int
    interval_s: int
    probes: int
    user_timeout_ms: int
    inter_ms: int
    fall: int

    @property
    def keepalive(self) -> tcp.Span:
        return tcp.keepalive(self.idle_s, self.interval_s, self.probes, self.user_timeout_ms)

    @property
    def unacknowledged(self) -> tcp.Span:
        return tcp.unacknowledged(15, user_timeout_ms=self.user_timeout_ms)

    @property
    def check_ms(self) -> int:
        """The latest mark-down after a silent death."""
        return 2 * self.fall * self.inter_ms


@dataclass(frozen=True, slots=True)
class Change:
    """A host-wide value to set, and why it can not stay as it is."""

    name: str
    value: str
    present: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What the plan sends when nothing is wrong, in packets a second over both legs."""

    keepalive_pps: float
    checks_pps: float


@dataclass(frozen=True, slots=True)
class SysctlPlan:
    """What to change. `lines` are configuration lines by section; `warnings` say what no
    setting can reach."""

    detect_ms: int
    demand: Demand
    timing: Timing
    lines: tuple[tuple[str, tuple[str, ...]], ...]
    changes: tuple[Change, ...]
    cost: Cost
    warnings: tuple[str, ...]


def plan(detect_ms: int, sessions: int, sysctls: Sysctls, model: Model | None) -> SysctlPlan:
    """Raises `ConfigError` for a wish that can not be had."""
    if detect_ms < SHORTEST_MS:
        raise ConfigError(
            f"keepalive counts in seconds and can not find a dead peer within "
            f"{spoken(detect_ms)}: ask for {spoken(SHORTEST_MS)} or more, and let health checks "
            "with 'on-marked-down shutdown-sessions' be quicker for servers"
        )
    if sessions < 1:
        raise ConfigError("the number of sessions must be at least 1")
    servers = max(1, servers_of(model)) if model else 1
    timing = timing_for(detect_ms)
    checks = servers * 1000 / timing.inter_ms
    demand = Demand(sessions, servers, checks)
    changes = tuple(_changes(demand, sysctls))
    cost = Cost(
        keepalive_pps=2 * sessions * _PACKETS_A_PROBE / timing.idle_s,
        checks_pps=checks * _PACKETS_A_CHECK,
    )
    warnings = tuple(_warnings(demand, sysctls, timing, model))
    return SysctlPlan(detect_ms, demand, timing, _lines(timing, demand), changes, cost, warnings)


def timing_for(detect_ms: int) -> Timing:
    """Keepalive, TCP_USER_TIMEOUT and checks that all find a death within `detect_ms`."""
    budget_s = (detect_ms - tcp.RTO_HIGH_MS) * 8 // 9 // 1000
    interval = max(1, budget_s // 8)
    probes = min(_PROBES, (budget_s - 1) // interval)
    idle = budget_s - probes * interval
    # Half an interval early: given up at the last probe's tick, however late that comes.
    user_timeout = 1000 * budget_s - 500 * interval
    inter = max(10, detect_ms * 8 // 9 // (2 * _FALL) // 10 * 10)
    return Timing(idle, interval, probes, user_timeout, inter, _FALL)


def _lines(timing: Timing, demand: Demand) -> tuple[tuple[str, tuple[str, ...]], ...]:
    keepalive = [
        line
        for side in ("cli", "srv")
        for line in (
            f"option {side}tcpka",
            f"{side}tcpka-idle {timing.idle_s}s",
            f"{side}tcpka-intvl {timing.interval_s}s",
            f"{side}tcpka-cnt {timing.probes}",
        )
    ]
    server = (
        f"default-server check inter {timing.inter_ms}ms fall {timing.fall} "
        "on-marked-down shutdown-sessions"
    )
    return (
        ("global", (f"maxconn {demand.sessions}",)),
        ("defaults", (*keepalive, server)),
        ("every bind and every server line, at its end", (f"tcp-ut {timing.user_timeout_ms}ms",)),
    )


def _changes(demand: Demand, sysctls: Sysctls) -> Iterator[Change]:
    sessions = demand.sessions
    yield from _at_least(
        sysctls,
        "fs.nr_open",
        demand.descriptors,
        f"{sessions} sessions need {demand.descriptors} descriptors in one process",
    )
    yield from _at_least(
        sysctls,
        "fs.file-max",
        2 * demand.descriptors,
        "the machine must have files for other programs as well",
    )
    yield from _ports(demand, sysctls)
    burst = min(65535, sessions // _BURST)
    why = f"{burst} clients may come back at the same moment"
    yield from _at_least(sysctls, "net.core.somaxconn", burst, why)
    if not sysctls.number("net.ipv4.tcp_syncookies"):  # else it limits nothing
        most = -(-4 * burst // 3)
        yield from _at_least(sysctls, "net.ipv4.tcp_max_syn_backlog", most, why)
    if sysctls.known("net.netfilter.nf_conntrack_max"):
        yield from _at_least(
            sysctls,
            "net.netfilter.nf_conntrack_max",
            round(2.5 * sessions),
            f"{sessions} sessions are {2 * sessions} tracked connections",
        )


def _ports(demand: Demand, sysctls: Sysctls) -> Iterator[Change]:
    name = "net.ipv4.ip_local_port_range"
    low, high = sysctls.numbers(name)
    if demand.ports_a_server > high - low + 1:
        lowest = max(_FIRST_PORT, _PORTS - round(1.05 * demand.ports_a_server))
        yield _change(
            sysctls,
            name,
            f"{min(low, lowest)} {_PORTS - 1}",
            f"{demand.ports_a_server} sessions to one server, but {high - low + 1} local ports",
        )


def _at_least(sysctls: Sysctls, name: str, value: int, why: str) -> Iterator[Change]:
    """Raise a value if it is lower (one that the machine lacks can not be raised)."""
    present = sysctls.numbers(name)
    if present and present[0] < value:
        yield _change(sysctls, name, str(value), why)


def _change(sysctls: Sysctls, name: str, value: str, why: str) -> Change:
    return Change(name, key_of(name).check(value), sysctls.text(name), why)


def _warnings(
    demand: Demand, sysctls: Sysctls, timing: Timing, model: Model | None
) -> Iterator[str]:
    if demand.ports_a_server > _PORTS - _FIRST_PORT:
        yield (
            f"{demand.ports_a_server} sessions to one server do not fit into the ports of one "
            "address: give the proxy more ('source' with several addresses), or more servers"
        )
    yield (
        f"'tcp-ut {timing.user_timeout_ms}ms' also ends a live peer that does not read for that "
        "long: leave it out where consumers may be slow, and unacknowledged data is then found "
        f"only after {spoken(tcp.unacknowledged(sysctls.number('net.ipv4.tcp_retries2')).best_ms)} "
        "(tcp_retries2) on the client side"
    )
    if model is not None:
        present = checks_per_second(model)
        if present > demand.checks_per_s:
            yield (
                f"the configuration checks its servers {present:g} times a second already, more "
                "often than the plan asks for: leave that as it is"
            )
    memory = DESCRIPTORS_A_SESSION * demand.sessions * SOCKET_BYTES
    yield f"idle sockets alone take about {memory >> 20} MiB of kernel memory"


def summary(found: SysctlPlan) -> tuple[str, ...]:
    """What the plan reaches, in sentences."""
    timing = found.timing
    return (
        f"idle sessions: {timing.idle_s} s idle, then {timing.probes} probes {timing.interval_s} s "
        f"apart: a dead peer is found within {spoken(timing.keepalive.worst_ms)}",
        f"unacknowledged data: within {spoken(timing.unacknowledged.worst_ms)}",
        f"servers, by checks: within {spoken(timing.check_ms)}",
        f"costs when all is well: {found.cost.keepalive_pps:,.0f} packets a second of keepalive "
        f"at most (idle sessions on both sides), {found.cost.checks_pps:,.0f} of checks",
    )
