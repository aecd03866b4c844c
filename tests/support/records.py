"""Session records and the configurations they belong to, for tests of the log."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from lbsplice.config.model import (
    AddressKind,
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
from lbsplice.plan.tables import NO_SLOT
from lbsplice.report.record import SESSION_CONNECTED, SESSION_ENDED, Record

PLACE = Place("lb.cfg", 3)


def udp_log(port: int = 514, facility: str = "local0", **fields: Any) -> Log:
    address = Endpoint(AddressKind.IPV4, "127.0.0.1", port)
    return Log(PLACE, LogTarget.UDP, address, facility, **fields)


def server(name: str, port: int = 1) -> Server:
    return Server(PLACE, name, 1, Endpoint(AddressKind.IPV4, "127.0.0.1", port))


def listen(name: str = "www", **fields: Any) -> Proxy:
    """`listen` with one bind, one server s1 and a log line."""
    fields.setdefault("binds", (Bind(PLACE, Endpoint(AddressKind.IPV4, "10.0.3.31", 8012)),))
    fields.setdefault("servers", (server("s1"),))
    fields.setdefault("logs", (udp_log(),))
    kind = fields.pop("kind", ProxyKind.LISTEN)
    return Proxy(PLACE, kind, name, 2, **fields)


def config(*proxies: Proxy, **global_fields: Any) -> Config:
    return Config(Global(**global_fields), proxies)


def ip(text: str) -> dict[str, Any]:
    """The fields `client_ip` and `client_family` of an address."""
    address = ipaddress.ip_address(text)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return {"client_family": int(family), "client_ip": address.packed.ljust(16, b"\0")}


def ended(**fields: Any) -> Record:
    """A session that ended well after 25 ms, having moved 2 bytes up and 5 down. `cause`
    and `phase` are given as letters."""
    values: dict[str, Any] = dict.fromkeys(Record._fields, 0)
    values |= {
        "kind": SESSION_ENDED,
        "cause": "-",
        "phase": "-",
        "client_port": 33312,
        "connect_ms": 1,
        "total_ms": 25,
        "bytes_from_client": 2,
        "bytes_from_server": 5,
        "process_sessions": 1,
        "frontend_sessions": 1,
        "destination_ip": bytes(16),
    }
    values |= ip("10.0.1.2")
    values |= fields
    values["cause"] = ord(values["cause"])
    values["phase"] = ord(values["phase"])
    return Record(**values)


def connected(**fields: Any) -> Record:
    """A session that has just connected."""
    nothing_yet = {
        "kind": SESSION_CONNECTED,
        "total_ms": 1,
        "bytes_from_client": 0,
        "bytes_from_server": 0,
        "backend_sessions": 1,
        "slot_sessions": 1,
    }
    return ended(**(nothing_yet | fields))


def refused(**fields: Any) -> Record:
    """A session whose server refused, before anything was sent."""
    never = {"cause": "S", "phase": "C", "connect_ms": -1}
    return ended(**(never | {"bytes_from_client": 0, "bytes_from_server": 0} | fields))


def serverless(**fields: Any) -> Record:
    """A session for which there was no server."""
    return refused(**({"slot": NO_SLOT, "queue_ms": -1, "total_ms": 0} | fields))
