"""A Control made of literal values, and views to put into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lbsplice.admin.control import AdminError
from lbsplice.admin.server_words import parse_weight
from lbsplice.admin.session import LegView, SessionView
from lbsplice.admin.view import (
    BackendView,
    Flow,
    FrontendView,
    ProcessView,
    Rate,
    ServerView,
    Times,
    View,
)
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import AdminState, Algorithm, CheckStatus


def process_view(**changes: Any) -> ProcessView:
    """A process that has served 10 sessions and serves 2."""
    view = ProcessView(
        pid=4321,
        uptime_s=3725.5,
        started=1_700_000_000.0,
        threads=2,
        node="lb1",
        description="",
        ulimit_n=4096,
        max_sockets=4000,
        maxconn=1000,
        hard_maxconn=1000,
        sessions=Flow(now=2, max=5, total=10, limit=1000),
        session_rate=Rate(now=1, max=3),
        connection_rate=Rate(now=1, max=3),
        max_pipes=250,
        pipes_used=1,
        pipes_free=3,
        bytes_out=123_456,
        spliced_bytes=123_456,
        bytes_out_rate=1024,
        stopping=False,
        jobs=5,
        listeners=3,
        dropped_logs=0,
        idle_percent=99,
    )
    return replace(view, **changes)


def server_view(key: ServerKey, sid: int = 1, iid: int = 2, **changes: Any) -> ServerView:
    """A server that is up and checked and has served 5 sessions."""
    view = ServerView(
        key=key,
        iid=iid,
        sid=sid,
        address=f"127.0.0.1:{8000 + sid}",
        status="UP",
        word="UP",
        admin=AdminState.READY,
        checked=True,
        is_up=True,
        backup=False,
        weight=1,
        user_weight=1,
        initial_weight=1,
        health=4,
        rise=2,
        fall=3,
        sessions=Flow(now=1, max=3, total=5),
        session_rate=Rate(now=1, max=2),
        times=Times(connect=1, total=20, connect_max=4, total_max=90),
        bytes_in=100,
        bytes_out=2000,
        connects=5,
        chosen=5,
        last_change=60,
        last_session=3,
        check_status=CheckStatus.L4_OK,
        check_duration_ms=0,
        check_text="Layer4 check passed",
    )
    return replace(view, **changes)


def backend_view(
    name: str, iid: int = 2, servers: Sequence[str] = ("s1", "s2"), **changes: Any
) -> BackendView:
    """A backend that is up, all of whose servers are."""
    rows = tuple(server_view((name, each), sid, iid) for sid, each in enumerate(servers, 1))
    view = BackendView(
        name=name,
        iid=iid,
        status="UP",
        algorithm=Algorithm.ROUNDROBIN,
        sessions=Flow(now=2, max=5, total=10, limit=100),
        session_rate=Rate(now=1, max=3),
        times=Times(connect=1, total=20, connect_max=4, total_max=90),
        servers=rows,
        weight=len(rows),
        user_weight=len(rows),
        active=len(rows),
        bytes_in=200,
        bytes_out=4000,
        connects=10,
        chosen=10,
        last_change=60,
        last_session=3,
    )
    return replace(view, **changes)


def frontend_view(name: str, iid: int = 2, **changes: Any) -> FrontendView:
    view = FrontendView(
        name=name,
        iid=iid,
        status="OPEN",
        sessions=Flow(now=2, max=5, total=10, limit=1000),
        connections=Flow(now=2, max=5, total=10),
        session_rate=Rate(now=1, max=3),
        connection_rate=Rate(now=1, max=3),
        bytes_in=200,
        bytes_out=4000,
    )
    return replace(view, **changes)


def small_view(**changes: Any) -> View:
    """A `listen l` with two servers, and a `frontend f` to a `backend b` with one."""
    view = View(
        process=process_view(),
        proxies=("l", "f", "b"),
        frontends={"l": frontend_view("l", 2), "f": frontend_view("f", 3)},
        backends={"l": backend_view("l", 2), "b": backend_view("b", 4, ("s1",))},
    )
    return replace(view, **changes)


def many_servers(backends: int, servers: int) -> View:
    """A view of `backends` times `servers` servers."""
    names = [f"b{number}" for number in range(backends)]
    each = [f"s{number}" for number in range(servers)]
    return View(
        process=process_view(),
        proxies=tuple(names),
        frontends={},
        backends={name: backend_view(name, iid, each) for iid, name in enumerate(names, 2)},
    )


def session_view(serial: int, **changes: Any) -> SessionView:
    """An established session of the client 127.0.0.1:40000+serial to l/s1."""
    view = SessionView(
        serial=serial,
        thread=0,
        state="established",
        frontend="l",
        backend="l",
        server=("l", "s1"),
        client=f"127.0.0.1:{40_000 + serial % 20_000}",
        destination="127.0.0.1:8080",
        family="tcpv4",
        age_ms=12_345,
        accepted_unix_ms=1_700_000_000_000,
        connected_ms=12_340,
        retries=0,
        redispatched=False,
        cause=None,
        legs=(LegView(fd=20, idle_ms=900, moved=100), LegView(fd=21, idle_ms=900, moved=2000)),
        expires_ms=3_599_100,
        timeout_client=3_600_000,
        timeout_server=3_600_000,
    )
    return replace(view, **changes)


@dataclass
class StandInControl:
    """Answers from literal values, and keeps what it was asked in `asked`: the method's
    name and its arguments. `refuses` are methods that raise AdminError with the text; so
    does what names a server or a frontend that is not in the view, or a weight that is none."""

    shown: View = field(default_factory=small_view)
    open_sessions: dict[int, SessionView] = field(default_factory=dict)
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    removable: bool = True
    sockets: list[tuple[str, int]] = field(default_factory=list)
    supervisor: dict[str, dict[str, Any]] = field(default_factory=dict)

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if what[0] in self.refuses:
            raise AdminError(self.refuses[what[0]])

    def _known(self, key: ServerKey) -> None:
        backend = self.shown.backends.get(key[0])
        if backend is None:
            raise AdminError("No such backend.")
        if key not in (server.key for server in backend.servers):
            raise AdminError("No such server.")

    def _known_frontend(self, name: str) -> None:
        if name not in self.shown.frontends:
            raise AdminError("No such frontend.")

    def view(self) -> View:
        return self.shown

    def set_admin(self, key: ServerKey, state: AdminState, asker: str) -> None:
        self._known(key)
        self._ask("set_admin", key, state, asker)

    def set_health(self, key: ServerKey, up: bool | None, asker: str) -> None:
        self._known(key)
        self._ask("set_health", key, up, asker)

    def set_weight(self, key: ServerKey, weight: str, asker: str) -> None:
        self._known(key)
        parse_weight(weight)
        self._ask("set_weight", key, weight, asker)

    def set_address(self, key: ServerKey, address: str | None, port: str | None, asker: str) -> str:
        self._known(key)
        self._ask("set_address", key, address, port, asker)
        return "no need to change the addr, no need to change the port by 'stats socket command'"

    def set_checks(self, key: ServerKey, on: bool, asker: str) -> None:
        self._known(key)
        self._ask("set_checks", key, on, asker)

    def add_server(self, key: ServerKey, words: Sequence[str], asker: str) -> str:
        self._ask("add_server", key, tuple(words), asker)
        return "New server registered."

    def del_server(self, key: ServerKey, asker: str) -> str:
        self._known(key)
        self._ask("del_server", key, asker)
        return "Server deleted."

    def is_removable(self, key: ServerKey) -> bool:
        self._known(key)
        self._ask("is_removable", key)
        return self.removable

    def set_server_maxconn(self, key: ServerKey, maxconn: int, asker: str) -> None:
        self._known(key)
        self._ask("set_server_maxconn", key, maxconn, asker)

    def set_frontend(self, name: str, enabled: bool, asker: str) -> None:
        self._known_frontend(name)
        self._ask("set_frontend", name, enabled, asker)

    def shutdown_frontend(self, name: str, asker: str) -> None:
        self._known_frontend(name)
        self._ask("shutdown_frontend", name, asker)

    def set_frontend_maxconn(self, name: str, maxconn: int, asker: str) -> None:
        self._known_frontend(name)
        self._ask("set_frontend_maxconn", name, maxconn, asker)

    def set_maxconn(self, maxconn: int, asker: str) -> None:
        self._ask("set_maxconn", maxconn, asker)

    def clear_counters(self, everything: bool, key: ServerKey | None = None) -> None:
        self._ask("clear_counters", everything, key)

    def set_rate_limit(self, what: str, per_second: int, asker: str) -> None:
        self._ask("set_rate_limit", what, per_second, asker)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def sessions(self, first: int, room: int) -> tuple[list[SessionView], int | None]:
        places = list(self.open_sessions.values())
        after = first + room
        return places[first:after], after if after < len(places) else None

    def session(self, serial: int) -> SessionView | None:
        return self.open_sessions.get(serial)

    def kill_session(self, serial: int, asker: str) -> None:
        self._ask("kill_session", serial, asker)
        if self.open_sessions.pop(serial, None) is None:
            raise AdminError("No such session (use 'show sess').")

    def kill_server_sessions(self, key: ServerKey, asker: str) -> int:
        self._known(key)
        self._ask("kill_server_sessions", key, asker)
        mine = [each.serial for each in self.open_sessions.values() if each.server == key]
        for serial in mine:
            del self.open_sessions[serial]
        return len(mine)

    def listening(self) -> Sequence[tuple[str, int]]:
        return self.sockets

    async def ask_supervisor(self, request: dict[str, Any]) -> dict[str, Any]:
        self._ask("ask_supervisor", request)
        return self.supervisor.get(request["request"], {"error": "there is no supervisor to ask"})
