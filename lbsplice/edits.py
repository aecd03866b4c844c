"""What operators have changed at run time of what the configuration says: addresses,
servers, frontends, limits. What they change of a server's state is the roster's.

A crash loses nothing of it. At a reload what was set stays wherever the file says what it
said before (as in lbsplice.restore.edited), and what was added or removed is forgotten:
the file is the list of servers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lbsplice.config.model import Config, Endpoint, Proxy, Server
from lbsplice.plan.slots import ServerKey


@dataclass(frozen=True, slots=True)
class Moved:
    """A server that is at another address than the file's."""

    backend: str
    server: str
    configured: Endpoint
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Added:
    """A server that the file does not have."""

    backend: str
    server: Server


@dataclass(frozen=True, slots=True)
class FrontendEdit:
    """A frontend with another limit than the file's, or that takes no sessions. One that
    is `shut` does not come back before a reload."""

    name: str
    paused: bool = False
    shut: bool = False
    limited: bool = False
    configured: int | None = None
    maxconn: int | None = None


@dataclass(frozen=True, slots=True)
class Edits:
    """`maxconn` is the process's, where the limits say `limit`."""

    moved: tuple[Moved, ...] = ()
    added: tuple[Added, ...] = ()
    removed: tuple[ServerKey, ...] = ()
    frontends: tuple[FrontendEdit, ...] = ()
    maxconn: int | None = None
    limit: int = 0

    # ---- to a configuration ----

    def applied(self, config: Config) -> Config:
        """The configuration with all of it."""
        if not (self.moved or self.added or self.removed or self.frontends):
            return config
        return replace(config, proxies=tuple(self._proxy(proxy) for proxy in config.proxies))

    def _proxy(self, proxy: Proxy) -> Proxy:
        if proxy.has_frontend and (edit := self.frontend(proxy.name)).limited:
            proxy = replace(proxy, maxconn=edit.maxconn)
        if proxy.has_backend:
            proxy = replace(proxy, servers=self._servers(proxy))
        return proxy

    def _servers(self, proxy: Proxy) -> tuple[Server, ...]:
        moved = {each.server: each for each in self.moved if each.backend == proxy.name}
        added = tuple(each.server for each in self.added if each.backend == proxy.name)
        kept = (s for s in proxy.servers if (proxy.name, s.name) not in self.removed)
        return tuple(
            replace(s, endpoint=moved[s.name].endpoint) if s.name in moved else s
            for s in (*kept, *added)
        )

    def maxconn_of(self, limit: int) -> int:
        """The process's limit in force where that many sessions are possible."""
        return limit if self.maxconn is None else min(self.maxconn, limit)

    @property
    def quiet(self) -> frozenset[str]:
        """The frontends that take no sessions."""
        return frozenset(each.name for each in self.frontends if each.paused or each.shut)

    def frontend(self, name: str) -> FrontendEdit:
        """What was changed of this one."""
        return next((e for e in self.frontends if e.name == name), FrontendEdit(name))

    def over_reload(self, config: Config, limit: int) -> Edits:
        """What is left of it with a file that was read again."""
        servers = {(p.name, s.name): s for p in config.proxies if p.has_backend for s in p.servers}
        frontends = {p.name: p for p in config.proxies if p.has_frontend}
        return Edits(
            moved=tuple(
                each
                for each in self.moved
                if (found := servers.get((each.backend, each.server))) is not None
                and found.endpoint == each.configured
            ),
            frontends=_meaningful(
                replace(each, shut=False, limited=_still_limited(each, proxy))
                for each in self.frontends
                if (proxy := frontends.get(each.name)) is not None
            ),
            maxconn=self.maxconn if limit == self.limit else None,
            limit=self.limit if limit == self.limit else 0,
        )

    # ---- changes ----

    def with_address(self, key: ServerKey, configured: Endpoint, endpoint: Endpoint) -> Edits:
        """The server is there now; `configured` is where the file has it."""
        others = tuple(e for e in self.moved if (e.backend, e.server) != key)
        own = () if endpoint == configured else (Moved(*key, configured, endpoint),)
        return replace(self, moved=(*others, *own))

    def with_server(self, backend: str, server: Server) -> Edits:
        return replace(self, added=(*self.added, Added(backend, server)))

    def without_server(self, key: ServerKey, *, configured: bool) -> Edits:
        """`configured`: the file has it."""
        return replace(
            self,
            moved=tuple(e for e in self.moved if (e.backend, e.server) != key),
            added=tuple(e for e in self.added if (e.backend, e.server.name) != key),
            removed=(*self.removed, key) if configured else self.removed,
        )

    def with_frontend(self, edit: FrontendEdit) -> Edits:
        others = tuple(each for each in self.frontends if each.name != edit.name)
        return replace(self, frontends=_meaningful((*others, edit)))


def _meaningful(edits: Iterable[FrontendEdit]) -> tuple[FrontendEdit, ...]:
    return tuple(each for each in edits if each.paused or each.shut or each.limited)


def _still_limited(edit: FrontendEdit, proxy: Proxy) -> bool:
    return edit.limited and proxy.maxconn == edit.configured
