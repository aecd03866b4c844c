"""What of a view changes with the configuration alone: names, numbers, limits. Made anew
at each reload, so that a look at a thousand servers reads nothing of it twice."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.config.assemble import number
from lbsplice.config.model import AddressKind, Config, Endpoint, Proxy, StatsPage
from lbsplice.dataplane.tables import Extent, count_of
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import Algorithm


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """A server; `slot` is its number in the tables."""

    key: ServerKey
    slot: int
    iid: int
    sid: int
    address: str
    backup: bool


@dataclass(frozen=True, slots=True)
class BackendPlace:
    name: str
    number: int
    iid: int
    algorithm: Algorithm
    limit: int
    allbackups: bool
    servers: tuple[ServerPlace, ...]


@dataclass(frozen=True, slots=True)
class FrontendPlace:
    name: str
    number: int
    iid: int
    limit: int


@dataclass(frozen=True, slots=True)
class ListenerPlace:
    """One `bind` of a frontend with `option socket-stats`."""

    frontend: str
    number: int
    iid: int
    lid: int
    name: str
    address: str
    limit: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Proxies in the order of the file, disabled ones left out; pages are none of them.
    `extent` says how long the tables have to be to hold all of these."""

    order: tuple[str, ...]
    frontends: tuple[FrontendPlace, ...]
    backends: tuple[BackendPlace, ...]
    listeners: tuple[ListenerPlace, ...]
    extent: Extent

    @classmethod
    def of(cls, inventory: Inventory, maxconn: int) -> Layout:
        config, numbers = inventory.config, inventory.numbers
        live = [proxy for proxy in config.proxies if not proxy.disabled]
        frontends = tuple(
            FrontendPlace(p.name, numbers.frontends[p.name], p.id, p.maxconn or maxconn)
            for p in live
            if p.has_frontend
        )
        backends = tuple(
            BackendPlace(
                name=p.name,
                number=numbers.backends[p.name],
                iid=p.id,
                algorithm=p.balance.algorithm,
                limit=_fullconn(config, p, maxconn),
                allbackups=p.allbackups,
                servers=tuple(
                    ServerPlace(
                        key=(p.name, server.name),
                        slot=numbers.slots[p.name, server.name],
                        iid=p.id,
                        sid=server.id,
                        address=_address(server.endpoint),
                        backup=server.backup,
                    )
                    for server in p.servers
                ),
            )
            for p in live
            if p.has_backend
        )
        listeners = tuple(
            ListenerPlace(
                frontend=p.name,
                number=numbers.listeners[p.name, index],
                iid=p.id,
                lid=lid,
                name=bind.name or f"sock-{lid}",
                address=_address(bind.endpoint) or "unix",
                limit=bind.maxconn or 0,
            )
            for p in live
            if p.has_frontend and p.socket_stats
            for index, (bind, lid) in enumerate(number(p.binds, lambda bind: bind.id, 1))
        )
        names = [
            section.name
            for section in config.sections
            if isinstance(section, StatsPage) or not section.disabled
        ]
        return cls(
            order=tuple(dict.fromkeys(names)),
            frontends=frontends,
            backends=backends,
            listeners=listeners,
            extent=Extent(
                count_of([each.number for each in listeners]),
                count_of([each.number for each in frontends]),
                count_of([each.number for each in backends]),
                count_of([s.slot for each in backends for s in each.servers]),
            ),
        )


def _fullconn(config: Config, backend: Proxy, maxconn: int) -> int:
    """Where no `fullconn` says otherwise: a tenth of what the frontends that may send
    sessions there take, rounded up; 1 if there are none."""
    sending = [
        proxy.maxconn or maxconn
        for proxy in config.proxies
        if proxy.has_frontend and not proxy.disabled and config.backend_of(proxy) is backend
    ]
    return max(1, -(-sum(sending) // 10))


def _address(endpoint: Endpoint) -> str:
    """`127.0.0.1:80`, `[::1]:80`; empty for a unix socket."""
    if endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT, AddressKind.FD):
        return ""
    host = "0.0.0.0" if endpoint.kind is AddressKind.ANY else endpoint.host
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{0 if endpoint.relative else endpoint.port or 0}"
