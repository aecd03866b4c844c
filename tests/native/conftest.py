"""Fixtures of the data plane's tests: rigs that are closed, and leave nothing open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.dataplane import Make, Rig, descriptors


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
