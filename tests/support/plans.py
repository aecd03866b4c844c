"""Configurations as values, and the rows of the plans that are compiled from them."""

from __future__ import annotations

from collections.abc import Mapping

from lbsplice.config.model import (
    AddressKind,
    Balance,
    Bind,
    Config,
    Endpoint,
    Global,
    Log,
    LogTarget,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.slots import assign
from lbsplice.plan.tables import (
    BackendRow,
    FrontendRow,
    Plan,
    SlotRow,
)
from lbsplice.terms import Algorithm, HashMethod

PLACE = Place("lb.cfg", 14)
LOG = Log(PLACE, LogTarget.STDOUT, None, "local0")
CONSISTENT = Balance(Algorithm.SOURCE, hash_method=HashMethod.CONSISTENT, avalanche=True)


def ipv4(host: str, port: int | None = None, *, relative: bool = False) -> Endpoint:
    return Endpoint(AddressKind.IPV4, host, port, relative)


def server(name: str, number: int = 1, **words: object) -> Server:
    words.setdefault("endpoint", ipv4(f"10.0.0.{number}", 80))
    return Server(PLACE, name, number, **words)  # type: ignore[arg-type]


def listen(*servers: Server, **words: object) -> Proxy:
    words.setdefault("binds", (Bind(PLACE, ipv4("127.0.0.1", 1000)),))
    return Proxy(PLACE, ProxyKind.LISTEN, "l", 2, servers=servers, **words)  # type: ignore[arg-type]


def plan_of(*proxies: Proxy, weights: Mapping[str, int] | None = None) -> Plan:
    config = Config(Global(), proxies)
    configured = {(proxy.name, one.name): one.weight for proxy in proxies for one in proxy.servers}
    now = {**configured, **{("l", name): weight for name, weight in (weights or {}).items()}}
    return compile_plan(config, assign(config), now.__getitem__, generation=3, maxconn=500)


def backend_of(*servers: Server, weights: Mapping[str, int] | None = None, **words) -> BackendRow:
    (backend,) = plan_of(listen(*servers, **words), weights=weights).backends
    return backend


def slot_of(one: Server, **words: object) -> SlotRow:
    (slot,) = plan_of(listen(one, **words)).slots
    return slot


def frontend_of(**words: object) -> FrontendRow:
    (frontend,) = plan_of(listen(server("a"), **words)).frontends
    return frontend


UNIX = Endpoint(AddressKind.UNIX, "/run/lb.sock")
FOLLOWS = server("a", endpoint=ipv4("10.0.0.1"))
SHIFTED = server("a", endpoint=ipv4("10.0.0.1", 100, relative=True))
