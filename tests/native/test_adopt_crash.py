"""Faults of the worker's own: what is noted of them, and at whose door they are laid."""

from __future__ import annotations

import os
import signal
import struct
from typing import Any

import pytest

from lbsplice.dataplane import ledger
from lbsplice.dataplane.ledger import Crash
from tests.support.dataplane import lib
from tests.support.succession import Line, MakeLine, books_balance, ends, letters, raw, talk

pytestmark = pytest.mark.skipif(
    "ASAN_OPTIONS" in os.environ, reason="the sanitizer takes these signals itself"
)


@pytest.fixture
def watched(line: MakeLine) -> Line:
    return line(threads=2, crash_watch=True)


def works_on(it: Line, port: int) -> tuple[int, int]:
    """Write into the ledger that the session's thread works on it. (thread, record)."""
    book = raw(it.memfd)
    for thread, index, record in book.sessions():
        if record.client_port == port:
            at = book.thread(thread, "head") + book.layout.working_at
            struct.pack_into("=I", book.data, at, index)
            return thread, index
    raise AssertionError(f"no session of port {port}")


def port_of(client: Any) -> int:
    return int(client.socket.getsockname()[1])


def test_a_kill_from_outside_is_no_fault(watched: Line) -> None:
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
        status = watched.dies(number)
        assert status & 0x7F == number
        assert ledger.crash(watched.memfd) is None
        watched.succeeds()


@pytest.mark.parametrize(
    ("where", "number", "code"), [("main", signal.SIGSEGV, 1), ("abort", signal.SIGABRT, -6)]
)
def test_a_fault_outside_the_relay_threads_is_noted_and_nobodys(
    watched: Line, where: str, number: int, code: int
) -> None:
    client, server = watched.session()
    pid = watched.pid
    status = watched.faults(where)
    assert status & 0x7F == number
    assert ledger.crash(watched.memfd) == Crash(number, code, None, pid, None, 0)
    assert watched.succeeds().sessions == 1
    assert ledger.crash(watched.memfd) is None
    talk(client, server)


def test_a_fault_in_a_relay_thread_is_laid_at_its_sessions_door(watched: Line) -> None:
    pairs = [watched.session() for _ in range(4)]
    pid = watched.pid
    thread, record = works_on(watched, port_of(pairs[0][0]))
    status = watched.faults(str(thread))
    assert status & 0x7F == signal.SIGSEGV
    noted = ledger.crash(watched.memfd)
    assert noted is not None
    assert (noted.thread, noted.session, noted.crashes, noted.pid) == (thread, record, 1, pid)
    watched.succeeds()
    assert [
        s.crashes for s in watched.ask("sessions") if s.client_port == port_of(pairs[0][0])
    ] == [1]
    assert sorted(s.crashes for s in watched.ask("sessions")) == [0, 0, 0, 1]
    for pair in pairs:
        talk(*pair)


def test_third_crash_in_a_row_at_one_session_resets_it_and_no_other(watched: Line) -> None:
    poison, *others = [watched.session() for _ in range(4)]
    for number in range(3):
        thread, _ = works_on(watched, port_of(poison[0]))
        watched.faults(str(thread))
        told = watched.succeeds()
        assert (told.sessions, told.poisoned) == ((4, 0) if number < 2 else (3, 1))
    assert told.resets == 1
    poison[0].reads_reset()
    poison[1].reads_reset()
    assert letters(ends(watched)[0]) == "ID"
    for pair in others:
        talk(*pair)
    books_balance(watched)


def test_a_row_is_broken_by_a_crash_at_another_door_and_not_by_a_kill(watched: Line) -> None:
    first, second = watched.session(), watched.session()
    for client, _ in (first, first):
        watched.faults(str(works_on(watched, port_of(client))[0]))
        watched.succeeds()
        watched.dies()
        watched.succeeds()
    assert sorted(s.crashes for s in watched.ask("sessions")) == [0, 2]
    watched.faults(str(works_on(watched, port_of(second[0]))[0]))
    watched.succeeds()
    watched.faults(str(works_on(watched, port_of(first[0]))[0]))
    watched.succeeds()
    assert sorted(s.crashes for s in watched.ask("sessions")) == [0, 1]
    talk(*first)
    talk(*second)


def test_a_successor_that_dies_while_it_judges_comes_to_the_same(watched: Line) -> None:
    """The note stands until every session was judged."""
    client, server = watched.session()
    thread, _ = works_on(watched, port_of(client))
    watched.faults(str(thread))
    book = raw(watched.memfd)
    at = book.layout.crash_at
    note = bytes(book.data[at : at + 24])
    watched.succeeds(publish=False)
    watched.dies()
    book.data[at : at + 24] = note
    watched.succeeds()
    (session,) = watched.ask("sessions")
    assert session.crashes == 1
    assert session.state == lib.LBS_ESTABLISHED
    talk(client, server)
