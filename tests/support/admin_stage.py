"""A control plane in this process, with servers, sessions and what looks at it: for tests
that need real sessions and no program of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from lbsplice.admin.service import AdminService
from lbsplice.config.model import Config
from lbsplice.dataplane.worker import Workers
from lbsplice.journal import Journal
from lbsplice.limits import Limits
from lbsplice.orchestrator import Orchestrator
from lbsplice.report.hub import Hub
from lbsplice.rooms import sizes_for
from lbsplice.service import Share, Succession
from tests.support.peers import Peer, connected
from tests.support.program import Service
from tests.unit.config_reading import config

LIMITS = Limits(maxconn=100, max_pipes=40, descriptors=1000)
THREADS = 2


class AdminStage:
    """`listen l` with servers `a`, `b`, ...; planes come and go on the same workers."""

    def __init__(self, servers: int = 1, words: str = "", more: str = "") -> None:
        self.servers = [Service() for _ in range(servers)]
        self.peers: list[Peer] = []
        self.front = socket.create_server(("127.0.0.1", 0))
        self.front.setblocking(False)
        self.journal = Journal.create()
        self.setup = self.configured(words, more)
        self.sockets = {("l", 0): self.front}
        self.workers = Workers(sizes_for(self.setup, THREADS, LIMITS), max_pipes=40)

    def configured(self, words: str = "", more: str = "") -> Config:
        lines = [
            f" server {'abcdefgh'[place]} {each} {words}" for place, each in enumerate(self.servers)
        ]
        port = self.front.getsockname()[1]
        return config(
            "listen l\n timeout connect 2s\n timeout client 1m\n timeout server 1h\n"
            f" bind 127.0.0.1:{port}\n" + "\n".join(lines) + f"\n{more}"
        )

    def plane(self, succession: Succession | None = None) -> Orchestrator:
        """A control plane, not started yet."""
        return Orchestrator(
            self.setup,
            self.sockets,
            Hub(self.setup.global_, pid=4711),
            workers=self.workers,
            journal=self.journal,
            maxconn=LIMITS.maxconn,
            succession=succession,
        )

    def service(self, plane: Orchestrator) -> AdminService:
        share = Share(self.sockets, THREADS, LIMITS.maxconn, LIMITS.max_pipes, pid=4711)
        return AdminService(plane, share)

    async def session(self, server: int = 0) -> tuple[Peer, Peer]:
        """A client, and the server's end of its session."""
        client = await does(connected, self.front.getsockname())
        end = await does(self.servers[server].accepts)
        self.peers.append(client)
        client.sends(b"?")
        await does(end.reads, b"?")
        return client, end

    def close(self) -> None:
        for peer in self.peers:
            peer.closes()
        self.front.close()
        for each in self.servers:
            each.close()
        os.close(self.journal.fd)


async def does(step: Callable[..., Any], *words: Any) -> Any:
    """A step of a conversation that may take its time, beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, step, *words)


async def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


@contextlib.contextmanager
def admin_stage(servers: int = 1, words: str = "", more: str = "") -> Iterator[AdminStage]:
    with contextlib.closing(AdminStage(servers, words, more)) as made:
        yield made


Scene = Callable[[AdminService, Orchestrator], Awaitable[None]]


@contextlib.asynccontextmanager
async def at_work(
    stage: AdminStage, succession: Succession | None = None
) -> AsyncIterator[tuple[AdminService, Orchestrator]]:
    """A plane that is started, and what looks at it. It is ended unless it was parked; with
    a succession it goes on where a parked one stopped."""
    plane = stage.plane(succession)
    if succession is not None and stage.workers.event_fds:
        stage.workers.carry_on()
    await plane.start()
    service = stage.service(plane)
    service.start()
    try:
        yield service, plane
    finally:
        service.close()
        if not (plane.parked or plane.closed):
            plane.hard_stop()
            await plane.wait_stopped()


def plays(stage: AdminStage, scene: Scene) -> None:
    """A scene with a plane that is at work."""

    async def run() -> None:
        async with at_work(stage) as (service, plane):
            await scene(service, plane)

    asyncio.run(run())
