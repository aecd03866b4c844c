"""Checks on real sockets: what each kind of server answers, and that our own standing
still is never a server's fault."""

import asyncio
import contextlib
import errno
import gc
import json
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from lbsplice.config.model import (
    AddressKind,
    Check,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.health.checker import Checker, watched
from lbsplice.health.probes import tcp
from lbsplice.health.target import Target
from lbsplice.roster import Roster
from lbsplice.terms import CheckStatus

PLACE = Place("t.cfg", 1)
KEY = ("b", "s1")
REFUSED_TEXT = "ECONNREFUSED returned by OS (Connection refused)"


def listening(backlog=64, host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, backlog=backlog)


@contextlib.contextmanager
def silent_server():
    """A listening socket whose queue is full: the kernel drops each further SYN."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(listening(backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server


def target(server, **words):
    return Target(server.family, server.getsockname(), **words)


def ask(where, limit_s=1.0):
    return asyncio.run(tcp.probe(where, limit_s))


def test_a_listening_server_passes():
    with listening() as server:
        result = ask(target(server))
    assert (result.passed, result.status, result.text) == (True, CheckStatus.L4_OK, "")
    assert result.duration_ms < 1000


def test_a_closed_port_is_a_connection_problem():
    with listening() as server:
        where = target(server)
    result = ask(where)
    assert (result.passed, result.status) == (False, CheckStatus.L4_CONNECTION)
    assert result.text == REFUSED_TEXT
    assert result.counts


def test_a_silent_server_times_out_after_the_limit():
    with silent_server() as server:
        result = ask(target(server), 0.2)
    assert (result.passed, result.status, result.text) == (False, CheckStatus.L4_TIMEOUT, "")
    assert 200 <= result.duration_ms < 600


def test_ipv6_and_unix_servers_are_checked_too(tmp_path):
    with listening(host="::1") as server:
        assert ask(target(server)).status is CheckStatus.L4_OK
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert ask(Target(socket.AF_UNIX, path)).status is CheckStatus.L4_OK
    refused, missing = ask(Target(socket.AF_UNIX, path)), ask(Target(socket.AF_UNIX, path + "x"))
    assert refused.status is missing.status is CheckStatus.SOCKET_ERROR
    assert refused.text == REFUSED_TEXT
    assert missing.text == "General socket error (No such file or directory)"
    assert missing.counts


def test_no_route_is_a_connection_problem():
    result = ask(Target(socket.AF_INET, ("255.255.255.255", 80)))
    assert result.status is CheckStatus.L4_CONNECTION
    assert result.text == "General socket error (Network is unreachable)"


def test_the_check_comes_from_the_source_address():
    """Seen in the kernel's table while the handshake is still waited for."""

    async def watch(where):
        check = asyncio.ensure_future(tcp.probe(where, 0.2))
        await asyncio.wait([check], timeout=0.05)
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        await check
        return {row[1].partition(":")[0] for row in rows if row[3] == "02"}  # SYN_SENT

    with silent_server() as server:
        assert "0909007F" in asyncio.run(watch(target(server, source=("127.0.9.9", 0))))


def test_a_source_address_that_is_not_ours_is_told():
    with listening() as server:
        result = ask(target(server, source=("203.0.113.9", 0)))
    assert result.status is CheckStatus.L4_CONNECTION
    assert result.text == "Can't bind to source address (Cannot assign requested address)"


def test_want_of_descriptors_says_nothing_about_the_server():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def starved():
        lowest = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, hard))
        try:
            return await tcp.probe(where, 1.0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            lowest.close()

    with listening() as server:
        where = target(server)
        result = asyncio.run(starved())
    assert not result.counts
    assert result.status is CheckStatus.SOCKET_ERROR
    assert result.text == "General socket error (Too many open files)"


def test_want_of_local_ports_says_nothing_about_the_server(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect_ex", no_port_left)
    with listening() as server:
        result = ask(target(server))
    assert (result.status, result.counts) == (CheckStatus.SOCKET_ERROR, False)


def no_port_left(sock, address):
    return errno.EADDRNOTAVAIL if sock.type == socket.SOCK_STREAM else 0


def tcp_states(port):
    """The states (/proc/net/tcp numbers) of all sockets that have to do with a port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = f":{port:04X}"
    return [row[3] for row in rows if row[1].endswith(wanted) or row[2].endswith(wanted)]


def test_checks_leave_no_time_wait_and_no_descriptor_and_the_server_sees_none():
    async def many(where):
        for _ in range(50):
            assert (await tcp.probe(where, 1.0)).passed

    with listening() as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        states = Counter(tcp_states(port))  # of earlier clients that had this port
        before = len(list(Path("/proc/self/fd").iterdir()))
        asyncio.run(many(target(server)))
        assert not Counter(tcp_states(port)) - states
        with pytest.raises(BlockingIOError):
            server.accept()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1


def test_a_stall_of_ours_longer_than_the_limit_is_not_the_servers_fault():
    """The answer came while the loop stood still; only we did not look."""

    async def stalled(where):
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        return await tcp.probe(where, 0.1)

    with listening() as server:
        for _ in range(3):
            assert asyncio.run(stalled(target(server))).passed


def test_the_kernel_is_asked_at_the_deadline_even_if_epoll_has_not_told_yet(monkeypatch):
    """The event of the socket is withheld: the last look at the deadline must find it."""
    with listening() as server:
        loop = asyncio.SelectorEventLoop()
        monkeypatch.setattr(loop, "add_writer", lambda *_: None)
        try:
            result = loop.run_until_complete(tcp.probe(target(server), 0.05))
        finally:
            loop.close()
    assert result.passed
    assert result.duration_ms >= 50


def test_time_that_we_stood_still_is_given_back_once():
    """A stall over the deadline, and no answer after it: then it is a timeout, later."""

    async def stalled(where):
        asyncio.get_running_loop().call_soon(time.sleep, 0.4)
        return await tcp.probe(where, 0.2)

    with silent_server() as server:
        result = asyncio.run(stalled(target(server)))
    assert result.status is CheckStatus.L4_TIMEOUT
    assert result.duration_ms >= 550  # seen at 400, 200 late: until 600


def test_a_server_that_dies_is_down_after_fall_failures_and_comes_back():
    """Everything real: sockets, clock, roster."""

    async def until(roster, word):
        deadline = time.monotonic() + 10
        while roster.state(KEY).status_text != word:
            assert time.monotonic() < deadline, f"never {word}: {roster.state(KEY)}"
            await asyncio.sleep(0.01)

    async def run():
        server = listening()
        address = server.getsockname()
        check = Check(enabled=True, inter=50, rise=2, fall=2)
        where = Endpoint(AddressKind.IPV4, *address)
        servers = (Server(PLACE, "s1", 1, where, check=check),)
        proxy = Proxy(PLACE, ProxyKind.BACKEND, "b", 2, servers=servers)
        setup = Config(Global(), (proxy,))
        roster = Roster(setup)
        loop = asyncio.get_running_loop()
        shown = []

        def on_result(key, result):
            roster.check_result(key, result, loop.time())
            if shown[-1:] != [roster.state(key).status_text]:
                shown.append(roster.state(key).status_text)

        checker = Checker(watched(setup), on_result, state_of=roster.state)
        checker.start()
        await until(roster, "UP")
        server.close()
        await until(roster, "DOWN")
        server = socket.create_server(address)
        await until(roster, "UP")
        await checker.stop()
        server.close()
        return shown

    assert asyncio.run(run()) == ["UP", "UP 1/2", "DOWN", "DOWN 1/2", "UP"]


# ---- a firewall between ----

FIREWALLED = """
import asyncio, dataclasses, json, socket, subprocess, sys
from lbsplice.health.probes import tcp
from lbsplice.health.target import Target
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", 8181))
subprocess.run(["iptables", "-w", "-A", *sys.argv[1:]], check=True)
result = asyncio.run(tcp.probe(Target(socket.AF_INET, ("127.0.0.1", 8181)), 0.3))
print(json.dumps([result.passed, result.status.value, result.text, result.counts]))
"""

TO_SERVER = ["-p", "tcp", "--dport", "8181", "-j"]


@pytest.mark.skipif(
    not shutil.which("iptables"), reason="needs iptables (apt-get install iptables)"
)
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (["INPUT", *TO_SERVER, "ACCEPT"], [True, "L4OK", "", True]),
        (["OUTPUT", *TO_SERVER, "DROP"], [False, "L4TOUT", "", True]),
        (["INPUT", *TO_SERVER, "DROP"], [False, "L4TOUT", "", True]),
        (
            ["INPUT", *TO_SERVER, "REJECT", "--reject-with", "tcp-reset"],
            [False, "L4CON", REFUSED_TEXT, True],
        ),
        (
            ["INPUT", *TO_SERVER, "REJECT", "--reject-with", "icmp-host-unreachable"],
            [False, "L4CON", "General socket error (No route to host)", True],
        ),
    ],
    ids=["accept", "output-drop", "far-drop", "reset", "unreachable"],
)
def test_behind_a_firewall(rule, expected):
    """In a network namespace of its own, gone with the process."""
    command = ["unshare", "--net", sys.executable, "-c", FIREWALLED, *rule]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=root, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
