"""How long Linux keeps believing in a TCP peer that has gone silent.

All times are milliseconds and start at the silence. The kernel's timers may come up to an
eighth of their length late (its timer wheel); that is not part of these numbers."""

from __future__ import annotations

from typing import NamedTuple

RTO_BASE_MS = 200
"""What the kernel takes for the first retransmission timeout when it turns a number of
retries into a time; also what a connection with a round trip under 100 ms or so has."""

RTO_HIGH_MS = 2 * RTO_BASE_MS
"""The longest first retransmission timeout that the bounds here allow for."""

SYN_RTO_MS = 1000


class Span(NamedTuple):
    """The earliest and the latest moment at which something happens."""

    best_ms: int
    worst_ms: int

    def after(self, ms: int) -> Span:
        return Span(self.best_ms + ms, self.worst_ms + ms)


def keepalive(idle_s: int, interval_s: int, count: int, user_timeout_ms: int | None = None) -> Span:
    """When an idle session with SO_KEEPALIVE is given up: at best the next probe was due,
    at worst the peer was heard a moment ago. TCP_USER_TIMEOUT takes the place of the
    count: given up at the first tick with a probe unanswered and that much silence.

    After a probe that was answered the kernel looks again one interval later, even where
    that is longer than the idle time."""
    spans = [
        _probing(1000 * first, 1000 * interval_s, count, user_timeout_ms)
        for first in (idle_s, max(idle_s, interval_s))
    ]
    return Span(min(s.best_ms for s in spans), max(s.worst_ms for s in spans))


def _probing(first_ms: int, interval_ms: int, count: int, user_timeout_ms: int | None) -> Span:
    """The probes without an answer, the first of them after so much silence."""
    probes = count
    if user_timeout_ms:
        probes = max(1, -(-(user_timeout_ms - first_ms) // interval_ms))
    return Span(interval_ms * probes, first_ms + interval_ms * probes)


def unacknowledged(
    retries2: int, rto_max_ms: int = 120_000, user_timeout_ms: int | None = None
) -> Span:
    """When a session whose data is not acknowledged is given up (tcp_retries2, or
    TCP_USER_TIMEOUT where that is set). Keepalive sleeps meanwhile.

    Data that this machine's own firewall drops counts as not sent: the window probes that
    the kernel then tries are counted by tcp_retries2 even with TCP_USER_TIMEOUT."""
    model = _model_timeout(retries2, rto_max_ms)
    if user_timeout_ms:
        return Span(min(model, user_timeout_ms), user_timeout_ms + RTO_HIGH_MS)
    # Looked at only when a retransmission is due, so up to one pause later.
    pause = min(rto_max_ms, model + 2 * RTO_HIGH_MS)
    return Span(model, model + RTO_HIGH_MS + pause)


def _model_timeout(retries: int, rto_max_ms: int) -> int:
    """The time that `retries` doubling retransmissions take, from RTO_BASE_MS on."""
    return sum(min(RTO_BASE_MS << n, rto_max_ms) for n in range(retries + 1))


def connecting(syn_retries: int, linear: int = 0, rto_max_ms: int = 120_000) -> int:
    """When a connect to a silent address is given up (tcp_syn_retries): the first `linear`
    repeats come a second apart, the others double. The end is the first pause over which
    the time of the doubling ones alone has passed."""
    limit = sum(min(SYN_RTO_MS << n, rto_max_ms) for n in range(syn_retries + 1))
    at, pause, repeats = 0, SYN_RTO_MS, 0
    while True:
        at += pause
        if at >= limit or repeats >= syn_retries + linear:
            return at
        repeats += 1
        if repeats > linear:
            pause = min(2 * pause, rto_max_ms)


def accepting(synack_retries: int, rto_max_ms: int = 120_000) -> int:
    """When a half-open connection, whose client is gone, is forgotten."""
    return sum(min(SYN_RTO_MS << n, rto_max_ms) for n in range(synack_retries + 1))


def handshakes(max_syn_backlog: int) -> int:
    """How many may be under way on one listener without SYN cookies: the last quarter of
    tcp_max_syn_backlog is for clients that the kernel has met before."""
    return max_syn_backlog - (max_syn_backlog >> 2) + 1


def syns_within(limit_ms: int, linear: int = 0) -> int:
    """How many SYNs are sent before a connect is given up after `limit_ms`."""
    sent, at, pause = 1, 0, SYN_RTO_MS
    while True:
        at += pause
        if at >= limit_ms:
            return sent
        sent += 1
        if sent > linear + 1:
            pause *= 2
