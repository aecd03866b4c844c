"""What a reload has removed while sessions are left on it.

Everything here is a part of an older configuration, kept as it was: a session's log line
follows the frontend that took it, a server's check asks what it always asked. Servers have
other names then, so that one of the same name can be configured at another address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lbsplice.config.model import Config, Proxy, Server
from lbsplice.plan.slots import ServerKey

_MARK = "#"
"""No name in a configuration may have it."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Proxies as they were. `frontends` have their binds, `backends` nothing more than
    their settings; `servers` are their backends once more, with one server each."""

    frontends: tuple[Proxy, ...] = ()
    backends: tuple[Proxy, ...] = ()
    servers: tuple[Proxy, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.frontends or self.backends or self.servers)

    def __and__(self, other: Leaving) -> Leaving:
        """What both have."""
        return Leaving(
            tuple(p for p in self.frontends if p in other.frontends),
            tuple(p for p in self.backends if p in other.backends),
            tuple(p for p in self.servers if p in other.servers),
        )


def server_key(proxy: Proxy) -> ServerKey:
    """The key of one of `Leaving.servers`."""
    (server,) = proxy.servers
    return proxy.name, server.name


def leaving_name(server: Server, slot: int) -> str:
    """What a server is called from the moment on that it is removed."""
    return f"{configured_name(server.name)}{_MARK}{slot}"


def configured_name(name: str) -> str:
    """What the configuration called the server of this name."""
    return name.partition(_MARK)[0]


def live_frontends(config: Config) -> dict[str, Proxy]:
    """The frontends that are at work, by name."""
    return {p.name: p for p in config.proxies if p.has_frontend and not p.disabled}


def live_backends(config: Config) -> dict[str, Proxy]:
    """The backends that are at work, by name."""
    return {p.name: p for p in config.proxies if p.has_backend and not p.disabled}


def live_servers(config: Config) -> Iterator[tuple[Proxy, Server]]:
    """The servers of backends that are at work."""
    for proxy in live_backends(config).values():
        for server in proxy.servers:
            yield proxy, server


def as_frontend(proxy: Proxy) -> Proxy:
    """One of `Leaving.frontends`."""
    return replace(proxy, servers=())


def as_backend(proxy: Proxy) -> Proxy:
    """One of `Leaving.backends`."""
    return replace(proxy, servers=(), binds=())


def as_server(proxy: Proxy, server: Server, slot: int) -> Proxy:
    """One of `Leaving.servers`."""
    return replace(as_backend(proxy), servers=(replace(server, name=leaving_name(server, slot)),))
