"""Addresses of the configuration as the kernel's `struct sockaddr`, in raw bytes
(Linux: ip(7), ipv6(7), unix(7)). Names must already be resolved."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv6Address
from os import fsencode
from struct import Struct

from lbsplice.config.model import AddressKind, Endpoint
from lbsplice.errors import PlanError

AF_UNIX = 1
AF_INET = 2
AF_INET6 = 10

UNIX_PATH_BYTES = 108
"""The size of `sun_path`."""

_FAMILY = Struct("=H")
_PORT = Struct("!H")
_SCOPE = Struct("=I")


def sockaddr(endpoint: Endpoint, port: int | None = None) -> bytes:
    """The socket address of an endpoint, with `port` (0 if None) where the endpoint
    itself has none or a relative one.

    Raises PlanError for what can not be written so: an address that is still a name,
    a descriptor, a port out of range, a path that is too long."""
    number = port or 0
    if endpoint.port is not None and not endpoint.relative:
        number = endpoint.port
    if not 0 <= number <= 0xFFFF:
        raise PlanError(f"port {number} is out of range (0..65535)")
    try:
        if endpoint.kind is AddressKind.ANY:
            return _ipv4(IPv4Address(0), number)
        if endpoint.kind is AddressKind.IPV4:
            return _ipv4(IPv4Address(endpoint.host), number)
        if endpoint.kind is AddressKind.IPV6:
            return _ipv6(IPv6Address(endpoint.host), number)
    except AddressValueError as error:
        raise PlanError(f"'{endpoint.host}' is not an address: {error}") from None
    if endpoint.kind is AddressKind.UNIX:
        return _FAMILY.pack(AF_UNIX) + _path(endpoint.host) + b"\0"
    if endpoint.kind is AddressKind.ABSTRACT:
        return _FAMILY.pack(AF_UNIX) + abstract_name(endpoint.host)
    if endpoint.kind is AddressKind.NAME:
        raise PlanError(f"the name '{endpoint.host}' was not resolved to an address")
    raise PlanError(f"'{endpoint.kind.value}@{endpoint.host}' is no address to connect to")


def abstract_name(text: str) -> bytes:
    """What bind and connect want for `abns@text`: padded with NULs to the size of
    `sun_path`, as HAProxy's are. PlanError if it is too long."""
    return (b"\0" + _path(text)).ljust(UNIX_PATH_BYTES, b"\0")


def any_address(family: int) -> bytes:
    """The wildcard address of AF_INET or AF_INET6, port 0."""
    return _ipv4(IPv4Address(0), 0) if family == AF_INET else _ipv6(IPv6Address(0), 0)


def with_port_zero(raw: bytes) -> bytes:
    """An IPv4 or IPv6 socket address without its port."""
    return raw[:2] + bytes(2) + raw[4:]


def is_any(raw: bytes) -> bool:
    """Is this the wildcard address of IPv4 or IPv6, with whatever port?"""
    return family(raw) != AF_UNIX and with_port_zero(raw) == any_address(family(raw))


def family(raw: bytes) -> int:
    """The address family of a raw socket address."""
    number: int = _FAMILY.unpack_from(raw)[0]
    return number


def _ipv4(address: IPv4Address, port: int) -> bytes:
    return _FAMILY.pack(AF_INET) + _PORT.pack(port) + address.packed + bytes(8)


def _ipv6(address: IPv6Address, port: int) -> bytes:
    scope = address.scope_id or "0"
    if not scope.isdecimal():
        raise PlanError(
            f"the zone of '{address}' is a name; write the interface's number (ip link)"
        )
    flow = bytes(4)
    return (
        _FAMILY.pack(AF_INET6) + _PORT.pack(port) + flow + address.packed + _SCOPE.pack(int(scope))
    )


def _path(text: str) -> bytes:
    raw = fsencode(text)
    if len(raw) >= UNIX_PATH_BYTES:
        raise PlanError(
            f"the path '{text}' is too long for a socket ({UNIX_PATH_BYTES - 1} bytes at most)"
        )
    return raw
