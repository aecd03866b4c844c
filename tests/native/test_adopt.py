"""A worker dies, its successor goes on: nothing is lost, nothing is told twice, and what the
worker was in the middle of is finished."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from lbsplice.dataplane import vault
from lbsplice.dataplane.worker import Adoption
from lbsplice.errors import DataplaneError
from lbsplice.terms import Cause
from tests.support.dataplane import descriptors, lib
from tests.support.peers import unread_bytes, unsent_bytes
from tests.support.succession import Line, MakeLine, books_balance, ends, letters, raw, talk
from tests.support.waiting import wait_until


def test_established_session_goes_on(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    talk(client, server)
    it.dies()
    assert it.succeeds() == Adoption(
        sessions=1, connecting=0, pipes=0, resets=0, poisoned=0, bytes=0
    )
    talk(client, server)
    books_balance(it)
    client.closes()
    server.reads_end().closes()
    assert letters(ends(it)[0]) == "--"
    it.waits_gone()
    books_balance(it)


@pytest.mark.parametrize("way", ["vault", "table"])
def test_many_sessions_are_taken_either_way(line: MakeLine, way: str) -> None:
    """By the vault's messages, or from its table."""
    it = line(threads=2)
    pairs = [it.session() for _ in range(300)]
    it.dies()
    assert it.succeeds(way=way).sessions == 300
    taken, _ = it.ask("took")
    assert taken >= 600
    for client, server in pairs:
        talk(client, server)
    books_balance(it)


