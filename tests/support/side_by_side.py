"""HAProxy and lbsplice with one configuration, brought into the same situations one after the
other and asked the same questions over their stats sockets. What was answered is recorded;
tests compare the records."""

from __future__ import annotations

import csv
import io
import re
import selectors
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.addresses import free_ports
from tests.support.command import DEADLINE_S, wait_until
from tests.support.sidebyside import Stage

TEXT = """\
global
 stats socket {dir}/admin level admin
 stats socket {dir}/user level user
 stats socket {dir}/operator level operator
 maxconn 100
 nbthread 1
 node here
 description two programs
defaults
 mode tcp
 timeout connect 1s
 timeout client 1h
 timeout server 1h
frontend f
 option socket-stats
 bind 127.0.0.1:{port}
 default_backend b
backend b
 balance roundrobin
 server s1 @s1 check inter 50ms rise 2 fall 2
 server s2 @s2 check inter 50ms rise 1 fall 1
 server s3 @s3 weight 10 backup
 server s4 @s4 disabled
listen l
 option socket-stats
 option contstats
 bind 127.0.0.1:{port2} name other
 balance leastconn
 server x @x
backend empty
"""
SERVERS = ("s1", "s2", "s3", "s4", "x")
PROGRAMS = ("haproxy", "lbsplice")
CHECKED = ("L4OK", "L4CON")


class Echo:
    """A server that says what it hears, and takes in checks. It can die and return."""

    def __init__(self) -> None:
        self.port = free_ports()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.returns()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        return f"127.0.0.1:{self.port}"

    def returns(self) -> None:
        with self._lock:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)

    def dies(self) -> None:
        """Connections are refused from now on; sessions last."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._woken:
                    return
                assert isinstance(key.fileobj, socket.socket)
                self._take(key.fileobj)

    def _take(self, sock: socket.socket) -> None:
        with self._lock, suppress(OSError):
            if sock is self._listener:
                self._selector.register(sock.accept()[0], selectors.EVENT_READ)
                return
        if sock is self._listener or sock.fileno() < 0:
            return
        data = b""
        with suppress(OSError):
            data = sock.recv(65536)
            sock.sendall(data)
        if not data:
            self._selector.unregister(sock)
            sock.close()

    def close(self) -> None:
        self._wake.send(b".")
        self._thread.join(DEADLINE_S)
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        self._wake.close()


def ask(path: Path, command: str) -> str:
    """What is answered to one command, to the end of the connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(str(path))
        sock.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


class Side:
    """One of the two programs, with its own servers and clients."""

    def __init__(self, program: str, directory: Path, stack: ExitStack) -> None:
        self.program = program
        self.directory = directory
        self.servers = {name: stack.enter_context(closing(Echo())) for name in SERVERS}
        text = TEXT
        for name, server in self.servers.items():
            text = text.replace(f"@{name}", str(server))
        self.stage = stack.enter_context(closing(Stage(program, text, directory)))
        self.stage.names.numbers.update({each.port: name for name, each in self.servers.items()})
        self.stage.opens()
        wait_until((directory / "admin").exists, f"{program} has a stats socket")
        self.clients: list[socket.socket] = []
        stack.callback(self.hang_up)

    def ask(self, command: str, level: str = "admin") -> str:
        return ask(self.directory / level, command)

    def plain(self, command: str, level: str = "admin") -> str:
        """The answer without ports and paths."""
        ports = self.stage.names.numbers
        return re.sub(
            r"(?<= )\d{5}(?= )",  # a port that stands alone
            lambda found: ports.get(int(found[0]), found[0]),
            self.stage.plain(self.ask(command, level)),
        )

    def tells(self, *commands: str) -> None:
        for command in commands:
            answer = self.ask(command)
            assert answer == "\n", f"{self.program}: {command}: {answer}"

    def server(self, name: str, backend: str = "b") -> Mapping[str, str]:
        """A server's row of `show stat`."""
        return rows(self.ask(f"show stat {backend} 4 -1"))[f"{backend}/{name}"]

    def until(self, server: str, status: str) -> None:
        """Wait until the server is in this state, by a check."""

        def found() -> bool:
            row = self.server(server)
            return row["status"] == status and row["check_status"].removeprefix("* ") in CHECKED

        wait_until(found, lambda: f"{self.program}: {server}: {self.server(server)}")

    def calls(self, words: bytes = b"hello", port: str = "port") -> None:
        """Open a session and say something, which comes back."""
        address = ("127.0.0.1", self.stage.names.port(port))
        client = socket.create_connection(address, timeout=DEADLINE_S)
        self.clients.append(client)
        client.sendall(words)
        heard = b""
        while len(heard) < len(words):
            heard += client.recv(100) or b"the end, too early"
        assert heard == words

    def hang_up(self) -> None:
        """End all sessions."""
        while self.clients:
            self.clients.pop().close()

    def shows_sessions(self, count: int) -> None:
        """Wait until the frontends have so many: ours may show what was 50 ms ago."""

        def shown() -> bool:
            found = rows(self.ask("show stat -1 1 -1"))
            return sum(int(row["scur"]) for row in found.values()) == count

        wait_until(shown, f"{self.program} has {count} sessions")


def rows(text: str) -> dict[str, dict[str, str]]:
    """The rows of `show stat` by proxy and server."""
    header, *lines = csv.reader(io.StringIO(text.rstrip("\n")))
    header[0] = header[0].removeprefix("# ")
    return {f"{line[0]}/{line[1]}": dict(zip(header, line, strict=True)) for line in lines if line}


@dataclass
class Record:
    """What both answered: by program, situation and question."""

    answers: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def both(self, situation: str, question: str) -> tuple[str, str]:
        haproxy, lbsplice = (self.answers[each, situation, question] for each in PROGRAMS)
        return haproxy, lbsplice


Situation = tuple[str, Callable[[Side], None]]


@contextmanager
def both_sides() -> Iterator[tuple[Side, Side]]:
    """The two programs at work. Paths of sockets have to be short."""
    with ExitStack() as stack:
        sides = []
        for program in PROGRAMS:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sbs"))
            sides.append(Side(program, Path(directory), stack))
        yield sides[0], sides[1]
