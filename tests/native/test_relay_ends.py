"""How the end of one leg becomes the end of the other: half-closes, resets, and what is
still delivered before them."""

from __future__ import annotations

import random
import socket
import threading

import pytest

from lbsplice.terms import Cause, Phase
from tests.support.dataplane import Make, Rig, held, lib
from tests.support.peers import Listener, Peer, unread_bytes, unsent_bytes
from tests.support.waiting import wait_until

MEGABYTES = random.Random(7).randbytes(6 << 20)
"""More than the socket buffers between the two ends hold when nobody reads."""


def sends_in_background(peer: Peer, data: bytes) -> threading.Thread:
    thread = threading.Thread(target=peer.sends, args=(data,))
    thread.start()
    return thread


def test_server_sees_half_close_and_can_still_answer(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"ask").shuts_output()
    server.reads(b"ask").reads_end().sends(b"answer").closes()
    client.reads(b"answer").reads_end()
    ended = lb.last_session()
    assert (ended.cause, ended.phase) == (Cause.NONE, Phase.NONE)
    assert ended.record.bytes_from_client == 3
    assert ended.record.bytes_from_server == 6


def test_client_sees_half_close_and_can_go_on(lb: Rig) -> None:
    client, server = lb.session()
    server.sends(b"greeting").shuts_output()
    client.reads(b"greeting").reads_end().sends(b"more").sends(b" and more")
    server.reads(b"more and more").sees_nothing()
    client.closes()
    server.reads_end()
    assert lb.last_session().letters == "--"


def test_ask_that_was_sent_and_shut_before_the_connection_to_the_server_arrives(lb: Rig) -> None:
    client = lb.connects().sends(b"ask").shuts_output()
    lb.accepts().reads(b"ask").reads_end().sends(b"answer").closes()
    client.reads(b"answer").reads_end()


def test_nothing_but_a_half_close_is_carried_across(lb: Rig) -> None:
    client, server = lb.session()
    client.shuts_output()
    server.reads_end().sends(b"late").closes()
    client.reads(b"late").reads_end()
    assert lb.last_session().record.bytes_from_client == 0


def test_client_reset_becomes_a_server_reset(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"x")
    server.reads(b"x")
    client.resets()
    server.reads_reset()
    assert lb.last_session().letters == "CD"


def test_server_reset_becomes_a_client_reset(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"x")
    server.reads(b"x").resets()
    client.reads_reset()
    assert lb.last_session().letters == "SD"


def test_server_that_closes_with_unread_data_resets_the_client(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"never read")
    wait_until(lambda: server.socket.recv(1, socket.MSG_PEEK), "the data came")
    server.closes()
    client.reads_reset()


def test_reset_after_half_close_is_a_reset(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"ask").shuts_output()
    server.reads(b"ask").reads_end().sends(b"part").resets()
    client.reads(b"part").reads_reset()
    assert lb.last_session().letters == "SD"


def test_answer_then_reset_delivers_the_answer_first(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"unread")
    wait_until(lambda: server.socket.recv(1, socket.MSG_PEEK), "the ask came")
    # Closing with unread data: the answer, then a reset, with no FIN between.
    server.sends(b"the whole answer").closes()
    assert client.reads_until_reset() == b"the whole answer"
    assert lb.last_session().letters == "SD"


@pytest.mark.parametrize("half_closed", [False, True])
def test_slow_reader_gets_all_megabytes_before_the_reset(rig: Make, half_closed: bool) -> None:
    lb = rig([Listener(receive_buffer=16384)])
    client, server = lb.session(receive_buffer=16384)
    answer = MEGABYTES[: 3 << 20]
    client.sends(b"unread")
    wait_until(lambda: server.socket.recv(1, socket.MSG_PEEK), "the ask came")
    sender = sends_in_background(server, answer)
    got = client.reads_count(1 << 20)
    if half_closed:
        client.shuts_output()
    # The last bytes leave the server only as the client reads.
    got += client.reads_count((1 << 20) - 5)
    while sender.is_alive():
        got += client.reads_count(5)
    wait_until(lambda: not unsent_bytes(server.socket), "the answer is in the balancer's hands")
    server.closes()
    got += client.reads_until_reset()
    assert got == answer
    assert lb.last_session().letters == "SD"


def test_client_half_close_after_the_server_reset_keeps_the_answer(rig: Make) -> None:
    """The half-close can not be told to the server any more. What it sent before can
    still be read, and is delivered."""
    lb = rig()
    client, server = lb.session(receive_buffer=8192)
    client.sends(b"unread")
    wait_until(lambda: server.socket.recv(1, socket.MSG_PEEK), "the ask came")
    server.sends_what_fits()
    server.closes()
    session = lb.records()[0]
    wait_until(lambda: session.legs[lib.LBS_SERVER].ready & lib.LBS_LEG_ERROR, "the reset came")
    # The rest was on its way and thrown away by the server's own kernel.
    with lb.descriptor(lib.LBS_SERVER) as leg:
        unread = unread_bytes(leg)
    relay = session.relays[lib.LBS_SERVER]
    had = relay.moved + held(relay) + unread
    assert unread > 1 << 20
    client.shuts_output()
    assert len(client.reads_until_reset()) == had
    assert lb.last_session().record.bytes_from_server == had


def test_writing_to_a_server_that_reset_delivers_what_it_said(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"unread")
    wait_until(lambda: server.socket.recv(1, socket.MSG_PEEK), "the ask came")
    server.sends(b"goodbye").closes()
    # Either this write or the reset is seen first.
    try:
        client.sends(b"more")
    except ConnectionError:
        client.reads(b"goodbye")  # the reset had come, and telling of it used it up
    else:
        assert client.reads_until_reset() == b"goodbye"


def test_client_reset_delivers_what_it_had_sent(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"all of it")
    wait_until(
        lambda: lb.records()[0].relays[lib.LBS_CLIENT].moved == len(b"all of it"), "it was moved"
    )
    client.resets()
    assert server.reads_until_reset() == b"all of it"


def test_both_ends_close_at_once(lb: Rig) -> None:
    client, server = lb.session()
    client.shuts_output()
    server.shuts_output()
    client.reads_end()
    server.reads_end()
    assert lb.last_session().letters == "--"


def test_session_of_a_server_that_greets_and_closes_at_once(lb: Rig) -> None:
    client = lb.connects()
    lb.accepts().sends(b"busy, go away").closes()
    client.reads(b"busy, go away").reads_end().closes()
    assert lb.last_session().letters == "--"
