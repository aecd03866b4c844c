"""What the kernel waits for on one leg, and what it has tried, as sentences without their ends."""

from __future__ import annotations

from lbsplice.admin.kernel_leg import KernelLeg
from lbsplice.admin.spans import bytes_text, many, span_text

_CLOSING = {
    "FIN_WAIT1": "for the acknowledgment of our end",
    "FIN_WAIT2": "for its end: ours has been acknowledged",
    "CLOSE_WAIT": "for us to end our direction: it has ended its own",
    "LAST_ACK": "for the acknowledgment of our end: it has ended before",
    "CLOSING": "for the acknowledgment of our end: both have ended",
    "SYN_SENT": "for its answer to our connect",
    "CLOSE": "for nothing: the connection is over",
}


def waits_for(leg: KernelLeg | None, name: str) -> str:
    """Of the leg of the client or the server (`name`)."""
    if leg is None:
        return "for nothing that can be told: not a TCP socket, or it has ended"
    said = _CLOSING.get(leg.state)
    if leg.queued:
        return _for_queue(leg, name)
    if said is not None:
        return f"{said}{_again(leg)}"
    if leg.receive_queue:
        return f"for us to read {bytes_text(leg.receive_queue)}"
    if leg.timer == "keepalive":
        if leg.probes:
            probes = many(leg.probes, "keepalive probe")
            return f"for an answer to {probes}; the next in {span_text(leg.expires_ms)}"
        return f"for nothing: a keepalive probe follows after {_silence(leg)}"
    if leg.timer == "off":
        return f"for nothing, and no timer runs: a {name} that is gone is not noticed here"
    return "for nothing"


def in_vain(leg: KernelLeg, other: str) -> str:
    """What a leg that is stalled was sent; `other` is the side that it came from."""
    what, again = f"it was told that the {other} has ended", "told"
    if leg.queued:
        what, again = f"{bytes_text(leg.queued)} are queued for it", "sent"
    if leg.probes:
        return f"{what}, and {many(leg.probes, 'probe')} got no answer"
    return f"{what}, {again} again {many(leg.retransmits, 'time')}"


def _silence(leg: KernelLeg) -> str:
    if leg.keepalive is None:
        return "a silence"
    return f"{span_text(1000 * leg.keepalive.idle)} of silence"


def _again(leg: KernelLeg) -> str:
    if not leg.retransmits:
        return ""
    next_one = "" if leg.timer is None else f"; the next in {span_text(leg.expires_ms)}"
    return f", sent again {many(leg.retransmits, 'time')}{next_one}"


def _for_queue(leg: KernelLeg, name: str) -> str:
    amount = bytes_text(leg.queued)
    next_one = f"the next in {span_text(leg.expires_ms)}"
    if leg.timer == "probe":
        if leg.probes:
            probes = many(leg.probes, "probe")
            return f"for an answer to {probes} about {amount} that can not be sent; {next_one}"
        return f"for the {name} to read: {amount} are queued; it is asked again, {next_one}"
    if leg.retransmits:
        return f"for the acknowledgment of {amount}{_again(leg)}"
    if not leg.unacknowledged:
        return f"to send {amount}"
    return f"for the acknowledgment of {amount}, sent {span_text(leg.last_data_sent_ms)} ago"
