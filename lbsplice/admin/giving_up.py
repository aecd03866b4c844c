"""When the kernel gives a TCP peer up that is silent from now on, and when lbsplice's own
timeouts end a session on which nothing moves any more. Times are milliseconds from now.

The kernel's timers may come up to an eighth of their length late; this is not counted."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.admin.kernel_leg import KernelLeg
from lbsplice.admin.session import SessionView
from lbsplice.sysctl import tcp

CLIENT, SERVER = 0, 1
SIDES = ("client", "server")


@dataclass(frozen=True, slots=True)
class System:
    """The sysctls that decide when data is given up."""

    retries2: int = 15
    rto_max_ms: int = 120_000


@dataclass(frozen=True, slots=True)
class Given:
    """The kernel gives up after `in_ms`, because of `what`."""

    in_ms: int
    what: str


# ---- the kernel ----


def gives_up(leg: KernelLeg, system: System) -> Given | None:
    """When the kernel ends this leg if its peer is never heard again and nothing more is
    sent to it; None: never."""
    if leg.send_queue:
        if leg.timer == "probe":
            return Given(_probed_out(leg, system), _limit_name(leg, system, "window probes"))
        return Given(_sent_in_vain(leg, system), _limit_name(leg, system, "retransmissions"))
    alive = leg.keepalive
    if alive is None:
        return None
    what = f"keepalive: {alive.idle}s of silence, then {alive.count} probes {alive.interval}s apart"
    if leg.user_timeout_ms:
        what = f"keepalive after {alive.idle}s of silence, with tcp-ut {leg.user_timeout_ms}ms"
    return Given(_kept_alive_in_vain(leg), what)


def sends_in_vain(leg: KernelLeg, system: System) -> int:
    """After how long, at the latest, data is given up that would be sent now in vain."""
    limit = leg.user_timeout_ms or None
    return tcp.unacknowledged(system.retries2, system.rto_max_ms, limit).worst_ms


def _limit_name(leg: KernelLeg, system: System, of: str) -> str:
    if leg.user_timeout_ms:
        return f"tcp-ut {leg.user_timeout_ms}ms"
    return f"net.ipv4.tcp_retries2 = {system.retries2}, the limit of {of}"


def _sent_in_vain(leg: KernelLeg, system: System) -> int:
    """Retransmissions double their pause; at each the kernel looks how long it has tried."""
    model = tcp.unacknowledged(system.retries2, system.rto_max_ms).best_ms
    if leg.timer != "on" or not leg.rto_ms:
        return sends_in_vain(leg, system)
    first = max(1, leg.rto_ms >> leg.backoff)
    tried = sum(min(first << n, system.rto_max_ms) for n in range(leg.retransmits))
    tried += max(0, leg.rto_ms - leg.expires_ms)
    if leg.user_timeout_ms:
        return max(0, leg.user_timeout_ms - tried)
    at, pause = leg.expires_ms, leg.rto_ms
    while tried + at < model:
        pause = min(2 * pause, system.rto_max_ms)
        at += pause
    return at


def _probed_out(leg: KernelLeg, system: System) -> int:
    """Window probes without an answer are counted; their pauses double."""
    at, probes = leg.expires_ms, leg.probes
    pause = max(1, leg.rto_ms)
    backoff = leg.backoff
    while probes < system.retries2:
        backoff = min(backoff + 1, system.retries2)
        at += min(pause << backoff, system.rto_max_ms)
        probes += 1
    if leg.user_timeout_ms:
        return min(at, max(leg.expires_ms, leg.user_timeout_ms - leg.last_ack_ms))
    return at


def _kept_alive_in_vain(leg: KernelLeg) -> int:
    alive = leg.keepalive
    assert alive is not None
    idle, interval = 1000 * alive.idle, 1000 * alive.interval
    quiet = min(leg.last_data_received_ms, leg.last_ack_ms)
    at, probes = leg.expires_ms, leg.probes
    if leg.timer != "keepalive" or (not probes and quiet + at < idle):
        at = max(0, idle - quiet)  # when it fires the kernel looks how long it was quiet
    if not leg.user_timeout_ms:
        return at + max(0, alive.count - probes) * interval
    while not probes or quiet + at < leg.user_timeout_ms:
        probes += 1
        at += interval
    return at


# ---- lbsplice ----


@dataclass(frozen=True, slots=True)
class IdleTimer:
    """A timeout of the configuration that runs for one leg (`native/session_idle.c`)."""

    setting: str
    limit_ms: int
    left_ms: int


def idle_timer(session: SessionView, side: int) -> IdleTimer | None:
    """The one that runs for this leg of an established session; None: nothing is expected
    of it, or no timeout is set."""
    leg, other = session.legs[side], session.legs[1 - side]
    if (leg.ended or leg.in_pipe) and not other.in_pipe:
        return None
    fin = (session.timeout_client_fin, session.timeout_server_fin)[side]
    if fin and other.shut:
        setting, limit, idle = f"timeout {SIDES[side]}-fin", fin, leg.idle_ms
    elif session.timeout_tunnel:
        setting, limit, idle = "timeout tunnel", session.timeout_tunnel, session.idle_ms
    else:
        limit = (session.timeout_client, session.timeout_server)[side]
        setting, idle = f"timeout {SIDES[side]}", leg.idle_ms
    return IdleTimer(setting, limit, max(0, limit - idle)) if limit else None


def ends_when_silent(session: SessionView) -> IdleTimer | None:
    """What ends an established session on which nothing moves from now on, with the whole
    time that it takes; None: nothing of ours."""
    timers = [idle_timer(session, side) for side in (CLIENT, SERVER)]
    running = [(timer, side) for side, timer in enumerate(timers) if timer is not None]
    if not running:
        return None
    first, side = min(running, key=lambda each: each[0].left_ms)
    other = 1 - side
    if first.setting == "timeout tunnel" or session.legs[other].in_pipe:
        return first  # for both legs; or bytes are lost, and that ends it
    if session.legs[other].ended:
        return first
    fin = (session.timeout_client_fin, session.timeout_server_fin)[other]
    if fin:  # the other one is told that this one has ended, and gets that long
        then = f"timeout {SIDES[other]}-fin"
        return IdleTimer(f"{first.setting}, then {then}", fin, first.left_ms + fin)
    last = timers[other]
    if last is None:
        return None
    if last.left_ms == first.left_ms:
        return last
    # Being told of the end counts as progress of the other one.
    setting = f"{first.setting}, then {last.setting}"
    return IdleTimer(setting, last.limit_ms, first.left_ms + last.limit_ms)
