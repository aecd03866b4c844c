"""What may be asked of a running lbsplice beyond looking: the one interface that the
command language, the statistics page and the tests' stand-ins share.

Every method raises AdminError with HAProxy's own sentence when it can not be done, and
then nothing has changed. On the event loop only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from lbsplice.admin.session import SessionView
from lbsplice.admin.view import View
from lbsplice.errors import LbspliceError
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import AdminState


class AdminError(LbspliceError):
    """The answer to a command that can not be carried out, as HAProxy words it."""


class Control(Protocol):
    """A running lbsplice: lbsplice.admin.service.AdminService, or a stand-in."""

    def view(self) -> View:
        """Everything as it is now; at most a few milliseconds old."""

    # ---- servers ----

    def set_admin(self, key: ServerKey, state: AdminState, asker: str) -> None: ...

    def set_health(self, key: ServerKey, up: bool | None, asker: str) -> None:
        """`set server health up|down|stopping` (None: stopping)."""

    def set_weight(self, key: ServerKey, weight: str, asker: str) -> None:
        """`n`, `n%` of the initial weight."""

    def set_address(self, key: ServerKey, address: str | None, port: str | None, asker: str) -> str:
        """The sentence that tells what changed."""

    def set_checks(self, key: ServerKey, on: bool, asker: str) -> None:
        """`enable health`, `disable health`."""

    def add_server(self, key: ServerKey, words: Sequence[str], asker: str) -> str: ...

    def del_server(self, key: ServerKey, asker: str) -> str: ...

    def is_removable(self, key: ServerKey) -> bool: ...

    def set_server_maxconn(self, key: ServerKey, maxconn: int, asker: str) -> None: ...

    # ---- frontends and the process ----

    def set_frontend(self, name: str, enabled: bool, asker: str) -> None: ...

    def shutdown_frontend(self, name: str, asker: str) -> None: ...

    def set_frontend_maxconn(self, name: str, maxconn: int, asker: str) -> None: ...

    def set_maxconn(self, maxconn: int, asker: str) -> None: ...

    def clear_counters(self, everything: bool, key: ServerKey | None = None) -> None: ...

    def set_rate_limit(self, what: str, per_second: int, asker: str) -> None:
        """`set rate-limit connections|sessions global`; 0: none."""

    def note(self, line: str) -> None:
        """A line of its own to the process log, such as who asked for what."""

    # ---- sessions ----

    def sessions(self, first: int, room: int) -> tuple[list[SessionView], int | None]:
        """The open sessions among up to `room` places from place `first` on, and where to
        go on (None: that was all)."""

    def session(self, serial: int) -> SessionView | None:
        """The open session of this number."""

    def kill_session(self, serial: int, asker: str) -> None: ...

    def kill_server_sessions(self, key: ServerKey, asker: str) -> int: ...

    # ---- listening sockets and the supervisor ----

    def listening(self) -> Sequence[tuple[str, int]]:
        """The interface that each listening socket is bound to (empty: none), and its
        descriptor."""

    async def ask_supervisor(self, request: dict[str, Any]) -> dict[str, Any]:
        """{"request": "proc"} or {"request": "reload"}: what the supervisor answers."""
