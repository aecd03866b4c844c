"""Copies a plan's tables to C, row by row (native/api.h has the same rows)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.errors import PlanError
from lbsplice.plan.tables import BackendRow, FrontendRow, ListenerRow, Plan, SlotRow
from lbsplice.terms import Algorithm

ALGORITHMS: Mapping[Algorithm, int] = {
    Algorithm.ROUNDROBIN: lib.LBS_ROUNDROBIN,
    Algorithm.STATIC_RR: lib.LBS_STATIC_RR,
    Algorithm.LEASTCONN: lib.LBS_LEASTCONN,
    Algorithm.FIRST: lib.LBS_FIRST,
    Algorithm.RANDOM: lib.LBS_RANDOM,
    Algorithm.SOURCE: lib.LBS_SOURCE,
}

_SAME_NAMES: Mapping[type, tuple[str, ...]] = {
    ListenerRow: ("number", "frontend", "maxconn", "want_destination"),
    FrontendRow: (
        "number",
        "backend",
        "maxconn",
        "timeout_client",
        "timeout_client_fin",
        "want_end_event",
        "want_connect_event",
        "nolinger",
    ),
    SlotRow: (
        "number",
        "backend",
        "port_rule",
        "port_offset",
        "weight",
        "tcp_ut",
        "source_port_low",
        "source_port_high",
    ),
    BackendRow: (
        "number",
        "avalanche",
        "draws",
        "retries",
        "redispatch",
        "redispatch_interval",
        "redispatch_first_failure",
        "timeout_connect",
        "timeout_server",
        "timeout_server_fin",
        "timeout_tunnel",
        "abortonclose",
        "nolinger",
        "smart_connect",
    ),
}


def _copy(row: Any, into: Any) -> None:
    for name in _SAME_NAMES[type(row)]:
        try:
            setattr(into, name, getattr(row, name))
        except OverflowError as error:
            raise PlanError(f"{type(row).__name__}.{name} does not fit: {error}") from error


def _address(raw: bytes, into: Any) -> None:
    if len(raw) > len(into.bytes):
        raise PlanError(f"a socket address of {len(raw)} bytes is too long")
    into.length = len(raw)
    if raw:
        ffi.memmove(into.bytes, raw, len(raw))


def _slot(row: SlotRow, into: Any) -> None:
    _copy(row, into)
    _address(row.address, into.address)
    _address(row.source, into.source)
    into.keepalive.enabled = row.keepalive.enabled
    into.keepalive.idle = row.keepalive.idle
    into.keepalive.interval = row.keepalive.interval
    into.keepalive.count = row.keepalive.count
    interface = row.source_interface.encode()
    if len(interface) >= len(into.source_interface):
        raise PlanError(f"interface name {row.source_interface!r} is too long")
    into.source_interface = interface


class Rows:
    """A plan as C rows. Keeps the memory alive for as long as it lives itself."""

    def __init__(self, plan: Plan, descriptors: Mapping[int, int], maxaccept: int = 0) -> None:
        """`descriptors`: the listening socket of each listener's number."""
        entries: list[int] = []
        points: list[tuple[int, int]] = []
        self._listeners = ffi.new("lbs_listener_row[]", len(plan.listeners))
        self._frontends = ffi.new("lbs_frontend_row[]", len(plan.frontends))
        self._backends = ffi.new("lbs_backend_row[]", len(plan.backends))
        self._slots = ffi.new("lbs_slot_row[]", len(plan.slots))
        for listener, into in zip(plan.listeners, self._listeners, strict=True):
            _copy(listener, into)
            into.fd = descriptors[listener.number]
        for frontend, into in zip(plan.frontends, self._frontends, strict=True):
            _copy(frontend, into)
        for slot, into in zip(plan.slots, self._slots, strict=True):
            _slot(slot, into)
        for backend, into in zip(plan.backends, self._backends, strict=True):
            _copy(backend, into)
            into.algorithm = ALGORITHMS[backend.algorithm]
            into.usable, into.usable_count = _append(entries, backend.usable)
            into.wheel, into.wheel_count = _append(entries, backend.wheel)
            into.points, into.points_count = _append(points, backend.points)
        self._entries = ffi.new("uint32_t[]", entries)
        self._points = ffi.new("lbs_point[]", points)
        self.rows = ffi.new(
            "lbs_plan_rows *",
            {
                "generation": plan.generation,
                "maxconn": plan.maxconn,
                "maxaccept": maxaccept,
                "listeners": self._listeners,
                "frontends": self._frontends,
                "backends": self._backends,
                "slots": self._slots,
                "entries": self._entries,
                "points": self._points,
                "listener_count": len(plan.listeners),
                "frontend_count": len(plan.frontends),
                "backend_count": len(plan.backends),
                "slot_count": len(plan.slots),
                "entry_count": len(entries),
                "point_count": len(points),
            },
        )


def _append(all_of: list[Any], some: Sequence[Any]) -> tuple[int, int]:
    first = len(all_of)
    all_of.extend(some)
    return first, len(some)
