"""The proxies under test: their configuration, their processes, what these use."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from .failure import BenchError

CHECK_INTERVAL_MS = 200
MAXCONN = 6000

CONFIG = """\
global
    maxconn {maxconn}
    nbthread 1

defaults
    mode tcp
    balance roundrobin
    timeout connect 5s
    timeout client 5m
    timeout server 5m
    option splice-request
    option splice-response

listen bench
    bind 127.0.0.1:{port}
    server s1 {server_ip}:{server_port}{check}

listen ready
    bind 127.0.0.1:{ready_port}
    server s1 127.0.0.1:{probe_port}
"""
SCRAPED_SERVERS = 1000
SCRAPED_CONFIG = """
global
    stats socket {directory}/{name}.sock level user

backend many
{servers}

listen stats
    mode http
    bind 127.0.0.1:{stats_port}
    http-request use-service prometheus-exporter if {{ path /metrics }}
    stats enable
"""
CHECK = f" check inter {CHECK_INTERVAL_MS} fall 1 rise 1 on-marked-down shutdown-sessions"


@dataclass(frozen=True)
class Program:
    """A proxy that takes HAProxy's command line and configuration."""

    name: str
    command: tuple[str, ...]

    def version(self) -> str:
        """The first line of what `-v` says."""
        try:
            said = subprocess.run(
                [*self.command, "-v"], capture_output=True, text=True, timeout=30, check=True
            )
        except (OSError, subprocess.SubprocessError) as e:
            raise BenchError(f"{self.name} can not be started: {e}") from e
        lines = said.stdout.splitlines()
        return lines[0] if lines else self.name


def program(text: str) -> Program:
    """The program meant by `lbsplice`, `haproxy` or `NAME=COMMAND`."""
    name, _, command = text.partition("=")
    known = {"lbsplice": f"{shlex.quote(sys.executable)} -m lbsplice run", "haproxy": "haproxy"}
    if not command and name not in known:
        raise BenchError(f"unknown proxy '{name}': lbsplice, haproxy or NAME=COMMAND")
    return Program(name, tuple(shlex.split(command or known[name])))


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on. The bench has its network namespace to
    itself, so it stays free."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class Proxy:
    """A running proxy, pinned to one core; a context manager that ends it."""

    def __init__(
        self,
        program: Program,
        core: int,
        server: tuple[str, int],
        check: bool,
        directory: Path,
        *,
        scraped: bool = False,
    ) -> None:
        self.program = program
        self.port = free_port()
        self.stats_port = free_port()
        self.stats_socket = directory / f"{program.name}.sock"
        self._probe = socket.create_server(("127.0.0.1", 0))
        self._ready_port = free_port()
        config = directory / f"{program.name}.cfg"
        config.write_text(
            CONFIG.format(
                maxconn=MAXCONN,
                port=self.port,
                server_ip=server[0],
                server_port=server[1],
                check=CHECK if check else "",
                ready_port=self._ready_port,
                probe_port=self._probe.getsockname()[1],
            )
            + (self._scraped(directory, server) if scraped else "")
        )
        self._log = directory / f"{program.name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["taskset", "-c", str(core), *program.command, "-db", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _scraped(self, directory: Path, server: tuple[str, int]) -> str:
        lines = (f"    server s{n} {server[0]}:{server[1]}" for n in range(SCRAPED_SERVERS))
        return SCRAPED_CONFIG.format(
            directory=directory,
            name=self.program.name,
            servers="\n".join(lines),
            stats_port=self.stats_port,
        )

    def __enter__(self) -> Proxy:
        try:
            self._wait_until_serving(time.monotonic() + 20)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            for process in self._tree():
                process.kill()
            self._process.wait(10)

    def _wait_until_serving(self, deadline: float) -> None:
        """A session comes through, beside those that are measured: that sockets listen says
        nothing of the processes that serve them."""
        with self._probe:
            while not self._comes_through():
                self.must_run()
                if time.monotonic() > deadline:
                    raise BenchError(f"{self.program.name} does not serve\n{self._said()}")
                time.sleep(0.01)

    def _comes_through(self) -> bool:
        try:
            client = socket.create_connection(("127.0.0.1", self._ready_port), timeout=0.5)
        except OSError:
            return False
        self._probe.settimeout(0.5)
        try:
            with client:
                self._probe.accept()[0].close()
        except TimeoutError:
            return False
        return True

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def must_run(self) -> None:
        """Raise BenchError if the proxy has ended."""
        status = self._process.poll()
        if status is not None:
            raise BenchError(f"{self.program.name} ended, status {status}\n{self._said()}")

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def pids(self) -> list[int]:
        """All processes of the proxy: what any of them uses counts."""
        self.must_run()
        return [process.pid for process in self._tree()]

    def relay_threads(self) -> list[str]:
        """Each as PID/TID."""
        return [
            f"{pid}/{task.name}"
            for pid in self.pids()
            for task in Path(f"/proc/{pid}/task").iterdir()
            if (task / "comm").read_text().startswith("relay-")
        ]

    def cpu_s(self) -> float:
        """CPU time of all processes so far, seconds."""
        self.must_run()
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def memory(self) -> int:
        """Bytes of memory of its own: the proportional set size of all its processes, so
        that memory shared between them counts once. Waits until it stands still."""
        last, deadline = -1, time.monotonic() + 5
        while True:
            size = sum(_pss(pid) for pid in self.pids())
            if abs(size - last) <= 8192 or time.monotonic() > deadline:
                return size
            last = size
            time.sleep(0.2)


def _pss(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    if not found:
        raise BenchError(f"the kernel does not tell the memory of process {pid}")
    return int(found[1]) * 1024
