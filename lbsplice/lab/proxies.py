"""The proxy under test, started in the balancer's namespace: lbsplice or HAProxy."""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
from pathlib import Path

from lbsplice import __version__
from lbsplice.lab.faults import find_program
from lbsplice.lab.namespaces import Network
from lbsplice.lab.processes import Child, Inbox
from lbsplice.lab.scene import Case, Proxy, Settings
from lbsplice.lab.topology import BALANCER, LISTEN_NAME, configuration

_ANSWER_WITHIN_S = 2.0


def check_tools(proxy: Proxy) -> None:
    """Raise EnvironmentLacks when the proxy is not installed."""
    if proxy is Proxy.HAPROXY:
        find_program("haproxy")


def version(proxy: Proxy) -> str:
    """The proxy's name and version, as `HAProxy 2.6.12`. Raises EnvironmentLacks."""
    if proxy is Proxy.LBSPLICE:
        return f"lbsplice {__version__}"
    told = subprocess.run(
        [find_program("haproxy"), "-v"], capture_output=True, text=True, check=False
    ).stdout.split()
    # "HAProxy version 2.6.12-1+deb12u2 2025/04/16 - ..."
    return f"HAProxy {told[2].partition('-')[0]}" if len(told) > 2 else "HAProxy"


class RunningProxy:
    """The proxy of one case. Its log goes to `inbox`, line by line."""

    def __init__(
        self, settings: Settings, case: Case, network: Network, scratch: Path, inbox: Inbox
    ) -> None:
        self._stats_socket = str(scratch / "stats.sock")
        file = scratch / "lab.cfg"
        file.write_text(
            configuration(
                settings.proxy,
                action=case.action,
                fall=settings.fall,
                inter_ms=settings.inter_ms,
                stats_socket=self._stats_socket,
            )
        )
        self._proxy = settings.proxy
        with network.entered(BALANCER):
            self.child = Child(settings.proxy.value, command(self._proxy, file), inbox)

    def stat(self, server: str) -> dict[str, str] | None:
        """A server's row of `show stat`, by column name; None where this proxy has none to show.
        Raises OSError when the stats socket does not answer."""
        if self._proxy is not Proxy.HAPROXY:
            return None
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_WITHIN_S)
            connection.connect(self._stats_socket)
            connection.sendall(b"show stat\n")
            with connection.makefile() as answer:
                rows = csv.DictReader(answer.read().removeprefix("# ").splitlines())
        for row in rows:
            if (row["pxname"], row["svname"]) == (LISTEN_NAME, server):
                return row
        return None


def command(proxy: Proxy, configuration: Path, *, master: bool = False) -> list[str]:
    """The words that run a proxy in the foreground. `master`: HAProxy as master and worker, which
    lbsplice always is."""
    if proxy is Proxy.HAPROXY:
        mode = ["-W", "-db"] if master else ["-db"]
        return [find_program("haproxy"), *mode, "-f", str(configuration)]
    return [sys.executable, "-m", "lbsplice", "run", "-db", "-f", str(configuration)]
