"""Fixtures of the scenarios that run the whole program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Program, program


@pytest.fixture
def lb(tmp_path: Path) -> Iterator[Program]:
    """The program, to be started with a configuration; ended after the test."""
    with program(tmp_path) as made:
        yield made
