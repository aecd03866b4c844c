"""One connection to a stats socket, as bytes: no more of an answer is in memory than the
piece that is being sent, and a client that neither speaks nor listens is left in time."""

from __future__ import annotations

import array
import asyncio
import contextlib
import select
import socket
from collections.abc import Callable, Sequence
from functools import partial

_PIECE = 65536
_LEFT_OVER = 1 << 20
"""So much that came after the last answer is looked at, so that closing is no reset."""


class Gone(Exception):
    """The client has left, or was given up."""


class Connection:
    """A connected stream socket, which is this object's to close."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)

    async def read(self, timeout_s: float | None) -> bytes:
        """What has come, b"" at the end. Raises Gone, also when nothing comes in time."""
        while True:
            try:
                return self._socket.recv(_PIECE)
            except BlockingIOError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader, timeout_s)
            except OSError as why:
                raise Gone from why

    def has_left(self) -> bool:
        """Whether the other end is closed. One that only says no more is not; a peer over
        TCP is known to have closed when it has refused something."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    async def write(self, data: bytes, timeout_s: float | None) -> None:
        """Send it all, and let others have their turn. Raises Gone, also when the client
        takes nothing for so long."""
        left = memoryview(data)
        while left:
            left = left[await self._send(partial(self._socket.send, left[:_PIECE]), timeout_s) :]
        await asyncio.sleep(0)

    async def write_descriptors(
        self, numbers: Sequence[int], data: bytes, timeout_s: float | None
    ) -> None:
        """Send some descriptors with the data. Raises Gone."""
        rights = []
        if numbers:
            rights.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers)))
        sent = await self._send(partial(self._socket.sendmsg, [data], rights), timeout_s)
        await self.write(data[sent:], timeout_s)

    async def _send(self, send: Callable[[], int], timeout_s: float | None) -> int:
        while True:
            try:
                return send()
            except BlockingIOError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer, timeout_s)
            except OSError as why:
                raise Gone from why

    async def _wait(
        self,
        add: Callable[[int, Callable[[], None]], object],
        remove: Callable[[int], object],
        timeout_s: float | None,
    ) -> None:
        ready: asyncio.Future[bool] = self._loop.create_future()

        def end(value: bool) -> None:
            if not ready.done():
                ready.set_result(value)

        number = self._socket.fileno()
        add(number, lambda: end(True))
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, end, False)
        try:
            if not await ready:
                raise Gone
        finally:
            remove(number)
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Close; what was sent still arrives. Unread input would make a reset of it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            left = _LEFT_OVER
            while left > 0 and (data := self._socket.recv(_PIECE)):
                left -= len(data)
        self._socket.close()
