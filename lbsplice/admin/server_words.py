"""What an operator says of a server, as values of the configuration: weights, addresses,
whole new servers. Pure; what can not be is an AdminError in HAProxy's words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from lbsplice.admin.control import AdminError
from lbsplice.config.messages import Report
from lbsplice.config.model import AddressKind, Endpoint, Place, Proxy, Server
from lbsplice.config.server import ServerSettings, parse_server
from lbsplice.config.statement import Statement
from lbsplice.errors import ConfigError
from lbsplice.plan.slots import ServerKey
from lbsplice.plan.wheel import MAX_WEIGHT
from lbsplice.terms import Algorithm, HashMethod

PLACE = Place("stats socket", 0)
"""Where a server that was added at run time stands."""

_BY = " by 'stats socket command'"
_MOST_PERCENT = 25_600
_WEIGHT = re.compile(r"([+-]?[0-9]{1,18}(?![0-9]))(.*)", re.DOTALL)
_PORT = re.compile(r"([+-]?)([0-9]{1,9})\Z")
_MAPPED = (
    "can't change <port> to port map because it is incompatible with current health check "
    "port configuration (use 'port' statement from the 'server' directive."
)


def is_dynamic(proxy: Proxy) -> bool:
    """Can the backend's algorithm follow weights and servers that change? As in HAProxy,
    static-rr and map-based hashing can not; with us they could, and only are not asked to."""
    balance = proxy.balance
    if balance.algorithm is Algorithm.SOURCE:
        return balance.hash_method is HashMethod.CONSISTENT
    return balance.algorithm is not Algorithm.STATIC_RR


def parse_weight(text: str) -> tuple[int, bool]:
    """A weight, or percents of one: which of both is the second value."""
    found = _WEIGHT.match(text)
    if found is None:
        raise AdminError("Empty weight string empty or preceded by garbage")
    value, rest = int(found[1]), found[2]
    if rest == "%":
        if value < 0:
            raise AdminError("Relative weight must be positive.")
        return value, True
    if not 0 <= value <= MAX_WEIGHT:
        raise AdminError("Absolute weight can only be between 0 and 256 inclusive.")
    if rest:
        raise AdminError("Trailing garbage in weight string")
    return value, False


def weight_of(text: str, proxy: Proxy, initial: int) -> int:
    """`n`, or `n%` of the initial weight, for a server of this backend."""
    value, is_percent = parse_weight(text)
    if is_percent:
        value = min(min(value, _MOST_PERCENT) * initial // 100, MAX_WEIGHT)
    if value not in (0, initial) and not is_dynamic(proxy):
        raise AdminError(
            "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'."
        )
    return value


# ---- another address ----


@dataclass(frozen=True, slots=True)
class Readdressed:
    """`said` tells what changed, and what did not. `before` and `after` are the hosts."""

    endpoint: Endpoint
    said: str
    before: str
    after: str


def readdressed(server: Server, address: str | None, port: str | None) -> Readdressed:
    """The server at another address, at another port, or both."""
    old = new = server.endpoint
    told: list[str] = []
    if address is not None:
        new, text = _at_host(new, address)
        told.append(text)
    if port is not None:
        new, text = _at_port(server, new, port)
        told.append(text)
    return Readdressed(new, ", ".join(told) + _BY, old.host, new.host)


def _at_host(old: Endpoint, text: str) -> tuple[Endpoint, str]:
    try:
        address = ip_address(text)
    except ValueError:
        raise AdminError(f"Invalid addr '{text}'{_BY}") from None
    if address.is_unspecified:
        raise AdminError(
            f"Invalid addr '{text}': connecting where the client wanted to go is not supported "
            f"by lbsplice{_BY}"
        )
    host = str(address)
    kind = AddressKind.IPV4 if address.version == 4 else AddressKind.IPV6
    if old.kind not in (AddressKind.IPV4, AddressKind.IPV6):
        new = Endpoint(kind, host)
    elif host == old.host:
        return old, "no need to change the addr"
    else:
        new = replace(old, kind=kind, host=host)
    return new, f"IP changed from '{old.host}' to '{host}'"


def _at_port(server: Server, old: Endpoint, text: str) -> tuple[Endpoint, str]:
    found = _PORT.match(text)
    if found is None:
        raise AdminError(f"provided port is not an integer{_BY}")
    sign, number = found[1], int(found[2])
    if number > 65_535 or (number == 0 and not sign):
        raise AdminError(f"provided port is out of range (1..65535){_BY}")
    if sign and server.check.enabled and server.check.port is None:
        raise AdminError(_MAPPED + _BY)
    port = -number if sign == "-" else number
    if (old.port, old.relative) == (port, bool(sign)):
        return old, "no need to change the port"
    new = replace(old, port=port, relative=bool(sign))
    return new, f"port changed from '{_shown_port(old)}' to '{_shown_port(new)}'"


def _shown_port(endpoint: Endpoint) -> str:
    if endpoint.port is None:
        return "+0"
    return f"{endpoint.port:+d}" if endpoint.relative else str(endpoint.port)


# ---- a new one ----


def new_server(proxy: Proxy, name: str, words: Sequence[str]) -> Server:
    """What `add server` says: an address, and what a `server` line may have after it.
    `default-server` does not count, as in HAProxy. It starts in maintenance."""
    if not is_dynamic(proxy):
        raise AdminError("Backend must use a dynamic load balancing to support dynamic servers.")
    shown = f"'server {proxy.name}/{name}' : "
    line = Statement(PLACE, ("server", name, *words))
    try:
        draft = parse_server(line, proxy.name, ServerSettings(), Report())
    except ConfigError as why:
        raise AdminError(str(why).removeprefix(shown)) from None
    if draft.endpoint.kind is AddressKind.NAME:
        raise AdminError(
            f"'{draft.endpoint.host}' is a name, which is resolved at a start only: "
            "give the server's address."
        )
    given = draft.settings.id
    for other in proxy.servers:
        if other.id == given:
            raise AdminError(
                f"'id' : custom id {given} already used at {other.place} ('server {other.name}')."
            )
    if any(other.name == name for other in proxy.servers):
        raise AdminError("Already exists a server with the same name in backend.")
    taken = {other.id for other in proxy.servers}
    free = next(number for number in range(1, len(taken) + 2) if number not in taken)
    return replace(draft.finish(given or free), disabled=True)


def server_of(proxies: Sequence[Proxy], key: ServerKey) -> tuple[Proxy, Server]:
    """The backend and the server that are called so."""
    for proxy in proxies:
        if proxy.has_backend and proxy.name == key[0]:
            for server in proxy.servers:
                if server.name == key[1]:
                    return proxy, server
            raise AdminError("No such server.")
    raise AdminError("No such backend.")
