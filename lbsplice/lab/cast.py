"""Who plays in a scene of the lab: servers, the proxy and clients, each in its namespace."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lbsplice.errors import EnvironmentLacks, LabError
from lbsplice.kernel.sockdiag import SocketWatch, TcpSocket
from lbsplice.lab import proxies
from lbsplice.lab.namespaces import Network
from lbsplice.lab.processes import Child
from lbsplice.lab.scene import Proxy
from lbsplice.lab.stage import SessionSeen, Stage
from lbsplice.lab.topology import BALANCER, CLIENT, PORT, SERVICE_ADDRESS, VICTIM, Host

SETUP_S = 10.0
_LEAVE_S = 2.0
_REST_S = 1.0
_LOOK_EVERY_S = 0.01


def check_rights() -> None:
    """Raise EnvironmentLacks when the lab's network can not be made by this user."""
    if os.geteuid() != 0:
        raise EnvironmentLacks(
            "the lab needs root, for network namespaces and iptables: run it with sudo"
        )


class Cast:
    """The players of one scene. All that it starts is stopped by `stack`, which also takes its
    network and its directory `scratch` down. What takes longer than `setup_s` to start is a
    LabError."""

    def __init__(self, stage: Stage, stack: ExitStack, setup_s: float = SETUP_S) -> None:
        self._stage = stage
        self._stack = stack
        self._setup_s = setup_s
        self.scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbslab-")))
        self.network = stack.enter_context(Network())

    def program(self, host: Host, name: str, command: Sequence[str]) -> Child:
        """Start a program on a host."""
        with self.network.entered(host):
            child = Child(name, command, self._stage.inbox)
        self._stack.callback(child.stop)
        return child

    def server(self, host: Host) -> Child:
        """Start a server and wait until it listens."""
        child = self._traffic(host, host.name, "server", f"{host.address}:{PORT}", host.name)
        self._stage.need(
            lambda: self._stage.listening(child), self._setup_s, f"{host.name} did not listen"
        )
        return child

    def proxy(self, proxy: Proxy, configuration: str, *, master: bool = False) -> Child:
        """Start the proxy, as its users do (`master`: see proxies.command), and wait until it
        listens."""
        file = self.scratch / "lab.cfg"
        file.write_text(configuration)
        child = self.program(BALANCER, proxy.value, proxies.command(proxy, file, master=master))
        self._stage.proxy = child
        deadline = time.monotonic() + self._setup_s
        while not self._accepts():
            self._stage.wait(lambda: False, _LOOK_EVERY_S)  # raises LabError if it has ended
            if time.monotonic() > deadline:
                raise LabError(f"{child.name} did not listen within {self._setup_s:g} s")
        return child

    def session(self, session: SessionSeen, host: Host, *options: str) -> Child:
        """Open a session through the proxy to a server. Returns its client."""
        address = f"{SERVICE_ADDRESS}:{PORT}"
        child = self._traffic(CLIENT, session.who.value, "client", address, host.name, *options)
        self._stage.follow(child, session)
        self._stage.need(
            lambda: session.local is not None or session.end is not None,
            self._setup_s,
            f"no session to {host.name} was opened",
        )
        if session.local is None:
            raise LabError(f"no session to {host.name} could be opened: {session.error}")
        return child

    def watch(self) -> SocketWatch:
        """The balancer's sockets."""
        with self.network.entered(BALANCER):
            return self._stack.enter_context(SocketWatch())

    def legs(self, watch: SocketWatch) -> list[tuple[str, TcpSocket]]:
        """The sockets of the stage's session in the balancer, the client's first."""
        sides = {self._stage.session.local: "client leg", (VICTIM.address, PORT): "server leg"}
        found = [(sides[one.peer], one) for one in watch.established() if one.peer in sides]
        return sorted(found, key=lambda leg: leg[0])

    def wait_for_rest(self, watch: SocketWatch) -> None:
        """Let the last acknowledgment come: only then is keepalive the timer that runs."""
        deadline = time.monotonic() + _REST_S
        while any(leg.send_queue for _, leg in self.legs(watch)) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)

    def stop(self, proxy: Child) -> int:
        """Stop the proxy; returns how many processes it left in its namespace."""
        self._stage.let_go(proxy)
        proxy.stop()
        deadline = time.monotonic() + _LEAVE_S
        while (left := self.network.inhabitants(BALANCER)) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        return len(left)

    def _accepts(self) -> bool:
        with self.network.entered(CLIENT), socket.socket() as knock:
            return knock.connect_ex((SERVICE_ADDRESS, PORT)) == 0

    def _traffic(self, host: Host, name: str, *arguments: str) -> Child:
        command = [sys.executable, "-m", "lbsplice.lab.traffic", *arguments]
        return self.program(host, name, command)
