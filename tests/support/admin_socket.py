"""An AdminServer over real sockets, in a thread of its own, and asking it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lbsplice.admin.server import AdminServer
from lbsplice.admin.stats_sockets import StatsKey
from lbsplice.config.model import Config
from lbsplice.listeners import STATS_SOCKETS, Listeners, open_listeners, reopen, retired
from tests.support.admin import StandInControl
from tests.unit.config_reading import config

Value = TypeVar("Value")

ANSWERS_WITHIN_S = 30.0
"""A busy machine's allowance."""


def open_stats_sockets(config: Config) -> dict[StatsKey, socket.socket]:
    """Those of the `stats socket` lines alone."""
    listeners = open_listeners(replace(config, proxies=(), pages=()), 100)
    assert not listeners.failed, listeners.troubles
    return stats_sockets(config, listeners)


def stats_sockets(config: Config, listeners: Listeners) -> dict[StatsKey, socket.socket]:
    lines = config.global_.stats_sockets
    sockets = listeners.sockets
    return {StatsKey.of(line): sockets[(STATS_SOCKETS, index)] for index, line in enumerate(lines)}


class ServedAdmin:
    """The server and what it stands on. `faults` are what reached the loop's handler."""

    def __init__(self, text: str, control: StandInControl) -> None:
        self.control = control
        self.config: Config = config(text)
        self.faults: list[BaseException] = []
        self.listeners = Listeners()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self._note)
        self._thread = threading.Thread(target=self.loop.run_forever)

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        why = context.get("exception")
        self.faults.append(
            why if isinstance(why, BaseException) else RuntimeError(str(context["message"]))
        )

    def start(self) -> None:
        self.listeners = open_listeners(self.config, 100)
        assert not self.listeners.failed, self.listeners.troubles
        self._thread.start()
        self.server = self.on_loop(self._begin)

    @property
    def sockets(self) -> dict[StatsKey, socket.socket]:
        return stats_sockets(self.config, self.listeners)

    async def _begin(self) -> AdminServer:
        server = AdminServer(self.control, lambda: self.config)
        await server.start(self.sockets)
        return server

    def on_loop(self, work: Callable[[], Awaitable[Value]]) -> Value:
        async def run() -> Value:
            return await work()

        future: Future[Value] = asyncio.run_coroutine_threadsafe(run(), self.loop)
        return future.result(ANSWERS_WITHIN_S)

    def reload(self, text: str) -> None:
        """Another configuration, and its sockets."""
        fresh, before = config(text), self.listeners
        opened = reopen(fresh, before, 100)
        assert not opened.failed, opened.troubles

        async def put_in_force() -> None:
            self.config, self.listeners = fresh, opened
            self.server.replace(self.sockets)

        self.on_loop(put_in_force)
        retired(before, opened).close()

    def stop(self) -> None:
        self.on_loop(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(ANSWERS_WITHIN_S)
        self.loop.close()
        self.listeners.close()


@contextlib.contextmanager
def served(text: str, control: StandInControl | None = None) -> Iterator[ServedAdmin]:
    """A server for the `stats socket` lines of this configuration."""
    admin = ServedAdmin(text, control or StandInControl())
    admin.start()
    try:
        yield admin
    finally:
        admin.stop()
    assert admin.faults == []


def connect(path: Path | str, timeout_s: float = ANSWERS_WITHIN_S) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(65536):
        data += piece
    return bytes(data)


def read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        piece = sock.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def ask(path: Path | str, text: str | bytes) -> str:
    """One line and its whole answer, as `echo text | socat` has it."""
    with connect(path) as sock:
        sock.sendall(text.encode() if isinstance(text, str) else text)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock).decode("utf-8", "surrogateescape")
