"""Where a server's health check goes, and from where, as the kernel wants to hear it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from lbsplice.config.model import AddressKind, Endpoint, Proxy, Server
from lbsplice.errors import ConfigError
from lbsplice.plan.sockaddr import abstract_name

_UNIX_PATH_MAX = 107

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | str


@dataclass(frozen=True, slots=True)
class Target:
    """`source` is bound to before the connect, with a port of the kernel's choice."""

    family: socket.AddressFamily
    address: SocketAddress
    source: SocketAddress | None = None
    interface: str | None = None

    @property
    def is_unix(self) -> bool:
        return self.family is socket.AF_UNIX


def target_of(proxy: Proxy, server: Server) -> Target:
    """The server's address, or what its `addr` and `port` words say instead. The check
    comes from where sessions come from (`source` of the server, else of the backend), but
    never from their ports: a port range belongs to the sessions alone.

    Raises ConfigError if there is no port to connect to, or if a name is unresolved."""
    endpoint = server.check.address or server.endpoint
    port = server.check.port
    if port is None and endpoint.port is not None and not endpoint.relative:
        port = endpoint.port
    if port is None and not server.endpoint.relative:
        port = server.endpoint.port
    where = f"{server.place}: server {proxy.name}/{server.name}"
    family, address = _socket_address(endpoint, port, where)
    source = server.source or proxy.source
    if source is None or family is socket.AF_UNIX:
        return Target(family, address)
    bound: SocketAddress | None = None
    if source.address.kind is not AddressKind.ANY:
        source_family, bound = _socket_address(source.address, 0, where)
        if source_family is not family:
            raise ConfigError(f"{where}: its source address is of another family than its check's")
    return Target(family, address, bound, source.interface)


def _socket_address(
    endpoint: Endpoint, port: int | None, where: str
) -> tuple[socket.AddressFamily, SocketAddress]:
    if endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT):
        if len(os.fsencode(endpoint.host)) > _UNIX_PATH_MAX:
            raise ConfigError(f"{where}: unix socket path is longer than {_UNIX_PATH_MAX} bytes")
        if endpoint.kind is AddressKind.ABSTRACT:
            return socket.AF_UNIX, os.fsdecode(abstract_name(endpoint.host))
        return socket.AF_UNIX, endpoint.host
    if endpoint.kind not in (AddressKind.ANY, AddressKind.IPV4, AddressKind.IPV6):
        raise ConfigError(f"{where}: its check has no address ({endpoint.host} is not one)")
    if port is None:
        raise ConfigError(f"{where}: its check has no port; give it one with `port`")
    host = "0.0.0.0" if endpoint.kind is AddressKind.ANY else endpoint.host
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, _, _, _, address = found[0]
    if len(address) == 2 and isinstance(address[0], str):
        return family, (address[0], port)
    return family, address  # type: ignore[return-value]
