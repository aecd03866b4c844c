"""Configurations as values, for tests that do not want to read text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lbsplice.config.model import (
    AddressKind,
    Bind,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
)

PLACE = Place("lb.cfg", 7)


def ipv4(port: int = 0, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(AddressKind.IPV4, host, port)


def bind(endpoint: Endpoint | None = None, **fields: Any) -> Bind:
    return Bind(PLACE, endpoint or ipv4(), **fields)


def frontend(*binds: Bind, **fields: Any) -> Proxy:
    proxy = Proxy(PLACE, ProxyKind.FRONTEND, "l", 2, binds=binds)
    return replace(proxy, **fields)


def config(*proxies: Proxy, **global_fields: Any) -> Config:
    return Config(Global(**global_fields), proxies)
