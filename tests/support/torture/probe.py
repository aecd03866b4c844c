"""The process that looks for pauses: a small message every millisecond through an echo
server; each time between two answers that is longer than it should be is told.

Lines it writes: {"gaps": [[when the answer came, how long after the one before], ...]},
seconds of CLOCK_MONOTONIC, and {"trouble": text}."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time

from tests.support.torture.loop import settings, tell

EVERY_S = 0.001
WORTH_TELLING_S = 0.002
REPORT_S = 0.05
MESSAGE = struct.Struct("=Q")


def hurry() -> None:
    """Come before all that is ordinary, where that is allowed: the pauses of lbsplice are
    meant, not our own."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def echo(listener: socket.socket, parent: int) -> None:
    """Answer each connection with its own words, one after the other."""
    while os.getppid() == parent:
        if not select.select([listener], [], [], 0.2)[0]:
            continue
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            while got := sock.recv(65536):
                sock.sendall(got)
        sock.close()


class Probe:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.sent = self.answered = 0
        self.rest = b""
        self.gaps: list[tuple[float, float]] = []
        self.last = time.monotonic()

    def run(self) -> None:
        """Until the caller is gone."""
        poll = select.epoll()
        poll.register(self.socket, select.EPOLLIN)
        poll.register(0, select.EPOLLIN)
        send_at = report_at = self.last
        while True:
            now = time.monotonic()
            if now >= send_at:
                self._send()
                send_at = max(send_at + EVERY_S, now)
            if now >= report_at:
                report_at = now + REPORT_S
                tell(gaps=self.gaps)
                self.gaps = []
            for fd, _ in poll.poll(max(0.0, send_at - now)):
                if fd == 0 and not os.read(0, 4096):
                    return
                self._read()

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if self.socket.send(MESSAGE.pack(self.sent)) != MESSAGE.size:
                raise AssertionError("the send queue took half a message")
            self.sent += 1

    def _read(self) -> None:
        try:
            got = self.socket.recv(65536)
        except BlockingIOError:
            return
        if not got:
            raise ConnectionError("the end came")
        now = time.monotonic()
        if now - self.last > WORTH_TELLING_S:
            self.gaps.append((now, now - self.last))
        self.last = now
        self.rest += got
        whole = len(self.rest) // MESSAGE.size * MESSAGE.size
        for (number,) in MESSAGE.iter_unpack(self.rest[:whole]):
            if number != self.answered:
                raise AssertionError(f"answer {number} came in place of {self.answered}")
            self.answered += 1
        self.rest = self.rest[whole:]


def main(port: int, listener: int) -> None:
    hurry()
    if os.fork() == 0:
        echo(socket.socket(fileno=listener), os.getppid())
        os._exit(0)
    os.close(listener)
    try:
        Probe(port).run()
    except (OSError, AssertionError) as error:
        tell(trouble=f"the probe: {error}")


if __name__ == "__main__":
    main(**settings())
