"""Addresses for a configuration under test: ports that are free, servers that listen, refuse
or keep silent."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from tests.support.peers import Listener
from tests.support.waiting import SOON_S

_ports = count(20_000 + threading.get_native_id() * 7 % 8_000)
_ports_lock = threading.Lock()


def free_ports(number: int = 1) -> int:
    """The first of so many adjacent ports that nobody uses, below those that the kernel
    gives to clients."""
    while True:
        with _ports_lock:
            first = 20_000 + (next(_ports) * 8) % 12_000
        with ExitStack() as stack:
            try:
                for port in range(first, first + number):
                    sock = stack.enter_context(socket.socket())
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first


class Names(dict[str, str]):
    """What the words in braces of a configuration stand for; made when first asked for.

    `{port...}` a port for a bind, `{ports...}` three adjacent ones (`first-last`),
    `{dead...}` an address that refuses, `{silent...}` one that never answers, `{log}` the
    log's, `{dir}` a directory; any other a server's, which listens."""

    def __init__(self, directory: Path) -> None:
        super().__init__(dir=str(directory))
        self.numbers: dict[int, str] = {}  # ports, by what they are called in a comparison
        self.servers: dict[str, Listener] = {}
        self.log = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.log.bind(("127.0.0.1", 0))
        self["log"] = f"127.0.0.1:{self.log.getsockname()[1]}"
        self.numbers[self.log.getsockname()[1]] = "log"
        self._held: list[socket.socket] = [self.log]

    def __missing__(self, name: str) -> str:
        if name.startswith("ports"):
            first = free_ports(3)
            self.numbers.update({first + i: f"{name}+{i}" for i in range(3)})
            self[name] = f"{first}-{first + 2}"
        elif name.startswith("port"):
            port = free_ports()
            self.numbers[port] = name
            self[name] = str(port)
        else:
            self[name] = self._address(name)
        return self[name]

    def _address(self, name: str) -> str:
        if name.startswith("dead"):
            held = self.bound(("127.0.0.1", 0))
        elif name.startswith("silent"):
            held = socket.create_server(("127.0.0.1", 0), backlog=0)
            for _ in range(2):  # a full backlog: the kernel drops what comes
                knock = socket.socket()
                knock.setblocking(False)
                knock.connect_ex(held.getsockname())
                self._held.append(knock)
        else:
            self.servers[name] = Listener()
            held = self.servers[name].socket
            # Its sessions inherit this: the port can be bound again while they last.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.append(held)
        port = held.getsockname()[1]
        self.numbers[port] = name
        return f"127.0.0.1:{port}"

    def bound(self, address: tuple[str, int]) -> socket.socket:
        """A socket that holds an address and does not listen: connections are refused."""
        sock = socket.socket()
        self._held.append(sock)
        sock.settimeout(SOON_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        return sock

    def port(self, name: str) -> int:
        """The (first) port that a name stands for."""
        return int(self[name].rpartition(":")[2].partition("-")[0])

    def close(self) -> None:
        for sock in self._held:
            sock.close()
