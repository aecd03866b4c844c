"""One session at one moment, copied out of the ledger: what `show sess`, `lbsplice
sessions` and `lbsplice explain` are made of.

A copy is taken without stopping the relay thread, so that two fields may be of two
moments; a record that was let go meanwhile is left out. Times of the ledger are
milliseconds of CLOCK_MONOTONIC; durations here are milliseconds unless a name says
otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.plan.slots import ServerKey
from lbsplice.terms import Cause


@dataclass(frozen=True, slots=True)
class LegView:
    """One of the two sockets of a session: `fd` in the worker process, -1 for none;
    `idle_ms` since its last progress; `moved` bytes that came from it and were delivered
    to the other leg, `in_pipe` those on their way; `ended` after its FIN or an error."""

    fd: int = -1
    idle_ms: int = 0
    moved: int = 0
    in_pipe: int = 0
    ended: bool = False
    shut: bool = False  # the other leg was told of its end
    is_unix: bool = False
    ready: int = 0  # LBS_LEG_*


@dataclass(frozen=True, slots=True)
class SessionView:
    """`state` is connecting, pausing, established, resetting or closed. Timeouts are those
    that the session was given, 0 for none; `expires_ms` until its next timer, None for
    none. `client` and `destination` are addresses as HAProxy's log writes them."""

    serial: int
    thread: int
    state: str
    frontend: str
    backend: str | None
    server: ServerKey | None
    client: str
    destination: str
    family: str  # tcpv4, tcpv6, unix_stream
    age_ms: int
    accepted_unix_ms: int
    connected_ms: int | None  # how long ago; None: never
    retries: int
    redispatched: bool
    cause: Cause | None
    legs: tuple[LegView, LegView]  # the client's, the server's
    expires_ms: int | None
    timeout_client: int = 0
    timeout_server: int = 0
    timeout_tunnel: int = 0
    timeout_client_fin: int = 0
    timeout_server_fin: int = 0
    timeout_connect: int = 0
    crashes: int = 0

    @property
    def idle_ms(self) -> int:
        """Since either leg made progress."""
        return min(leg.idle_ms for leg in self.legs)
