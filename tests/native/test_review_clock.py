"""The low 32 bits of the milliseconds run over every 49.7 days: a worker that lives to see it.

A time namespace shows a CLOCK_MONOTONIC that is about to run over (time_namespaces(7))."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.dataplane import Rig
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
RUNS_OVER_S = 2**32 / 1000
BEFORE_S = 4.0
"""How long before that the worker starts: more than the start of a Python takes."""
LIMIT_MS = 400


def passes(at_s: float) -> None:
    wait_until(lambda: time.monotonic() >= at_s, "time passes", within_s=BEFORE_S + 5)


def scene() -> None:
    """In the namespace: one session that is busy all the time, and one that falls silent
    just before the clock runs over and has to time out just after."""
    assert RUNS_OVER_S - BEFORE_S <= time.monotonic() < RUNS_OVER_S - 1, time.monotonic()
    timeouts = {"timeout_client": LIMIT_MS}, {"timeout_server": LIMIT_MS}
    with Rig(frontend=timeouts[0], backend=timeouts[1]) as lb:
        busy, busy_server = lb.session()
        silent = None
        while time.monotonic() < RUNS_OVER_S + 2:
            busy.sends(b"ask")
            busy_server.reads(b"ask").sends(b"answer")
            busy.reads(b"answer")
            passes(time.monotonic() + 0.1)
            if silent is None and time.monotonic() >= RUNS_OVER_S - 0.25:
                silent = lb.session()
                assert time.monotonic() < RUNS_OVER_S
        assert silent is not None
        ended = lb.ends(1)
        assert [end.total_ms // 100 for end in ended] == [LIMIT_MS // 100], ended
        assert lb.live() == 1, "the busy session ended"
        busy.closes()


@pytest.mark.skipif(os.geteuid() != 0, reason="a time namespace needs root")
@pytest.mark.skipif(not Path("/proc/self/ns/time").exists(), reason="no time namespaces here")
def test_timeouts_hold_when_the_clock_runs_over() -> None:
    unshare = shutil.which("unshare")
    assert unshare, "unshare(1) of util-linux is needed"
    offset = int(RUNS_OVER_S - BEFORE_S - time.monotonic()) + 1
    command = [unshare, "--time", "--fork", "--monotonic", str(offset)]
    code = "from tests.native.test_review_clock import scene; scene()"
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
