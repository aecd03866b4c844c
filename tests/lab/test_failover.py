"""The scene of `lab failover` on real namespaces, real iptables and real proxies.

Needs root, iptables and haproxy."""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pyroute2 import netns

from lbsplice.lab.failover import play
from lbsplice.lab.scene import Case, Proxy, Settings

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
IPTABLES = shutil.which("iptables", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(IPTABLES is None, reason="iptables is not installed"),
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed"),
]

COMMAND = [sys.executable, "-m", "lbsplice", "lab", "failover"]
SILENT = ["output-drop", "far-drop", "link-down"]
FAULTS = [*SILENT, "reject", "server-killed"]
PROXIES = ["haproxy", "lbsplice"]
KILL = {"haproxy": "fin", "lbsplice": "reset"}
DOWN = ["UP", "UP 1/2", "DOWN"]


@functools.cache
def played(proxy, how):
    """All three cases of one fault, by name, with the exit status."""
    done = subprocess.run(
        [*COMMAND, "--proxy", proxy, "--how", how, "--watch", "1.5", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    complaints = [
        (case["case"], claim)
        for case in told["cases"]
        for claim in case["claims"]
        if not claim["held"]
    ]
    assert not complaints, json.dumps(told, indent=1)
    assert (done.returncode, told["held"]) == (0, True)
    return {case["case"]: case for case in told["cases"]}


@pytest.mark.parametrize("how", SILENT)
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_silent_death_without_the_action_leaves_the_client_hanging(proxy, how):
    case = played(proxy, how)["without-action"]
    assert case["statuses"] == DOWN
    assert (case["end"], case["lines_answered"]) == ("hangs", 1)
    client_leg, server_leg = case["legs_after"]
    assert client_leg["timer"].startswith("keepalive (719")
    assert server_leg["timer"].split()[0] in {"on", "probe"}


@pytest.mark.parametrize("how", [*SILENT, "reject"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_with_the_action_the_client_is_told_at_the_mark_down(proxy, how):
    case = played(proxy, how)["with-action"]
    assert case["statuses"] == DOWN
    assert case["end"] == KILL[proxy]
    assert case["end_after_fault_ms"] - case["down_after_fault_ms"] < 500
    assert case["session_state"][0] == "D"
    assert case["legs_after"] == []


@pytest.mark.parametrize("how", [*SILENT, "reject"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_session_goes_on_when_the_server_is_back_in_time(proxy, how):
    case = played(proxy, how)["back-in-time"]
    assert case["statuses"] == [*DOWN, "UP"]
    assert case["end"] == "goes-on"
    assert case["lines_answered"] == (2 if how == "reject" else 3)


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_rejecting_firewall_ends_the_session_when_the_client_speaks(proxy):
    case = played(proxy, "reject")["without-action"]
    assert case["end"] == KILL[proxy]
    assert 0 <= case["end_after_fault_ms"] - case["asked_after_fault_ms"] < 500


@pytest.mark.parametrize("name", [case.value for case in Case])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_killed_server_ends_its_sessions_without_any_action(proxy, name):
    case = played(proxy, "server-killed")[name]
    assert case["end"] == "fin"
    assert case["end_after_fault_ms"] < 500


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_keepalive_runs_on_both_legs_and_does_not_help(proxy, how):
    for case in played(proxy, how).values():
        sides = {leg["side"]: leg["timer"] for leg in case["legs_before"]}
        assert set(sides) == {"client leg", "server leg"}
        assert all(timer.startswith("keepalive (719") for timer in sides.values())


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("proxy", PROXIES)
def test_the_session_to_the_other_server_never_notices(proxy, how):
    for case in played(proxy, how).values():
        assert case["other_session"]["lives"]


def test_the_command_fails_when_the_sessions_are_not_ended(tmp_path):
    """The control: an HAProxy that forgets the action must not pass for one that has it."""
    forgetful = tmp_path / "haproxy"
    forgetful.write_text(
        f'#!/bin/sh\nif [ -n "$3" ]; then sed -i /on-marked-down/d "$3"; fi\nexec {HAPROXY} "$@"\n'
    )
    forgetful.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "--proxy", "haproxy", "--action", "--watch", "1", "--json"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    told = json.loads(done.stdout)
    assert told["held"] is False
    assert told["cases"][0]["end"] == "hangs"


class RunningLab:
    """A lab in the middle of its longest case: the client waits for an answer in vain."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.process = subprocess.Popen(
            [*COMMAND, "--proxy", "haproxy", "--no-action", "--watch", "600"],
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self.process.stdout:
            if "sends line 2" in line:
                break
        else:
            raise AssertionError(f"the scene did not get there: {self.process.stderr.read()}")
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def namespaces(self):
        return [
            name for name in netns.listnetns() if name.startswith(f"lbslab-{self.process.pid}-")
        ]

    def end(self, number):
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def running(tmp_path):
    lab = RunningLab(tmp_path)
    yield lab
    lab.process.kill()
    lab.process.communicate()
    for child in lab.children:
        if child.is_running():
            child.kill()
    for name in lab.namespaces():
        netns.remove(name)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_lab_leaves_nothing_behind(running, number, status):
    assert len(running.children) == 5  # two servers, two clients, the proxy
    assert len(running.namespaces()) == 5  # two servers, the client, the balancer, the bridge
    code, errors = running.end(number)
    assert code == status
    assert "Traceback" not in errors
    assert not [child for child in running.children if child.is_running()]
    assert running.namespaces() == []
    assert list(running.scratch.iterdir()) == []


def test_nothing_of_the_lab_is_on_the_machines_own_network(running):
    names = {name for _, name in socket.if_nameindex()}
    assert not {name for name in names if name.startswith("to-")}
    ours = Path("/proc/self/ns/net").readlink()
    assert all(Path(f"/proc/{child.pid}/ns/net").readlink() != ours for child in running.children)


def test_the_next_lab_sweeps_up_after_one_that_was_killed_outright(running):
    running.end(signal.SIGKILL)
    assert running.namespaces()
    (running.scratch / "next").mkdir()
    done = subprocess.run(
        [*COMMAND, "--proxy", "haproxy", "--action"],
        env={**os.environ, "TMPDIR": str(running.scratch / "next")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert running.namespaces() == []
    psutil.wait_procs(running.children, timeout=10)
    assert not [child for child in running.children if child.is_running()]


def test_two_labs_can_run_at_once(running):
    done = subprocess.run(
        [*COMMAND, "--proxy", "haproxy", "--action", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(running.namespaces()) == 5
    assert running.process.poll() is None


def test_an_error_in_the_middle_leaves_nothing_behind(monkeypatch, tmp_path):
    class Trouble(Exception):
        pass

    def report(happening):
        if happening.since_fault_s is not None:
            raise Trouble

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Trouble):
        play(Settings(proxy=Proxy.HAPROXY), Case.WITH_ACTION, report)
    assert not [name for name in netns.listnetns() if name.startswith(f"lbslab-{os.getpid()}-")]
    assert psutil.Process().children() == []
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_a_proxy_that_refuses_its_configuration_is_told_in_one_line(tmp_path):
    broken = tmp_path / "haproxy"
    broken.write_text(
        f'#!/bin/sh\nif [ -n "$3" ]; then echo nonsense >> "$3"; fi\nexec {HAPROXY} "$@"\n'
    )
    broken.chmod(0o755)
    started = time.monotonic()
    done = subprocess.run(
        [*COMMAND, "--proxy", "haproxy", "--action"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: haproxy ended: ")
    assert "nonsense" in done.stderr
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - started < 10, "an exit must be noticed, not waited out"
