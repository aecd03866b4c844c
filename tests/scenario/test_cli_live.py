"""lbsplice's own commands on the real program: sessions whose server or client goes silent in
a network of their own, seen, foretold and ended."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from lbsplice.lab.faults import find_program
from lbsplice.lab.namespaces import Network
from lbsplice.lab.topology import BALANCER, CLIENT, SERVICE_ADDRESS, VICTIM
from tests.support.command import environment
from tests.support.waiting import wait_until

WITHIN_S = 30.0
KILLS, KEEPS = 81, 82

CONFIG = f"""\
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen kills
    bind {SERVICE_ADDRESS}:{KILLS}
    server v {VICTIM.address}:{KILLS} check inter 1s fall 3 rise 1 \
on-marked-down shutdown-sessions
listen keeps
    bind {SERVICE_ADDRESS}:{KEEPS}
    option clitcpka
    clitcpka-idle 2s
    clitcpka-intvl 1s
    clitcpka-cnt 2
    server v {VICTIM.address}:{KEEPS}
"""

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(
        shutil.which("iptables", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None,
        reason="needs iptables",
    ),
]


class Stage:
    """lbsplice between a client's machine and a server's."""

    def __init__(self, directory, stack):
        self._directory = directory
        self._stack = stack
        self.network = stack.enter_context(Network())
        self.file = directory / "lb.cfg"
        self.file.write_text(CONFIG)
        self._listeners = {}
        for port in (KILLS, KEEPS):
            with self.network.entered(VICTIM):
                listener = socket.create_server((VICTIM.address, port), backlog=64)
            self._listeners[port] = stack.enter_context(listener)
        command = [sys.executable, "-m", "lbsplice", "run", "-db", "-f", str(self.file)]
        with self.network.entered(BALANCER):
            process = subprocess.Popen(
                command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
        stack.callback(self._stop, process)
        wait_until(lambda: self.call("status").returncode == 0, "it answers", WITHIN_S)

    def _stop(self, process):
        process.terminate()
        _, said = process.communicate(timeout=WITHIN_S)
        assert b"Traceback" not in said, said.decode()

    def call(self, *words):
        with self.network.entered(BALANCER):
            return subprocess.run(
                [sys.executable, "-m", "lbsplice", *words, "-f", str(self.file)],
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

    def tell(self, *words):
        """What a command with --json prints."""
        done = self.call(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def says(self, *words):
        done = self.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def connect(self, port):
        """A session that was used: the client's socket and the server's."""
        with self.network.entered(CLIENT):
            client = socket.create_connection((SERVICE_ADDRESS, port), timeout=WITHIN_S)
        self._stack.enter_context(client)
        client.sendall(b"hello")
        server = wait_until(lambda: self._accepted(port), "the session arrives", WITHIN_S)
        self._stack.enter_context(server)
        server.sendall(b"world")
        assert client.recv(5) == b"world"
        return client, server

    def _accepted(self, port):
        """The next one that says something: a check does not."""
        end, _ = self._listeners[port].accept()
        end.settimeout(WITHIN_S)
        try:
            if end.recv(5) == b"hello":
                return end
        except ConnectionResetError:
            pass
        end.close()
        return None

    def drops(self, host, chain, match):
        with self.network.entered(host):
            subprocess.run(
                [find_program("iptables"), "-A", chain, *match.split(), "-j", "DROP"],
                env={**os.environ, "XTABLES_LOCKFILE": str(self._directory / "xtables.lock")},
                check=True,
                capture_output=True,
            )

    def only_session(self, *filters):
        """The one session that there is, with these filters."""
        (found,) = self.tell("sessions", *filters)["sessions"]
        return found


@pytest.fixture
def stage(tmp_path):
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


def ending(told, case):
    return next(each for each in told["explanation"]["endings"] if each["case"] == case)


def is_reset(client):
    """Wait until the client is told, by a reset."""
    client.settimeout(WITHIN_S)
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_an_idle_session_is_seen_with_the_timers_it_has(stage):
    client, _ = stage.connect(KEEPS)
    seen = stage.only_session()
    assert seen["client"] == "{}:{}".format(*client.getsockname())
    assert (seen["backend"], seen["server"], seen["state"]) == ("keeps", "v", "established")
    kernel = seen["legs"]["client"]["kernel"]
    assert kernel["timer"] == "keepalive"
    assert 0 <= kernel["expires_ms"] <= 2_300
    assert kernel["keepalive"] == {"idle": 2, "interval": 1, "count": 2}
    assert seen["legs"]["server"]["kernel"]["timer"] == "off"
    assert seen["legs"]["client"]["bytes"] == seen["legs"]["server"]["bytes"] == 5
    shown = stage.says("sessions", "--client", client.getsockname()[0]).splitlines()
    assert shown[1].startswith(
        f"{seen['id']}  {seen['client']} -> keeps -> keeps/v ({VICTIM.address}:"
    )
    assert re.match(r" client +\d+\.\ds +5 ESTAB keepalive \d\.\ds +0 +0 +0 +0 ", shown[2])
    assert re.match(r" server +\d+\.\ds +5 ESTAB - +0 +0 +0 +0 ", shown[3])
    told = stage.says("explain", seen["id"])
    assert "no timer runs: a server that is gone is not noticed here" in told
    assert re.search(r"if nothing moves any more    in 5\dm\d\ds: timeout ", told)


@pytest.mark.parametrize(
    ("host", "chain", "match", "timer", "counted", "where"),
    [
        (VICTIM, "INPUT", "-p tcp", "on", "retransmits", "unacknowledged"),
        (BALANCER, "OUTPUT", f"-p tcp --dport {KEEPS}", "probe", "probes", "unsent"),
    ],
    ids=["far host", "own firewall"],
)
def test_a_server_that_has_gone_silent_is_found(stage, host, chain, match, timer, counted, where):
    client, _ = stage.connect(KEEPS)
    stage.connect(KEEPS)  # another one, that says nothing more
    assert stage.tell("sessions", "--stalled")["sessions"] == []
    stage.drops(host, chain, match)
    client.sendall(b"x" * 3000)
    (seen,) = wait_until(
        lambda: stage.tell("sessions", "--stalled")["sessions"], "it is stalled", WITHIN_S
    )
    assert seen["client"] == "{}:{}".format(*client.getsockname())
    kernel = seen["legs"]["server"]["kernel"]
    assert kernel["timer"] == timer
    assert kernel[counted] > 0
    assert kernel[where] == 3000
    assert not seen["legs"]["client"]["kernel"]["stalled"]
    assert "\n server! " in stage.says("sessions", "--stalled")
    told = stage.says("explain", seen["id"])
    assert "The server looks gone: 3.0 kB are queued for it" in told


def test_what_is_foretold_of_a_server_that_is_gone_comes_true(stage):
    client, _ = stage.connect(KILLS)
    told = stage.tell("explain", stage.only_session()["id"])
    gone = ending(told, "server gone")
    # Three failures of 1 s, 1 s apart, the first of which begins within 1 s.
    assert (gone["best_ms"], gone["worst_ms"]) == (5_000, 6_000)
    assert ending(told, "server marked down")["worst_ms"] == 0
    began = time.monotonic()
    stage.drops(VICTIM, "INPUT", "-p tcp")
    is_reset(client)  # it would take an hour without the checks
    assert time.monotonic() - began >= gone["best_ms"] / 1000 - 0.1
    assert "kills/v|DOWN" in stage.says("status", "kills")


def test_what_is_foretold_of_a_client_that_is_gone_comes_true(stage):
    _, server = stage.connect(KEEPS)
    began = time.monotonic()
    gone = ending(stage.tell("explain", stage.only_session()["id"]), "client gone")
    assert "keepalive: 2s of silence, then 2 probes 1s apart" in gone["what"]
    assert 2_000 <= gone["worst_ms"] <= 4_500
    stage.drops(CLIENT, "INPUT", "-p tcp")
    is_reset(server)  # it would take an hour without keepalive
    assert time.monotonic() - began >= gone["worst_ms"] / 1000 - 0.1


def test_what_is_foretold_of_bytes_that_are_sent_in_vain_comes_true(stage):
    with stage.network.entered(BALANCER):
        Path("/proc/sys/net/ipv4/tcp_retries2").write_text("5")
    client, _ = stage.connect(KEEPS)
    id_ = stage.only_session()["id"]
    stage.drops(VICTIM, "INPUT", "-p tcp")
    began = time.monotonic()
    client.sendall(b"x" * 3000)

    def told_when_stalled():
        asked, told = time.monotonic(), stage.tell("explain", id_)
        return (asked, told) if told["stalled"] else None

    asked, told = wait_until(told_when_stalled, "it is stalled", WITHIN_S)
    gone, silence = ending(told, "server gone"), ending(told, "silence")
    assert "net.ipv4.tcp_retries2 = 5" in gone["what"]
    assert silence["worst_ms"] == gone["worst_ms"]
    # Pauses of 200 ms at least, doubling: 0.2 s times 1 + 2 + 4 + 8 + 16 + 32.
    is_reset(client)
    assert time.monotonic() - began >= 12.6
    assert time.monotonic() - asked >= gone["worst_ms"] / 1000 - 0.1


def test_a_session_that_is_killed_is_reset_and_no_other(stage):
    first, _ = stage.connect(KEEPS)
    second, far = stage.connect(KEEPS)
    name = "{}:{}".format(*first.getsockname())
    seen = stage.only_session("--client", name)
    assert stage.call("kill", "session", seen["id"]).returncode == 0
    is_reset(first)
    second.sendall(b"still")
    assert far.recv(5) == b"still"
    assert "keeps/v: ended 1 session" in stage.says("kill", "server", "keeps/v")
    is_reset(second)


def test_a_server_is_drained_put_into_maintenance_and_back(stage):
    client, far = stage.connect(KILLS)
    assert stage.says("server", "kills/v", "drain") == "kills/v|DRAIN\n"
    client.sendall(b"stays")
    assert far.recv(5) == b"stays"
    assert stage.says("server", "kills/v", "maint") == "kills/v|MAINT\n"
    is_reset(client)
    stage.says("server", "kills/v", "ready")
    wait_until(lambda: "kills/v|UP\n" in stage.says("status"), "it is up again", WITHIN_S)
    assert stage.says("server", "kills/v", "weight", "7") == "kills/v|UP (weight 7)\n"
    changes = [each["after"] for each in stage.tell("status")["transitions"]]
    assert changes[:2] == ["DRAIN", "MAINT"]
