"""The worker's copies of listening sockets, as a reload changes them."""

from __future__ import annotations

import os
import socket

import pytest

from lbsplice.listeners import Held
from lbsplice.receivers import Address
from lbsplice.worker_listeners import WorkerListeners, rows


@pytest.fixture
def listening():
    made = []

    def listen():
        made.append(socket.create_server(("127.0.0.1", 0)))
        return made[-1]

    yield listen
    for each in made:
        each.close()


def held(name, listener, index=0):
    host, port = listener.getsockname()
    return Held(name, index, listener.fileno(), Address("4", host, port))


def copies(told):
    """The worker's own, under other numbers."""
    sockets = {
        (each.frontend, each.index): socket.socket(fileno=os.dup(each.descriptor)) for each in told
    }
    return WorkerListeners(told, sockets)


def close(listeners):
    for each in listeners.sockets.values():
        each.close()


def test_what_stays_is_the_same_object_under_its_new_name(listening):
    a, b, c = listening(), listening(), listening()
    before = [held("a", a), held("b", b)]
    after = [held("new", c), held("renamed", b), held("a", a, 1)]
    own = copies(before)
    told, sent = rows(before, after)
    assert sent == [c.fileno()]
    renewed = own.read(told, [os.dup(number) for number in sent])
    assert list(renewed.sockets) == [("new", 0), ("renamed", 0), ("a", 1)]
    assert renewed.sockets["renamed", 0] is own.sockets["b", 0]
    assert renewed.sockets["a", 1] is own.sockets["a", 0]
    assert renewed.sockets["new", 0].getsockname() == c.getsockname()
    assert own.gone(renewed) == []
    assert renewed.gone(own) == [renewed.sockets["new", 0]]
    close(renewed)


def test_what_is_gone_is_told(listening):
    a, b = listening(), listening()
    before, after = [held("a", a), held("b", b)], [held("b", b)]
    own = copies(before)
    renewed = own.read(*rows(before, after))
    assert own.gone(renewed) == [own.sockets["a", 0]]
    close(own)


def test_another_supervisor_gets_to_know_our_numbers(listening):
    before = [held("a", listening()), held("b", listening())]
    own = copies(before)
    told = own.held()
    assert [each.address for each in told] == [each.address for each in before]
    assert [each.descriptor for each in told] == [s.fileno() for s in own.sockets.values()]
    close(own)


def test_retired_ones_listen_no_more_and_keep_their_numbers(listening):
    listener = listening()
    name = listener.getsockname()
    own = copies([held("a", listener)])
    listener.close()
    number = own.sockets["a", 0].fileno()
    own.retire()
    assert own.sockets["a", 0].fileno() == number
    with socket.socket() as client:
        assert client.connect_ex(name) != 0
    close(own)
