"""Clients who mean no good, or do not know what they do: the others are served, and memory
is bounded."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from lbsplice.admin import commands_cli
from lbsplice.admin.commands import Command, Context
from lbsplice.admin.commands_all import Table
from lbsplice.admin.levels import Level
from lbsplice.admin.view import Transition
from lbsplice.limits import STATS_WAITING
from tests.support.admin import small_view
from tests.support.admin_socket import (
    ANSWERS_WITHIN_S,
    ServedAdmin,
    ask,
    connect,
    read_all,
    read_until,
    served,
)
from tests.support.waiting import holds_for
from tests.support.waiting import wait_until as wait_until_soon

wait_until = partial(wait_until_soon, within_s=ANSWERS_WITHIN_S)

MIB = 1 << 20
LISTING_BYTES = 32 * MIB


@contextlib.contextmanager
def serving(*lines: str) -> Iterator[tuple[ServedAdmin, Path]]:
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        path = Path(name) / "s"
        text = "".join(f" {line}\n" for line in (f"stats socket {path} level admin", *lines))
        with served(f"global\n{text}") as admin:
            yield admin, path


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    return int(psutil.Process().memory_info().rss)


def listing(_context: Context, _words: list[str], _payload: str | None) -> Iterator[str]:
    """A long answer, made as it is taken."""
    line = "x" * 1023 + "\n"
    for _ in range(LISTING_BYTES // len(line)):
        yield line


def with_a_listing(admin: ServedAdmin) -> None:
    admin.server._table = Table(
        [*commands_cli.COMMANDS, Command(("big",), Level.USER, "", listing)]
    )


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for thousands of connections of our own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crowd(path: Path, count: int) -> list[socket.socket]:
    """Connections that say nothing; those that find the queue full are left out."""
    found = []
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except BlockingIOError:
            sock.close()
            time.sleep(0)
        else:
            found.append(sock)
    return found


def test_thousands_that_say_nothing_keep_nobody_out(descriptors):
    with serving("stats timeout 1h") as (_, path):
        ask(path, "echo warm\n")
        before = resident()
        silent: list[socket.socket] = []
        try:
            while len(silent) < 3000:
                silent += crowd(path, 200)
                assert ask(path, "echo here\n") == "here\n\n"
            assert resident() - before < 24 * MIB  # our own ends of them included
        finally:
            for sock in silent:
                sock.close()


def test_no_more_are_let_in_than_there_is_room_for(descriptors):
    with serving("stats timeout 1h") as (admin, path):
        open_before = open_descriptors()
        silent = crowd(path, STATS_WAITING + 60)
        wait_until(lambda: len(admin.server._silent) == STATS_WAITING, "as many as there is room")
        ours = open_descriptors() - open_before - len(silent)
        assert ours <= STATS_WAITING + 1
        for sock in silent:
            sock.close()
        wait_until(lambda: not admin.server._silent, "all of them are forgotten")


def test_a_few_that_say_nothing_stay_for_the_timeout():
    with serving("stats timeout 300ms") as (_, path):
        began = time.monotonic()
        with connect(path) as sock:
            assert read_all(sock) == b""
        assert time.monotonic() - began > 0.25


def test_half_a_line_ends_with_the_timeout_however_slowly_it_grows():
    def grows() -> bool:
        """By one byte, unless the connection has ended."""
        try:
            sock.sendall(b"x")
            return sock.recv(1) != b""
        except TimeoutError:
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    with serving("stats timeout 300ms") as (_, path), connect(path, 0.05) as sock:
        wait_until(lambda: not grows(), "it ends")


def test_a_conversation_ends_when_nothing_more_is_said():
    with serving("stats timeout 1500ms") as (_, path), connect(path) as sock:
        sock.sendall(b"prompt\n")
        assert read_all(sock) == b"\n> "


def test_the_timeout_of_one_conversation_can_be_changed():
    with serving("stats timeout 1h") as (_, path), connect(path) as sock:
        sock.sendall(b"prompt i;set timeout cli 100ms\n")
        assert read_all(sock) == b"\n\n"


def test_as_many_conversations_as_the_configuration_says():
    with serving("stats maxconn 2") as (_, path), contextlib.ExitStack() as stack:
        talking = [stack.enter_context(connect(path)) for _ in range(2)]
        for sock in talking:
            sock.sendall(b"prompt\n")
            read_until(sock, b"> ")
        third = stack.enter_context(connect(path, 0.2))
        third.sendall(b"echo third\n")
        with pytest.raises(TimeoutError):
            third.recv(1)
        talking[0].sendall(b"quit\n")
        third.settimeout(ANSWERS_WITHIN_S)
        assert read_all(third) == b"third\n\n"


def test_a_reader_that_never_reads_costs_little_and_is_left():
    with serving("stats timeout 1h", "stats maxconn 4") as (admin, path):
        with_a_listing(admin)
        before = resident()
        deaf = [connect(path) for _ in range(3)]
        for sock in deaf:
            sock.sendall(b"set timeout cli 2s;big\n")
        wait_until(lambda: len(admin.server._conversations) == 3, "all of them are served")
        assert len(ask(path, "big\n")) == LISTING_BYTES + 1  # the others are served
        wait_until(lambda: not admin.server._conversations, "they are left")
        assert resident() - before < LISTING_BYTES + 64 * MIB  # the test's own copies
        assert len(read_all(deaf[0])) < MIB
        for sock in deaf:
            sock.close()


def test_a_listing_is_made_as_it_is_taken():
    made: list[int] = []

    def counted(_context: Context, _words: list[str], _payload: str | None) -> Iterator[str]:
        for number in range(10_000):
            made.append(number)
            yield "x" * 1023 + "\n"

    with serving() as (admin, path), connect(path) as sock:
        admin.server._table = Table([Command(("big",), Level.USER, "", counted)])
        sock.sendall(b"big\n")
        wait_until(lambda: len(made) > 100, "it began")
        assert sock.recv(10) == b"x" * 10
        settled = wait_until(lambda: len(made), "it began")
        assert settled < 2_000
        assert len(read_all(sock)) == 10_000 * 1024 + 1 - 10


def test_a_slow_reader_gets_everything():
    """It takes longer than the timeout, but never so long for a piece."""
    with serving("stats timeout 2s") as (admin, path), connect(path) as sock:
        with_a_listing(admin)
        sock.sendall(b"big\n")
        got = 0
        for _ in range(30):
            got += len(sock.recv(256 * 1024))
            holds_for(lambda: admin.server._conversations, "it is served", 0.1)
        while piece := sock.recv(256 * 1024):
            got += len(piece)
        assert got == LISTING_BYTES + 1


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (b"a" * 20_000, b"command"),
        (b"\0" * 16_384 + b"\0", b"command"),
        (b"echo <<\n" + b"x\n" * 20_000, b"payload"),
        (os.urandom(65536).replace(b"\n", b""), b"command"),
    ],
    ids=["letters", "nuls", "payload", "noise"],
)
def test_what_is_too_long_is_told_so_and_ends_the_conversation(said, what):
    with serving() as (_, path), connect(path) as sock:
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(said)
        assert read_all(sock) == b"The " + what + b" has more than 16384 bytes.\n\n"
        assert ask(path, "echo a\n") == "a\n\n"


def test_events_are_waited_for_as_long_as_it_takes():
    with serving("stats timeout 1h") as (admin, path), connect(path) as sock:
        sock.sendall(b"set timeout cli 100ms;show events buf0 -w\n")
        read_until(sock, b"\n")
        sock.settimeout(0.4)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        change = Transition(1_700_000_000.0, ("l", "s1"), "UP", "DOWN", "Layer4 timeout")
        admin.control.shown = replace(small_view(), transitions=(change,))
        sock.settimeout(ANSWERS_WITHIN_S)
        assert b"l/s1: UP -> DOWN" in sock.recv(4096)
        sock.sendall(b"q\n")
        assert read_all(sock) == b"\n"


def test_who_left_in_the_middle_of_a_wait_keeps_nobody_out():
    with serving("stats maxconn 1") as (admin, path):
        admin.control.removable = False
        for command in (b"wait 1h\n", b"wait 1h srv-removable l/s1\n"):
            with connect(path) as sock:
                sock.sendall(command)
                wait_until(lambda: admin.server._conversations, "it waits")
            assert ask(path, "echo here\n") == "here\n\n"


def test_who_says_no_more_is_still_waited_for():
    with serving() as (_, path):
        assert ask(path, "wait 200ms\n") == "Done.\n\n"


def test_a_client_that_leaves_at_once_harms_nobody():
    with serving() as (admin, path):
        with_a_listing(admin)
        for _ in range(50):
            with connect(path) as sock:
                sock.sendall(b"big\n")
        server = admin.server
        wait_until(
            lambda: not (server._conversations or server._silent or server._spoke),
            "they are forgotten",
        )


def test_what_a_listing_holds_is_let_go_when_its_reader_leaves():
    let_go: list[bool] = []

    async def holding(
        _context: Context, _words: list[str], _payload: str | None
    ) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 65536 + "\n"
        finally:
            let_go.append(True)

    with serving() as (admin, path):
        admin.server._table = Table([Command(("hold",), Level.USER, "", holding)])
        with connect(path) as sock:
            sock.sendall(b"hold\n")
            assert sock.recv(3) == b"xxx"
        wait_until(lambda: let_go, "it is let go")


def test_a_line_of_thousands_of_commands_lets_others_have_their_turn():
    with serving("stats timeout 1h") as (admin, path), connect(path) as sock:
        sock.sendall(b"q;" * 8000 + b"\n")
        assert sock.recv(7) == b"Unknown"
        for _ in range(20):
            assert ask(path, "echo here\n") == "here\n\n"
        assert admin.server._conversations


def test_a_command_that_fails_by_our_fault_is_not_swallowed():
    def broken(_context: Context, _words: list[str], _payload: str | None) -> str:
        raise ZeroDivisionError

    with serving() as (admin, path):
        admin.server._table = Table([Command(("broken",), Level.USER, "", broken)])
        assert ask(path, "broken\n") == ""
        wait_until(lambda: admin.faults, "the loop is told")
        assert isinstance(admin.faults.pop(), ZeroDivisionError)
