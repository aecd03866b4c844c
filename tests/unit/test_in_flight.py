"""Sockets that a worker had accepted and not noted when it died."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

from lbsplice import in_flight as module
from lbsplice.in_flight import rescue


class Dead:
    """What a dead worker's table holds, by number, and what its ledger says."""

    def __init__(self, monkeypatch, stack):
        self.table = {}
        self.accepting = ()
        self.stack = stack
        self.asked = []
        monkeypatch.setattr(module.ledger, "accepting", lambda _fd: self.accepting)
        monkeypatch.setattr(module.ledger, "highest", lambda _fd: max(self.table, default=-1) - 4)
        monkeypatch.setattr(module.vault, "take_one", self._take)

    def _take(self, _pid, _request, number):
        self.asked.append(number)
        return os.dup(self.table[number]) if number in self.table else None

    def holds(self, thing):
        """At a number that is free here."""
        self.table[500 + len(self.table)] = os.dup(thing.fileno())
        return thing

    def listener(self, host="127.0.0.1", family=socket.AF_INET):
        return self.stack.enter_context(
            unix_listener(host) if family == socket.AF_UNIX else tcp_listener(host, family)
        )

    def accepts(self, listener, host=None):
        """A session of the listener, which the dead one holds; the client's end."""
        client = self.stack.enter_context(socket.socket(listener.family))
        name = listener.getsockname()
        client.connect(name if host is None else (host, name[1]))
        with listener.accept()[0] as accepted:
            self.holds(accepted)
        return client

    def rescued(self, listeners):
        found = rescue(-1, 0, None, lambda: listeners)
        for _, one in found:
            self.stack.enter_context(one)
        return found


def tcp_listener(host, family):
    both = family == socket.AF_INET6
    return socket.create_server((host, 0), family=family, dualstack_ipv6=both)


def unix_listener(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


@pytest.fixture
def dead(monkeypatch):
    with ExitStack() as stack:
        made = Dead(monkeypatch, stack)
        yield made
        for number in made.table.values():
            os.close(number)


def speaks(client, server):
    client.sendall(b"x")
    return server.recv(1) == b"x"


def test_nothing_is_looked_for_if_nobody_was_accepting(dead):
    listener = dead.listener()
    dead.accepts(listener)
    assert dead.rescued({0: listener}) == []
    assert dead.asked == []


def test_a_session_of_the_listener_is_found_among_all_else(dead):
    listener, other = dead.listener(), dead.listener()
    dead.accepting = (3,)
    dead.holds(listener)
    dead.accepts(other)
    dead.holds(dead.stack.enter_context(socket.create_connection(other.getsockname())))
    dead.holds(dead.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
    dead.holds(dead.stack.enter_context(socket.socket(socket.AF_UNIX)))
    dead.holds(dead.stack.enter_context(os.fdopen(os.dup(0), "rb")))
    client = dead.accepts(listener)
    ((number, session),) = dead.rescued({2: other, 3: listener})
    assert number == 3
    assert speaks(client, session)


def test_what_is_not_a_session_is_closed_again(dead):
    listener, other = dead.listener(), dead.listener()
    dead.accepting = (3,)
    client = dead.accepts(other)
    assert dead.rescued({3: listener}) == []
    os.close(dead.table.pop(max(dead.table)))
    assert client.recv(1) == b"", "somebody still holds it"


def test_one_of_each_listener_where_two_were_accepting(dead):
    one, two = dead.listener(), dead.listener()
    dead.accepting = (0, 1)
    dead.accepts(two)
    dead.accepts(one)
    assert [number for number, _ in dead.rescued({0: one, 1: two})] == [1, 0]


@pytest.mark.parametrize(
    ("bound", "family", "connects"),
    [
        ("0.0.0.0", socket.AF_INET, "127.0.0.2"),
        ("::", socket.AF_INET6, "::1"),
        ("::", socket.AF_INET6, "::ffff:127.0.0.1"),
    ],
)
def test_a_listener_for_every_address(dead, bound, family, connects):
    listener = dead.listener(bound, family)
    dead.accepting = (7,)
    dead.accepts(listener, connects)
    assert [number for number, _ in dead.rescued({7: listener})] == [7]


def test_a_session_over_a_unix_socket(dead, tmp_path):
    listener = dead.listener(str(tmp_path / "s"), socket.AF_UNIX)
    dead.accepting = (1,)
    dead.holds(dead.stack.enter_context(socket.socket(socket.AF_UNIX)))
    client = dead.accepts(listener)
    ((_, session),) = dead.rescued({1: listener})
    assert speaks(client, session)
