"""The addresses of a configuration: `1.2.3.4:80`, `:80`, `*:80-90`, `[::1]:80`,
`unix@/path`, `/path`, `abns@name`, `fd@3`, `ipv4@name:80`, `server.example:80`.

One reader for all of them; an `Accept` says which forms a keyword can use. Errors are
`ConfigError` with HAProxy's words, without the keyword in front."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from lbsplice.config.model import AddressKind, Endpoint
from lbsplice.errors import ConfigError

UNIX_PATH_MAX = 107
"""Bytes of a unix socket's path (sockaddr_un, less its end)."""

_NOT_YET = {
    "abnsz": "zero-terminated abstract sockets are not supported by lbsplice yet",
    "sockpair": "socket pairs are not supported by lbsplice",
    "quic4": "QUIC is not supported: lbsplice relays TCP only",
    "quic6": "QUIC is not supported: lbsplice relays TCP only",
    "rhttp": "reverse HTTP is not supported: lbsplice relays TCP only",
    "rev": "reverse HTTP is not supported: lbsplice relays TCP only",
    "mptcp": "MPTCP is not supported by lbsplice yet",
    "mptcp4": "MPTCP is not supported by lbsplice yet",
    "mptcp6": "MPTCP is not supported by lbsplice yet",
    "ring": "log rings are not supported by lbsplice yet",
}
_DATAGRAM = {"udp", "udp4", "udp6", "uxdg"}
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")


@dataclass(frozen=True, slots=True)
class Accept:
    """Which forms of an address a keyword takes."""

    port: bool = True  # a port may be given
    port_required: bool = False
    port_range: bool = False
    port_offset: bool = False
    fd: bool = False
    unix: bool = True
    datagram: bool = False
    name: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """An address and the last port of its range (equal to the first without one)."""

    endpoint: Endpoint
    last_port: int | None = None


BIND = Accept(port_required=True, port_range=True, fd=True)
SERVER = Accept(port_offset=True)
CHECK = Accept(unix=False)
SOURCE = Accept(unix=False)
SERVER_SOURCE = Accept(unix=False, port_range=True)
LOG = Accept(fd=True, datagram=True)
STATS = Accept(fd=True)


def parse_address(text: str, accept: Accept) -> Address:
    """Read one address. Raises `ConfigError`."""
    if not text:
        raise ConfigError(
            "'' resolves to an empty address (environment variable missing?)",
        )
    family, rest = _family(text, accept)
    if family == "fd":
        return _descriptor(text, rest, accept)
    if family in ("unix", "abns"):
        return _local(text, rest, family, accept)
    return _internet(text, rest, family, accept)


def _family(text: str, accept: Accept) -> tuple[str, str]:
    """The kind of address a prefix asks for ("" for none), and what follows it."""
    rest = text
    datagram = False
    if rest.startswith(("stream+", "dgram+")):
        kind, rest = rest.split("+", 1)
        datagram = kind == "dgram"
    prefix, at, after = rest.partition("@")
    if not at:
        return ("unix" if rest.startswith("/") else ""), rest
    if prefix in _NOT_YET:
        raise ConfigError(f"{_NOT_YET[prefix]} in '{text}'")
    if (datagram or prefix in _DATAGRAM) and not accept.datagram:
        raise ConfigError(f"dgram-type address not acceptable in '{text}'")
    families = {
        "unix": "unix",
        "uxst": "unix",
        "uxdg": "unix",
        "abns": "abns",
        "fd": "fd",
        "ipv4": "4",
        "tcp4": "4",
        "udp4": "4",
        "ipv6": "6",
        "tcp6": "6",
        "udp6": "6",
        "tcp": "",
        "udp": "",
    }
    if prefix not in families:
        raise ConfigError(f"unknown address family '{prefix}' in '{text}'")
    return families[prefix], after


