"""The service of a worker process: an orchestrator, and those who ask it. Stats sockets,
statistics pages and the rendezvous lead here.

Nobody is let in before the relay threads accept sessions, and from `park` on: who comes
meanwhile waits in the sockets' queues and is answered by a successor."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from lbsplice import turns
from lbsplice.admin.service import AdminService
from lbsplice.admin.stats_sockets import StatsKey
from lbsplice.config.model import Config
from lbsplice.errors import EnvironmentLacks, NeedsRoom
from lbsplice.limits import Limits
from lbsplice.listeners import STATS_SOCKETS
from lbsplice.orchestrator import Orchestrator
from lbsplice.service import Share, Sockets
from lbsplice.terms import Cause

if TYPE_CHECKING:
    from lbsplice.admin.http import StatsServer
    from lbsplice.admin.server import AdminServer

_CREDENTIALS = struct.Struct("3i")  # struct ucred
_EVERY_RIGHT = "admin"


def load(config: Config) -> None:
    """Import what it takes to answer, while files can be reached: in a chroot, or as another
    user, they may be out of reach when somebody asks. Raises EnvironmentLacks if something
    is not installed."""
    try:
        import lbsplice.admin.server

        if config.pages:
            import lbsplice.admin.http  # noqa: F401 - it is there from now on
    except ImportError as why:
        raise EnvironmentLacks(f"cannot serve a statistics page: {why}") from why


class Desk:
    """A Service. The servers are made when there is something for them to do."""

    def __init__(self, orchestrator: Orchestrator, share: Share) -> None:
        self._orchestrator = orchestrator
        self._service = AdminService(orchestrator, share)
        self._sockets: Sockets = share.sockets
        self._admin: AdminServer | None = None
        self._pages: StatsServer | None = None
        self._open = False
        self._task: asyncio.Task[None] | None = None  # the last change of what is served

    # ---- the Service ----

    async def start(self) -> None:
        await self._orchestrator.start()
        self._service.start()
        await self._let_in()

    def soft_stop(self) -> None:
        """As HAProxy, let nobody in any more; the rendezvous still leads here."""
        self._orchestrator.soft_stop()
        self._listen_no_more()

    def hard_stop(self, cause: Cause = Cause.KILLED) -> None:
        self._orchestrator.hard_stop(cause)
        self._listen_no_more()

    async def wait_stopped(self) -> None:
        try:
            await self._orchestrator.wait_stopped()
        finally:
            await self._let_out()
            self._service.close()

    def dump_states(self) -> None:
        self._orchestrator.dump_states()

    def reload(self, config: Config, sockets: Sockets, limits: Limits) -> None:
        try:
            if config.global_.stats_sockets or config.pages:
                load(config)
        except EnvironmentLacks as why:  # a new worker can, if it is the chroot
            raise NeedsRoom(str(why)) from why
        self._orchestrator.reload(config, sockets, limits)
        self._sockets = sockets
        self._bring_up_to_date()

    async def park(self) -> None:
        await self._let_out()
        self._service.close()
        await self._orchestrator.park()

    async def carry_on(self) -> None:
        await self._orchestrator.carry_on()
        self._service.start()
        await self._let_in()

    def set_pid(self, pid: int) -> None:
        self._orchestrator.set_pid(pid)

    def converse(self, sock: socket.socket) -> None:
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        if self._admin is None:
            self._in_turn(self._make_admin_server().start({}))
        assert self._admin is not None
        self._admin.serve(sock, _EVERY_RIGHT, f"uid {uid} pid {pid}")

    # ---- who is served ----

    async def _let_in(self) -> None:
        self._open = True
        self._bring_up_to_date()
        await self._settled()

    async def _let_out(self) -> None:
        """Also whoever is in the middle of an answer."""
        self._open = False
        await self._settled()
        for server in (self._admin, self._pages):
            if server is not None:
                await server.close()
        self._admin = self._pages = None

    def _listen_no_more(self) -> None:
        self._sockets = {}
        self._bring_up_to_date()

    def _bring_up_to_date(self) -> None:
        """Serve at the sockets of the configuration in force. Those that listen are told at
        once: what is not configured any more is closed next."""
        if not self._open:
            return
        config = self._orchestrator.config
        stats = [StatsKey.of(each) for each in config.global_.stats_sockets]
        admin = {stats[k[1]]: s for k, s in self._sockets.items() if k[0] == STATS_SOCKETS}
        names = {page.name for page in config.pages}
        pages = {key: each for key, each in self._sockets.items() if key[0] in names}
        if self._admin is not None:
            self._admin.replace(admin)
        elif admin:
            self._in_turn(self._make_admin_server().start(admin))
        if self._pages is not None:
            self._in_turn(self._pages.replace(pages))
        elif pages:
            self._in_turn(self._make_pages().start(pages))

    def _make_admin_server(self) -> AdminServer:
        from lbsplice.admin.server import AdminServer

        self._admin = AdminServer(self._service, lambda: self._orchestrator.config)
        return self._admin

    def _make_pages(self) -> StatsServer:
        from lbsplice.admin.http import StatsServer

        self._pages = StatsServer(self._service, lambda: self._orchestrator.config.pages)
        self._service.page_counts = self._pages.counts
        return self._pages

    # ---- one thing after the other ----

    def _in_turn(self, what: Coroutine[Any, Any, None]) -> None:
        self._task = turns.after(self._task, what)

    async def _settled(self) -> None:
        """Raises what went wrong with a server."""
        while (task := self._task) is not None:
            await task
            if task is self._task:
                self._task = None
