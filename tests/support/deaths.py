"""Silent deaths for real: many listeners of one HAProxy, with sessions on each, whose
servers or clients stop being heard at one moment. Measures who is told, and when."""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty

from lbsplice.kernel import sysctl
from lbsplice.lab.faults import find_program
from lbsplice.lab.namespaces import Network
from lbsplice.lab.processes import Child, Inbox
from lbsplice.lab.topology import BALANCER, CLIENT, SERVICE_ADDRESS, VICTIM, Host
from lbsplice.sysctl.values import Sysctls
from tests.support.waiting import wait_until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
HAVE_TOOLS = all(shutil.which(tool, path=PATH) for tool in ("haproxy", "iptables"))


@dataclass
class Session:
    """A client's and a server's socket of one session; when each was told of its end, and
    how (`fin` or `reset`)."""

    client: socket.socket
    server: socket.socket
    told: dict[str, tuple[float, str]] = field(default_factory=dict)


class Scene:
    """A network with one HAProxy in it. `with Scene(...)` cleans up, whatever happens."""

    def __init__(self, scratch: Path, sysctls: dict[str, str] | None = None) -> None:
        self.scratch = scratch
        self.wanted = sysctls or {}
        self.marked_down: dict[str, float] = {}
        self.log: list[str] = []
        self._stack = ExitStack()
        self._selector = selectors.DefaultSelector()
        self._inbox = Inbox()
        self._listeners: dict[int, socket.socket] = {}
        self._banners: dict[int, bytes] = {}

    def __enter__(self) -> Scene:
        self.network = self._stack.enter_context(Network())
        with self.network.entered(BALANCER):
            for name, value in self.wanted.items():
                sysctl.write(name, value)
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        self._stack.close()

    def sysctls(self) -> Sysctls:
        """What the proxy's namespace has."""
        with self.network.entered(BALANCER):
            return sysctl.present()

    def listen(self, port: int, banner: bytes = b"") -> None:
        """A server's listening socket, and what it says to everyone."""
        with self.network.entered(VICTIM):
            listener = socket.create_server((VICTIM.address, port), backlog=64)
        self._listeners[port] = self._stack.enter_context(listener)
        self._banners[port] = banner
        listener.setblocking(False)

    def start(self, config: Path, *words: str) -> Child:
        """Start HAProxy; `words` are for its command line."""
        command = [find_program("haproxy"), "-db", *words, "-f", str(config)]
        with self.network.entered(BALANCER):
            child = Child("haproxy", command, self._inbox)
        self._stack.callback(child.stop)
        self._child = child
        return child

    def connect(self, port: int) -> Session:
        """A session through the proxy to the server of the same port, used once."""

        def dial() -> socket.socket | None:
            assert self._child.running(), self._child.last_words()
            try:
                with self.network.entered(CLIENT):
                    return socket.create_connection((SERVICE_ADDRESS, port), timeout=2)
            except ConnectionRefusedError:
                return None

        client = self._stack.enter_context(wait_until(dial, f"HAProxy listens on {port}"))
        server = self._stack.enter_context(self._accepted(port, client))
        session = Session(client, server)
        for one, other in ((client, server), (server, client)):
            one.sendall(b"hello\n")
            other.settimeout(2)
            heard = b""
            while not heard.endswith(b"hello\n"):
                heard += other.recv(64)
        for side in ("client", "server"):
            end = getattr(session, side)
            end.setblocking(False)
            self._selector.register(end, selectors.EVENT_READ, (session, side))
        return session

    def _accepted(self, port: int, client: socket.socket) -> socket.socket:
        """The session's server socket; health checks, which close at once, are passed by."""
        client.sendall(b"who\n")
        open_ones: list[socket.socket] = []

        def found() -> socket.socket | None:
            with suppress(BlockingIOError):
                open_ones.append(self._greeted(port))
            for one in list(open_ones):
                try:
                    said = one.recv(64)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    said = b""
                if said:
                    return one
                open_ones.remove(one)
                one.close()
            return None

        return wait_until(found, f"the session reaches the server of port {port}")

    def rule(self, host: Host, chain: str, match: str) -> None:
        """Add a rule to a host's firewall."""
        with self.network.entered(host):
            subprocess.run(
                [find_program("iptables"), "-A", chain, *match.split()],
                env={**os.environ, "XTABLES_LOCKFILE": str(self.scratch / "xtables.lock")},
                check=True,
                capture_output=True,
            )

    def watch(self, seconds: float) -> None:
        """Note who is told what, for so long. Health checks are accepted meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(min(left, 0.02)):
                self._look(*key.data)
            self._read_log()
            self._clear_backlogs()

    def _look(self, session: Session, side: str) -> None:
        end = getattr(session, side)
        try:
            if end.recv(65536):
                return
            how = "fin"
        except BlockingIOError:
            return
        except OSError:
            how = "reset"
        session.told[side] = (time.monotonic(), how)
        self._selector.unregister(end)

    def _read_log(self) -> None:
        while True:
            try:
                line = self._inbox.get_nowait()
            except Empty:
                return
            text = line.text or ""
            self.log.append(text)
            words = text.split()
            if "is DOWN" in text and words and words[0] == "Server":
                self.marked_down.setdefault(words[1], line.at)

    def _clear_backlogs(self) -> None:
        for port in self._listeners:
            with suppress(BlockingIOError, ConnectionError):
                self._greeted(port).close()

    def _greeted(self, port: int) -> socket.socket:
        """The next connection to a server. Raises BlockingIOError if there is none."""
        accepted = self._listeners[port].accept()[0]
        accepted.setblocking(False)
        with suppress(ConnectionError):
            accepted.sendall(self._banners[port])
        return accepted

    def attempts(self, ports: dict[str, int]) -> dict[str, float]:
        """How long a new session of each port waits until it is told that it failed."""
        started = time.monotonic()
        pending = {}
        for name, port in ports.items():
            with self.network.entered(CLIENT):
                client = socket.create_connection((SERVICE_ADDRESS, port), timeout=2)
            self._stack.enter_context(client).setblocking(False)
            pending[name] = client
        waits: dict[str, float] = {}

        def all_told() -> bool:
            for name, client in pending.items():
                if name in waits:
                    continue
                try:
                    client.recv(1)
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                waits[name] = time.monotonic() - started
            return len(waits) == len(pending)

        wait_until(all_told, "every session is told", 30)
        return waits

    def packets(self, host: Host, chain: str, port: int | None = None) -> int:
        """How many packets the rules of a chain (for a port) have matched."""
        with self.network.entered(host):
            shown = subprocess.run(
                [find_program("iptables"), "-L", chain, "-v", "-x", "-n"],
                env={**os.environ, "XTABLES_LOCKFILE": str(self.scratch / "xtables.lock")},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        rows = [line for line in shown.splitlines()[2:] if port is None or f"pt:{port}" in line]
        return sum(int(row.split()[0]) for row in rows)
