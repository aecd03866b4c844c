"""The plan: what the C workers execute, as frozen tables keyed by small integers.

A listener, frontend, backend or server keeps its number for as long as it lives, also
across reloads; the tables therefore may have holes, and every row carries its number.
Times are milliseconds, 0 means "none" (no timeout); counts are 0 for "no limit".
`lbsplice.dataplane.load` copies these tables to C field by field (native/api.h has the
same rows under the same names)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from lbsplice.terms import Algorithm

NO_SLOT = 0xFFFFFFFF
"""What stands where no server is meant."""


class PortRule(IntEnum):
    """How a server's port is found."""

    FIXED = 0  # the port in the socket address
    OFFSET = 1  # the port the client connected to, plus `port_offset`


class Redispatch(IntEnum):
    """When a retry may go to another server (option redispatch)."""

    NEVER = 0
    INTERVAL = 1  # each `redispatch_interval`-th retry
    LAST = 2  # the last retry


@dataclass(frozen=True, slots=True)
class KeepAliveRow:
    """Seconds; 0 leaves the system's value."""

    enabled: bool = False
    idle: int = 0
    interval: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class ListenerRow:
    number: int
    frontend: int
    maxconn: int = 0
    want_destination: bool = False  # sessions record the address they were accepted on


@dataclass(frozen=True, slots=True)
class FrontendRow:
    number: int
    backend: int  # NO_SLOT: none, sessions end at once
    maxconn: int = 0
    timeout_client: int = 0
    timeout_client_fin: int = 0
    want_end_event: bool = True  # somebody logs its sessions
    want_connect_event: bool = False  # default log line, logasap
    nolinger: bool = False


@dataclass(frozen=True, slots=True)
class SlotRow:
    """One server. `address` is a raw `struct sockaddr`; `source` too, or empty."""

    number: int
    backend: int
    address: bytes
    port_rule: PortRule = PortRule.FIXED
    port_offset: int = 0
    weight: int = 1
    tcp_ut: int = 0
    keepalive: KeepAliveRow = KeepAliveRow()
    source: bytes = b""
    source_port_low: int = 0
    source_port_high: int = 0
    source_interface: str = ""


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend. `wheel` holds slot numbers: round robin walks it, random and
    map-based hashing index it, leastconn and first scan `usable`. `points` is the
    consistent hash table: (key, slot), sorted by key, keys unique."""

    number: int
    algorithm: Algorithm
    usable: tuple[int, ...] = ()  # the slots that may receive sessions now, in order
    wheel: tuple[int, ...] = ()  # `usable`, spread by weight
    points: tuple[tuple[int, int], ...] = ()
    avalanche: bool = False
    draws: int = 2
    retries: int = 3
    redispatch: Redispatch = Redispatch.NEVER
    redispatch_interval: int = 0
    redispatch_first_failure: bool = False  # not hashed, and redispatch is on
    timeout_connect: int = 0
    timeout_server: int = 0
    timeout_server_fin: int = 0
    timeout_tunnel: int = 0
    abortonclose: bool = False
    nolinger: bool = False
    smart_connect: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    generation: int
    maxconn: int
    listeners: tuple[ListenerRow, ...] = ()
    frontends: tuple[FrontendRow, ...] = ()
    backends: tuple[BackendRow, ...] = ()
    slots: tuple[SlotRow, ...] = ()
