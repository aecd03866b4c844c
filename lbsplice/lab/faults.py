"""Breaking the way to a server, and mending it again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lbsplice.errors import EnvironmentLacks, LabError
from lbsplice.lab.namespaces import Network
from lbsplice.lab.scene import Fault
from lbsplice.lab.topology import BALANCER, PORT, VICTIM, Host

_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find_program(name: str) -> str:
    """Where a program is. Raises EnvironmentLacks, with what would help, when it is not there."""
    path = shutil.which(name, path=_SEARCH_PATH)
    if path is None:
        raise EnvironmentLacks(f"{name} is not installed: `apt-get install {name}` would help")
    return path


_TO_SERVER = f"-d {VICTIM.address} -p tcp --dport {PORT}"


@dataclass(frozen=True)
class Rule:
    """An iptables rule and the host whose firewall holds it."""

    host: Host
    chain: str
    match: str

    def text(self, operation: str) -> str:
        """What an operator would type, and where."""
        return f"{self.host.name}: iptables {operation} {self.chain} {self.match}"

    def put(self, operation: str, network: Network, scratch: Path) -> None:
        """Add (`-A`) or delete (`-D`) it; `scratch` is a directory of the scene's own. Raises
        LabError when that fails."""
        command = [find_program("iptables"), operation, self.chain, *self.match.split()]
        # The older iptables takes one lock for all namespaces, which a second lab might hold.
        environment = {**os.environ, "XTABLES_LOCKFILE": str(scratch / "xtables.lock")}
        with network.entered(self.host):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")


_RULES = {
    Fault.OUTPUT_DROP: Rule(BALANCER, "OUTPUT", f"{_TO_SERVER} -j DROP"),
    Fault.FAR_DROP: Rule(VICTIM, "INPUT", f"-p tcp --dport {PORT} -j DROP"),
    Fault.REJECT: Rule(BALANCER, "OUTPUT", f"{_TO_SERVER} -j REJECT --reject-with tcp-reset"),
}


def check_tools(fault: Fault) -> None:
    """Raise EnvironmentLacks when a program that the fault needs is not installed."""
    if fault in _RULES:
        find_program("iptables")


class Breakage:
    """One fault, applied and lifted. `kill_server` and `start_server` are called for
    server-killed; `scratch` is a directory of the scene's own."""

    def __init__(
        self,
        fault: Fault,
        network: Network,
        scratch: Path,
        kill_server: Callable[[], None],
        start_server: Callable[[], None],
    ) -> None:
        self._fault = fault
        self._network = network
        self._scratch = scratch
        self._kill_server = kill_server
        self._start_server = start_server

    def apply_text(self) -> str:
        """What an operator would type, and where."""
        return self._text("-A", "down", f"kill -9 (the server process on {VICTIM.name})")

    def lift_text(self) -> str:
        return self._text("-D", "up", f"the server process on {VICTIM.name} is started again")

    def apply(self) -> None:
        """Break it. Raises LabError when that fails."""
        if self._fault is Fault.LINK_DOWN:
            self._network.set_link(VICTIM, up=False)
        elif self._fault is Fault.SERVER_KILLED:
            self._kill_server()
        else:
            _RULES[self._fault].put("-A", self._network, self._scratch)

    def lift(self) -> None:
        """Mend it. Raises LabError when that fails."""
        if self._fault is Fault.LINK_DOWN:
            self._network.set_link(VICTIM, up=True)
        elif self._fault is Fault.SERVER_KILLED:
            self._start_server()
        else:
            _RULES[self._fault].put("-D", self._network, self._scratch)

    def _text(self, operation: str, link: str, server: str) -> str:
        if self._fault is Fault.LINK_DOWN:
            return f"{VICTIM.name}: ip link set eth0 {link}"
        if self._fault is Fault.SERVER_KILLED:
            return server
        return _RULES[self._fault].text(operation)
