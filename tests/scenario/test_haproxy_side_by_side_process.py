"""Started, watched and stopped by the same hands, HAProxy and lbsplice are the same kind of
process: pid files, exit statuses, what systemd hears, what is said when a start fails."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from tests.support.addresses import Names
from tests.support.command import environment, wait_until
from tests.support.peers import Peer, connected
from tests.support.program import family
from tests.support.sidebyside import LISTEN, PROGRAMS, haproxy_is_the_oracle, tcp_states
from tests.support.waiting import SOON_S

pytestmark = pytest.mark.skipif(not haproxy_is_the_oracle(), reason="needs HAProxy 2.6")

TEXT = """\
global
 nbthread 1
defaults
 mode tcp
 timeout connect 1s
 timeout client 5s
 timeout server 5s
listen l
 bind 127.0.0.1:{port}
 server s {a}
"""
Seen = TypeVar("Seen")


class Program:
    """One of the two, to be started with words of HAProxy's command line."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.names = Names(directory)
        self.file = directory / "lb.cfg"
        self.file.write_text(TEXT.format_map(self.names))
        self.pidfile = directory / "pid"
        self.port = self.names.port("port")
        self._started: list[subprocess.Popen[str]] = []
        self._own: list[psutil.Process] = []
        self._peers: list[Peer] = []

    def starts(self, *words: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*PROGRAMS[self.name], *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(**env),
        )
        self._started.append(process)
        return process

    def serves(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Started with the configuration, and at work: a session went through."""
        process = self.starts(*words, "-f", str(self.file), **env)
        wait_until(lambda: LISTEN in tcp_states(self.port), f"{self.name} listens")
        client, server = self.session()
        client.closes()
        server.reads_end().closes()
        return process

    def session(self) -> tuple[Peer, Peer]:
        """A session that stands: a word went through."""
        self._peers.append(client := connected(("127.0.0.1", self.port)))
        self._peers.append(server := self.names.servers["a"].accepts())
        server.sends(b"hello")
        client.reads(b"hello")
        return client, server

    def daemon(self) -> psutil.Process:
        """The process that the pid file names."""
        daemon = psutil.Process(int(self.pidfile.read_text()))
        self._own.append(daemon)
        return daemon

    def plain(self, text: str) -> list[str]:
        """Lines of stderr without pids, paths and versions; the alerts and warnings."""
        text = text.replace(str(self.directory), "DIR").replace(str(self.port), "PORT")
        text = re.sub(r"\(\d+\)", "(PID)", text).replace(PROGRAMS[self.name][0], self.name)
        text = re.sub(r"; another program listens there.*", "", text)  # our advice
        lines = text.replace(self.name, "PROGRAM").splitlines()
        return [line for line in lines if not line.startswith("[NOTICE]")]

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                kill_all(process.pid)
            process.communicate()
        for peer in self._peers:
            peer.closes()
        for daemon in self._own:
            kill_all(daemon.pid)
        self.names.close()


def kill_all(pid: int) -> None:
    for each in (pid, *family(pid)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def ended(process: psutil.Process) -> bool:
    """Gone, or waiting for a parent that does not care."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def takes(pid: int, number: int) -> bool:
    """Is a signal caught, and not blocked? A master may not be that far when its worker
    serves already."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught, blocked = (
        int(re.findall(rf"^{field}:\t(\w+)$", status, re.M)[0], 16) >> (number - 1) & 1
        for field in ("SigCgt", "SigBlk")
    )
    return bool(caught and not blocked)


class Both:
    """The two, side by side."""

    def __init__(self, directory: Path) -> None:
        self._programs = []
        for name in PROGRAMS:
            (directory / name).mkdir()
            self._programs.append(Program(name, directory / name))

    def do(self, what: Callable[[Program], Seen]) -> Seen:
        """What both do, which has to be the same."""
        with ThreadPoolExecutor(2) as pool:
            theirs, ours = pool.map(what, self._programs)
        assert ours == theirs
        return ours

    def close(self) -> None:
        for program in self._programs:
            program.close()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    pair = Both(tmp_path)
    yield pair
    pair.close()


@pytest.mark.parametrize(
    ("words", "number", "theirs", "ours"),
    [
        ("-db", signal.SIGUSR1, 0, 0),
        ("-db", signal.SIGTERM, -signal.SIGTERM, 0),  # without a master it dies of it
        ("-db", signal.SIGINT, -signal.SIGINT, 0),
        ("-W", signal.SIGUSR1, 0, 0),
        ("-W", signal.SIGTERM, 0, 143),  # what unit files expect: SuccessExitStatus=143
        ("-W", signal.SIGINT, 130, 130),
        ("-W -db", signal.SIGINT, 130, 130),
    ],
)
def test_the_exit_status_after_a_signal(
    both: Both, words: str, number: int, theirs: int, ours: int
) -> None:
    def as_listed(program: Program) -> bool:
        process = program.serves(*words.split())
        if theirs >= 0:
            wait_until(lambda: takes(process.pid, number), f"{program.name} takes the signal")
        process.send_signal(number)
        process.communicate(timeout=SOON_S)
        assert process.returncode == (theirs if program.name == "haproxy" else ours)
        return True

    assert both.do(as_listed)


@pytest.mark.parametrize("words", [["-D"], ["-W", "-D"], ["-D", "-W", "-q"]], ids=" ".join)
def test_a_daemon_and_its_pid_file(both: Both, words: list[str]) -> None:
    def life(program: Program) -> list[object]:
        starter = program.serves(*words, "-p", str(program.pidfile))
        out, err = starter.communicate(timeout=SOON_S)
        daemon = program.daemon()
        seen = [
            starter.returncode,
            out,
            program.plain(err),
            daemon.pid != starter.pid,
            os.getsid(daemon.pid) != os.getsid(0),
            program.pidfile.stat().st_mode,
        ]
        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: ended(daemon), f"{program.name} ends")
        return [*seen, program.pidfile.exists()]

    both.do(life)


def test_a_master_in_the_foreground_writes_its_own_pid(both: Both) -> None:
    def pid(program: Program) -> bool:
        process = program.serves("-W", "-p", str(program.pidfile))
        wait_until(lambda: program.pidfile.read_text(), "the pid file is written")
        return program.pidfile.read_text() == f"{process.pid}\n"

    assert both.do(pid)


def test_db_writes_no_pid_file(both: Both) -> None:
    def written(program: Program) -> bool:
        program.serves("-db", "-p", str(program.pidfile))
        return program.pidfile.exists()

    assert not both.do(written)


def test_what_systemd_hears(both: Both) -> None:
    def hears(program: Program) -> list[str]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(program.directory / "notify"))
            systemd.settimeout(SOON_S)
            process = program.serves("-Ws", NOTIFY_SOCKET=str(program.directory / "notify"))
            while "READY=1" not in (told := systemd.recv(4096).decode().split("\n")):
                pass
        told = [line.replace(str(process.pid), "PID") for line in told]
        return sorted({"READY=1", "MAINPID=PID"} & set(told))

    assert both.do(hears) == ["MAINPID=PID", "READY=1"]


@pytest.mark.parametrize("words", [["-db"], ["-D"], ["-W", "-D"]], ids=" ".join)
def test_a_busy_port(both: Both, words: list[str]) -> None:
    def refused(program: Program) -> tuple[int, list[str]]:
        with socket.create_server(("127.0.0.1", program.port)):
            process = program.starts(*words, "-f", str(program.file))
            _, err = process.communicate(timeout=SOON_S)
        return process.returncode, program.plain(err)

    assert both.do(refused)[0] == 1


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["-v"], 0),
        (["-vv"], 0),
        (["-f", "/nowhere/at.all"], 1),
        (["-c", "-f", "/nowhere/at.all"], 1),
        (["-zz"], 1),
        ([], 1),
        (["-cc", "feature(EPOLL)"], 0),
        (["-cc", "defined(NOTHING)"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_status_of_a_command_line(both: Both, words: list[str], status: int) -> None:
    def ends(program: Program) -> int:
        process = program.starts(*words)
        process.communicate(timeout=SOON_S)
        return process.returncode

    assert both.do(ends) == status


def test_a_soft_stop_waits_for_the_session_and_a_hard_one_does_not(both: Both) -> None:
    def stop(program: Program) -> bool:
        process = program.serves("-db")
        client, server = program.session()
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: LISTEN not in tcp_states(program.port), "no longer listens")
        client.sends(b"still")
        server.reads(b"still")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SOON_S)
        return process.returncode in (0, -signal.SIGTERM)  # ours, HAProxy's

    assert both.do(stop)
