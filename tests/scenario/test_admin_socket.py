"""The stats socket of the running program: as operators' scripts use it."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbsplice import getsocks
from tests.support.admin_socket import ask, connect, read_all, read_until
from tests.support.program import Program, Service
from tests.support.waiting import wait_until

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def path() -> Iterator[Path]:
    """A short one: the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        yield Path(name) / "stats"


def config(lb: Program, path: Path, *more: str, server: Service | None = None) -> str:
    server = server or lb.server()
    return f"""
global
    log {lb.log} local0
    stats socket {path} mode 600 level admin expose-fd listeners
    {"".join(f"    {line}{os.linesep}" for line in more)}
defaults
    timeout connect 1s
    timeout client 1h
    timeout server 1h
listen l
    bind 127.0.0.1:{lb.port()}
    server s1 {server} check inter 100ms on-marked-down shutdown-sessions
"""


def test_it_answers_with_the_rights_that_its_line_says(lb, path):
    lb.start(config(lb, path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ask(path, "show cli level\n") == "admin\n\n"
    assert ask(path, "get weight l/s1;get weight l/q\n") == "1 (initial 1)\n\nNo such server.\n\n"
    assert f"unix@{path} admin all\n" in ask(path, "show cli sockets\n")


def test_it_answers_after_its_worker_died(lb, path):
    lb.start(config(lb, path))
    with connect(path) as talking:
        talking.sendall(b"prompt\n")
        read_until(talking, b"> ")
        lb.kill_worker()
        assert read_all(talking) == b""
    assert ask(path, "show cli level\n") == "admin\n\n"


def test_who_comes_while_the_worker_is_succeeded_is_answered(lb, path):
    lb.start(config(lb, path))
    before = lb.worker_pid
    os.kill(before, signal.SIGKILL)
    assert ask(path, "show cli level\n") == "admin\n\n"
    assert lb.worker_pid != before


def test_a_reload_moves_the_socket(lb, path):
    text = config(lb, path)
    lb.start(text)
    other = path.with_name("other")
    moved = text.replace(f"{path} mode 600 level admin", f"{other} level user")
    (lb.directory / "lb.cfg").write_text(moved)
    lb.signals(signal.SIGUSR2)
    wait_until(other.exists, "the new socket is there", 30)
    wait_until(lambda: not path.exists(), "the old one is gone", 30)
    assert ask(other, "show cli level\n") == "user\n\n"


def test_the_path_is_gone_after_the_end(lb, path):
    lb.start(config(lb, path))
    lb.stops()
    assert not path.exists()


def test_maintenance_ends_sessions_and_a_drain_does_not(lb, path):
    server = lb.server()
    lb.start(config(lb, path, server=server))
    client, _ = lb.session(server)
    assert ask(path, "set server l/s1 state drain\n") == "\n"
    client.sends(b"!")
    assert ask(path, "set server l/s1 state ready;set server l/s1 state maint\n") == "\n\n"
    client.reads_reset()
    asked = lb.logs(r"set server l/s1 state maint.*uid")[0].text
    assert f"unix@{path} (pid {os.getpid()}, uid {os.getuid()})" in asked


def test_sessions_are_ended_one_by_one_and_all_at_once(lb, path):
    server = lb.server()
    lb.start(config(lb, path, server=server))
    first, _ = lb.session(server)
    serial = ask(path, "show sess\n").partition(":")[0]
    assert ask(path, f"shutdown session {serial}\n") == "\n"
    first.reads_reset()
    second, _ = lb.session(server)
    assert ask(path, "shutdown sessions server l/s1\n") == "\n"
    second.reads_reset()
    assert ask(path, f"shutdown session {serial}\n") == "No such session (use 'show sess').\n\n"


def test_a_server_is_added_and_taken_away(lb, path):
    server, other = lb.server(), lb.server()
    lb.start(config(lb, path, server=server))
    assert ask(path, f"add server l/n {other}\n") == "New server registered.\n\n"
    assert ask(path, "enable server l/n;disable server l/s1\n") == "\n\n"
    client, _ = lb.session(other)
    assert ask(path, "del server l/n\n") == "Only servers in maintenance mode can be deleted.\n\n"
    said = ask(path, "disable server l/n;wait 20ms srv-removable l/n\n")
    assert said == "\nWait delay expired.\n\n"
    line = "shutdown sessions server l/n;wait 5s srv-removable l/n;del server l/n\n"
    assert ask(path, line) == "\nDone.\n\nServer deleted.\n\n"
    client.reads_reset()


def test_the_processes_and_a_reload(lb, path):
    lb.start(config(lb, path), "-W")
    assert ask(path, "reload\n").startswith("Success=1\n--\n")
    shown = ask(path, "show proc\n").splitlines()
    assert shown[1].split()[:3] == [str(lb.pid), "master", "1"]
    assert shown[3].split()[:2] == [str(lb.worker_pid), "worker"]
    (lb.directory / "lb.cfg").write_text("nonsense\n")
    assert ask(path, "reload\n").startswith("Success=0\n--\n")


def test_our_listeners_can_be_taken_over(lb, path):
    lb.start(config(lb, path))
    offered = getsocks.fetch(str(path))
    names = [each.socket.getsockname() for each in offered]
    for each in offered:
        each.socket.close()
    assert ("127.0.0.1", lb.port()) in names


@pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy")
def test_haproxy_goes_on_with_our_listeners(lb, path):
    """It starts although our port is busy, and takes connections when we are gone."""
    assert HAPROXY is not None
    server = lb.server()
    text = config(lb, path, server=server)
    lb.start(text)
    theirs = path.with_name("haproxy")
    file = lb.directory / "h.cfg"
    file.write_text(text.replace(f"{path} mode 600 level admin expose-fd listeners", str(theirs)))
    haproxy = subprocess.Popen(
        [HAPROXY, "-db", "-q", "-f", str(file), "-x", str(path), "-sf", str(lb.pid)],
    )
    try:
        wait_until(lambda: lb.process.poll() is not None, "we are told to end", 30)
        wait_until(theirs.exists, "haproxy is at work", 30)
        client, _ = lb.session(server)
        client.closes()
    finally:
        haproxy.terminate()
        haproxy.wait(10)
