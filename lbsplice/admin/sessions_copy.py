"""Copies of sessions out of the ledger, without stopping the thread that works on them.

A record is copied whole and counts only if its serial, which no two sessions share, was
the same before and after: no copy is made of two sessions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from lbsplice.admin.session import LegView, SessionView
from lbsplice.dataplane.binding import ffi, lib
from lbsplice.dataplane.worker import Workers
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.slots import Numbers, ServerKey
from lbsplice.report.sessionlog import bound, ipv6_text, listener_ids
from lbsplice.terms import Cause

MOST_SECONDS = 0.0015
"""How long one call may take: after that it gives back what it has."""

_CLOCK_LOOKS = 16
_BYTES = ffi.sizeof("lbs_session")
_WORDS = _BYTES // 8
_SERIAL_WORD = ffi.offsetof("lbs_session", "serial") // 8
_AF_INET, _AF_INET6 = 2, 10
_LOW_32 = 0xFFFFFFFF
_TICK_MS = 4
"""What `timer_at` counts (TIMERS_TICK_MS of native/timers.h)."""

_STATES: Mapping[int, str] = MappingProxyType(
    {
        lib.LBS_CONNECTING: "connecting",
        lib.LBS_PAUSING: "pausing",
        lib.LBS_ESTABLISHED: "established",
        lib.LBS_RESETTING: "resetting",
    }
)
_FAMILIES: Mapping[int, str] = MappingProxyType({_AF_INET: "tcpv4", _AF_INET6: "tcpv6"})


@dataclass(frozen=True, slots=True)
class Names:
    """What a record's numbers mean. `listeners` are the client and the destination where
    the record has none: `unix:1`, and the address that is bound."""

    numbers: Numbers
    listeners: Mapping[int, tuple[str, str]]

    @classmethod
    def of(cls, inventory: Inventory) -> Names:
        numbers = inventory.numbers
        listeners = {}
        for proxy in (*inventory.leaving.frontends, *inventory.config.proxies):
            if proxy.has_frontend:
                ids = listener_ids(proxy.binds)
                for index, (bind, number) in enumerate(zip(proxy.binds, ids, strict=True)):
                    listener = numbers.listeners[proxy.name, index]
                    listeners[listener] = (f"unix:{number}", bound(bind))
        return cls(numbers, listeners)


_UNKNOWN = ("", "")


class SessionCopies:
    """The open sessions of these workers."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._copy = ffi.new("lbs_session *")

    def some(self, names: Names, first: int, room: int) -> tuple[list[SessionView], int | None]:
        """Those among up to `room` places from place `first` on, and where to go on. It
        may have looked at fewer places: it takes no more than MOST_SECONDS."""
        began = time.perf_counter()
        per_thread = self._workers.sizes.sessions
        found: list[SessionView] = []
        looked = 0
        thread, index = divmod(max(0, first), per_thread)
        while thread < self._workers.sizes.threads:
            table: Any = self._workers.sessions(thread)
            for at in range(index, self._workers.sessions_used(thread)):
                out_of_time = (
                    looked
                    and looked % _CLOCK_LOOKS == 0
                    and time.perf_counter() - began > MOST_SECONDS
                )
                if looked >= room or out_of_time:
                    return found, thread * per_thread + at
                looked += 1
                if (view := self._view(table[at], thread, names)) is not None:
                    found.append(view)
            thread, index = thread + 1, 0
        return found, None

    def one(self, names: Names, serial: int) -> SessionView | None:
        """The open session of this number. Its thread is in the number's top byte."""
        thread = serial >> 56
        if serial <= 0 or thread >= self._workers.sizes.threads:
            return None
        table: Any = self._workers.sessions(thread)
        used = self._workers.sessions_used(thread)
        words = memoryview(ffi.buffer(table, used * _BYTES)).cast("Q")
        try:
            at = words[_SERIAL_WORD::_WORDS].tolist().index(serial)
        except ValueError:
            return None
        return self._view(table[at], thread, names)

    def _view(self, record: Any, thread: int, names: Names) -> SessionView | None:
        if record.state not in _STATES:
            return None
        serial, copy = record.serial, self._copy
        copy_record(copy, record)
        whole = copy.serial == serial == record.serial and copy.magic == record.magic != 0
        if not whole or copy.state not in _STATES:
            return None
        return _view_of(copy, thread, names, time.monotonic_ns() // 1_000_000)


def copy_record(into: Any, record: Any) -> None:
    """All bytes of a record, as they are at this moment or while this is done."""
    ffi.memmove(into, ffi.addressof(record), _BYTES)


def _view_of(s: Any, thread: int, names: Names, now_ms: int) -> SessionView:
    numbers = names.numbers
    server: ServerKey | None = None
    if s.flags & lib.LBS_SESSION_ASSIGNED:
        server = numbers.slot_keys.get(s.slot)
    listener = names.listeners.get(s.listener, _UNKNOWN)
    client_leg, server_leg = s.legs[0], s.legs[1]
    from_client, from_server = s.relays[0], s.relays[1]
    low = now_ms & _LOW_32
    cause = Cause(chr(s.cause))
    return SessionView(
        serial=s.serial,
        thread=thread,
        state=_STATES[s.state],
        frontend=numbers.frontend_names.get(s.frontend, f"#{s.frontend}"),
        backend=numbers.backend_names.get(s.backend),
        server=server,
        client=_address(s.client_family, s.client_ip, s.client_port) or listener[0],
        destination=_address(s.destination_family, s.destination_ip, s.destination_port)
        or listener[1],
        family=_FAMILIES.get(s.client_family, "unix_stream"),
        age_ms=max(0, now_ms - s.accepted_ms),
        accepted_unix_ms=s.accepted_wall_ms,
        connected_ms=max(0, now_ms - s.connected_ms) if s.connected_ms else None,
        retries=s.retries,
        redispatched=bool(s.flags & lib.LBS_SESSION_REDISPATCHED),
        cause=None if cause is Cause.NONE else cause,
        legs=(
            _leg(client_leg, from_client, low),
            _leg(server_leg, from_server, low),
        ),
        expires_ms=_expires(s, now_ms),
        timeout_client=s.timeout_client,
        timeout_server=s.timeout_server,
        timeout_tunnel=s.timeout_tunnel,
        timeout_client_fin=s.timeout_client_fin,
        timeout_server_fin=s.timeout_server_fin,
        timeout_connect=s.timeout_connect,
        crashes=s.crashes,
    )


def _past(low_now: int, then: int) -> int:
    """How long since a time's low 32 bits. The thread's clock may be ahead of ours by a
    moment."""
    past = (low_now - then) & _LOW_32
    return past if past <= _LOW_32 // 2 else 0


def _held(relay: Any) -> int:
    return int((relay.taken - relay.moved) & _LOW_32)


def _leg(leg: Any, relay: Any, low: int) -> LegView:
    flags = relay.flags
    return LegView(
        fd=leg.fd,
        idle_ms=_past(low, leg.active_ms) if leg.fd >= 0 else 0,
        moved=relay.moved,
        in_pipe=_held(relay),
        ended=bool(flags & lib.LBS_RELAY_END),
        shut=bool(flags & lib.LBS_RELAY_SHUT),
        is_unix=bool(leg.ready & lib.LBS_LEG_UNIX),
        ready=leg.ready,
    )


def _expires(s: Any, now_ms: int) -> int | None:
    """Until something will be done because of the time. An armed timer may fire earlier,
    see that there was progress, and be armed again (native/session_idle.c)."""
    low = now_ms & _LOW_32
    if s.state == lib.LBS_CONNECTING:
        return max(0, s.timeout_connect - _past(low, s.attempt_ms)) if s.timeout_connect else None
    if s.state == lib.LBS_ESTABLISHED:
        left = [each for side in (0, 1) if (each := _idle_left(s, side, low)) is not None]
        return min(left, default=None)
    if not s.flags & lib.LBS_SESSION_IN_TIMER:
        return None
    ticks = (s.timer_at - now_ms // _TICK_MS) & _LOW_32
    return int(ticks * _TICK_MS) if ticks <= _LOW_32 // 2 else 0


def _idle_left(s: Any, side: int, low: int) -> int | None:
    """Until this leg has timed out; None: never. The rules are session_idle.c's."""
    own, other = s.relays[side], s.relays[1 - side]
    if (own.flags & lib.LBS_RELAY_END or _held(own)) and not _held(other):
        return None
    fin = s.timeout_server_fin if side else s.timeout_client_fin
    closing = fin and other.flags & lib.LBS_RELAY_SHUT
    limit = fin if closing else s.timeout_tunnel
    limit = limit or (s.timeout_server if side else s.timeout_client)
    if not limit:
        return None
    idle = _past(low, s.legs[side].active_ms)
    if s.timeout_tunnel and not closing:
        idle = min(idle, _past(low, s.legs[1 - side].active_ms))
    return max(0, int(limit) - idle)


def _address(family: int, ip: Any, port: int) -> str:
    """As the session log writes it; empty where it is not known."""
    if family == _AF_INET:
        return f"{ip[0]}.{ip[1]}.{ip[2]}.{ip[3]}:{port}"
    if family == _AF_INET6:
        return f"{ipv6_text(bytes(ip))}:{port}"
    return ""
