"""What the kernel knows of one leg of a session, as a value: `lbsplice sessions` shows it,
`lbsplice explain` reasons with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

STALLED_ACK_MS = 1000
"""For so long nothing came from a peer that is called stalled (as `lbsplice rescue` does)."""


_SINCE = ("last_data_received_ms", "last_data_sent_ms", "last_ack_ms")
_OUR_END_SENT = frozenset({"FIN_WAIT1", "LAST_ACK", "CLOSING"})


@dataclass(frozen=True, slots=True)
class KeepAliveInForce:
    """SO_KEEPALIVE as the socket has it, the system's values filled in; seconds."""

    idle: int
    interval: int
    count: int


@dataclass(frozen=True, slots=True)
class KernelLeg:
    """One TCP socket; times are milliseconds. `timer` is in netstat's words: off, on
    (retransmission), keepalive, timewait, probe (the window probe, which the kernel also
    uses where a packet could not leave this machine); None where it can not be known.
    `retransmits`, `probes` and `backoff` count since the last acknowledgment."""

    local: str
    peer: str
    state: str
    timer: str | None = None
    expires_ms: int = 0
    retransmits: int = 0
    probes: int = 0
    backoff: int = 0
    rto_ms: int = 0
    send_queue: int = 0  # not acknowledged, or not sent yet
    unsent: int = 0  # of these: not sent yet
    receive_queue: int = 0  # come, and not read by us
    last_data_received_ms: int = 0
    last_data_sent_ms: int = 0
    last_ack_ms: int = 0
    rtt_us: int = 0
    total_retransmits: int = 0
    keepalive: KeepAliveInForce | None = None
    user_timeout_ms: int = 0

    @property
    def _end(self) -> int:
        """Our FIN, which the kernel counts as the last byte that is queued."""
        return int(self.send_queue > 0 and self.state in _OUR_END_SENT)

    @property
    def queued(self) -> int:
        """Bytes for the peer that it has not acknowledged."""
        return self.send_queue - self._end

    @property
    def unacknowledged(self) -> int:
        """Bytes that were sent and are not acknowledged."""
        return max(0, self.queued - self._unsent_bytes)

    @property
    def _unsent_bytes(self) -> int:
        return max(0, self.unsent - self._end)

    @property
    def is_stalled(self) -> bool:
        """Whether data is queued, was sent again or probed for, and nothing comes back. A
        peer that only reads slowly answers its probes: it is not meant."""
        return (
            self.send_queue > 0
            and (self.retransmits > 0 or self.probes > 0)
            and self.last_ack_ms > STALLED_ACK_MS
        )

    def as_object(self) -> dict[str, Any]:
        """For JSON. Who has not answered the connect yet was never heard: those times are
        None."""
        return {
            **asdict(self),
            **(dict.fromkeys(_SINCE) if self.state == "SYN_SENT" else {}),
            "unsent": self._unsent_bytes,
            "unacknowledged": self.unacknowledged,
            "stalled": self.is_stalled,
        }
