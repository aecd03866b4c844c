"""Tools that know HAProxy's stats socket and nothing of lbsplice: socat with shell scripts,
hatop on a terminal, the Prometheus project's exporter of old."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.addresses import free_ports
from tests.support.command import DEADLINE_S, wait_until
from tests.support.program import Program

TEXT = """\
global
    log {log} local0
    stats socket {path} level admin
    stats timeout 30s
    node lb1
defaults
    log global
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend front
    bind 127.0.0.1:{front}
    default_backend back
backend back
    server first {first} check inter 100
    server second {second} check inter 100 fall 1
"""


@pytest.fixture
def admin(lb: Program, tmp_path: Path) -> Path:
    """The stats socket of a program with a session through it; one of its servers is down."""
    path = tmp_path / "admin"
    first, second = lb.server(), lb.server()
    second.dies()
    front = lb.port("front")
    lb.start(TEXT.format(log=lb.log, path=path, front=front, first=first, second=second))
    lb.logs("Server back/second is DOWN")
    lb.session(first)
    return path


def needs(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")


# ---- shell scripts ----


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'show stat' | socat - $S | grep ^back,first | cut -d, -f18", "UP\n"),
        ("echo 'show stat' | socat - $S | awk -F, '$1==\"back\"{print $18}'", "UP\nDOWN\nUP\n"),
        ("echo 'show stat' | socat - $S | grep FRONTEND | cut -d, -f5,8", "1,1\n"),
        ("echo 'show info' | socat - $S | awk -F': ' '/^Name/{print $2}'", "HAProxy\n"),
        ("echo 'show info;show stat' | socat - $S | grep -c '^$'", "2\n"),
        ("echo 'show servers state back' | socat - $S | sed -n 3p | cut -d' ' -f4,6", "first 2\n"),
        ("echo 'show sess' | socat - $S | grep -c 'fe=front be=back srv=first'", "1\n"),
        ("printf 'show backend\\r\\n' | socat - $S | sed 1d", "back\n\n"),
        (
            "echo 'set server back/first state maint' | socat - $S; "
            "echo 'show stat -1 4 1' | socat - $S | grep back,first | cut -d, -f18",
            "\nMAINT\n",
        ),
        ("(echo prompt; echo 'show version'; echo quit) | socat -t 5 - $S", "\n> 3.2.0\n\n> "),
    ],
)
def test_a_script_gets_what_it_looks_for(admin, script, says):
    needs("socat")
    environment = {**os.environ, "S": str(admin)}
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stdout == says, done.stderr


# ---- hatop ----


class Terminal:
    """A program on a terminal of 150 columns."""

    def __init__(self, *command: str) -> None:
        self.text = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execvp(command[0], command)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
        self.status: int | None = None

    def says(self, pattern: str) -> None:
        """Wait until it is shown."""
        wait_until(
            lambda: self._read() and re.search(pattern, self.text),
            lambda: f"hatop does not show {pattern!r}: {self.text[-2000:]!r}",
        )

    def _read(self) -> bool:
        if select.select([self._fd], [], [], 0.1)[0]:
            try:
                data = os.read(self._fd, 65536).decode(errors="replace")
            except OSError:
                return True  # it has ended
            self.text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\([AB0]|\x1b[=>]", " ", data)
        return True

    def types(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def ends(self) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while (found := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            assert time.monotonic() < deadline, f"it does not end: {self.text[-2000:]!r}"
            self._read()
        self.pid = 0
        return os.waitstatus_to_exitcode(found[1])

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@contextmanager
def terminal(*command: str) -> Iterator[Terminal]:
    made = Terminal(*command)
    try:
        yield made
    finally:
        made.close()


def test_hatop_shows_servers_and_drives_them(admin):
    needs("hatop")
    with terminal("hatop", "-s", str(admin)) as hatop:
        hatop.says(r"HAProxy Version: 3\.2\.0")
        hatop.says(r"Node: +lb1")
        hatop.says(r"first +1 +UP +L4OK")
        hatop.says(r"second +1 +DOWN +L4CON")
        hatop.types("5")  # its command line
        hatop.says("interactive HAProxy shell")
        hatop.types("get weight back/first\r")
        hatop.says(r"1 \(initial 1\)")


def test_hatop_quits(admin):
    needs("hatop")
    with terminal("hatop", "-s", str(admin)) as hatop:
        hatop.says("first +1 +UP")
        hatop.types("q")
        assert hatop.ends() == 0


# ---- the exporter ----


def test_the_exporter_reads_every_line(admin):
    needs("prometheus-haproxy-exporter")
    port = free_ports()
    exporter = subprocess.Popen(
        [
            "prometheus-haproxy-exporter",
            f"--haproxy.scrape-uri=unix:{admin}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        found = wait_until(lambda: metrics(port), "the exporter answers")
    finally:
        exporter.kill()
        told = exporter.communicate()[1]
    assert found["haproxy_up"] == 1, told
    assert found["haproxy_exporter_csv_parse_failures_total"] == 0, told
    assert found['haproxy_server_up{backend="back",server="first"}'] == 1
    assert found['haproxy_server_up{backend="back",server="second"}'] == 0
    assert found['haproxy_frontend_current_sessions{frontend="front"}'] == 1
    assert found["haproxy_version_info"] == 1


def metrics(port: int) -> dict[str, float]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            found["haproxy_version_info" if "haproxy_version_info{" in name else name] = float(
                value
            )
    return found
