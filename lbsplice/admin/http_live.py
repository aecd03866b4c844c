"""What the statistics page shows, as rows that a browser is sent: all of them once, then
of those that have changed the fields that have. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lbsplice.admin.view import BackendView, FrontendView, ServerView, Transition, View

MOST_TRANSITIONS = 60

Row = dict[str, Any]
Change = dict[str, Any]


def scoped(view: View, scope: Sequence[str]) -> View:
    """The view with these proxies alone; all of them without a scope."""
    if not scope:
        return view
    return replace(
        view,
        proxies=tuple(name for name in view.proxies if name in scope),
        frontends={name: each for name, each in view.frontends.items() if name in scope},
        backends={name: each for name, each in view.backends.items() if name in scope},
        listeners=tuple(each for each in view.listeners if each.frontend in scope),
        transitions=tuple(each for each in view.transitions if each.key[0] in scope),
    )


@dataclass
class Live:
    """The rows as they were sent last. Keys are `F/name`, `B/name` and `S/backend/server`."""

    rows: dict[str, Row] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    transitions: tuple[Transition, ...] = ()
    process: Row = field(default_factory=dict)

    def change(self, view: View, now: float) -> Change:
        """Take the view in, at the Unix time `now`; what has changed by it."""
        rows = self._rows_of(view, now)
        changed = {
            key: _different(self.rows.get(key), row)
            for key, row in rows.items()
            if self.rows.get(key) != row
        }
        gone = [key for key in self.rows if key not in rows]
        order = list(rows)
        change: Change = {"now": now, "rows": changed}
        if gone:
            change["gone"] = gone
        if order != self.order:
            change["order"] = order
        transitions = view.transitions[-MOST_TRANSITIONS:]
        if transitions != self.transitions:
            change["transitions"] = [_transition(each) for each in transitions]
        process = _process(view)
        if process != self.process:
            change["process"] = process
        self.rows, self.order, self.transitions, self.process = rows, order, transitions, process
        return change

    def whole(self, now: float) -> Change:
        """Everything, for somebody that has nothing."""
        return {
            "now": now,
            "rows": self.rows,
            "order": self.order,
            "transitions": [_transition(each) for each in self.transitions],
            "process": self.process,
        }

    def _rows_of(self, view: View, now: float) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        for name in view.proxies:
            frontend, backend = view.frontends.get(name), view.backends.get(name)
            if frontend is not None:
                rows[f"F/{name}"] = _frontend(frontend)
            if backend is not None:
                key = f"B/{name}"
                rows[key] = _backend(backend, self._since(key, backend.last_change, now))
                for server in backend.servers:
                    key = f"S/{server.key[0]}/{server.key[1]}"
                    rows[key] = _server(server, self._since(key, server.last_change, now))
        return rows

    def _since(self, key: str, seconds: int, now: float) -> int:
        """When it was: the same number for as long as it is the same change."""
        since = round(now) - seconds
        before = self.rows.get(key, {}).get("since", 0)
        return before if abs(before - since) <= 1 else since


def _different(before: Row | None, row: Row) -> Row:
    """The fields to send to who has the row as it was; all of a new one."""
    if before is None:
        return row
    return {name: value for name, value in row.items() if before.get(name) != value}


def _flow(view: FrontendView | BackendView | ServerView) -> Row:
    return {
        "now": view.sessions.now,
        "max": view.sessions.max,
        "limit": view.sessions.limit,
        "total": view.sessions.total,
        "rate": view.session_rate.now,
        "rate_max": view.session_rate.max,
        "in": view.bytes_in,
        "out": view.bytes_out,
    }


def _frontend(view: FrontendView) -> Row:
    return {
        "name": view.name,
        "mode": view.mode,
        "status": view.status,
        "look": {"OPEN": "up", "FULL": "going", "PAUSED": "drain"}.get(view.status, "down"),
        **_flow(view),
    }


def _backend(view: BackendView, since: int) -> Row:
    return {
        "name": view.name,
        "iid": view.iid,
        "mode": view.mode,
        "status": view.status,
        "look": "up" if view.status == "UP" else "down",
        "since": since,
        "balance": view.algorithm.value,
        "servers": len(view.servers),
        "active": view.active,
        "backups": view.backups,
        "killed": view.killed,
        **_flow(view),
    }


def look(server: ServerView) -> str:
    """Which of the page's colours a server has."""
    for word in ("MAINT", "DRAIN", "NOLB"):
        if server.word.startswith(word):
            return "maint" if word == "MAINT" else "drain"
    if not server.checked:
        return "plain"
    if server.is_up:
        return "up" if server.status == "UP" else "going"
    return "down"


def _server(view: ServerView, since: int) -> Row:
    check = view.check_text
    if view.checked and view.check_duration_ms >= 0:
        check = f"{view.check_status.value} in {view.check_duration_ms} ms: {check}"
    return {
        "backend": view.key[0],
        "name": view.key[1],
        "address": view.address,
        "status": view.status,
        "look": look(view),
        "since": since,
        "weight": view.user_weight,
        "backup": view.backup,
        "check": check,
        "failed": view.failed_checks,
        "downs": view.downs,
        "errors": view.connect_errors,
        "retries": view.retries,
        "killed": view.killed,
        **_flow(view),
    }


def _transition(each: Transition) -> Row:
    return {
        "at": each.at,
        "backend": each.key[0],
        "server": each.key[1],
        "before": each.before,
        "after": each.after,
        "why": each.why,
        "ended": each.ended,
    }


def _process(view: View) -> Row:
    process = view.process
    return {
        "pid": process.pid,
        "started": round(process.started),
        "threads": process.threads,
        "now": process.sessions.now,
        "max": process.sessions.max,
        "limit": process.maxconn,
        "total": process.sessions.total,
        "rate": process.session_rate.now,
        "out": process.bytes_out,
        "idle": process.idle_percent,
        "stopping": process.stopping,
        "adoptions": process.adoptions,
        "crashes": process.crashes,
        "stalled": process.stalled,
        "killed": sum(process.kills.values()),
    }
