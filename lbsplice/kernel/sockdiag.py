"""What the kernel knows about the TCP sockets of a network namespace (sock_diag(7)).

A `SocketWatch` sees the namespace that its thread was in when it was opened, for as long as it is
open, whichever namespace that thread moves to afterwards."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pyroute2 import DiagSocket

_STATES = (
    "UNKNOWN",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
)
_TIMERS = ("off", "on", "keepalive", "timewait", "probe")
_WITH_TCP_INFO = 1 << 1  # INET_DIAG_INFO is attribute 2, asked for by bit 1
_ESTABLISHED_ONLY = 1 << _STATES.index("ESTABLISHED")

Address = tuple[str, int]


@dataclass(frozen=True)
class TcpSocket:
    """One end of a TCP connection, as sock_diag describes it."""

    local: Address
    peer: Address
    state: str
    timer: str
    """Which timer runs, in netstat's words: off, on (retransmission), keepalive, timewait, probe
    (the window probe, which the kernel also uses when a packet could not leave this machine)."""
    expires_ms: int
    retransmits: int
    probes: int
    send_queue: int
    """Bytes that the peer has not acknowledged, or that were not sent yet."""

    def timer_text(self) -> str:
        """The timer as `netstat -o` shows it: kind (seconds left/retransmissions/probes)."""
        return timer_text(self.timer, self.expires_ms, self.retransmits, self.probes)


def timer_text(timer: str, expires_ms: int, retransmits: int, probes: int) -> str:
    """The last column of `netstat -o`: `keepalive (7199.90/0/0)`.

    >>> timer_text("keepalive", 7_199_900, 0, 0)
    'keepalive (7199.90/0/0)'
    """
    return f"{timer} ({expires_ms / 1000:.2f}/{retransmits}/{probes})"


class SocketWatch:
    """Asks sock_diag, again and again, about one network namespace.

    Raises OSError when the kernel lacks inet_diag or the caller lacks the right."""

    def __init__(self) -> None:
        self._diag = DiagSocket()
        self._diag.bind()

    def __enter__(self) -> SocketWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._diag.close()

    def established(self) -> list[TcpSocket]:
        """All IPv4 TCP sockets of the namespace that are in state ESTABLISHED."""
        answers = self._diag.get_sock_stats(
            family=socket.AF_INET, states=_ESTABLISHED_ONLY, extensions=_WITH_TCP_INFO
        )
        return [_tcp_socket(answer) for answer in answers]


def _tcp_socket(message: Any) -> TcpSocket:
    info = message.get_attr("INET_DIAG_INFO") or {}
    field = message.get
    timer = field("idiag_timer")
    return TcpSocket(
        local=(field("idiag_src"), field("idiag_sport")),
        peer=(field("idiag_dst"), field("idiag_dport")),
        state=_STATES[field("idiag_state")],
        timer=_TIMERS[timer] if timer < len(_TIMERS) else f"unkn-{timer}",
        expires_ms=field("idiag_expires"),
        retransmits=info.get("tcpi_retransmits", 0),
        probes=info.get("tcpi_probes", 0),
        send_queue=field("idiag_wqueue"),
    )
