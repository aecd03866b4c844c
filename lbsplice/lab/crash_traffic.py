"""The bulk of `lab crash`: `python -m lbsplice.lab.crash_traffic server|transfer ...`.

The server sends every byte back. The transfer sends `--size` bytes that `--seed` decides, at
`--rate` bytes a second, half-closes, and reads all of it back up to the end; it tells how far it
is, the longest time without a byte and, at the end, the checksums of what was sent and of what
came back. Both tell it as JSON lines on standard output, with `at` as in lbsplice.lab.traffic, and
end when their standard input does."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Iterator

from lbsplice.lab.traffic import Event, tell

MOVED = "moved"
"""Fields: received; gap_s and gap_until, the longest time without a byte since the last one."""
COMPLETE = "complete"
"""Fields: received, sent_sha256, received_sha256."""

_TELL_EVERY_S = 0.05
_CONNECT_WITHIN_S = 5.0
_BLOCK = 1 << 16
_BUFFER = 1 << 18
_POOL = 1 << 20
_STRIDE = 4099


def blocks(seed: int, size: int) -> Iterator[bytes]:
    """The bytes of a transfer. Each block begins with its number: none can be exchanged for
    another, left out or repeated without another checksum."""
    pool = random.Random(seed).randbytes(_POOL)
    for number in range(-(-size // _BLOCK)):
        at = number * _STRIDE % (_POOL - _BLOCK)
        block = struct.pack(">Q", number) + pool[at : at + _BLOCK - 8]
        yield block[: size - number * _BLOCK]


class _Echo(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _EchoSession(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        buffer = bytearray(_BUFFER)
        try:
            while got := self.request.recv_into(buffer):
                self.request.sendall(memoryview(buffer)[:got])
        except ConnectionError:
            return  # a health check, or a session that was lost


def serve(address: tuple[str, int]) -> None:
    """Send back what comes, until standard input ends."""
    with _Echo(address, _EchoSession) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tell(Event.LISTENING)
        while os.read(sys.stdin.fileno(), _BLOCK):
            pass
        server.shutdown()


class _Transfer:
    def __init__(self, connection: socket.socket, seed: int, size: int, rate: float) -> None:
        self._connection = connection
        self._seed = seed
        self._size = size
        self._rate = rate
        self._sent = hashlib.sha256()
        self._received = hashlib.sha256()
        self._count = 0

    def run(self) -> None:
        """Send and read until all is back or the session has ended."""
        sender = threading.Thread(target=self._send, daemon=True)
        sender.start()
        try:
            self._receive()
        except ConnectionResetError:
            tell(Event.RESET, received=self._count)
        except OSError as error:
            tell(Event.ERROR, received=self._count, error=str(error))
        else:
            if self._count < self._size:
                tell(Event.FIN, received=self._count)
                return
            sender.join()
            sent, received = self._sent.hexdigest(), self._received.hexdigest()
            tell(COMPLETE, received=self._count, sent_sha256=sent, received_sha256=received)

    def _send(self) -> None:
        began = time.monotonic()
        sent = 0
        try:
            for block in blocks(self._seed, self._size):
                ahead = began + sent / self._rate - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
                self._connection.sendall(block)
                self._sent.update(block)
                sent += len(block)
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # reading tells how the session ended

    def _receive(self) -> None:
        buffer = bytearray(_BUFFER)
        last = told = time.monotonic()
        gap, until = 0.0, last
        while got := self._connection.recv_into(buffer):
            now = time.monotonic()
            if now - last > gap:
                gap, until = now - last, now
            last = now
            self._count += got
            self._received.update(memoryview(buffer)[:got])
            if now - told >= _TELL_EVERY_S or self._count == self._size:
                tell(MOVED, received=self._count, gap_s=gap, gap_until=until)
                told, gap = now, 0.0


def transfer(address: tuple[str, int], seed: int, size: int, rate: float) -> None:
    """Open a session and send `size` bytes there and back."""
    try:
        connection = socket.create_connection(address, _CONNECT_WITHIN_S)
    except OSError as error:
        tell(Event.ERROR, received=0, error=f"no session: {error}")
        return
    with connection:
        connection.settimeout(None)
        tell(Event.CONNECTED)
        _Transfer(connection, seed, size, rate).run()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), _BLOCK):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lbsplice.lab.crash_traffic")
    parser.add_argument("part", choices=["server", "transfer"])
    parser.add_argument("address", help="IPV4:PORT to listen on or to connect to")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=1 << 20, metavar="BYTES")
    parser.add_argument("--rate", type=float, default=1e9, metavar="BYTES_A_SECOND")
    arguments = parser.parse_args()
    host, _, port = arguments.address.rpartition(":")
    if arguments.part == "server":
        serve((host, int(port)))
    else:
        threading.Thread(target=_end_with_input, daemon=True).start()
        transfer((host, int(port)), arguments.seed, arguments.size, arguments.rate)


if __name__ == "__main__":
    main()
