"""What a configuration asks of the machine's tables: sessions, servers, legs."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.lint.facts import Host, checking, client_leg, server_leg
from lbsplice.lint.model import Model, Path

DESCRIPTORS_A_SESSION = 2
PIPE_PAGES = 16
SPARE_DESCRIPTORS = 100
SOCKET_BYTES = 4 * 1024
"""Kernel memory of one idle socket, roughly (its queues come on top, while they hold
something)."""
QUEUED_BYTES = 64 * 1024
"""What a session's queues may hold on a busy or stuck session, for the purpose of counting."""


@dataclass(frozen=True, slots=True)
class Demand:
    """`sessions` at once to `servers` addresses; `checks_per_s` health checks."""

    sessions: int
    servers: int
    checks_per_s: float = 0.0

    @property
    def descriptors(self) -> int:
        return DESCRIPTORS_A_SESSION * self.sessions + SPARE_DESCRIPTORS

    @property
    def ports_a_server(self) -> int:
        """Local ports that sessions to one server need, when they are spread evenly."""
        return -(-self.sessions // max(1, self.servers))


def sessions_of(model: Model) -> int | None:
    """How many sessions the configuration allows, or None where it does not say."""
    limit = model.globals.numbers.get("maxconn")
    if limit and limit.value:
        return limit.value
    own = [p.numbers["maxconn"].value for p in model.frontends() if "maxconn" in p.numbers]
    return sum(own) or None


def servers_of(model: Model) -> int:
    """How many server addresses sessions can go to."""
    return sum(server.count for proxy in model.backends() for server in proxy.servers)


def checks_per_second(model: Model) -> float:
    """How many health checks are sent a second when all is well."""
    total = 0.0
    for proxy in model.backends():
        for server in proxy.servers:
            if server.has("track"):
                continue
            checks = checking(model, proxy, server)
            if checks:
                total += server.count * 1000 / checks.inter
    return total


def paths_with_system_keepalive(model: Model, host: Host) -> list[tuple[Path, str]]:
    """Every path and side whose keepalive is on with the system's idle time."""
    found = []
    for path in model.paths():
        for side, leg in (("client", client_leg(path, host)), ("server", server_leg(path, host))):
            if leg.keepalive and leg.keepalive.from_sysctl:
                found.append((path, side))
    return found


def legs_without_user_timeout(model: Model, host: Host) -> list[tuple[Path, str]]:
    """Every path and side for which tcp_retries2 decides over unacknowledged data."""
    found = []
    for path in model.paths():
        for side, leg in (("client", client_leg(path, host)), ("server", server_leg(path, host))):
            if leg.user_timeout is None:
                found.append((path, side))
    return found
