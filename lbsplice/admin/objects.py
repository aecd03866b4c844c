"""What lbsplice's own commands tell, as objects for JSON. Names and units are an interface:
times are milliseconds where the name says so, else seconds; a session's `id` is text."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lbsplice import __version__
from lbsplice.admin.explain_text import id_text
from lbsplice.admin.kernel_leg import KernelLeg
from lbsplice.admin.session import LegView, SessionView
from lbsplice.admin.view import BackendView, FrontendView, ServerView, Transition, View

Kernel = tuple[KernelLeg | None, KernelLeg | None]


def status_object(view: View) -> dict[str, Any]:
    """`lbsplice show status`: everything but the sessions."""
    process = view.process
    return {
        "version": __version__,
        "process": {
            "pid": process.pid,
            "uptime": round(process.uptime_s, 1),
            "node": process.node,
            "stopping": process.stopping,
            "maxconn": process.maxconn,
            "sessions": asdict(process.sessions),
            "session_rate": asdict(process.session_rate),
            "bytes_out_rate": process.bytes_out_rate,
            "adoptions": process.adoptions,
            "crashes": process.crashes,
            "stalled": process.stalled,
            "check_lag_ms": process.check_lag_ms,
            "kills": dict(process.kills),
            "kill_latency_ms": process.kill_latency_ms,
        },
        "frontends": [
            _frontend(view.frontends[name]) for name in view.proxies if name in view.frontends
        ],
        "backends": [
            _backend(view.backends[name]) for name in view.proxies if name in view.backends
        ],
        "transitions": [_transition(each) for each in view.transitions],
    }


def _frontend(view: FrontendView) -> dict[str, Any]:
    return {
        "name": view.name,
        "status": view.status,
        "sessions": asdict(view.sessions),
        "session_rate": asdict(view.session_rate),
        "bytes_in": view.bytes_in,
        "bytes_out": view.bytes_out,
    }


def _backend(view: BackendView) -> dict[str, Any]:
    return {
        "name": view.name,
        "status": view.status,
        "algorithm": view.algorithm.value,
        "sessions": asdict(view.sessions),
        "session_rate": asdict(view.session_rate),
        "servers": [_server(server) for server in view.servers],
    }


def _server(view: ServerView) -> dict[str, Any]:
    return {
        "backend": view.key[0],
        "name": view.key[1],
        "address": view.address,
        "status": view.status,
        "word": view.word,
        "admin": view.admin.value,
        "up": view.is_up,
        "checked": view.checked,
        "backup": view.backup,
        "weight": view.weight,
        "user_weight": view.user_weight,
        "initial_weight": view.initial_weight,
        "sessions": asdict(view.sessions),
        "session_rate": asdict(view.session_rate),
        "bytes_in": view.bytes_in,
        "bytes_out": view.bytes_out,
        "connect_errors": view.connect_errors,
        "retries": view.retries,
        "redispatches": view.redispatches,
        "client_aborts": view.client_aborts,
        "server_aborts": view.server_aborts,
        "killed": view.killed,
        "failed_checks": view.failed_checks,
        "downs": view.downs,
        "downtime": view.downtime,
        "last_change": view.last_change,
        "last_session": None if view.last_session < 0 else view.last_session,
        "check": {
            "status": view.check_status.value,
            "text": view.check_text,
            "code": view.check_code,
            "duration_ms": None if view.check_duration_ms < 0 else view.check_duration_ms,
            "under_way": view.checking,
        },
    }


def _transition(change: Transition) -> dict[str, Any]:
    return {
        "at": change.at,
        "backend": change.key[0],
        "server": change.key[1],
        "before": change.before,
        "after": change.after,
        "why": change.why,
        "ended": change.ended,
    }


def session_object(session: SessionView, kernel: Kernel) -> dict[str, Any]:
    """One line of `lbsplice show sessions`."""
    return {
        "id": id_text(session.serial),
        "state": session.state,
        "frontend": session.frontend,
        "backend": session.backend,
        "server": None if session.server is None else session.server[1],
        "client": session.client,
        "destination": session.destination,
        "family": session.family,
        "thread": session.thread,
        "accepted_unix_ms": session.accepted_unix_ms,
        "age_ms": session.age_ms,
        "idle_ms": session.idle_ms,
        "connected_ms": session.connected_ms,
        "retries": session.retries,
        "redispatched": session.redispatched,
        "expires_ms": session.expires_ms,
        "timeouts_ms": {
            "client": session.timeout_client,
            "server": session.timeout_server,
            "tunnel": session.timeout_tunnel,
            "client-fin": session.timeout_client_fin,
            "server-fin": session.timeout_server_fin,
            "connect": session.timeout_connect,
        },
        "stalled": is_stalled(kernel),
        "legs": {
            "client": _leg(session.legs[0], kernel[0]),
            "server": _leg(session.legs[1], kernel[1]),
        },
    }


def is_stalled(kernel: Kernel) -> bool:
    """Whether one of the two sides looks gone."""
    return any(leg is not None and leg.is_stalled for leg in kernel)


def _leg(leg: LegView, kernel: KernelLeg | None) -> dict[str, Any]:
    return {
        "fd": leg.fd,
        "idle_ms": leg.idle_ms,
        "bytes": leg.moved,
        "in_pipe": leg.in_pipe,
        "ended": leg.ended,
        "kernel": None if kernel is None else kernel.as_object(),
    }
