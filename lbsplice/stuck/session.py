"""A session that is stuck, as it is listed and ended."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.kernel.sockdiag import SocketWatch, TcpSocket
from lbsplice.stuck.owners import Owner
from lbsplice.stuck.statements import ServerName


@dataclass(frozen=True)
class Stuck:
    """What is to be ended: a leg, and the client's leg of the same session where it is known.

    The client's goes first: its peer then meets a reset. Of the server's leg alone HAProxy
    makes a clean end (FIN) toward the client."""

    leg: TcpSocket
    client_leg: TcpSocket | None = None
    owners: tuple[Owner, ...] = ()
    server: ServerName | None = None

    def end(self, watch: SocketWatch) -> bool:
        """Destroy it. False if it had ended by itself."""
        ended = self.client_leg is not None and watch.destroy(self.client_leg)
        return watch.destroy(self.leg) or ended

    def text(self) -> str:
        """One line for a log."""
        owners = ", ".join(map(str, self.owners)) or "no process"
        client = f"{end_text(self.client_leg.peer)} -> " if self.client_leg else ""
        leg = self.leg
        return (
            f"{client}{end_text(leg.local)} -> {end_text(leg.peer)} of {owners}:"
            f" {leg.state.lower()}, unsent {leg.unsent}, unacknowledged {leg.unacknowledged},"
            f" retransmits {leg.retransmits}, probes {leg.probes},"
            f" last ack {leg.last_ack_ms / 1000:.1f} s ago"
        )

    def as_object(self) -> dict[str, object]:
        """For JSON."""
        return {
            "owners": [
                {"pid": each.pid, "name": each.name, "user": each.user, "age_s": int(each.age_s)}
                for each in self.owners
            ],
            "server": "/".join(self.server) if self.server else None,
            **_leg_object(self.leg),
            "client_leg": _leg_object(self.client_leg) if self.client_leg else None,
        }


def _leg_object(leg: TcpSocket) -> dict[str, object]:
    return {
        "local": end_text(leg.local),
        "peer": end_text(leg.peer),
        "state": leg.state,
        "idle_ms": leg.last_data_received_ms,
        "last_ack_ms": leg.last_ack_ms,
        "unsent": leg.unsent,
        "unacknowledged": leg.unacknowledged,
        "retransmits": leg.retransmits,
        "probes": leg.probes,
    }


def end_text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
