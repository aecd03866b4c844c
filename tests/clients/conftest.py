"""Fixtures of the tests with real clients and real servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.program import Program, program

CONFIGURATION = """
global
    log {log} local0
defaults
    log global
    mode tcp
    option tcplog
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen front
    bind 127.0.0.1:{front}
    server real 127.0.0.1:{server} check inter 200
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them start servers as users of their own."""
    mark = pytest.mark.skipif(os.geteuid() != 0, reason="servers run as users of their own")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(mark)


@pytest.fixture
def lb(tmp_path: Path) -> Iterator[Program]:
    """The program; ended after the test."""
    with program(tmp_path) as made:
        yield made


@pytest.fixture
def in_front_of(lb: Program) -> Callable[[int], int]:
    """Start the program in front of a server's port; its own port for clients."""

    def start(server: int) -> int:
        front = lb.port("front")
        lb.start(CONFIGURATION.format(log=lb.log, front=front, server=server))
        return front

    return start
