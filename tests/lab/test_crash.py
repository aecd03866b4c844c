"""The scene of `lab crash` with real proxies, on loopback."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lbsplice.lab.crash import play_crash
from lbsplice.lab.crash_scene import CrashSettings
from lbsplice.lab.scene import Proxy

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
COMMAND = [sys.executable, "-m", "lbsplice", "lab", "crash"]
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")


def run(*words, before=(), **fields):
    return subprocess.run(
        [*before, *COMMAND, *words],
        **{"capture_output": True, "text": True, "timeout": 90, "check": False, **fields},
    )


def told(done, status):
    """What the command told; it ended with this status."""
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == status, json.dumps(found, indent=1) + done.stderr
    assert found["held"] is (status == 0)
    return found


@functools.cache
def played(proxy):
    words = ["--every", "0.5", "--seconds", "5", "--size", "256m", "--json"]
    return told(run("--proxy", proxy, *words), 0)


def test_nothing_is_lost_while_workers_are_killed():
    seen = played("lbsplice")
    assert seen["verdict"] == "whole"
    assert seen["transfer"]["received"] == 256 << 20
    assert seen["transfer"]["sent_sha256"] == seen["transfer"]["received_sha256"] != ""
    assert (seen["lines"]["end"], seen["lines"]["wrong"]) == ("goes-on", 0)
    assert (seen["idle"]["end"], seen["idle"]["answered"]) == ("goes-on", 2)
    assert seen["new_session"]


def test_each_kill_is_told_with_how_long_it_was_felt():
    kills = played("lbsplice")["kills"]
    assert len(kills) >= 8
    assert len({kill["pid"] for kill in kills}) == len(kills)
    assert len({kill["signal"] for kill in kills}) > 1
    for kill in kills:
        assert kill["adopted_ms"] is not None, kills
        assert 0 < kill["pause_ms"] < 2000, kills


def test_the_service_is_the_same_process_and_leaves_nobody():
    seen = played("lbsplice")
    assert seen["running"]
    assert seen["left_behind"] == 0


@needs_root
def test_no_rights_are_needed():
    words = ["--every", "0.3", "--seconds", "1.5", "--size", "32m", "--json"]
    seen = told(run(*words, before=POWERLESS), 0)
    assert len(seen["kills"]) >= 3


def test_the_same_seed_kills_with_the_same_signals():
    words = ["--every", "0.4", "--seconds", "2", "--size", "16m", "--seed", "7", "--json"]
    first, second = (
        [kill["signal"] for kill in told(run(*words), 0)["kills"]][:3] for _ in range(2)
    )
    assert first == second
    assert len(first) == 3


@needs_haproxy
def test_haproxy_loses_all_sessions_at_the_first_kill():
    seen = played("haproxy")
    assert seen["verdict"] == "lost"
    assert len(seen["kills"]) == 1
    assert seen["transfer"]["received"] < 256 << 20
    assert {seen["lines"]["end"], seen["idle"]["end"]} <= {"fin", "reset"}
    assert not seen["running"]
    assert not seen["new_session"]
    assert seen["left_behind"] == 0


@needs_haproxy
def test_the_command_fails_when_nothing_was_lost_that_should_have_been(tmp_path):
    """The control: an HAProxy without a worker has nobody to be killed."""
    single = tmp_path / "haproxy"
    single.write_text(f'#!/bin/sh\n[ "$1" = -W ] && shift\nexec {HAPROXY} "$@"\n')
    single.chmod(0o755)
    words = ["--proxy", "haproxy", "--every", "0.3", "--seconds", "1", "--size", "8m", "--json"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    seen = told(run(*words, env=environment), 1)
    assert seen["verdict"] == "whole"
    assert seen["kills"] == []


@needs_haproxy
def test_lines_and_a_table_are_for_people():
    words = ["--proxy", "haproxy", "--every", "0.3", "--seconds", "2", "--size", "8m"]
    done = run(*words)
    assert done.returncode == 0
    assert "operator  kill -" in done.stdout
    assert "transfer's pause" in done.stdout
    assert "Lost: 1 kill, and the transfer ended after" in done.stdout


@needs_haproxy
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("proxy", ["haproxy", "lbsplice"])
def test_an_interrupted_lab_leaves_nothing_behind(tmp_path, proxy, number, status):
    lab = subprocess.Popen(
        [*COMMAND, "--proxy", proxy, "--every", "30", "--seconds", "60"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert any("begins" in line for line in lab.stdout)
        children = psutil.Process(lab.pid).children(recursive=True)
        lab.send_signal(number)
        _, errors = lab.communicate(timeout=30)
    finally:
        lab.kill()
        lab.communicate()
    assert lab.returncode == status
    assert "Traceback" not in errors
    assert len(children) >= 6  # two servers, three clients, the proxy
    assert not [child for child in children if child.is_running()]
    assert list(tmp_path.iterdir()) == []


@needs_haproxy
def test_an_error_in_the_middle_leaves_nothing_behind(monkeypatch, tmp_path):
    class Trouble(Exception):
        pass

    def report(happening):
        if happening.since_fault_s is not None:
            raise Trouble

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Trouble):
        play_crash(CrashSettings(proxy=Proxy.HAPROXY), report, lambda received: None)
    assert psutil.Process().children() == []
    assert list(tmp_path.iterdir()) == []


@needs_haproxy
def test_a_proxy_that_refuses_its_configuration_is_told_in_one_line(tmp_path):
    broken = tmp_path / "haproxy"
    broken.write_text(f'#!/bin/sh\n[ -n "$4" ] && echo nonsense >>"$4"\nexec {HAPROXY} "$@"\n')
    broken.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    started = time.monotonic()
    done = run("--proxy", "haproxy", env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: haproxy ended: ")
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - started < 10, "an exit must be noticed, not waited out"
