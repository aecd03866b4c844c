"""Messages between supervisor and worker, and the descriptors that travel with them."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from lbsplice import protocol
from lbsplice.channel import Channel
from lbsplice.protocol import Committed, Ended, NewVault, Ping, Reload, Reloaded, Stop


@pytest.fixture
def ends():
    one, other = Channel.pair()
    with closing(one), closing(other):
        yield one, other


def all_of(one, other, count):
    """So many messages, with the sender's leave to go on."""
    found = []
    while len(found) < count:
        one.flush()
        found += other.receive()
    return found


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize(
    "message",
    [
        Stop(hard=True, cause="D"),
        Reload(b"\x00\xff any bytes", [[0, {"frontend": "l"}], [-1, {}]]),
        Reloaded("it is\nrefused", needs_room=True),
        Ended(None),
        protocol.Ask(3, {"request": "reload", "more": [1, None]}),
    ],
)
def test_a_message_arrives_as_it_was(ends, message):
    one, other = ends
    one.send(message)
    assert other.receive() == [(message, [])]
    other.send(message)
    assert one.receive() == [(message, [])]


def test_nothing_has_come_yet(ends):
    assert ends[0].receive() == []
    assert not ends[0].closed


def test_messages_keep_their_order_and_their_descriptors(ends):
    one, other = ends
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        one.send(Committed(7), [first.fileno()])
        one.send(Ping(1))
        one.send(NewVault(), [second.fileno(), first.fileno()])
        names = [first.getsockname(), second.getsockname()]
    told = other.receive()
    assert [message for message, _ in told] == [Committed(7), Ping(1), NewVault()]
    numbers = [[socket.socket(fileno=n) for n in descriptors] for _, descriptors in told]
    assert [[each.getsockname() for each in some] for some in numbers] == [
        [names[0]],
        [],
        [names[1], names[0]],
    ]
    for some in numbers:
        for each in some:
            assert not os.get_inheritable(each.fileno())
            each.close()


def test_more_descriptors_than_the_kernel_takes_at_once(ends):
    one, other = ends
    before = open_descriptors()
    with Path(os.devnull).open() as null:
        one.send(NewVault(), [null.fileno()] * 700)
        ((message, descriptors),) = all_of(one, other, 1)
    assert message == NewVault()
    assert len(set(descriptors)) == 700
    for each in descriptors:
        os.close(each)
    assert open_descriptors() == before


def test_what_the_kernel_does_not_take_at_once_comes_later(ends):
    one, other = ends
    large = Reload(os.urandom(3_000_000), [])
    one.send(large)
    one.send(Ping(2))
    assert one.wants_write
    assert not one.is_quiet
    assert [message for message, _ in all_of(one, other, 2)] == [large, Ping(2)]
    assert not one.wants_write
    assert one.is_quiet


def test_half_a_message_is_not_quiet(ends):
    one, other = ends
    one.socket.send(b"\0\0")
    assert other.receive() == []
    assert not other.is_quiet


def test_last_words_are_read_before_the_end(ends):
    one, other = ends
    one.send(Ended("why"))
    one.close()
    assert other.receive() == [(Ended("why"), [])]
    assert other.closed


def test_last_words_are_read_although_nobody_could_be_told(ends):
    one, other = ends
    one.send(Ended("why"))
    one.close()
    other.send(Ping(1))
    other.send(Ping(2))
    assert other.receive() == [(Ended("why"), [])]


def test_nothing_is_left_open_when_nobody_reads():
    before = open_descriptors()
    one, other = Channel.pair()
    with Path(os.devnull).open() as null:
        one.send(Reload(bytes(1_000_000), []), [null.fileno()])
        one.send(NewVault(), [null.fileno()])
    assert one.wants_write
    one.close()
    other.close()
    assert open_descriptors() == before


# ---- between releases ----


def test_a_message_of_another_release_is_passed_over_with_its_descriptors(ends, monkeypatch):
    one, other = ends
    before = open_descriptors()
    with Path(os.devnull).open() as null:
        one.send(NewVault(), [null.fileno()])
    one.send(Ping(3))
    monkeypatch.delitem(protocol._KINDS, "NewVault")
    assert other.receive() == [(Ping(3), [])]
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"kind": "Ping"}', Ping(0)),
        (b'{"kind": "Ping", "number": 4, "mood": "good"}', Ping(4)),
        (b'{"kind": "Reloaded"}', Reloaded(None)),
        (b'{"kind": "Anything"}', None),
        (b"{}", None),
        (b"[]", None),
        (b"no JSON", None),
        (b"\xff\xfe", None),
        (b'{"kind": ["Ping"]}', None),
        (b'{"kind": "Ping", "number": "4"}', None),
        (b'{"kind": "Ping", "number": true}', None),
        (b'{"kind": "Committed", "vault": [1]}', None),
        (b'{"kind": "Ended", "error": 5}', None),
    ],
)
def test_what_is_not_known_or_no_message_does_no_harm(text, message):
    assert protocol.decode(text, b"") == message


def test_every_message_has_defaults_and_comes_back_as_it_was():
    for kind in protocol._KINDS.values():
        assert protocol.decode(*protocol.encode(kind())) == kind()