def _descriptor(text: str, number: str, accept: Accept) -> Address:
    if not accept.fd:
        raise ConfigError(f"a file descriptor is not acceptable here in '{text}'")
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise ConfigError(f"file descriptor '{number}' is not a valid integer in '{text}'")
    return Address(Endpoint(AddressKind.FD, str(int(number))))


def _local(text: str, path: str, family: str, accept: Accept) -> Address:
    if not accept.unix:
        raise ConfigError(f"a unix socket is not acceptable here in '{text}'")
    if not path:
        raise ConfigError(f"missing socket path in '{text}'")
    limit = UNIX_PATH_MAX
    if len(path.encode("utf-8", "surrogateescape")) > limit:
        raise ConfigError(f"socket path '{path}' too long (max {limit})")
    kind = AddressKind.UNIX if family == "unix" else AddressKind.ABSTRACT
    return Address(Endpoint(kind, path))


def _internet(text: str, rest: str, family: str, accept: Accept) -> Address:
    host, port_text = _host_and_port(rest, family)
    port, last, relative = _port(text, port_text, accept)
    kind, host = _host(text, host, family)
    if kind is AddressKind.NAME and not accept.name:
        raise ConfigError(f"invalid address: '{host}' in '{text}'")
    only = int(family) if family and kind is AddressKind.NAME else None
    return Address(Endpoint(kind, host, port, relative, only), last)


def _host_and_port(rest: str, family: str) -> tuple[str, str | None]:
    """Split at the last colon: an IPv6 address needs brackets, unless what stands before
    its last colon is none without it."""
    if rest.startswith("["):
        host, closing, after = rest[1:].partition("]")
        if closing and (not after or after.startswith(":")):
            return host, after[1:] if after else None
    host, colon, port = rest.rpartition(":")
    if not colon or (":" in host and not _is_ipv6(host) and _is_ipv6(rest)):
        return rest, None
    return host, port


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _port(text: str, port: str | None, accept: Accept) -> tuple[int | None, int | None, bool]:
    if port is None or port == "":
        if accept.port_required:
            raise ConfigError(f"missing port specification in '{text}'")
        return None, None, False
    if not accept.port:
        raise ConfigError(f"port specification not permitted here in '{text}'")
    if port[0] in "+-":
        if not accept.port_offset:
            raise ConfigError(f"port offset not permitted here in '{text}'")
        offset = _port_number(text, port[1:], 65535, port)
        return (offset if port[0] == "+" else -offset), None, True
    low_text, dash, high_text = port.partition("-")
    if not dash:
        low = _port_number(text, low_text, 65535, port)
        if low == 0 and accept.port_required:
            raise ConfigError(f"invalid port '{port}'")
        return low, low, False
    if not accept.port_range:
        raise ConfigError(f"port range not permitted here in '{text}'")
    low = _port_number(text, low_text, 65535, port)
    high = _port_number(text, high_text, 65535, port)
    if not 1 <= low <= high:
        raise ConfigError(f"invalid port range '{port}'")
    return low, high, False


def _port_number(text: str, digits: str, largest: int, shown: str) -> int:
    for c in digits:
        if c not in "0123456789":
            raise ConfigError(f"invalid character '{c}' in port number '{shown}' in '{text}'")
    if not digits or len(digits) > 9 or int(digits) > largest:
        raise ConfigError(f"invalid port '{shown}'")
    return int(digits)


def _host(text: str, host: str, family: str) -> tuple[AddressKind, str]:
    if host in ("", "*"):
        return (AddressKind.IPV6, "::") if family == "6" else (AddressKind.ANY, "")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _NAME.match(host) or len(host) > 253:
            raise ConfigError(f"invalid address: '{host}' in '{text}'") from None
        return AddressKind.NAME, host
    if isinstance(address, ipaddress.IPv4Address):
        if family == "6":
            raise ConfigError(f"'{host}' is not an IPv6 address in '{text}'")
        return AddressKind.IPV4, str(address)
    if family == "4":
        raise ConfigError(f"'{host}' is not an IPv4 address in '{text}'")
    return AddressKind.IPV6, str(address)
