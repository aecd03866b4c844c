"""`lbsplice lab keepalive` on real namespaces, with real probes, a real HAProxy and tcpdump.

Needs root, iptables, tcpdump and haproxy."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from pyroute2 import netns

from lbsplice.lab.keepalive_scene import KeepaliveCase
from lbsplice.lab.scene import Proxy

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
TOOLS = ("haproxy", "iptables", "tcpdump")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        not all(shutil.which(tool, path=PATH) for tool in TOOLS),
        reason="haproxy, iptables or tcpdump is not installed",
    ),
]

COMMAND = [sys.executable, "-m", "lbsplice", "lab", "keepalive"]
PROXIES = [proxy.value for proxy in Proxy]
TIMEOUT_MS, DEAD_MS = 3500, 4000


def run(*words, **fields):
    return subprocess.run(
        [*COMMAND, *words],
        **{"capture_output": True, "text": True, "timeout": 110, "check": False, **fields},
    )


@functools.cache
def played(proxy):
    """All cases, by name."""
    done = run("--proxy", proxy, "--json")
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    complaints = [c for case in told["cases"] for c in case["claims"] if not c["held"]]
    assert not complaints, json.dumps(told, indent=1)
    assert (done.returncode, told["held"]) == (0, True)
    return {case["case"]: case for case in told["cases"]}


def measured_as_computed(measured_ms, computed_ms):
    return computed_ms - 100 <= measured_ms <= computed_ms * 1.125 + 750


@pytest.mark.parametrize("proxy", PROXIES)
def test_all_cases_are_played(proxy):
    assert list(played(proxy)) == [case.value for case in KeepaliveCase]


@pytest.mark.parametrize("proxy", PROXIES)
def test_probes_that_are_answered_do_not_feed_the_idle_timeout(proxy):
    silent, probed = played(proxy)["silent"], played(proxy)["probed"]
    assert (silent["probes"], silent["probes_answered"]) == ([], 0)
    assert probed["probes_answered"] >= 2
    for case in (silent, probed):
        assert case["ended_computed_ms"] == TIMEOUT_MS
        assert measured_as_computed(case["ended_measured_ms"], TIMEOUT_MS)
        assert case["session_state"] == "cD"


@pytest.mark.parametrize("proxy", PROXIES)
def test_probes_on_the_clients_leg_do_not_find_a_dead_server(proxy):
    case = played(proxy)["other-leg"]
    assert (case["client"], case["ended_measured_ms"]) == ("hangs", None)
    assert case["probes_answered"] >= 4
    assert case["session_state"] is None


@pytest.mark.parametrize(("case", "state"), [("dead-server", "SD"), ("dead-client", "CD")])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_dead_peer_is_found_when_computed(proxy, case, state):
    found = played(proxy)[case]
    assert found["ended_computed_ms"] == DEAD_MS
    assert measured_as_computed(found["ended_measured_ms"], DEAD_MS)
    assert [probe["computed_ms"] for probe in found["probes"]] == [1000, 2000, 3000]
    for probe in found["probes"]:
        assert measured_as_computed(probe["measured_ms"], probe["computed_ms"])
    assert (found["session_state"], found["probes_answered"]) == (state, 0)


@pytest.mark.parametrize(("proxy", "told"), [("haproxy", "fin"), ("lbsplice", "reset")])
def test_the_client_of_a_server_that_was_found_dead_is_told(proxy, told):
    assert played(proxy)["dead-server"]["client"] == told


def test_the_probes_are_shown_as_tcpdump_saw_them():
    words = ["--case", "dead-server", "--cnt", "2"]
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [line for line in done.stdout.splitlines() if "  capture  " in line]
    assert [line.rpartition("<- ")[2] for line in shown] == ["probe 1", "probe 2"]
    for line in shown:
        assert "> 192.168.1.29.81: Flags [.]" in line
        assert ", length 0 " in line
    assert "option srvtcpka; srvtcpka-idle 1s; srvtcpka-intvl 1s; srvtcpka-cnt 2" in done.stdout


def test_both_proxies_are_played_one_after_the_other():
    words = ["--proxy", "both", "--case", "silent", "--timeout-client", "1", "--json"]
    done = run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    haproxy, lbsplice = done.stdout.replace("}\n{", "}\0{").split("\0")
    assert json.loads(haproxy)["proxy"] == "haproxy"
    assert json.loads(lbsplice)["proxy"] == "lbsplice"


def test_the_command_fails_when_nobody_probes(tmp_path):
    """The control: an HAProxy that forgets its keepalive must not pass for one that has it."""
    forgetful = tmp_path / "haproxy"
    haproxy = shutil.which("haproxy", path=PATH)
    forgetful.write_text(f'#!/bin/sh\n[ -z "$3" ] || sed -i /tcpka/d "$3"\nexec {haproxy} "$@"\n')
    forgetful.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["--proxy", "haproxy", "--case", "dead-server", "--watch", "0.5", "--json"]
    done = run(*words, env=environment)
    assert done.returncode == 1, done.stdout
    told = json.loads(done.stdout)
    (case,) = told["cases"]
    assert (told["held"], case["client"]) == (False, "hangs")
    assert [probe["measured_ms"] for probe in case["probes"]] == [None] * 3


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_scene_leaves_nothing_behind(tmp_path, number, status):
    lab = subprocess.Popen(
        [*COMMAND, "--case", "other-leg", "--watch", "600"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("probe 1" in line for line in lab.stdout)
        children = psutil.Process(lab.pid).children(recursive=True)
        lab.send_signal(number)
        _, errors = lab.communicate(timeout=60)
    finally:
        lab.kill()
        lab.communicate()
    assert lab.returncode == status
    assert "Traceback" not in errors
    assert len(children) >= 5  # a server, a client, tcpdump, the proxy and its worker
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running()]
    assert not [name for name in netns.listnetns() if name.startswith(f"lbslab-{lab.pid}-")]
    assert list(tmp_path.iterdir()) == []
