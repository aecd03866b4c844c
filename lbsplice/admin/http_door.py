"""One listening socket of a statistics page, and the connections that came by it: so many
at once, none of which may keep its first request to itself for long."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from lbsplice.admin.http_head import SECURITY

FIRST_REQUEST_S = 10.0
"""How long a connection may take to its first request."""

IDLE_S = 30.0
_CLOSE_S = 0.2
_BACKLOG = 1024


class _FaultsOfOurs(logging.Filter):
    """What is wrong with a request is told to who sent it, and is no news for the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        return not isinstance(fault, (HttpProcessingError, ConnectionError))


_LOG = logging.getLogger("lbsplice.page")
_LOG.addFilter(_FaultsOfOurs())

_OPTIONS: dict[str, Any] = {
    "keepalive_timeout": IDLE_S,
    "lingering_time": _CLOSE_S,
    "access_log": None,
    "logger": _LOG,
}

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class PageCounts:
    """What `show stat` tells of a page: connections and requests."""

    now: int = 0
    max: int = 0
    total: int = 0
    requests: int = 0
    bytes_out: int = 0


class Door(web.Server):
    """`origin` stays its owner's; `most` connections are served at once, others are closed
    as they come."""

    def __init__(
        self, origin: socket.socket, counts: PageCounts, answer: Answer, most: int
    ) -> None:
        super().__init__(self._first)
        self.origin = origin
        self.most = most
        self._counts = counts
        self._answer = answer
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self._listener: asyncio.AbstractServer | None = None

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **_OPTIONS)

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        own = self.origin.dup()  # asyncio closes what it listens on
        options: dict[str, Any] = {"sock": own, "backlog": _BACKLOG}
        if own.family == socket.AF_UNIX:
            if sys.version_info >= (3, 13):
                options["cleanup_socket"] = False  # the path is not ours
            self._listener = await loop.create_unix_server(self._connected, **options)
        else:
            self._listener = await loop.create_server(self._connected, **options)

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        if self._listener is not None:
            self._listener.close()
        await self.shutdown(_CLOSE_S)

    def _connected(self) -> asyncio.BaseProtocol:
        self._counts.total += 1
        return _Refusal() if len(self.connections) >= self.most else self()

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        counts = self._counts
        counts.now += 1
        counts.max = max(counts.max, counts.now)
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(FIRST_REQUEST_S, handler.force_close)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        self._counts.now -= 1
        self._has_spoken(handler)

    def _has_spoken(self, handler: web.RequestHandler) -> None:
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    async def _first(self, request: web.BaseRequest) -> web.StreamResponse:
        self._has_spoken(request.protocol)
        return await self._answer(request)


class _Connection(web.RequestHandler):
    """A connection whose answers to what is no request have the headers of all others."""

    def handle_error(self, *what: Any, **named: Any) -> web.StreamResponse:
        response = super().handle_error(*what, **named)
        response.headers.update(SECURITY)
        return response


class _Refusal(asyncio.Protocol):
    """For who comes when there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
