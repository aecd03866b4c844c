"""`lbsplice rescue` on a real HAProxy whose server dies silently: what its clients are told.

Needs root, iptables and haproxy."""

import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest

from lbsplice.lab.topology import BALANCER, CLIENT, SERVICE_ADDRESS, VICTIM
from lbsplice.stuck.line import HeldLine
from lbsplice.stuck.statements import read_loads
from tests.support.deaths import HAVE_TOOLS
from tests.support.rescue import DYING, HEALTHY, RESCUE, ROOT, WEB, WITHIN_S, Stage
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not HAVE_TOOLS, reason="haproxy or iptables is not installed"),
]

UNIT = ROOT / "systemd" / "lbsplice-rescue.service"


@pytest.fixture
def stage(tmp_path):
    with Stage(tmp_path) as made:
        yield made


def test_without_help_the_client_hangs_and_rescue_resets_it(stage):
    stage.start(stage.config)
    dead, other = stage.connect(DYING), stage.connect(HEALTHY)
    stage.server_dies()
    wait_until(stage.is_down, "HAProxy says DOWN", WITHIN_S)
    stage.hangs(dead)
    done = stage.rescue("--haproxy", stage.stats, "--dst", f"{VICTIM.address}:{DYING}", "--yes")
    assert done["ended"] == 1
    (session,) = done["sessions"]
    assert session["server"] == "dying/v"
    assert session["peer"] == f"{VICTIM.address}:{DYING}"
    assert session["client_leg"]["peer"] == "{}:{}".format(*dead.client.getsockname())
    assert [owner["name"] for owner in session["owners"]] == ["haproxy"]
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == "reset"
    assert stage.works(other)


def test_of_the_servers_leg_alone_haproxy_makes_a_clean_end(stage):
    stage.start(stage.config)
    dead, other = stage.connect(DYING), stage.connect(HEALTHY)
    stage.server_dies()
    wait_until(stage.is_down, "HAProxy says DOWN", WITHIN_S)
    assert stage.rescue("--dst", f"{VICTIM.address}:{DYING}", "--yes")["ended"] == 1
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == "fin"
    assert stage.works(other)


def test_a_dry_run_lists_the_stalled_one_and_ends_nothing(stage):
    stage.start(stage.config)
    waits, writes = stage.connect(DYING), stage.connect(DYING)
    stage.server_dies()
    writes.client.sendall(b"x" * 3000)
    words = ("--dst", f"{VICTIM.address}:{DYING}", "--stalled", "--dry-run")
    found = wait_until(lambda: stage.rescue(*words)["sessions"], "it is stalled", WITHIN_S)
    (stalled,) = found
    assert stalled["unsent"] + stalled["unacknowledged"] == 3000
    assert stalled["probes"] + stalled["retransmits"] > 0
    assert stalled["last_ack_ms"] > 1000
    assert stage.told(waits) is None
    assert stage.told(writes) is None


def test_the_rate_is_kept(stage):
    stage.start(stage.config)
    for _ in range(5):
        stage.connect(DYING)
    started = time.monotonic()
    words = ("--dst", f"{VICTIM.address}:{DYING}", "--yes", "--rate", "2/s")
    assert stage.rescue(*words)["ended"] == 5
    assert time.monotonic() - started > 2.0


def test_idle_is_what_received_no_data(stage):
    stage.start(stage.config)
    session = stage.connect(HEALTHY)
    words = ("--dst", f"{VICTIM.address}:{HEALTHY}", "--dry-run", "--idle")
    assert stage.rescue(*words, "10m")["sessions"] == []
    (idle,) = wait_until(lambda: stage.rescue(*words, "1s")["sessions"], "it is idle", WITHIN_S)
    assert idle["idle_ms"] >= 1000
    assert stage.works(session)


def test_the_watch_resets_the_sessions_of_a_server_that_goes_down(stage):
    stage.start(stage.config)
    dead = [stage.connect(DYING) for _ in range(5)]
    other = stage.connect(HEALTHY)
    said = stage.watches()
    stage.server_dies()
    for session in dead:
        assert wait_until(lambda s=session: stage.told(s), "told", WITHIN_S) == "reset"
    assert stage.works(other)
    wait_until(lambda: said().count("ended a session of dying/v: ") == 5, "a line each")
    assert f"server dying/v ({VICTIM.address}:{DYING}) is DOWN" in said()


