"""A configuration becomes tables: where to connect, from where, and with which options."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace

import pytest

from lbsplice.config.model import (
    AddressKind,
    Endpoint,
    KeepAlive,
    Source,
)
from lbsplice.errors import PlanError
from lbsplice.plan.tables import (
    KeepAliveRow,
    PortRule,
)
from tests.support.plans import (
    FOLLOWS,
    SHIFTED,
    UNIX,
    ipv4,
    server,
    slot_of,
)

# ---- where to connect ----


def test_an_ipv4_server():
    slot = slot_of(server("a", endpoint=ipv4("10.1.2.3", 8080)))
    expected = struct.pack("=H", socket.AF_INET) + b"\x1f\x90" + bytes([10, 1, 2, 3]) + bytes(8)
    assert slot.address == expected
    assert (slot.port_rule, slot.port_offset) == (PortRule.FIXED, 0)


def test_an_ipv6_server():
    slot = slot_of(server("a", endpoint=Endpoint(AddressKind.IPV6, "fe80::1%7", 80)))
    address = socket.inet_pton(socket.AF_INET6, "fe80::1")
    assert slot.address == struct.pack("=H", socket.AF_INET6) + b"\0\x50" + bytes(
        4
    ) + address + struct.pack("=I", 7)


def test_a_unix_server():
    slot = slot_of(server("a", endpoint=UNIX))
    assert slot.address == struct.pack("=H", socket.AF_UNIX) + b"/run/lb.sock\0"
    assert slot.port_rule is PortRule.FIXED


def test_an_abstract_server_is_padded_as_haproxy_does():
    slot = slot_of(server("a", endpoint=Endpoint(AddressKind.ABSTRACT, "lb")))
    assert slot.address == struct.pack("=H", socket.AF_UNIX) + b"\0lb" + bytes(105)


@pytest.mark.parametrize(("one", "offset"), [(FOLLOWS, 0), (SHIFTED, 100)])
def test_a_port_that_follows_the_clients(one, offset):
    slot = slot_of(one)
    assert (slot.port_rule, slot.port_offset) == (PortRule.OFFSET, offset)
    assert slot.address[2:4] == b"\0\0"


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        (Endpoint(AddressKind.NAME, "db.example", 80), "'db.example' was not resolved"),
        (Endpoint(AddressKind.ANY, "", 80), "not supported"),
        (ipv4("0.0.0.0", 80), "not supported"),
        (Endpoint(AddressKind.IPV6, "::", 80), "not supported"),
        (Endpoint(AddressKind.FD, "3"), "fd@3"),
        (Endpoint(AddressKind.IPV6, "fe80::1%eth0", 80), "zone"),
        (Endpoint(AddressKind.UNIX, "/" + "x" * 108), "too long"),
        (ipv4("10.0.0.1", 65536), "65536 is out of range"),
        (ipv4("10.0.0", 80), "not an address"),
    ],
)
def test_what_can_not_be_connected_to_is_an_error_with_its_place(endpoint, says):
    with pytest.raises(PlanError, match=r"^lb\.cfg:14: server 'l/a': ") as caught:
        slot_of(server("a", endpoint=endpoint))
    assert says in str(caught.value)


# ---- where from, and how ----

ADDRESS = struct.pack("=H", socket.AF_INET) + b"\0\0" + bytes([10, 9, 9, 9]) + bytes(8)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source(ipv4("10.9.9.9")), (ADDRESS, 0, 0, "")),
        (Source(ipv4("10.9.9.9", 99)), (ADDRESS, 99, 99, "")),
        (Source(ipv4("10.9.9.9"), 1000, 2000), (ADDRESS, 1000, 2000, "")),
        (Source(ipv4("10.9.9.9"), interface="eth1"), (ADDRESS, 0, 0, "eth1")),
        (Source(ipv4("0.0.0.0"), interface="eth1"), (b"", 0, 0, "eth1")),
        (Source(Endpoint(AddressKind.ANY, ""), interface="eth1"), (b"", 0, 0, "eth1")),
        (Source(ipv4("0.0.0.0"), 5, 6), (struct.pack("=H", 2) + bytes(14), 5, 6, "")),
    ],
)
def test_the_source_of_connections(source, expected):
    slot = slot_of(server("a"), source=source)
    assert (
        slot.source,
        slot.source_port_low,
        slot.source_port_high,
        slot.source_interface,
    ) == expected


def test_a_servers_source_overrides_its_backends():
    slot = slot_of(server("a", source=Source(ipv4("10.9.9.9"))), source=Source(ipv4("10.8.8.8")))
    assert slot.source == ADDRESS


def test_a_unix_server_has_no_source():
    slot = slot_of(server("a", endpoint=UNIX), source=Source(ipv4("10.9.9.9"), interface="eth1"))
    assert (slot.source, slot.source_interface) == (b"", "")


def test_a_source_of_the_other_family_is_an_error():
    source = Source(Endpoint(AddressKind.IPV6, "fd00::1"))
    with pytest.raises(PlanError, match="another address family"):
        slot_of(server("a"), source=source)


def test_an_interface_name_that_no_kernel_takes_is_an_error():
    with pytest.raises(PlanError, match="too long for an interface"):
        slot_of(server("a"), source=Source(ipv4("0.0.0.0"), interface="x" * 16))


def test_keepalive_values_count_only_with_the_option():
    values = KeepAlive(enabled=False, idle=10, interval=5, count=3)
    assert slot_of(server("a"), server_keepalive=values).keepalive == KeepAliveRow()
    on = slot_of(server("a"), server_keepalive=replace(values, enabled=True)).keepalive
    assert on == KeepAliveRow(enabled=True, idle=10, interval=5, count=3)
    bare = slot_of(server("a"), server_keepalive=KeepAlive(enabled=True)).keepalive
    assert bare == KeepAliveRow(enabled=True)
