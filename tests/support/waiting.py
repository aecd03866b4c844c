"""Waiting with a deadline: what a test uses in place of a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

SOON_S = 20.0
"""How long anything may take that should happen at once: a slow machine's allowance."""

STEP_S = 0.002


def wait_until(condition: Callable[[], Value], what: str, within_s: float = SOON_S) -> Value:
    """The first true value of `condition`. AssertionError, naming `what`, if it is not
    true within `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(STEP_S)


def holds_for(condition: Callable[[], object], what: str, for_s: float) -> None:
    """AssertionError, naming `what`, if `condition` is false at some time in `for_s`
    seconds."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert condition(), f"not for {for_s} s: {what}"
        time.sleep(STEP_S)
