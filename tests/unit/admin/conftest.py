"""A stats socket of each level in front of a stand-in for the program."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.admin_socket import ServedAdmin, ask, served


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short one: the path of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        yield Path(name)


@pytest.fixture
def admin(directory: Path) -> Iterator[ServedAdmin]:
    text = f"""global
    stats socket {directory}/admin level admin
    stats socket {directory}/operator
    stats socket {directory}/user level user
    stats socket {directory}/numbers level admin severity-output number
"""
    with served(text) as admin:
        yield admin


@pytest.fixture
def say(admin: ServedAdmin, directory: Path) -> Callable[..., str]:
    """Give one line of commands to a socket and read the whole answer."""
    return lambda text, socket="admin": ask(directory / socket, text + "\n")
