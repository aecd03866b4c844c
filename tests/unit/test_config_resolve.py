from __future__ import annotations

from collections.abc import Sequence

from lbsplice.config.model import AddressKind, Endpoint
from lbsplice.resolve import Resolved, resolve, system_lookup
from tests.unit.config_reading import config

ADDRESSES = {
    ("db.example", None): ["10.0.0.1", "10.0.0.2"],
    ("db.example", 6): ["fd00::1"],
    ("here.example", None): ["127.0.0.9"],
}


class Names:
    """A resolver that knows `ADDRESSES` and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []

    def __call__(self, name: str, family: int | None) -> Sequence[str]:
        self.asked.append((name, family))
        return ADDRESSES.get((name, family), [])


def _resolve(text: str, names: Names | None = None) -> Resolved:
    return resolve(config(text), lookup=names or Names())


def _texts(resolved: Resolved) -> list[str]:
    return [f"{m.place.line if m.place else 0}: {m.text}" for m in resolved.messages]


def test_every_name_becomes_an_address() -> None:
    text = """\
global
 log here.example local0
 stats socket here.example:99
listen l
 bind here.example:80-81
 log global
 source here.example
 server a db.example:1
 server b ipv6@db.example:+2 check addr db.example port 7 source here.example:5-6
"""
    resolved = _resolve(text)
    assert resolved.messages == ()
    assert resolved.config is not None
    value, proxy = resolved.config.global_, resolved.config.proxies[0]
    here = "127.0.0.9"
    assert value.logs[0].address == Endpoint(AddressKind.IPV4, here, 514)
    assert value.stats_sockets[0].address == Endpoint(AddressKind.IPV4, here, 99)
    assert proxy.logs == value.logs
    assert [b.endpoint for b in proxy.binds] == [
        Endpoint(AddressKind.IPV4, here, 80),
        Endpoint(AddressKind.IPV4, here, 81),
    ]
    assert proxy.source is not None
    assert proxy.source.address == Endpoint(AddressKind.IPV4, here)
    a, b = proxy.servers
    assert a.endpoint == Endpoint(AddressKind.IPV4, "10.0.0.1", 1)
    assert b.endpoint == Endpoint(AddressKind.IPV6, "fd00::1", 2, True)
    assert b.check.address == Endpoint(AddressKind.IPV4, "10.0.0.1")
    assert b.source is not None
    assert (b.source.address.host, b.source.port_low, b.source.port_high) == (here, 5, 6)


def test_a_name_is_asked_for_once() -> None:
    names = Names()
    _resolve("backend b\n" + "".join(f" server s{n} db.example:{n}\n" for n in range(1, 50)), names)
    assert names.asked == [("db.example", None)]


def test_everything_that_can_not_be_resolved_is_told() -> None:
    text = """\
global
 user nosuchuser-x
 group nosuchgroup-x
 log no.example local0
listen l
 bind no.example:80
 bind /tmp/x user nosuchuser-x
 log global
 server a no.example:1
 server b 1.2.3.4:5 addr no.example
 server c 1.2.3.4:5 source no.example
"""
    resolved = _resolve(text)
    assert resolved.config is None
    assert _texts(resolved) == [
        "2: cannot find user id for 'nosuchuser-x' (0:Success)",
        "3: cannot find group id for 'nosuchgroup-x' (0:Success)",
        "4: log : invalid address: 'no.example' in 'no.example:514'",
        "6: 'bind' : invalid address: 'no.example' in 'no.example:80'",
        "7: 'bind' in section 'listen' : 'user' : unknown user name 'nosuchuser-x'",
        "9: 'server l/a' : could not resolve address 'no.example'.",
        "10: 'server l/b' : 'addr' : invalid address: 'no.example' in 'no.example'",
        "11: 'server l/c' : 'source no.example' : invalid address: 'no.example' in 'no.example'",
        "0: Failed to initialize server(s) addr.",
    ]


def test_disabled_proxies_are_not_resolved() -> None:
    text = "backend b\n disabled\n server a no.example:1\n"
    names = Names()
    resolved = _resolve(text, names)
    assert resolved.config == config(text)
    assert names.asked == []


def test_the_system_knows_itself_and_no_nonsense() -> None:
    assert "127.0.0.1" in system_lookup("localhost", 4)
    assert system_lookup("no.such.host.invalid", None) == ()
    assert system_lookup("x" * 300, None) == ()
