"""The real program at work with a configuration: started, listened to, stopped.

    lb.server("a")                            a Service: a server's two listening sockets
    lb.start(f\"""... server a {lb['a']} ...\""")
    client = lb.connects("front")
    lb.kill_worker()                          the session goes on
    ...
    lb.stops()

Ports are held for the program from before its start to the end of the test, by sockets
that are bound and do not listen: nobody else can get them, the program can (both set
SO_REUSEADDR). Log lines come over UDP, `format short`."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pyroute2 import DiagSocket

from tests.support.command import DEADLINE_S, environment
from tests.support.peers import Listener, Peer, connected
from tests.support.waiting import wait_until

LISTENING = 1 << 10  # the kernel's TCP_LISTEN, as a set of states
CONNECTING = 1 << 2  # TCP_SYN_SENT
RECEIVE_BUFFER = 8 << 20
WORKER = "lbsplice-worker"
VAULT = "lbsplice-vault"
_END_OF_LOG = b"\0end"
_FLUSH = b"\0flush"


@dataclass(frozen=True)
class LogLine:
    """One line of the log; `severity` is syslog's number (6 is info)."""

    severity: int
    text: str


TCPLOG = re.compile(
    r"(?P<client>\S+) \[(?P<date>[^]]+)\] (?P<frontend>\S+) (?P<backend>[^/ ]+)/(?P<server>\S+) "
    r"(?P<tw>-?\d+)/(?P<tc>-?\d+)/(?P<tt>\+?\d+) (?P<bytes>\+?\d+) (?P<state>\S\S) "
    r"(?P<ac>\d+)/(?P<fc>\d+)/(?P<bc>\d+)/(?P<sc>\d+)/(?P<retries>\+?\d+) 0/0"
)


@dataclass(frozen=True)
class SessionLine:
    """What `option tcplog` says of one session. Times are milliseconds."""

    client: str
    frontend: str
    backend: str
    server: str
    tw: int
    tc: int
    tt: int
    bytes: int
    state: str
    counts: tuple[int, int, int, int]  # process, frontend, backend, server
    retries: str
    severity: int

    @classmethod
    def read(cls, line: LogLine) -> SessionLine | None:
        """None if the line tells of something else."""
        found = TCPLOG.fullmatch(line.text)
        if found is None:
            return None
        return cls(
            *found.group("client", "frontend", "backend", "server"),
            *(int(text) for text in found.group("tw", "tc", "tt", "bytes")),
            found["state"],
            tuple(int(text) for text in found.group("ac", "fc", "bc", "sc")),  # type: ignore[arg-type]
            found["retries"],
            line.severity,
        )


class Syslog:
    """A UDP socket that takes the log, and a thread that keeps it empty. It hears the
    network namespace that it was made in."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.socket.bind(("127.0.0.1", 0))
        self._to_itself = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.lines: list[LogLine] = []
        self._flushed = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        """As a `log` line names it."""
        host, port = self.socket.getsockname()
        return f"{host}:{port} format short"

    def _listen(self) -> None:
        while (datagram := self.socket.recv(65536)) != _END_OF_LOG:
            if datagram == _FLUSH:
                self._flushed.set()
                continue
            found = re.fullmatch(r"<(\d+)>(.*)\n?", datagram.decode(), re.S)
            assert found is not None, datagram
            self.lines.append(LogLine(int(found[1]) & 7, found[2].rstrip("\n")))

    def flush(self) -> None:
        """Return when all that was sent until now is in `lines`."""
        self._flushed.clear()
        self._to_itself.sendto(_FLUSH, self.socket.getsockname())
        assert self._flushed.wait(DEADLINE_S), "the log's reader is stuck"

    def close(self) -> None:
        self._to_itself.sendto(_END_OF_LOG, self.socket.getsockname())
        self._thread.join(DEADLINE_S)
        self._to_itself.close()
        self.socket.close()


class Service:
    """A server: what sessions connect to, and apart from it what checks connect to, so
    that it can die for the checks while a test still holds its sessions."""

    def __init__(self, **listener: Any) -> None:
        self.sessions = Listener(**listener)
        self._peers: list[Peer] = []
        self._held = reserved_port()
        self._health_port = int(self._held.getsockname()[1])
        self._checked: socket.socket | None = None
        self.returns()

    def __str__(self) -> str:
        """As a `server` line names it."""
        return f"127.0.0.1:{self.sessions.port} port {self._health_port}"

    def accepts(self) -> Peer:
        self._peers.append(self.sessions.accepts())
        return self._peers[-1]

    def dies(self) -> None:
        """Checks are refused from now on; its sessions know nothing of it."""
        if self._checked is not None:
            self._checked.close()
            self._checked = None

    def returns(self) -> None:
        """Checks succeed from now on."""
        if self._checked is None:
            self._checked = reserved_port(self._health_port)
            self._checked.listen(4096)

    def close(self) -> None:
        self.dies()
        self.sessions.closes()
        self._held.close()
        for peer in self._peers:
            peer.closes()


def reserved_port(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A socket that holds a port for whoever asks for it with SO_REUSEADDR. OSError if
    that port is taken."""
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held


