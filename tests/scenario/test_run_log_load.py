"""The log of thousands of sessions: one line each, and nobody who waits for it."""

from __future__ import annotations

import os
import random
import re
import select
import shutil
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from scripts.sidebyside.load import Load, build
from tests.scenario.test_run_log import head, unix_reader
from tests.support.peers import connected
from tests.support.program import Program, program
from tests.support.waiting import wait_until

SEED = 20260802


# ---- one line a session ----


def test_every_session_has_exactly_one_line(lb, tmp_path):
    """Sessions that end in every way, some of them killed by a mark-down, all at once."""
    good, dying = Echo(), Echo()
    health = lb.server()
    out = (tmp_path / "out").open("wb")
    with out, good, dying:
        lb.start(
            head("log stdout format raw local0", "maxconn 5000")
            + f"""\
listen www
 bind 127.0.0.1:{lb.port()}
 option tcplog
 option redispatch
 balance random
 default-server on-marked-down shutdown-sessions
 server good 127.0.0.1:{good.port}
 server dying 127.0.0.1:{dying.port} check inter 50ms fall 1 {str(health).split(" ", 1)[1]}
 server refuses {lb.refusing_server()}
""",
            stdout=out,
        )
        clients = [
            threading.Thread(target=use_sessions, args=(lb.port(), number)) for number in range(8)
        ]
        for client in clients:
            client.start()
        held = [connected(("127.0.0.1", lb.port())) for _ in range(60)]
        wait_until(lambda: dying.accepted > 20, "sessions on the server that will die")
        health.dies()
        for client in clients:
            client.join()
        for peer in held:
            peer.closes()
        lb.stops()
    lines = (tmp_path / "out").read_text().splitlines()
    sessions = [line for line in lines if line.endswith(" 0/0")]
    assert len(sessions) == 8 * SESSIONS_EACH + 60
    assert len({re.match(r"\S+ \[.{24}\]", line)[0] for line in sessions}) == len(sessions)
    states = Counter(re.search(r" (\S\S) \d+/\d+/\d+/\d+/", line)[1] for line in sessions)
    assert states["DD"] > 0
    assert states["--"] > 8 * SESSIONS_EACH / 10
    assert states["CD"] + states["CC"] > 0


SESSIONS_EACH = 400


def use_sessions(port: int, number: int) -> None:
    """Sessions in a row that are used and left in one of three ways."""
    rng = random.Random(SEED + number)
    for _ in range(SESSIONS_EACH):
        way = rng.randrange(3)
        try:
            peer = connected(("127.0.0.1", port))
        except ConnectionResetError:  # killed before connect() had returned
            continue
        try:
            if way:
                peer.socket.sendall(b"x")
                peer.socket.recv(10)
        except ConnectionError:  # it was killed
            pass
        if way == 1:
            peer.resets()
        else:
            peer.closes()


class Echo:
    """A server that sends back what it gets, from one thread."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self._listener.getsockname()[1]
        self.accepted = 0

    def __enter__(self) -> Echo:
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    def _serve(self) -> None:
        sessions: dict[int, socket.socket] = {}
        with self._listener, select.epoll() as epoll:
            epoll.register(self._listener.fileno(), select.EPOLLIN)
            epoll.register(self._stop, select.EPOLLIN)
            while True:
                for fd, _events in epoll.poll():
                    if fd == self._stop:
                        for session in sessions.values():
                            session.close()
                        return
                    if fd == self._listener.fileno():
                        session = self._listener.accept()[0]
                        self.accepted += 1
                        sessions[session.fileno()] = session
                        epoll.register(session.fileno(), select.EPOLLIN)
                    elif not self._echoes(sessions[fd]):
                        epoll.unregister(fd)
                        sessions.pop(fd).close()

    @staticmethod
    def _echoes(session: socket.socket) -> bool:
        try:
            data = session.recv(4096)
            session.sendall(data)
        except OSError:
            return False
        return bool(data)


# ---- a log that nobody reads ----


@pytest.fixture(scope="module")
def load_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None or shutil.which("taskset") is None:
        pytest.skip("needs cc and taskset")
    return build(tmp_path_factory.mktemp("load"))


def churn(
    lb: Program, load_program: Path, log: str, more: str = "", measure_ms: int = 500
) -> float:
    """Start the program, with `more` lines in its section, and pass sessions through it,
    each with a message and its answer. How many a second."""
    core = max(os.sched_getaffinity(0))
    with Load(load_program, core, "churn", "127.0.0.1", 16) as load:
        lb.start(
            head(log)
            + f"""\
listen www
 bind 127.0.0.1:{lb.port()}
 option tcplog
 server a 127.0.0.1:{load.server[1]}
 {more}
"""
        )
        load.tell(f"go 127.0.0.1 {lb.port()} 100 {measure_ms} {lb.pid}")
        measured = load.wait_for("measured", 30)
    assert not measured["errors"], measured
    return float(measured["count"]) / (measured["wall_ns"] / 1e9)


@pytest.mark.parametrize("target", ["a unix socket nobody reads", "a full pipe"])
def test_log_that_nobody_reads_slows_no_session(tmp_path, load_program, target):
    with unix_reader(tmp_path / "log"):
        log = f"log {tmp_path}/log local0" if "unix" in target else "log stdout format raw local0"
        rates = {}
        for line in ("description unlogged", log):
            with program(tmp_path) as lb:
                rates[line] = churn(lb, load_program, line)  # nobody reads its stdout
                lb.stops()
    assert rates[log] > rates["description unlogged"] / 3, rates


def test_burst_of_sessions_keeps_the_checks_on_time(lb, load_program, tmp_path):
    """Checks go on between the lines of the log; behind them, they would wait for its end."""
    burst_ms = 2000
    with Asked(tmp_path / "asked") as asked:
        checked = f"server b unix@{asked.path} weight 0 check inter 50ms fall 1"
        churn(lb, load_program, f"log {lb.log} local0", checked, measure_ms=burst_ms)
        lb.stops()
    gaps = [after - before for before, after in zip(asked.times, asked.times[1:], strict=False)]
    assert max(gaps) < burst_ms / 1000 / 2
    lb.says_no_more("is DOWN", 0)


class Asked:
    """A unix socket (whose checks are seen, unlike those of TCP) and when it was checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: list[float] = []

    def __enter__(self) -> Asked:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._note)
        self._thread.start()
        return self

    def _note(self) -> None:
        while True:
            try:
                self._listener.accept()[0].close()
            except OSError:  # it was shut
                return
            self.times.append(time.monotonic())

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
