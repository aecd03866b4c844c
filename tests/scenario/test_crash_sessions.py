"""The worker is killed; what its sessions see of it is nothing."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.support.crash import ends_cleanly, fills, is_connecting, reads_stream, talks, text
from tests.support.peers import Peer, connected
from tests.support.program import Service
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS], ids=lambda n: n.name
)
def test_session_goes_on_when_the_worker_dies(lb, victim, number):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pid = lb.pid
    pairs = [lb.session(server) for _ in range(3)]
    victim.crash(number)
    for pair in pairs:
        talks(*pair)
    talks(*lb.session(server))
    assert lb.pid == pid
    for pair in pairs:
        ends_cleanly(*pair)
    lb.logs(rf"signal {int(number)}\b.*took over 3 sessions")
    assert [line.state for line in lb.sessions(3)] == ["--"] * 3
    lb.stops()


def test_session_goes_on_when_the_worker_is_stopped_and_killed(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pair = lb.session(server)
    victim.freeze_and_kill()
    victim.settles()
    talks(*pair)
    lb.stops()


def test_clients_that_wait_in_the_backlog_are_served(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    victim.freeze()
    clients = [lb.connects().sends(b"?") for _ in range(30)]
    victim.crash()
    for client in clients:
        client.sends(b"!")
    ends = [server.accepts() for _ in clients]
    for end in ends:
        end.reads(b"?!").sends(b"yes")
    for client in clients:
        client.reads(b"yes")
    lb.stops()


def test_bytes_in_pipes_are_delivered_once(lb, victim):
    server = lb.server(receive_buffer=4096)
    lb.start(text(lb, f"server a {server}"))
    client = lb.connects(receive_buffer=4096)
    client.sends(b"?")
    end = server.accepts().reads(b"?")
    sent = fills(client, 1), fills(end, 2)  # both directions are full, pipes included
    begun = [count // 3 for count in sent]
    victim.crash()
    victim.crash()
    reads_stream(end, 1, 0, begun[0])
    reads_stream(client, 2, 0, begun[1])
    victim.crash()
    reads_stream(end, 1, begun[0], sent[0])
    reads_stream(client, 2, begun[1], sent[1])
    client.sees_nothing()
    ends_cleanly(client, end)
    (line,) = lb.sessions()
    assert line.bytes == sent[1] + len(b"last")
    lb.stops()


def test_client_that_sent_its_end_still_gets_the_answer(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    client, end = lb.session(server)
    client.sends(b"ask").shuts_output()
    end.reads(b"ask").reads_end()
    victim.crash()
    end.sends(b"half")
    client.reads(b"half")
    victim.crash()
    end.sends(b"rest").closes()
    client.reads(b"rest").reads_end().closes()
    assert lb.sessions()[0].state == "--"
    lb.stops()


def test_server_that_sent_its_end_still_hears_the_client(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    client, end = lb.session(server)
    end.sends(b"all").shuts_output()
    client.reads(b"all").reads_end()
    victim.crash()
    client.sends(b"more")
    end.reads(b"more")
    victim.crash()
    client.sends(b"rest").closes()
    end.reads(b"rest").reads_end().closes()
    assert lb.sessions()[0].state == "--"
    lb.stops()


def test_ends_that_came_while_nobody_was_there_are_passed_on(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    shut, broken, left = (lb.session(server) for _ in range(3))
    victim.freeze()
    shut[0].sends(b"last words").shuts_output()
    broken[0].sends(b"!").resets()
    left[1].sends(b"bye").resets()
    victim.crash()
    shut[1].reads(b"last words").reads_end().sends(b"too").closes()
    shut[0].reads(b"too").reads_end()
    assert broken[1].reads_until_reset() in (b"", b"!")
    assert left[0].reads_until_reset() in (b"", b"bye")
    lb.stops()


@pytest.mark.parametrize("crashes", [0, 1, 2])
def test_reset_is_a_reset_after_an_adoption(lb, victim, crashes):
    """A copy of a socket that somebody still held would turn it into nothing at all."""
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pairs = [lb.session(server) for _ in range(2)]
    for _ in range(crashes):
        victim.crash()
    pairs[0][0].resets()
    pairs[0][1].reads_reset()
    pairs[1][1].resets()
    pairs[1][0].reads_reset()
    lb.sessions(2)
    lb.stops()


def test_hundreds_of_idle_sessions_stay(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pairs = [lb.session(server) for _ in range(400)]
    for _ in range(3):
        victim.crash()
    lb.logs(r"took over 400 sessions", 3)
    for client, end in pairs:
        client.sends(b"x")
        end.reads(b"x").sends(b"y")
        client.reads(b"y")
    lb.stops()


def test_session_that_was_connecting_is_connected(lb, victim):
    """Its server answers only after the crash; a full backlog drops what comes until then."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        knocks = [socket.socket() for _ in range(2)]
        for knock in knocks:
            knock.setblocking(False)
            knock.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        lb.start(text(lb, f"server a 127.0.0.1:{port}", defaults="timeout connect 20s"))
        client = lb.connects().sends(b"hello")
        wait_until(lambda: is_connecting(lb), "the worker tries to connect")
        victim.crash()
        lb.logs(r"took over 1 session ")
        listener.settimeout(20)
        for knock in knocks:
            listener.accept()[0].close()
            knock.close()
        end = Peer(listener.accept()[0])
        end.reads(b"hello").sends(b"there")
        client.reads(b"there")
        end.closes()
        client.reads_end().closes()
        assert lb.sessions()[0].retries == "0"
    lb.stops()


