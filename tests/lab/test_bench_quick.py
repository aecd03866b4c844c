"""scripts/bench works from one end to the other; --quick judges nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.sidebyside.rows import ROWS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed"),
    pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed"),
]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "scripts.sidebyside", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )


def test_every_row_is_measured_for_both_proxies() -> None:
    ended = bench("--quick", "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert [row["name"] for row in found["rows"]] == [row.name for row in ROWS]
    for row, told in zip(ROWS, found["rows"], strict=True):
        assert len(told["ours"]) == 1, told
        assert len(told["theirs"]) == (0 if row.ours_alone else 1), told
        assert all(value > 0 for value in told["theirs"]), told
    assert not found["settings"]["judged"]


def test_a_proxy_that_does_not_start_is_told_with_what_it_said() -> None:
    ended = bench("--quick", "--only", "messages", "--a", "broken=false", "--b", "haproxy")
    assert ended.returncode == 1
    assert ended.stdout == ""
    (last,) = ended.stderr.splitlines()
    assert last.startswith("scripts/bench: broken can not be started")


def test_a_missed_budget_is_the_exit_status() -> None:
    """HAProxy beside itself does not use 0.08 of its own memory."""
    ended = bench(*("--a", "itself=haproxy", "--b", "haproxy"), "--only", "memory", "--rounds", "1")
    assert ended.returncode == 1, ended.stderr
    assert "MISSED" in ended.stdout