def test_a_vault_that_is_stopped_is_passed_by(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    it.dies()
    stopped = it.vault_pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    # It can not be told to quit either, so its successor would wait for it in vain.
    threading.Timer(1.2, os.kill, (stopped, signal.SIGCONT)).start()
    assert it.succeeds().sessions == 1
    talk(client, server)
    books_balance(it)


def test_what_was_sent_while_nobody_was_there_arrives(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    it.dies()
    client.sends(b"into the void")
    server.sends(b"and back").shuts_output()
    it.succeeds()
    server.reads(b"into the void")
    client.reads(b"and back").reads_end()


def test_bytes_in_the_pipes_are_neither_lost_nor_doubled(line: MakeLine) -> None:
    it = line()
    client, server = it.session(receive_buffer=4096)
    sent = server.sends_what_fits()
    (session,) = it.ask("sessions")
    assert session.held[1]
    it.dies()
    told = it.succeeds()
    assert told.pipes == 1
    assert told.bytes == session.held[1]
    server.shuts_output()
    assert client.reads_count(sent) == bytes(sent)
    client.reads_end().closes()
    server.reads_end()
    event = ends(it)[0]
    assert letters(event) == "--"
    assert event.bytes_from_server == sent
    books_balance(it)


@pytest.mark.parametrize("noted", [-3000, -1, 0, 1, 4096])
def test_a_splice_that_was_not_noted_is_made_up_for(line: MakeLine, noted: int) -> None:
    """As if the worker had died between a splice and its note: what the pipe holds says."""
    it = line()
    client, server = it.session(receive_buffer=4096)
    sent = server.sends_what_fits()
    it.dies()
    book = raw(it.memfd)
    ((_, _, record),) = book.sessions()
    if noted < 0:
        record.relays[1].taken += noted  # a read that was not noted
    else:
        record.relays[1].moved -= noted  # a write that was not noted
    it.succeeds()
    server.shuts_output()
    assert client.reads_count(sent) == bytes(sent)
    client.reads_end().closes()
    server.reads_end()
    assert ends(it)[0].bytes_from_server == sent


def test_half_closed_session_stays_so(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    client.sends(b"all").shuts_output()
    server.reads(b"all").reads_end()
    it.dies()
    it.succeeds()
    server.sends(b"answer").closes()
    client.reads(b"answer").reads_end()
    assert letters(ends(it)[0]) == "--"


def test_a_shutdown_that_was_only_noted_is_made(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    it.dies()
    ((_, _, record),) = raw(it.memfd).sessions()
    record.relays[0].flags = lib.LBS_RELAY_END | lib.LBS_RELAY_SHUT
    it.succeeds()
    server.reads_end()
    server.sends(b"last words").closes()
    client.reads(b"last words").reads_end()


def test_resets_are_real_after_an_adoption(line: MakeLine) -> None:
    """No copy of a socket is left anywhere that would keep the connection."""
    it = line()
    pairs = [it.session() for _ in range(3)]
    it.dies()
    it.succeeds()
    pairs[0][1].resets()
    pairs[0][0].reads_reset()
    pairs[1][0].resets()
    pairs[1][1].reads_reset()
    it.ask("kill_all", Cause.KILLED)
    pairs[2][0].reads_reset()
    pairs[2][1].reads_reset()
    assert sorted(letters(e) for e in ends(it, 3)) == ["CD", "KC", "SD"]
    it.waits_gone()
    books_balance(it)


def test_kill_orders_find_adopted_sessions(line: MakeLine) -> None:
    it = line(servers=2)
    pairs = [it.session(i % 2) for i in range(20)]
    it.dies()
    it.succeeds()
    it.ask("kill_slot", 1, Cause.DOWN)
    for i, (client, server) in enumerate(pairs):
        if i % 2:
            client.reads_reset()
            server.reads_reset()
        else:
            talk(client, server)
    books_balance(it)


def test_a_kill_that_was_begun_is_finished(line: MakeLine) -> None:
    """The reason was noted, and no more."""
    it = line()
    client, server = it.session()
    it.dies()
    ((_, _, record),) = raw(it.memfd).sessions()
    record.cause, record.phase = ord("D"), ord("D")
    record.flags |= lib.LBS_SESSION_KILLED
    it.succeeds()
    client.reads_reset()
    server.reads_reset()
    assert letters(ends(it)[0]) == "DD"


def test_session_that_was_resetting_delivers_and_resets(line: MakeLine) -> None:
    it = line()
    client, server = it.session(receive_buffer=4096)
    server.sends(b"x" * 300_000)
    wait_until(lambda: not unsent_bytes(server.socket), "the proxy has it all")
    server.resets()
    it.waits_for_state(client, lib.LBS_RESETTING)
    it.dies()
    assert it.succeeds().sessions == 1
    assert client.reads_until_reset() == b"x" * 300_000
    assert letters(ends(it)[0]) == "SD"


def test_idle_timeout_neither_restarts_nor_fires_early(line: MakeLine) -> None:
    it = line(frontend={"timeout_client": 1500}, backend={"timeout_server": 60_000})
    client, server = it.session()
    began = time.monotonic()
    talk(client, server)
    for _ in range(4):
        it.dies()
        it.succeeds()
    server.reads_end()
    assert 1.4 < time.monotonic() - began < 2.5


def test_a_successor_that_dies_is_succeeded_like_any_other(line: MakeLine) -> None:
    it = line()
    client, server = it.session()
    client.sends(b"x" * 100_000)
    wait_until(lambda: unread_bytes(server.socket) == 100_000, "the bytes are there")
    it.dies()
    it.succeeds(publish=False)
    it.dies()
    it.succeeds(publish=False)
    it.dies()
    it.succeeds()
    assert server.reads_count(100_000) == b"x" * 100_000
    server.sees_nothing()


# ---- what is missing or damaged ----


def test_without_a_vault_the_sessions_are_told_of_and_counted(line: MakeLine) -> None:
    """Both died: the kernel has closed everything. The successor starts with clean books."""
    it = line()
    pairs = [it.session() for _ in range(5)]
    it.dies()
    it.loses_vault()
    told = it.succeeds(by_vault=False)
    assert (told.sessions, told.resets) == (0, 5)
    for client, server in pairs:
        client.reads_end()
        server.reads_end()
    assert {letters(e) for e in ends(it, 5)} == {"ID"}
    it.waits_gone()
    talk(*it.session())
    books_balance(it)


def test_session_whose_socket_is_missing_ends_and_others_go_on(line: MakeLine) -> None:
    it = line()
    broken, whole = it.session(), it.session()
    it.dies()
    for _, _, record in raw(it.memfd).sessions():
        if record.client_port == broken[0].socket.getsockname()[1]:
            record.legs[1].fd = 1999
    told = it.succeeds()
    assert (told.sessions, told.resets) == (1, 1)
    broken[0].reads_reset()
    broken[1].reads_end()
    assert letters(ends(it)[0]) == "ID"
    talk(*whole)
    books_balance(it)


def test_record_that_makes_no_sense_is_left_out(line: MakeLine) -> None:
    it = line()
    broken, whole = it.session(), it.session()
    it.dies()
    for _, _, record in raw(it.memfd).sessions():
        if record.client_port == broken[0].socket.getsockname()[1]:
            record.slot = 123_456
    told = it.succeeds()
    assert (told.sessions, told.resets) == (1, 1)
    broken[0].reads_reset()
    broken[1].reads_reset()
    talk(*whole)
    books_balance(it)


def test_number_that_the_successor_uses_itself_is_refused() -> None:
    it = Line()
    it.session()
    it.dies()
    (record,) = (r for _, _, r in raw(it.memfd).sessions())
    used = os.dup(0)
    mine = os.dup(used)
    record.legs[0].fd = used
    before = descriptors()
    with pytest.raises(DataplaneError, match="exists"):
        vault.take_descriptors(it.memfd, it.vault_pid, it.request)
    assert descriptors() == before
    assert os.path.sameopenfile(used, mine)
    os.close(used)
    os.close(mine)
    record.legs[0].fd = -1
    it.close()