def silent_address(stack: contextlib.ExitStack) -> str:
    """Where a connect gets no answer for as long as `stack` is open: a backlog is full,
    the kernel drops what comes."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(2):
        knock = stack.enter_context(socket.socket())
        knock.setblocking(False)
        knock.connect_ex(listener.getsockname())
    return f"127.0.0.1:{listener.getsockname()[1]}"


@dataclass
class Program:
    """One run of lbsplice. `command` is what it is started with."""

    directory: Path
    command: tuple[str, ...] = (sys.executable, "-m", "lbsplice", "run")
    log: Syslog = field(default_factory=Syslog)
    process: subprocess.Popen[str] | None = None
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _ports: dict[str, socket.socket] = field(default_factory=dict)

    # ---- before the start ----

    def port(self, name: str = "front", number: int = 0, host: str = "127.0.0.1") -> int:
        """The port called so; reserved when first asked for."""
        if name not in self._ports:
            self._ports[name] = self.stack.enter_context(reserved_port(number, host))
        return int(self._ports[name].getsockname()[1])

    def adjacent_ports(self, count: int) -> int:
        """The first of so many ports in a row, all reserved: below those that the kernel
        gives to clients, most of which may be in TIME_WAIT."""
        while True:
            first = random.randrange(10_000, 32_000 - count)
            with contextlib.ExitStack() as some:
                try:
                    for port in range(first, first + count):
                        some.enter_context(reserved_port(port))
                except OSError:
                    continue
                self.stack.enter_context(some.pop_all())
                return first

    def server(self, **listener: Any) -> Service:
        """A server that ends with the test."""
        return self.stack.enter_context(contextlib.closing(Service(**listener)))

    def silent_server(self) -> str:
        """The address of a server that never answers."""
        return silent_address(self.stack)

    def refusing_server(self) -> str:
        """The address of a server that refuses."""
        held = self.stack.enter_context(reserved_port())
        return f"127.0.0.1:{held.getsockname()[1]}"

    # ---- the run ----

    def start(self, text: str, *words: str, listens: Iterable[int] = (), **popen: Any) -> Program:
        """Run the configuration, and wait until all ports of `listens` and those that
        `port` named are listened on. AssertionError if the program ends meanwhile."""
        path = self.directory / "lb.cfg"
        path.write_text(text)
        self.process = subprocess.Popen(
            [*self.command, "-db", *words, "-f", str(path)],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "env": environment(),
                **popen,
            },
        )
        wanted = {*listens, *(held.getsockname()[:2] for held in self._ports.values())}
        wait_until(lambda: self._listens_on(wanted), "the program listens", DEADLINE_S)
        return self

    def _listens_on(self, wanted: set[tuple[str, int]]) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the program ended: {self.process.communicate()}")
        if not relay_threads(self.process.pid):
            return False
        opened = listening()
        everywhere = {port for host, port in opened if host in ("0.0.0.0", "::")}
        return all(each in opened or each[1] in everywhere for each in wanted)

    @property
    def pid(self) -> int:
        """The supervisor's: the one that is shown."""
        assert self.process is not None, "not started"
        return self.process.pid

    @property
    def worker_pid(self) -> int:
        """The worker process's, once there is one."""
        return self._member(WORKER)

    @property
    def vault_pid(self) -> int:
        return self._member(VAULT)

    def _member(self, name: str) -> int:
        def found() -> list[int]:
            now = family(self.pid)
            pids = [pid for pid, called in now.items() if called == name]
            return pids if len(pids) == 1 else []  # a vault is born with its worker's name

        return wait_until(found, f"there is a process {name}", DEADLINE_S)[0]

    def kill_worker(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Kill the worker process, and wait until its successor is ready and the vault of
        the dead one is gone. The successor's pid."""
        worker, vault = self.worker_pid, self.vault_pid
        os.kill(worker, number)

        def succeeded() -> list[int]:
            now = family(self.pid)
            new = [pid for pid, called in now.items() if called == WORKER and pid != worker]
            vaults = [pid for pid, called in now.items() if called == VAULT and pid != vault]
            complete = len(now) == 2 and new and vaults and relay_threads(self.pid)
            return new if complete else []

        return wait_until(succeeded, "a successor is at work", DEADLINE_S)[0]

    def connects(self, port: str = "front", **options: Any) -> Peer:
        """A client at the port called so."""
        client = connected(("127.0.0.1", self.port(port)), **options)
        self.stack.callback(client.closes)
        return client

    def session(self, server: Service, port: str = "front", **options: Any) -> tuple[Peer, Peer]:
        """A client and the server's end of its session; one byte has gone to the server."""
        client = self.connects(port, **options)
        end = server.accepts()
        client.sends(b"?")
        end.reads(b"?")  # now it is established for lbsplice, too
        return client, end

    def signals(self, number: signal.Signals) -> Program:
        assert self.process is not None
        self.process.send_signal(number)
        return self

    def ends(self, status: int = 0) -> str:
        """Wait for the end: the exit status is as given, nobody holds its standard
        streams, no process of it is left. What it wrote to stderr."""
        assert self.process is not None
        members = family(self.pid) if self.process.poll() is None else {}
        _, err = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == status, err
        self.log.flush()
        for pid, name in members.items():
            assert comm(pid) != name, f"{name} ({pid}) is left"
        return err

    def stops(self) -> str:
        """End it with SIGTERM: in order, with no trouble of its own on stderr."""
        err = self.signals(signal.SIGTERM).ends()
        assert "[lbsplice.main()]" not in err, err
        assert "Traceback" not in err, err
        return err

    # ---- the log ----

    def logs(self, pattern: str, count: int = 1, within_s: float = DEADLINE_S) -> list[LogLine]:
        """Wait for so many lines that the pattern is found in."""
        sought = re.compile(pattern)

        def found() -> list[LogLine] | None:
            lines = [line for line in self.log.lines if sought.search(line.text)]
            return lines if len(lines) >= count else None

        try:
            lines = wait_until(found, pattern, within_s)
        except AssertionError:
            raise AssertionError(f"not {count} lines with {pattern!r}: {self.log.lines}") from None
        assert lines is not None
        return lines

    def sessions(self, count: int = 1, frontend: str = r"\S+") -> list[SessionLine]:
        """The lines of exactly so many sessions of the frontend; waits for them."""
        lines = self.logs(rf"^\S+ \[[^]]+\] {frontend} ", count)
        assert len(lines) == count, lines
        sessions = [SessionLine.read(line) for line in lines]
        assert None not in sessions, lines
        return [session for session in sessions if session is not None]

    def says_no_more(self, pattern: str, count: int) -> None:
        """There are exactly so many lines with the pattern, now that the program ended."""
        self.log.flush()
        lines = [line for line in self.log.lines if re.search(pattern, line.text)]
        assert len(lines) == count, lines

    # ---- the end ----

    def close(self) -> None:
        """End it by force if it still runs."""
        if self.process is not None:
            if self.process.poll() is None:
                for pid in (*self._halted_family(), self.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            self.process.communicate(timeout=DEADLINE_S)
        self.stack.close()
        self.log.close()

    def _halted_family(self) -> list[int]:
        """The supervisor's children, when it can not make another one any more."""
        os.kill(self.pid, signal.SIGSTOP)
        supervisor = psutil.Process(self.pid)
        wait_until(lambda: supervisor.status() == psutil.STATUS_STOPPED, "it is stopped")
        return list(family(self.pid))


def listening() -> set[tuple[str, int]]:
    """The TCP addresses that someone listens on in the caller's network namespace. Asked of
    sock_diag: /proc/net/tcp takes its time when there are many in TIME_WAIT."""
    return {(found["idiag_src"], found["idiag_sport"]) for found in _sockets(LISTENING)}


def tries(address: str) -> int:
    """How many wait for an answer from `HOST:PORT` to a connect; what keeps a silent_address
    silent is among them."""
    return sum(
        f"{found['idiag_dst']}:{found['idiag_dport']}" == address for found in _sockets(CONNECTING)
    )


def _sockets(states: int) -> list[Any]:
    with DiagSocket() as diag:
        diag.bind()
        return [
            found
            for family in (socket.AF_INET, socket.AF_INET6)
            for found in diag.get_sock_stats(family=family, states=states)
        ]


def comm(pid: int) -> str:
    """What the kernel calls a process; "" if there is none, or only its remains."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""


def family(pid: int) -> dict[int, str]:
    """The processes of a supervisor that live, by pid, with their names."""
    try:
        children = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return {}
    return {child.pid: name for child in children if (name := comm(child.pid))}


def relay_threads(pid: int) -> list[Path]:
    """The relay threads of a program, by its supervisor, as directories of /proc."""
    threads = []
    for worker in [child for child, name in family(pid).items() if name == WORKER]:
        with contextlib.suppress(OSError):  # it has just ended
            threads += [
                task
                for task in Path(f"/proc/{worker}/task").iterdir()
                if (task / "comm").read_text().startswith("relay-")
            ]
    return threads


@contextlib.contextmanager
def program(directory: Path, **fields: Any) -> Iterator[Program]:
    """A Program that is ended, whatever happens."""
    directory.chmod(0o755)
    with contextlib.closing(Program(directory, **fields)) as made:
        yield made
