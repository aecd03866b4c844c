"""Fixtures of the scenarios that run the whole program."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Program, program
from tests.support.torture.harm import Victim

collect_ignore_glob = [] if os.environ.get("LBSPLICE_FAULTS") else ["test_faults.py"]
if "ASAN_OPTIONS" in os.environ:
    # They kill with the signals that a sanitizer takes for findings, against the clock.
    # What they do to the extension is done in tests/native as well.
    collect_ignore_glob += ["test_crash_*.py", "test_handover_streams.py"]


@pytest.fixture
def lb(tmp_path: Path) -> Iterator[Program]:
    """The program, to be started with a configuration; ended after the test."""
    with program(tmp_path) as made:
        yield made


@pytest.fixture
def victim(lb: Program) -> Iterator[Victim]:
    """What is done to `lb`: kills of its processes, and the wait for their successors."""
    with contextlib.closing(Victim(lb)) as made:
        yield made
