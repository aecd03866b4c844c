"""Fixtures of the data plane's tests: rigs that are closed, and leave nothing open."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.dataplane import Make, Rig, descriptors
from tests.support.succession import Line, MakeLine

# They need another extension: scripts/faults builds it.
collect_ignore_glob = [] if os.environ.get("LBSPLICE_FAULTS") else ["test_faults*.py"]
if "ASAN_OPTIONS" in os.environ:
    # Hundreds of forks of a process under a sanitizer take minutes.
    collect_ignore_glob += ["test_adopt_storm.py"]


@pytest.fixture
def rig() -> Iterator[Make]:
    """Makes rigs. When they are closed no descriptor of theirs is left."""
    before = descriptors()
    rigs: list[Rig] = []

    def make(*args: Any, **settings: Any) -> Rig:
        made = Rig(*args, **settings)
        rigs.append(made)
        return made

    yield make
    for made in rigs:
        made.close()
    assert descriptors() <= before, "descriptors leaked"


@pytest.fixture
def lb(rig: Make) -> Rig:
    """The simplest rig: one thread, one server, no timeouts."""
    return rig()


@pytest.fixture
def line() -> Iterator[MakeLine]:
    """Makes lines of workers. When they are closed nothing of theirs is open here."""
    before = descriptors()
    made: list[Line] = []

    def make(*args: Any, **settings: Any) -> Line:
        made.append(Line(*args, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
    gc.collect()  # a view of a ledger may live in a cycle
    assert descriptors() <= before, "descriptors leaked"
