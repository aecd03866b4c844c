"""Anything at all said to a stats socket: it answers, never breaks, and serves the next."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbsplice.admin import change_commands, commands_cli, own_commands, show_commands
from lbsplice.admin.protocol import TooLong
from tests.support.admin_socket import ServedAdmin, ask, connect, read_all, served
from tests.unit.admin.test_protocol import lines

COMMANDS = sorted(
    " ".join(each.words)
    for one in (change_commands, commands_cli, own_commands, show_commands)
    for each in one.COMMANDS
)
WORDS = sorted(
    {word for command in COMMANDS for word in command.split()}
    | {"l/s1", "l/q", "b/s1", "f", "state", "ready", "weight", "50%", "-1", "health", "addr"}
    | {"127.0.0.1", "port", "global", "<<", ";", "@1", "\\", "\\;", "help", "bogus", "0x2a"}
    | {"all", "cli", "1ms", "srv-removable", "string", "number", "connections", "", "\t", '"'}
    | {"l", "b", "#2", "#3", "#2/#1", "4", "1", "typed", "desc", "up", "domain", "proxy", "json"}
    | {"backend", "frontend", "older", "susp", "1m", "buf0", "-w", "-n", "-wn0", "no-maint"}
)
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
FIRST = st.sampled_from(COMMANDS) | st.just("")
MORE = st.lists(st.sampled_from(WORDS) | TEXT, max_size=6)
COMMAND = st.tuples(FIRST, MORE).map(lambda parts: " ".join((parts[0], *parts[1])))
LINE = st.lists(COMMAND, min_size=1, max_size=4).map(";".join)

FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def admin() -> Iterator[tuple[ServedAdmin, Path]]:
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        path = Path(name) / "s"
        text = f"global\n stats socket {path} level admin\n"
        with served(text) as admin:
            yield admin, path


def is_harmless(line: str) -> bool:
    """A wait for long is what was asked for."""
    return "wait" not in line


@FEW
@given(LINE.filter(is_harmless))
def test_a_line_of_words(admin, line):
    server, path = admin
    answer = ask(path, f"{line}\nend\n".encode("utf-8", "surrogatepass"))
    assert answer == "" or answer.endswith(("\n", "\n> ", "]> ", "+ "))
    assert server.faults == []


@FEW
@given(st.binary(max_size=2000))
def test_bytes(admin, data):
    server, path = admin
    with connect(path) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        sock.shutdown(1)
        read_all(sock)
    assert ask(path, "echo here\n") == "here\n\n"
    assert server.faults == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 1000))
def test_a_line_never_grows_beyond_its_bound(data, times):
    with contextlib.suppress(TooLong):
        for line in lines(*[data] * times):
            size = sum(len(word) for words in line.commands for word in words)
            assert size + len(line.payload or "") <= 2 * 16384
