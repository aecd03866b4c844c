"""A worker dies with sessions that are not established yet: accepted, connecting, pausing."""

from __future__ import annotations

import struct
import time

from lbsplice.dataplane import ledger
from tests.native.test_connect import Refusing
from tests.support.dataplane import lib
from tests.support.peers import Listener
from tests.support.succession import MakeLine, books_balance, ends, letters, raw, talk
from tests.support.waiting import SOON_S


def test_session_that_is_connecting_goes_on_connecting(line: MakeLine) -> None:
    server = Listener(backlog=0)
    it = line([server], backend={"timeout_connect": 10_000})
    first = it.connects()
    it.waits_for_state(first, lib.LBS_ESTABLISHED)
    second = it.connects().sends(b"hello")
    it.waits_for_state(second, lib.LBS_CONNECTING)
    it.dies()
    assert it.succeeds(publish=False).connecting == 1
    it.accepts()
    # The kernel tries again by itself, after a second.
    it.accepts().reads(b"hello")
    it.publish()


def test_connect_timeout_neither_restarts_nor_fires_early(line: MakeLine) -> None:
    server = Listener(backlog=0)
    it = line([server], backend={"timeout_connect": 1200, "retries": 0})
    it.waits_for_state(it.connects(), lib.LBS_ESTABLISHED)
    began = time.monotonic()
    client = it.connects()
    it.waits_for_state(client, lib.LBS_CONNECTING)
    for _ in range(3):
        it.dies()
        it.succeeds()
    client.reads_end()
    assert 1.15 < time.monotonic() - began < 2
    assert letters(ends(it)[0]) == "sC"


def test_session_that_pauses_between_attempts_goes_on(line: MakeLine) -> None:
    server = Refusing()
    it = line([server], backend={"retries": 5, "timeout_connect": 1000})
    client = it.connects().sends(b"hello")
    it.waits_for_state(client, lib.LBS_PAUSING)
    it.dies()
    assert it.succeeds().connecting == 1
    server.socket.listen()
    server.socket.settimeout(SOON_S)
    it.accepts().reads(b"hello")
    books_balance(it)


def test_session_without_a_server_yet_waits_for_a_plan(line: MakeLine) -> None:
    """It was noted, and no server was chosen."""
    it = line()
    client, server = it.session()
    it.dies()
    ((_, _, record),) = raw(it.memfd).sessions()
    record.state = lib.LBS_PAUSING
    record.slot = lib.LBS_NONE
    record.flags = 0
    record.legs[1].fd = -1
    record.connected_ms = 0
    assert it.succeeds(publish=False).connecting == 1
    server.reads_end()  # its socket is nobody's any more
    it.publish()
    again = it.accepts()
    talk(client, again)
    books_balance(it)


def test_accepted_and_not_yet_noted_is_rescued(line: MakeLine) -> None:
    """The worker died between accept4(2) and the record."""
    it = line()
    client, server = it.session()
    it.dies()
    book = raw(it.memfd)
    ((thread, _, record),) = book.sessions()
    struct.pack_into("=I", book.data, book.thread(thread, "head") + book.layout.accepting_at, 0)
    record.magic = 0
    assert ledger.accepting(it.memfd) == (0,)
    assert it.succeeds().sessions == 0
    server.reads_end()
    talk(client, it.accepts())
    assert ledger.accepting(it.memfd) == ()
    books_balance(it)


def test_a_session_that_was_being_closed_is_not_taken_for_a_new_one(line: MakeLine) -> None:
    """Bytes went through it: its number had left the ledger before it was closed."""
    it = line()
    client, server = it.session()
    talk(client, server)
    it.dies()
    book = raw(it.memfd)
    ((thread, _, record),) = book.sessions()
    struct.pack_into("=I", book.data, book.thread(thread, "head") + book.layout.accepting_at, 0)
    record.magic = 0
    it.succeeds()
    client.reads_end()
    it.servers[0].accepts_nobody()


def test_nothing_waits_in_the_backlog_for_ever(line: MakeLine) -> None:
    it = line()
    it.dies()
    clients = [it.connects().sends(b"early") for _ in range(20)]
    it.succeeds()
    for _ in clients:
        it.accepts().reads(b"early")
    books_balance(it)