def test_session_that_was_connecting_goes_to_another_server(lb, victim):
    server = lb.server()
    silent = lb.silent_server()
    lb.start(
        text(
            lb,
            "balance first",
            "option redispatch 1",
            "retries 3",
            f"server dumb {silent}",
            f"server a {server}",
            defaults="timeout connect 1s",
        )
    )
    client = lb.connects().sends(b"hello")
    wait_until(lambda: is_connecting(lb), "the worker tries to connect")
    begun = time.monotonic()
    victim.crash()
    end = server.accepts().reads(b"hello").sends(b"there")
    client.reads(b"there")
    assert time.monotonic() - begun < 3.5, "the attempt's timeout began anew"
    end.closes()
    client.reads_end().closes()
    (line,) = lb.sessions()
    assert (line.server, line.retries) == ("a", "+1")
    lb.stops()


def test_session_over_unix_sockets_goes_on(lb, victim, tmp_path):
    backend = str(tmp_path / "backend")
    front = str(tmp_path / "front")
    server = Service(family=socket.AF_UNIX, path=backend)
    lb.stack.callback(server.close)
    lb.start(text(lb, f"bind unix@{front}", f"server a unix@{backend}"))
    client = connected(front)
    lb.stack.callback(client.closes)
    client.sends(b"?")
    end = server.accepts().reads(b"?")
    victim.crash()
    talks(client, end)
    newcomer = connected(front)
    lb.stack.callback(newcomer.closes)
    newcomer.sends(b"!")
    server.accepts().reads(b"!")
    lb.stops()


def test_log_line_tells_of_the_whole_session(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    for peer in lb.session(server):
        peer.closes()
    (usual,) = lb.sessions()
    begun = time.monotonic()
    client, end = lb.session(server)
    end.sends(b"12345")
    client.reads(b"12345")
    port = client.socket.getsockname()[1]
    victim.crash()
    end.sends(b"678").closes()
    client.reads(b"678").reads_end().closes()
    line = lb.sessions(2)[1]
    lasted_ms = 1000 * (time.monotonic() - begun)
    assert line.client == f"127.0.0.1:{port}"
    assert (line.server, line.state, line.bytes) == ("a", "--", 8)
    assert lasted_ms - 1000 <= line.tt <= lasted_ms + 50
    assert line.counts == usual.counts
    lb.stops()


def test_unread_bytes_of_a_client_that_reset_do_not_end_others(lb, victim):
    """Sessions that end while nobody is there and those that go on share a batch."""
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pairs = [lb.session(server) for _ in range(20)]
    victim.freeze()
    for client, _ in pairs[::2]:
        client.sends(b"lost").resets()
    victim.crash()
    for client, end in pairs[1::2]:
        talks(client, end)
    for _, end in pairs[::2]:
        end.reads_until_reset()
    lb.logs(r" l/a ", 10)
    lb.stops()
