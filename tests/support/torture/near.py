"""The process of the clients: lasting sessions, all opened at once, and a steady flow of
short ones."""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import time

from tests.support.torture.end import End
from tests.support.torture.far import SLOW_BUFFER
from tests.support.torture.loop import Loop, settings, tell
from tests.support.torture.script import HEADER, MAGIC, SHORT, Kind, Pace, scripts

KNOCKING = 64  # connects at once
SOURCES = 200  # client addresses: 127.0.2.1 and on, so that ports are never short


class Clients:
    """`counts`: how many lasting sessions of each kind; `shorts_per_s` of the others."""

    def __init__(
        self, port: int, counts: dict[str, int], shorts_per_s: float, seed: int, pace: Pace
    ) -> None:
        self.loop = Loop(self._tick)
        self.address = ("127.0.0.1", port)
        self.pace = pace
        self.shorts_per_s = shorts_per_s
        self.rng = random.Random(seed)
        self.number = 0
        self.knocking = 0
        self.due = 0.0
        self.ready = self.rested = False
        self.waiting = [Kind[name] for name, count in counts.items() for _ in range(count)]
        self.rng.shuffle(self.waiting)

    def _tick(self, now: float) -> None:
        while self.waiting and self.knocking < KNOCKING:
            self._connect(self.waiting.pop())
        if not self.ready:
            if self.waiting or self.knocking:
                return
            self.ready = True
            self.due = now
            tell(ready=True)
        while not self.loop.calm and self.shorts_per_s and self.due <= now:
            self.due += self.rng.expovariate(self.shorts_per_s)
            self._connect(self.rng.choice(SHORT))
        if self.loop.calm and not (self.rested or self.knocking or self.loop.shorts()):
            self.rested = True
            tell(rest=self.number)

    def _connect(self, kind: Kind) -> None:
        self.number += 1
        number = self.number
        sock = socket.socket()
        sock.setblocking(False)
        if kind is Kind.SLOW:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        sock.bind((f"127.0.2.{number % SOURCES + 1}", 0))
        error = sock.connect_ex(self.address)
        if error not in (0, errno.EINPROGRESS):
            tell(trouble=f"session {number} ({kind.name}): {os.strerror(error)}")
            sock.close()
            return
        self.knocking += 1
        self.loop.watch(sock, select.EPOLLOUT, lambda _: self._connected(sock, kind, number))

    def _connected(self, sock: socket.socket, kind: Kind, number: int) -> None:
        self.knocking -= 1
        self.loop.unwatch(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            tell(trouble=f"session {number} ({kind.name}) was refused: {os.strerror(error)}")
            sock.close()
            return
        header = HEADER.pack(MAGIC, kind, number)
        both = scripts(kind, number, self.pace)
        self.loop.add(End(sock, kind, number, True, both, time.monotonic(), header))


if __name__ == "__main__":
    wanted = settings()
    wanted["pace"] = Pace(**wanted["pace"])
    Clients(**wanted).loop.run()
