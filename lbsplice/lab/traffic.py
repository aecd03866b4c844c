"""The server and the client of the lab: `python -m lbsplice.lab.traffic server|client ...`.

Both tell what happens as JSON lines on standard output, each with `at`, the time.monotonic() of the
event, which all processes of one machine share, and end when their standard input does.

The server greets with its name and answers each line with its name and that line. The client sends
a numbered line when it is told to (`ask` on standard input) or every so often, and checks the
answer byte for byte: an answer proves that the session still ends at the server it began with."""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import socketserver
import sys
import threading
import time
from collections import deque

ASK = "ask"
_ATTEMPTS = 16
_CONNECT_WITHIN_S = 5.0
_CHUNK = 65536


class Event:
    """The words in the field `event`."""

    LISTENING = "listening"
    CONNECTED = "connected"  # local, server
    ASKED = "asked"  # number
    ANSWERED = "answered"  # number, took_ms
    WRONG = "wrong"  # got
    FIN = "fin"
    RESET = "reset"
    ERROR = "error"  # error


def tell(event: str, **fields: object) -> None:
    """Write what happened just now."""
    print(json.dumps({"at": time.monotonic(), "event": event, **fields}), flush=True)


def answer(server: str, number: int) -> bytes:
    """What the server named so answers to the client's line of that number, newline included."""
    return f"{server} line {number}\n".encode()


class _Echo(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], name: str) -> None:
        super().__init__(address, _EchoSession)
        self.greeting = f"{name}\n".encode()
        self.prefix = f"{name} ".encode()


class _EchoSession(socketserver.StreamRequestHandler):
    server: _Echo

    def handle(self) -> None:
        try:
            self.wfile.write(self.server.greeting)
            for line in self.rfile:
                self.wfile.write(self.server.prefix + line)
        except ConnectionError:
            return  # a health check resets its connection

    def finish(self) -> None:
        try:
            super().finish()
        except ConnectionError:
            return


def serve(address: tuple[str, int], name: str) -> None:
    """Serve until standard input ends."""
    with _Echo(address, name) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tell(Event.LISTENING)
        while os.read(sys.stdin.fileno(), _CHUNK):
            pass
        server.shutdown()


class _Client:
    def __init__(self, connection: socket.socket, server: str, every_s: float | None) -> None:
        self._connection = connection
        self._server = server
        self._every_s = every_s
        self._asked = 0
        self._answered = 0
        self._asked_at = time.monotonic()
        self._unanswered: deque[float] = deque()
        self._unread = b""

    def run(self) -> None:
        """Ask and read until standard input or the session ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin, selectors.EVENT_READ, self._read_command)
            selector.register(self._connection, selectors.EVENT_READ, self._read_answer)
            while True:
                ready = selector.select(self._until_next())
                if any(not key.data() for key, _ in ready):
                    return
                if self._every_s is not None and not self._until_next():
                    self._ask()

    def _until_next(self) -> float | None:
        if self._every_s is None:
            return None
        return max(0.0, self._asked_at + self._every_s - time.monotonic())

    def _read_command(self) -> bool:
        commands = os.read(sys.stdin.fileno(), _CHUNK).decode().split()
        for _ in range(commands.count(ASK)):
            self._ask()
        return bool(commands)

    def _ask(self) -> None:
        self._asked += 1
        self._asked_at = time.monotonic()
        self._unanswered.append(self._asked_at)
        if self._every_s is None:
            tell(Event.ASKED, number=self._asked)
        try:
            self._connection.send(f"line {self._asked}\n".encode())
        except ConnectionError:
            return  # reading tells how the session ended

    def _read_answer(self) -> bool:
        try:
            got = self._connection.recv(_CHUNK)
        except ConnectionResetError:
            tell(Event.RESET)
            return False
        except OSError as error:
            tell(Event.ERROR, error=str(error))
            return False
        if not got:
            tell(Event.FIN)
            return False
        *lines, self._unread = (self._unread + got).split(b"\n")
        for line in lines:
            self._answered += 1
            asked_at = self._unanswered.popleft() if self._unanswered else self._asked_at
            if line + b"\n" == answer(self._server, self._answered):
                took_ms = (time.monotonic() - asked_at) * 1000
                tell(Event.ANSWERED, number=self._answered, took_ms=round(took_ms, 3))
            else:
                tell(Event.WRONG, got=repr(line))
        return True


def call(address: tuple[str, int], server: str, every_s: float | None) -> None:
    """Open a session that ends at the server named so, then be its client."""
    for _ in range(_ATTEMPTS):
        try:
            connection = socket.create_connection(address, _CONNECT_WITHIN_S)
            greeting = _greeting(connection)
        except OSError as error:
            tell(Event.ERROR, error=f"no session: {error}")
            return
        if greeting == server:
            break
        connection.close()
    else:
        tell(Event.ERROR, error=f"{_ATTEMPTS} sessions, none of them to {server}")
        return
    with connection:
        connection.settimeout(None)
        host, port = connection.getsockname()
        tell(Event.CONNECTED, local=[host, port], server=server)
        _Client(connection, server, every_s).run()


def _greeting(connection: socket.socket) -> str:
    got = b""
    while not got.endswith(b"\n"):
        piece = connection.recv(1)
        if not piece:
            break
        got += piece
    return got.decode().strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lbsplice.lab.traffic")
    parser.add_argument("part", choices=["server", "client"])
    parser.add_argument("address", help="IPV4:PORT to listen on or to connect to")
    parser.add_argument("name", help="the server's name")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="ask this often, unasked")
    arguments = parser.parse_args()
    host, _, port = arguments.address.rpartition(":")
    if arguments.part == "server":
        serve((host, int(port)), arguments.name)
    else:
        call((host, int(port)), arguments.name, arguments.every)


if __name__ == "__main__":
    main()
