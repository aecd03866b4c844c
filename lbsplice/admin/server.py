"""The stats sockets' server: who is let in, and who is served.

`stats maxconn` conversations go on at once. Whoever has connected and said nothing yet takes
no place among them; when too many do that, the one that has been silent for longest is
sent away, so that crowds of the silent keep nobody out. Whoever has spoken waits its turn,
and beyond STATS_WAITING of both it waits in the kernel."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from lbsplice.admin.commands import Client, Context
from lbsplice.admin.commands_all import table
from lbsplice.admin.control import Control
from lbsplice.admin.levels import Level
from lbsplice.admin.lines import Connection
from lbsplice.admin.server_conversation import Conversation
from lbsplice.admin.stats_sockets import StatsKey
from lbsplice.config.model import Config, StatsSocket
from lbsplice.limits import STATS_CONNECTIONS, STATS_WAITING

IDLE_S = 10.0
"""`stats timeout` where it is not said."""

PATIENCE_S = 0.05
"""How long one may say nothing in any case: a script's command comes with its connection."""

_CREDENTIALS = struct.Struct("3i")  # struct ucred
_AT_A_TIME = 16


@dataclass(eq=False, slots=True)
class _Waiting:
    """One that was let in and is not served yet."""

    socket: socket.socket
    stats: StatsSocket
    asker: str
    since: float
    timer: asyncio.TimerHandle | None = None


class AdminServer:
    """Serves the command language. All listening sockets stay the caller's; on the event
    loop only."""

    def __init__(self, control: Control, config: Callable[[], Config]) -> None:
        self._control = control
        self._config = config
        self._table = table()
        self._sockets: dict[StatsKey, socket.socket] = {}
        self._lines: dict[StatsKey, StatsSocket] = {}
        self._silent: dict[_Waiting, None] = {}  # the one that came first is first
        self._spoke: deque[_Waiting] = deque()
        self._conversations: set[asyncio.Task[None]] = set()
        self._guests: set[asyncio.Task[None]] = set()  # of `serve`
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    async def start(self, sockets: Mapping[StatsKey, socket.socket]) -> None:
        """Serve whoever connects to these, which listen already."""
        self.replace(sockets)

    def replace(self, sockets: Mapping[StatsKey, socket.socket]) -> None:
        """From now on these, whose lines are in the configuration that is in force now.
        Conversations go on as they are."""
        self._let_nobody_in()
        lines = self._lines | {
            StatsKey.of(stats): stats for stats in self._config().global_.stats_sockets
        }
        self._sockets = dict(sockets)
        self._lines = {key: lines[key] for key in sockets}
        if self._pause is None:
            self._let_in_again()

    def serve(self, sock: socket.socket, level: str, asker: str) -> None:
        """Talk to whoever is at the other end of this connected stream socket, which is ours
        from now on, beside all that `stats maxconn` counts."""
        client = Client(timeout_s=self._timeout_s, sockets=self._listing)
        self._talk(sock, Level.of(level), asker, client, self._guests)

    async def close(self) -> None:
        """End all conversations and let nobody in any more."""
        self._closed = True
        self._let_nobody_in()
        self._sockets = {}
        if self._pause is not None:
            self._pause.cancel()
        for waiting in [*self._silent, *self._spoke]:
            self._send_away(waiting)
        tasks = [*self._conversations, *self._guests]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    # ---- letting in ----

    def _let_in_again(self) -> None:
        self._pause = None
        for key, sock in self._sockets.items():
            self._loop.add_reader(sock, self._let_in, key, sock)

    def _let_nobody_in(self) -> None:
        for sock in self._sockets.values():
            self._loop.remove_reader(sock)

    def _wait(self) -> None:
        """Look at the listening sockets again in a while."""
        self._let_nobody_in()
        if self._pause is None and not self._closed:
            self._pause = self._loop.call_later(PATIENCE_S, self._let_in_again)

    def _let_in(self, key: StatsKey, listener: socket.socket) -> None:
        stats = self._lines[key]
        for _ in range(_AT_A_TIME):
            if not self._has_room():
                self._wait()
                return
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors are left
                self._wait()
                return
            sock.setblocking(False)
            waiting = _Waiting(sock, stats, _asker(sock, address, key), self._loop.time())
            self._silent[waiting] = None
            self._loop.add_reader(sock, self._heard, waiting)
            waiting.timer = self._loop.call_later(self._timeout_s, self._send_away, waiting)

    def _has_room(self) -> bool:
        if len(self._silent) + len(self._spoke) < STATS_WAITING:
            return True
        oldest = next(iter(self._silent), None)
        if oldest is None or self._loop.time() - oldest.since < PATIENCE_S:
            return False
        self._send_away(oldest)
        return True

    def _heard(self, waiting: _Waiting) -> None:
        """It said something, or it left."""
        self._leave_queue(waiting)
        self._spoke.append(waiting)
        self._next()

    def _leave_queue(self, waiting: _Waiting) -> None:
        self._loop.remove_reader(waiting.socket)
        if waiting.timer is not None:
            waiting.timer.cancel()
        self._silent.pop(waiting, None)
        with suppress(ValueError):
            self._spoke.remove(waiting)

    def _send_away(self, waiting: _Waiting) -> None:
        self._leave_queue(waiting)
        waiting.socket.close()

    # ---- serving ----

    @property
    def _timeout_s(self) -> float:
        milliseconds = self._config().global_.stats_timeout
        return IDLE_S if milliseconds is None else milliseconds / 1000

    def _next(self) -> None:
        """Begin as many conversations as there are places for."""
        most = self._config().global_.stats_maxconn or STATS_CONNECTIONS
        while self._spoke and len(self._conversations) < most:
            waiting = self._spoke.popleft()
            stats = waiting.stats
            client = Client(
                severity_output=stats.severity_output,
                timeout_s=self._timeout_s,
                expose_listeners=stats.expose_listeners,
                sockets=self._listing,
            )
            level = Level.of(stats.level)
            self._talk(waiting.socket, level, waiting.asker, client, self._conversations)

    def _talk(
        self,
        sock: socket.socket,
        level: Level,
        asker: str,
        client: Client,
        among: set[asyncio.Task[None]],
    ) -> None:
        context = Context(self._control, self._config(), level, asker, client)
        connection = Connection(sock)
        conversation = Conversation(connection, self._table, context, self._config)
        task = asyncio.create_task(conversation.run())
        among.add(task)
        task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        connection.close()
        self._conversations.discard(task)
        self._guests.discard(task)
        if not task.cancelled() and (why := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "a command of the stats socket failed", "exception": why}
            )
        if not self._closed:
            self._next()

    def _listing(self) -> str:
        lines = ["# socket lvl processes"]
        for stats in self._config().global_.stats_sockets:
            lines.append(f"{StatsKey.of(stats).address} {stats.level} all")
        return "\n".join(lines) + "\n"


def _asker(sock: socket.socket, address: object, key: StatsKey) -> str:
    """For the log: who it is, as far as the kernel knows."""
    if sock.family == socket.AF_UNIX:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return f"{key.address} (pid {pid}, uid {uid})"
    assert isinstance(address, tuple)
    return f"{key.address} ({address[0]}:{address[1]})"
