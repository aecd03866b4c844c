"""Which TCP sockets of other processes a rescue is about.

Never all of them, never loopback unasked: what ends here can not be brought back."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from lbsplice.errors import UnitError

CONNECTED = (
    "ESTABLISHED",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "CLOSE_WAIT",
    "LAST_ACK",
    "CLOSING",
)
"""The states of a session that has been one. Destroying a listening socket would end a
service, so LISTEN can not be asked for."""

SELECTABLE = ("SYN_SENT", *CONNECTED)

STALLED_ACK_MS = 1000
"""A path is called stalled when nothing was acknowledged for so long."""

_LARGEST_PORT = 65535


class Connection(Protocol):
    """What is asked of a socket here; `lbsplice.kernel.sockdiag.TcpSocket` has it."""

    @property
    def local(self) -> tuple[str, int]: ...
    @property
    def peer(self) -> tuple[str, int]: ...
    @property
    def state(self) -> str: ...
    @property
    def retransmits(self) -> int: ...
    @property
    def probes(self) -> int: ...
    @property
    def send_queue(self) -> int: ...
    @property
    def last_data_received_ms(self) -> int: ...
    @property
    def last_ack_ms(self) -> int: ...
    @property
    def inode(self) -> int: ...


@dataclass(frozen=True)
class Endpoint:
    """An address, a port, or both; never neither."""

    address: str | None
    port: int | None

    def matches(self, address: tuple[str, int]) -> bool:
        return self.address in (None, address[0]) and self.port in (None, address[1])

    def __str__(self) -> str:
        address = self.address or ""
        shown = f"[{address}]" if ":" in address else address
        return shown if self.port is None else f"{shown}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`192.168.1.29:81`, `192.168.1.29`, `:81`, `[2001:db8::1]:81`, `2001:db8::1`.
    Raises UnitError."""
    address, port = text, ""
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or rest == ":":
            raise UnitError(f"'{text}' is not [ADDRESS]:PORT")
        port = rest[1:]
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
        if not port:
            raise UnitError(f"'{text}' ends where a port should stand")
    return Endpoint(_address(address), _port(port, text))


def _address(text: str) -> str | None:
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError as error:
        raise UnitError(f"'{text}' is not an IP address (a name could mean several)") from error
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified:
        raise UnitError(f"'{text}' would match every address")
    return str(address)


def _port(digits: str, text: str) -> int | None:
    if not digits:
        if not text.strip("[]:"):
            raise UnitError("an address or a port is missing")
        return None
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) <= _LARGEST_PORT):
        raise UnitError(f"'{text}': '{digits}' is not a port (1..{_LARGEST_PORT})")
    return int(digits)


def is_loopback(connection: Connection) -> bool:
    """Whether it never leaves the machine: 127.0.0.0/8, ::1, or both ends of one address."""
    addresses = (connection.local[0], connection.peer[0])
    return addresses[0] == addresses[1] or any(map(is_loopback_address, addresses))


def is_loopback_address(text: str) -> bool:
    """Whether an address is of 127.0.0.0/8, or ::1. What is no address is not."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


def is_stalled(connection: Connection) -> bool:
    """Whether data is queued, was sent again or probed for, and nothing is acknowledged. A
    peer that only reads slowly answers its probes: it is not meant."""
    return (
        connection.send_queue > 0
        and (connection.retransmits > 0 or connection.probes > 0)
        and connection.last_ack_ms > STALLED_ACK_MS
    )


@dataclass(frozen=True)
class Selection:
    """What is wanted. `dst` is the far end, `src` the near one, as the socket's owner sees
    them. Raises UnitError when it would match everything, or what must not be matched."""

    dst: Endpoint | None = None
    src: Endpoint | None = None
    states: tuple[str, ...] = CONNECTED
    stalled: bool = False
    idle_ms: int | None = None
    include_loopback: bool = False

    def __post_init__(self) -> None:
        if self.dst is None and self.src is None:
            raise UnitError("that would match every session of this machine: give --dst or --src")
        for state in self.states:
            if state not in SELECTABLE:
                raise UnitError(f"'{state}' can not be asked for; one of {', '.join(SELECTABLE)}")
        for end in (self.dst, self.src):
            loops = end is not None and is_loopback_address(end.address or "")
            if loops and not self.include_loopback:
                raise UnitError(f"{end} is loopback: say --include-loopback if that is meant")

    def matches(self, connection: Connection, own: AbstractSet[int] = frozenset()) -> bool:
        """Whether a socket is meant. `own`: the inodes of sockets that are never meant."""
        if connection.state not in self.states or connection.inode in own:
            return False
        if self.dst is not None and not self.dst.matches(connection.peer):
            return False
        if self.src is not None and not self.src.matches(connection.local):
            return False
        if not self.include_loopback and is_loopback(connection):
            return False
        if self.stalled and not is_stalled(connection):
            return False
        return self.idle_ms is None or connection.last_data_received_ms >= self.idle_ms
