"""The process of the servers: answers whoever comes to its listening sockets."""

from __future__ import annotations

import contextlib
import select
import socket
import time

from tests.support.torture.end import End
from tests.support.torture.loop import Loop, settings, tell
from tests.support.torture.script import HEADER, MAGIC, Kind, Pace, scripts

SLOW_BUFFER = 1 << 15


class Servers:
    """`listeners`: descriptors of listening sockets, which this process inherited."""

    def __init__(self, listeners: list[int], pace: Pace) -> None:
        self.loop = Loop()
        self.pace = pace
        for fd in listeners:
            listener = socket.socket(fileno=fd)
            listener.setblocking(False)
            self.loop.watch(listener, select.EPOLLIN, lambda _, at=listener: self._accept(at))

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(64):
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            self.loop.watch(sock, select.EPOLLIN, lambda _, of=sock: self._begin(of))

    def _begin(self, sock: socket.socket) -> None:
        """Who is it? A check leaves without a word, a session has said its header."""
        try:
            header = sock.recv(HEADER.size, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            header = b""
        if header and len(header) < HEADER.size:
            return  # the rest comes; level-triggered, but there are few such moments
        self.loop.unwatch(sock)
        if not header:
            sock.close()
            return
        sock.recv(HEADER.size)
        magic, kind, number = HEADER.unpack(header)
        if magic != MAGIC:
            tell(trouble=f"a session began with {header!r}")
            sock.close()
            return
        if kind == Kind.SLOW:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        now = time.monotonic()
        both = scripts(Kind(kind), number, self.pace)
        self.loop.add(End(sock, Kind(kind), number, False, both, now))


if __name__ == "__main__":
    wanted = settings()
    Servers(wanted["listeners"], Pace(**wanted["pace"])).loop.run()