def test_the_rights_that_the_unit_leaves_are_enough(stage):
    """HAProxy runs as another user, and its stats socket is its own."""
    stage.config.write_text(
        stage.config.read_text().replace(
            "admin\n", "admin mode 600 user nobody\n    user nobody\n", 1
        )
    )
    found = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", UNIT.read_text())
    left = ",".join(f"+{each.removeprefix('CAP_').lower()}" for each in found[1].split())
    stage.start(stage.config)
    dead = stage.connect(DYING)
    run_by = ("setpriv", "--no-new-privs", f"--bounding-set=-all,{left}", "--inh-caps=-all")
    stage.watches(run_by=run_by)
    stage.server_dies()
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == "reset"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_one_that_systemd_understands(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/lbsplice", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert UNIT.name not in done.stderr, done.stderr


def test_the_watch_waits_for_as_long_as_it_is_told(stage):
    stage.start(stage.config)
    dead = stage.connect(DYING)
    said = stage.watches("--for", "3s")
    stage.server_dies()
    wait_until(lambda: "is DOWN" in said(), "the watch sees it", WITHIN_S)
    wait_until(stage.is_down, "HAProxy says DOWN", WITHIN_S)
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == "reset"
    (down,) = stage.marked_down.values()
    # HAProxy tells whole seconds, and the watch looks once a second
    assert dead.told["client"][0] - down > 1.9


def test_the_watch_keeps_to_the_servers_it_is_told(stage):
    stage.start(stage.config)
    dead = stage.connect(DYING)
    stage.watches("--backend", "healthy")
    stage.server_dies()
    wait_until(stage.is_down, "HAProxy says DOWN", WITHIN_S)
    stage.hangs(dead)


def test_the_watch_resets_sessions_of_a_worker_that_is_reloaded_meanwhile(stage):
    master = stage.start(stage.config, "-W", "-S", stage.master)
    dead, other = stage.connect(DYING), stage.connect(HEALTHY)
    said = stage.watches()
    old = stage.reload(master)
    wait_until(lambda: said().count("following HAProxy's worker") == 2, "follows both", WITHIN_S)
    assert f"worker {old.pid} is an old one now" in said()
    stage.server_dies()
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == "reset"
    assert stage.works(other)
    other.client.close()
    other.server.close()
    wait_until(lambda: not old.is_running(), "the old worker can end", WITHIN_S)
    wait_until(lambda: f"old worker {old.pid} has no session" in said(), "it says so", WITHIN_S)


@pytest.mark.parametrize(("through_master", "how"), [(True, "reset"), (False, "fin")])
def test_the_watch_reaches_older_workers(stage, through_master, how):
    master = stage.start(stage.config, "-W", "-S", stage.master)
    dead, other = stage.connect(DYING), stage.connect(HEALTHY)
    stage.reload(master)
    said = stage.watches(*(("--master", stage.master) if through_master else ()))
    stage.server_dies()
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == how, said()
    line = wait_until(lambda: re.search("ended a session.*", said()), "a line")
    assert ("server's leg only" in line[0]) == (not through_master)
    assert stage.works(other)


def test_in_http_the_client_gets_haproxys_own_answer(stage):
    with stage.config.open("a") as config:
        config.write(
            f"listen web\n    mode http\n    bind {SERVICE_ADDRESS}:{WEB}\n    retries 0\n"
            f"    server s {VICTIM.address}:{DYING} track dying/v\n"
        )
    stage.start(stage.config)
    said = stage.watches()

    def dial():
        with suppress(ConnectionRefusedError):
            return socket.create_connection((SERVICE_ADDRESS, WEB), timeout=WITHIN_S)

    with stage.network.entered(CLIENT):
        client = wait_until(dial, "HAProxy listens", WITHIN_S)
    with client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        line = wait_until(lambda: HeldLine(stage.stats), "HAProxy answers", WITHIN_S)
        with closing(line):
            wait_until(
                lambda: read_loads(line.ask("show stat"))["web", "s"].sessions,
                "the request has a server",
                WITHIN_S,
            )
        stage.server_dies()
        assert client.recv(1024).startswith(b"HTTP/1.1 502")
    wait_until(lambda: "ended a session of web/s (server's leg only" in said(), "a line")


def test_the_watch_outlives_haproxy(stage):
    first = stage.start(stage.config)
    stage.connect(HEALTHY)
    said = stage.watches()
    first.stop()
    wait_until(lambda: "does not answer" in said(), "the watch has lost HAProxy", WITHIN_S)
    stage.start(stage.config)
    dead = stage.connect(DYING)
    wait_until(lambda: said().count("following HAProxy's worker") == 2, "found again", WITHIN_S)
    stage.server_dies()
    assert wait_until(lambda: stage.told(dead), "the client is told", WITHIN_S) == "reset"


def test_a_server_that_is_back_gets_sessions_that_stay(stage):
    stage.start(stage.config)
    said = stage.watches()
    stage.rule(BALANCER, "OUTPUT", f"-d {VICTIM.address} -p tcp --dport {DYING} -j DROP")
    wait_until(lambda: "is DOWN" in said(), "down", WITHIN_S)
    with stage.network.entered(BALANCER):
        subprocess.run(["iptables", "-F", "OUTPUT"], check=True, timeout=10)
    wait_until(lambda: "is not down any more" in said(), "up", WITHIN_S)
    assert stage.works(stage.connect(DYING))


def test_haproxy_in_another_network_is_named(stage):
    stage.start(stage.config)
    stage.connect(HEALTHY)
    for words in (("--haproxy", stage.stats, "--watch"), ("--dst", "10.99.0.1", "--dry-run")):
        done = subprocess.run(
            [*RESCUE, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert "network namespace: `nsenter -t" in done.stderr


@pytest.fixture
def foreign():
    """The port of a loopback session that another process holds."""
    code = (
        "import socket,sys; s=socket.create_server(('127.0.0.1',0)); "
        "c=socket.create_connection(s.getsockname()); a=s.accept(); "
        "print(s.getsockname()[1],flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        yield int(holder.stdout.readline())
        holder.stdin.close()


def test_a_missing_right_is_named_before_anything_is_ended(foreign):
    words = ("--dst", f"127.0.0.1:{foreign}", "--include-loopback", "--yes")
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all", *RESCUE, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "SOCK_DESTROY" in done.stderr
    assert "NET_ADMIN" in done.stderr
    assert len(_listed(*words[:-1])) == 1


def _listed(*words):
    done = subprocess.run(
        [*RESCUE, *words, "--dry-run", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)["sessions"]


def _answering(answer, *words):
    """The exit status and output of a rescue on a terminal, where somebody types."""
    keyboard, terminal = pty.openpty()
    with os.fdopen(keyboard, "wb", buffering=0) as typed, os.fdopen(terminal, "rb") as read:
        typed.write(answer)
        done = subprocess.run(
            [*RESCUE, *words],
            cwd=ROOT,
            stdin=read,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stdout


def test_on_a_terminal_it_asks_first(foreign):
    words = ("--dst", f"127.0.0.1:{foreign}", "--include-loopback")
    status, shown = _answering(b"n\n", *words)
    assert status == 1
    assert "end 1 session?" in shown
    assert len(_listed(*words)) == 1
    status, shown = _answering(b"y\n", *words)
    assert status == 0, shown
    assert "ended 1 of 1 session" in shown
    assert _listed(*words) == []


def test_loopback_is_matched_only_when_it_is_asked_for(foreign):
    assert _listed("--dst", f":{foreign}") == []
    (session,) = _listed("--dst", f":{foreign}", "--include-loopback")
    assert re.match(r"127\.0\.0\.1:\d+", session["local"])


def test_sessions_of_those_who_started_it_are_never_matched():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert _listed("--dst", address, "--include-loopback") == []
