"""docs/failures.md names no failure without a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "failures.md").read_text()


def named():
    """(file, test) of every test that the document names; `::test` is of the file before."""
    file = ""
    for found in re.finditer(r"`([\w/]+\.py)?::(\w+)`", TEXT):
        file = found[1] or file
        yield file, found[2]


@pytest.mark.parametrize(("file", "name"), sorted(set(named())))
def test_a_test_that_is_named_exists(file, name):
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.M), f"{file}::{name}"


def test_no_row_is_without_a_test():
    for line in TEXT.splitlines():
        if line.startswith("| ") and not line.startswith("| what |"):
            assert "::test_" in line, line
