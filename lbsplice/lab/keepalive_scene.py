"""The play of `lab keepalive`: what probes are for, and what they do not do.

A session says something once and is then silent. All times are counted from its last byte."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lbsplice.lab.scene import Proxy
from lbsplice.lab.topology import LISTEN_NAME, PORT, SERVICE_ADDRESS, VICTIM
from lbsplice.lab.verdict import End
from lbsplice.terms import Cause

LONG = "1h"
"""A timeout that nobody waits for."""


@dataclass(frozen=True)
class KeepaliveSettings:
    """What the operator asked for: the first probe after `idle_s` of silence, the next ones every
    `interval_s`, given up after `count` without an answer; `timeout client`; and how much longer
    than that a session is watched before it counts as hanging."""

    proxy: Proxy = Proxy.LBSPLICE
    idle_s: int = 1
    interval_s: int = 1
    count: int = 3
    timeout_s: float = 3.5
    watch_s: float = 1.5

    @property
    def dead_after_s(self) -> float:
        """When an idle peer that was heard a moment ago, and then never again, is given up."""
        return self.idle_s + self.interval_s * self.count


class Side(Enum):
    """One of the two legs."""

    CLIENT = "client"
    SERVER = "server"

    @property
    def option(self) -> str:
        """The keyword that has this leg probed."""
        return "clitcpka" if self is Side.CLIENT else "srvtcpka"


class KeepaliveCase(Enum):
    """One run of the scene."""

    SILENT = "silent"
    PROBED = "probed"
    OTHER_LEG = "other-leg"
    DEAD_SERVER = "dead-server"
    DEAD_CLIENT = "dead-client"

    @property
    def probed(self) -> Side | None:
        """The leg with keepalive."""
        return _PROBED[self]

    @property
    def dies(self) -> Side | None:
        """Who is gone without a word, right after the last byte."""
        return _DIES[self]


_PROBED = {
    KeepaliveCase.SILENT: None,
    KeepaliveCase.PROBED: Side.CLIENT,
    KeepaliveCase.OTHER_LEG: Side.CLIENT,
    KeepaliveCase.DEAD_SERVER: Side.SERVER,
    KeepaliveCase.DEAD_CLIENT: Side.CLIENT,
}

_DIES = {
    KeepaliveCase.SILENT: None,
    KeepaliveCase.PROBED: None,
    KeepaliveCase.OTHER_LEG: Side.SERVER,
    KeepaliveCase.DEAD_SERVER: Side.SERVER,
    KeepaliveCase.DEAD_CLIENT: Side.CLIENT,
}

_TITLES = {
    KeepaliveCase.SILENT: "no keepalive; the client is well and says nothing: timeout client",
    KeepaliveCase.PROBED: "the same with option clitcpka: probes do not feed timeout client",
    KeepaliveCase.OTHER_LEG: "the server dies; option clitcpka probes the client, who is well",
    KeepaliveCase.DEAD_SERVER: "the server dies; option srvtcpka probes the server",
    KeepaliveCase.DEAD_CLIENT: "the client dies; option clitcpka probes the client",
}


def title(case: KeepaliveCase) -> str:
    return _TITLES[case]


def timeout_of(case: KeepaliveCase, settings: KeepaliveSettings) -> str:
    """`timeout client`, as the configuration has it."""
    return LONG if case.dies else f"{round(settings.timeout_s * 1000)}ms"


def configuration(case: KeepaliveCase, settings: KeepaliveSettings) -> str:
    """The proxy's configuration. The server is not checked: only keepalive and timeouts act."""
    lines = [
        "global",
        "    maxconn 4096",
        "    log stdout format raw local0",
        "",
        "defaults",
        "    mode tcp",
        "    log global",
        "    option tcplog",
        "    timeout connect 5s",
        f"    timeout client {timeout_of(case, settings)}",
        f"    timeout server {LONG}",
        "",
        f"listen {LISTEN_NAME}",
        f"    bind {SERVICE_ADDRESS}:{PORT}",
        *(f"    {line}" for line in keepalive_lines(case, settings)),
        f"    server {VICTIM.name} {VICTIM.address}:{PORT}",
    ]
    return "\n".join(lines) + "\n"


def keepalive_lines(case: KeepaliveCase, settings: KeepaliveSettings) -> tuple[str, ...]:
    """The lines of the configuration that are what the case is about."""
    if case.probed is None:
        return ()
    option = case.probed.option
    return (
        f"option {option}",
        f"{option}-idle {settings.idle_s}s",
        f"{option}-intvl {settings.interval_s}s",
        f"{option}-cnt {settings.count}",
    )


@dataclass(frozen=True)
class Expected:
    """What should happen, computed. Times are seconds after the last byte; None: it does not."""

    ended_s: float | None
    """When the proxy ends the session."""
    told: End
    """How the client learns of it."""
    cause: Cause | None
    """The first letter of the log line."""
    watched_s: float
    """How long one has to look to have seen it."""
    probes_s: tuple[float, ...]
    """When a probe is due, up to the end or to the end of the watch."""
    answered: bool
    """Whether the probes are answered."""


def expected(case: KeepaliveCase, settings: KeepaliveSettings) -> Expected:
    """The rules, each of them one of the kernel's or of HAProxy's:

    - bytes that arrive or leave restart `timeout client`; probes are not bytes of the session;
    - a probe that was answered proves the peer: the next is due after the idle time again, or
      after the interval where that is longer;
    - a peer that answers none is given up one interval after the last of `count` probes."""
    ends = {
        KeepaliveCase.SILENT: (settings.timeout_s, Cause.CLIENT_TIMEOUT),
        KeepaliveCase.PROBED: (settings.timeout_s, Cause.CLIENT_TIMEOUT),
        KeepaliveCase.OTHER_LEG: (None, None),
        KeepaliveCase.DEAD_SERVER: (settings.dead_after_s, Cause.SERVER),
        KeepaliveCase.DEAD_CLIENT: (settings.dead_after_s, Cause.CLIENT),
    }
    ended_s, cause = ends[case]
    watched_s = (ended_s or settings.dead_after_s) + settings.watch_s
    answered = case.probed is not None and case.probed is not case.dies
    return Expected(
        ended_s=ended_s,
        told=_told(case, settings.proxy),
        cause=cause,
        watched_s=watched_s,
        probes_s=_probes(case, settings, ended_s or watched_s),
        answered=answered,
    )


def _told(case: KeepaliveCase, proxy: Proxy) -> End:
    if case in (KeepaliveCase.OTHER_LEG, KeepaliveCase.DEAD_CLIENT):
        return End.HANGS
    if case is KeepaliveCase.DEAD_SERVER and proxy is Proxy.LBSPLICE:
        return End.RESET
    return End.FIN


def _probes(case: KeepaliveCase, settings: KeepaliveSettings, until_s: float) -> tuple[float, ...]:
    if case.probed is None:
        return ()
    idle, interval = settings.idle_s, settings.interval_s
    if case.probed is case.dies:
        return tuple(idle + float(number * interval) for number in range(settings.count))
    due = []
    at = float(idle)
    while at < until_s:
        due.append(at)
        at += max(idle, interval)
    return tuple(due)
