"""What the tests of the statistics page share: a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.screens.browser import Browser, browser


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as made:
        yield made
