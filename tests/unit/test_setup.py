"""setup.py refuses, in one line, what lbsplice can not run on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PRETEND = """\
import platform, runpy, sys
{change}
sys.argv = ["setup.py", "--name"]
runpy.run_path("setup.py", run_name="__main__")
"""


def setup_where(change: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PRETEND.format(change=change)],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sys.platform = 'darwin'", "runs on Linux only"),
        ("sys.platform = 'win32'", "this is win32"),
        ("platform.python_implementation = lambda: 'PyPy'", "needs CPython 3.10 or newer"),
        ("sys.version_info = (3, 9, 18)", "needs CPython 3.10 or newer"),
    ],
)
def test_elsewhere_the_build_ends_with_one_line_that_says_why(change: str, said: str) -> None:
    ended = setup_where(change)
    assert ended.returncode != 0
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert said in ended.stderr


def test_here_it_goes_on() -> None:
    ended = setup_where("")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "lbsplice"


def test_the_source_distribution_has_all_that_the_build_reads() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text()
    assert "graft native" in manifest
    for name in ("LICENSE", "README.md", "CHANGELOG.md"):
        assert name in manifest
        assert (ROOT / name).stat().st_size > 0
