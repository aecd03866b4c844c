"""`lbsplice lab reload` on real namespaces, with a real HAProxy as master and worker.

Needs root, iptables and haproxy."""

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

from lbsplice.lab.scene import Proxy

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
HAPROXY = shutil.which("haproxy", path=PATH)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(
        HAPROXY is None or shutil.which("iptables", path=PATH) is None,
        reason="haproxy or iptables is not installed",
    ),
]

COMMAND = [sys.executable, "-m", "lbsplice", "lab", "reload"]
PROXIES = [proxy.value for proxy in Proxy]
DOWN = ["UP", "UP 1/2", "DOWN"]


def run(*words, **fields):
    return subprocess.run(
        [*COMMAND, *words],
        **{"capture_output": True, "text": True, "timeout": 100, "check": False, **fields},
    )


@functools.cache
def played(proxy):
    """Both cases, by name."""
    done = run("--proxy", proxy, "--watch", "2", "--json")
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    complaints = [c for case in told["cases"] for c in case["claims"] if not c["held"]]
    assert not complaints, json.dumps(told, indent=1)
    assert (done.returncode, told["held"]) == (0, True)
    return {case["case"]: case for case in told["cases"]}


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_server_is_marked_down_with_and_without_a_reload(proxy):
    assert [case["statuses"] for case in played(proxy).values()] == [DOWN, DOWN]


@pytest.mark.parametrize(("proxy", "told"), [("haproxy", "fin"), ("lbsplice", "reset")])
def test_without_a_reload_the_session_is_ended_at_the_mark_down(proxy, told):
    case = played(proxy)["no-reload"]
    assert case["end"] == told
    assert case["end_after_fault_ms"] - case["down_after_fault_ms"] < 1000
    assert case["workers_before"] == case["workers_after"]


def test_after_a_reload_the_session_hangs_in_an_old_process_of_haproxy():
    case = played("haproxy")["after-reload"]
    assert (case["end"], case["end_after_fault_ms"], case["session_state"]) == ("hangs", None, None)
    assert case["lines_answered"] == 1
    old, new = case["workers_after"]
    assert case["workers_before"] == [old]
    assert new != old


def test_after_a_reload_lbsplice_resets_the_session_as_before():
    case = played("lbsplice")["after-reload"]
    assert case["workers_before"] == case["workers_after"]
    assert len(case["workers_after"]) == 1
    assert (case["end"], case["session_state"]) == ("reset", "DD")
    assert case["end_after_fault_ms"] - case["down_after_fault_ms"] < 1000


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_session_to_the_other_server_never_notices(proxy):
    for case in played(proxy).values():
        assert case["other_session"]["lives"]


def test_lines_and_a_table_are_for_people():
    done = run("--case", "after-reload", "--watch", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "operator  lbsplice reload --pid " in done.stdout
    assert "operator  balancer: iptables -A OUTPUT" in done.stdout
    assert "After a reload the same process has it, and checks: it is reset as before." in (
        done.stdout
    )


def test_the_command_fails_when_the_session_is_not_ended(tmp_path):
    """The control: an HAProxy that forgets the action must not pass for one that has it."""
    forgetful = tmp_path / "haproxy"
    forgetful.write_text(
        f'#!/bin/sh\n[ -z "$4" ] || sed -i /on-marked-down/d "$4"\nexec {HAPROXY} "$@"\n'
    )
    forgetful.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["--proxy", "haproxy", "--case", "no-reload", "--watch", "1", "--json"]
    done = run(*words, env=environment)
    assert done.returncode == 1, done.stdout
    told = json.loads(done.stdout)
    assert (told["held"], told["cases"][0]["end"]) == (False, "hangs")


@pytest.mark.parametrize("proxy", PROXIES)
def test_an_interrupted_scene_leaves_nothing_behind(tmp_path, proxy):
    lab = subprocess.Popen(
        [*COMMAND, "--proxy", proxy, "--case", "after-reload", "--inter", "30000"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("iptables -A" in line for line in lab.stdout)
        children = psutil.Process(lab.pid).children(recursive=True)
        lab.send_signal(signal.SIGINT)
        _, errors = lab.communicate(timeout=60)
    finally:
        lab.kill()
        lab.communicate()
    assert lab.returncode == 130
    assert "Traceback" not in errors
    assert len(children) >= 6  # two servers, two clients, the proxy and its worker
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running()]
    assert not [name for name in netns.listnetns() if name.startswith(f"lbslab-{lab.pid}-")]
    assert list(tmp_path.iterdir()) == []
