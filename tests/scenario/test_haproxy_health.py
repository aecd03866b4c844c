"""The lines about servers, side by side: a real haproxy and our roster live through the
same and must log the same."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import time

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
from lbsplice.report.healthlog import Tell, render
from lbsplice.roster import Roster
from lbsplice.terms import AdminState

pytestmark = pytest.mark.skipif(
    not shutil.which("haproxy"), reason="needs haproxy (apt-get install haproxy)"
)

PLACE = Place("t.cfg", 1)


class Haproxy:
    """A haproxy with one backend `b`, whose log lines and command socket we hold."""

    def __init__(self, tmp_path, log, text):
        self._log = log
        self._socket = str(tmp_path / "cli")
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            f"global\n log 127.0.0.1:{log.getsockname()[1]} local0\n nbthread 1\n"
            f" stats socket {self._socket} level admin\n"
            "defaults\n mode tcp\n log global\n"
            " timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
            f"{text}"
            "backend sentinel\n server last 127.0.0.1:1\n"
        )
        self.process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self, text):
        with socket.socket(socket.AF_UNIX) as cli:
            deadline = time.monotonic() + 10
            while cli.connect_ex(self._socket):
                assert time.monotonic() < deadline, "haproxy's command socket never appeared"
                os.sched_yield()
            cli.sendall(text.encode() + b"\n")
            while cli.recv(4096):
                pass

    def line(self):
        """The next line: severity and text, without what differs by version and chance."""
        datagram = self._log.recv(4096).decode().rstrip("\n")
        priority, text = re.fullmatch(r"<(\d+)>.*?\[\d+\]: (.*)", datagram).groups()
        return int(priority) & 7, plain(text)

    def lines_to_the_last(self):
        """All lines that there are, up to one that is asked for now."""
        self.command("set server sentinel/last state maint")
        lines = []
        while "sentinel/last" not in (line := self.line())[1]:
            lines.append(line)
        return lines


@pytest.fixture
def haproxy(tmp_path):
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        log.bind(("127.0.0.1", 0))
        log.settimeout(20)

        def start(text):
            running = Haproxy(tmp_path, log, text)
            stack.callback(running.process.wait, 10)
            stack.callback(running.process.kill)
            return running

        yield start


def plain(text):
    text = text.replace("ECONNREFUSED returned by OS (Connection refused)", "Connection refused")
    return re.sub(r"duration: \d+ms", "duration: Nms", text)


def told(actions):
    rendered = (render(action) for action in actions if isinstance(action, Tell))
    return [(int(level), plain(text)) for level, text in rendered]


def server(name, port=1, **words):
    return Server(PLACE, name, 1, Endpoint(AddressKind.IPV4, "127.0.0.1", port), **words)


def backend(*servers, **words):
    return Config(Global(), (Proxy(PLACE, ProxyKind.BACKEND, "b", 2, servers=servers, **words),))


@pytest.mark.parametrize("seed", range(3))
def test_whatever_an_operator_does_is_told_in_the_same_words(haproxy, seed):
    theirs = haproxy(
        "backend b\n server a 127.0.0.1:1\n server b 127.0.0.1:1 disabled\n"
        " server c 127.0.0.1:1 backup\n server d 127.0.0.1:1 weight 0\n"
    )
    ours = Roster(
        backend(
            server("a"), server("b", disabled=True), server("c", backup=True), server("d", weight=0)
        )
    )
    pick = random.Random(seed)
    expected = []
    for now in range(60):
        name, state = pick.choice("abcd"), pick.choice(list(AdminState))
        theirs.command(f"set server b/{name} state {state.value}")
        expected += told(ours.set_admin(("b", name), state, now))
    assert expected
    assert theirs.lines_to_the_last() == expected


@pytest.mark.parametrize("option", [True, False], ids=["log-health-checks", "no-option"])
def test_a_server_that_comes_and_goes_is_told_in_the_same_words(haproxy, option):
    """Both check the same server, which is closed, then open, then closed again."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    theirs = haproxy(
        f"backend b\n{' option log-health-checks' * option}\n"
        f" server a 127.0.0.1:{address[1]} check inter 60 rise 2 fall 3\n"
    )
    check = Check(enabled=True, inter=60, rise=2, fall=3)
    setup = backend(server("a", address[1], check=check), log_health_checks=option)
    seen, expected = [], []

    def read_until(end):
        while not seen or end not in seen[-1][1]:
            seen.append(theirs.line())

    async def live():
        loop = asyncio.get_running_loop()
        roster = Roster(setup)
        checker = Checker(
            watched(setup),
            lambda key, result: expected.extend(told(roster.check_result(key, result, 0.0))),
            state_of=roster.state,
        )
        checker.start()

        async def both(end):
            await loop.run_in_executor(None, read_until, end)
            deadline = loop.time() + 10
            while not expected or end not in expected[-1][1]:
                assert loop.time() < deadline, f"never told: {end}"
                await asyncio.sleep(0.01)

        await both("no server available")
        with socket.create_server(address):
            await both("Server b/a is UP")
        await both("no server available")
        await checker.stop()

    asyncio.run(live())
    assert seen == expected
