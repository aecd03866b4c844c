"""The `lbsplice` command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 20.0

T = TypeVar("T")


def lbsplice(*words: str, **fields: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "lbsplice", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        **{"stdin": subprocess.DEVNULL, "env": environment(), **fields},
    )


def start_lbsplice(*words: str, **fields: Any) -> subprocess.Popen[str]:
    """Start a command that goes on to run."""
    return subprocess.Popen(
        [sys.executable, "-m", "lbsplice", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **{"stdin": subprocess.DEVNULL, "env": environment(), **fields},
    )


def environment(**more: str) -> dict[str, str]:
    """Ours, with the package to be found from any directory."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    return {**os.environ, "PYTHONPATH": path, **more}


def wait_until(condition: Callable[[], T], message: str | Callable[[], str]) -> T:
    """The first true value of `condition`; fails with the message after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, message() if callable(message) else message
        time.sleep(0.01)
    return value
