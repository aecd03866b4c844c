"""What cuts a read short besides an empty socket, and who is late when a timeout fires."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

from lbsplice.terms import Cause, Phase
from tests.support.dataplane import Make, Rig, held, lib
from tests.support.peers import Listener, ip_address
from tests.support.waiting import wait_until

# ---- reads that stop early ----


def test_urgent_byte_is_dropped_and_what_follows_is_delivered(lb: Rig) -> None:
    """Every splice stops at an urgent byte. HAProxy, which reads, loses just that byte."""
    client, server = lb.session()
    client.sends(b"before")
    server.reads(b"before")
    client.socket.send(b"!", socket.MSG_OOB)
    client.sends(b"after")
    server.reads(b"after").sends(b"answer")
    client.reads(b"answer")
    server.socket.send(b"!", socket.MSG_OOB)
    server.sends(b"more")
    client.reads(b"more")


def test_urgent_byte_alone_does_not_hide_the_end(lb: Rig) -> None:
    client, server = lb.session()
    client.socket.send(b"!", socket.MSG_OOB)
    client.shuts_output()
    server.reads_end().sends(b"answer").closes()
    client.reads(b"answer").reads_end()
    assert lb.last_session().letters == "--"


def test_bytes_between_an_urgent_one_and_the_end_are_not_lost(rig: Make) -> None:
    """At the mark a splice answers 0 once the FIN is there, which is not the end."""
    lb = rig()
    client = lb.connects()
    client.sends(b"before").socket.send(b"!", socket.MSG_OOB)
    client.sends(b"after").shuts_output()
    lb.accepts().reads(b"beforeafter").reads_end()


def test_unix_server_that_sends_descriptors_loses_no_bytes(rig: Make, tmp_path: Path) -> None:
    """A read from a unix socket stops behind a message with descriptors (unix(7)), however
    much is queued after it."""
    lb = rig([Listener(socket.AF_UNIX, str(tmp_path / "server"))])
    client, server = lb.session(receive_buffer=8192)
    relay = lb.records()[0].relays[lib.LBS_SERVER]
    sent = 0
    while not held(relay):
        server.sends(bytes(4096))
        sent += 4096
    # The worker reads no more until the client does. What is sent now lies ready together.
    reading, writing = os.pipe()
    try:
        for _ in range(20):
            socket.send_fds(server.socket, [b"abc"], [reading])
            server.sends(b"def")
    finally:
        os.close(reading)
        os.close(writing)
    server.shuts_output()
    assert client.reads_count(sent) == bytes(sent)
    client.reads(b"abcdef" * 20).reads_end()


# ---- who is late ----


def test_client_that_waits_for_a_slow_server_does_not_time_out(rig: Make) -> None:
    """The client's timeout is shorter, but what it said waits for the server: that one is
    late. HAProxy 2.6: nothing at 300 ms, sD and a reset at 1 s."""
    lb = rig(
        [Listener(receive_buffer=8192)],
        frontend={"timeout_client": 300},
        backend={"timeout_server": 1000},
    )
    client, server = lb.session()
    client.sends_what_fits(quiet_s=0.05)
    ended = lb.last_session()
    assert (ended.cause, ended.phase) == (Cause.SERVER_TIMEOUT, Phase.DATA)
    assert ended.record.total_ms >= 1000
    server.reads_until_reset()
    client.reads_reset()


def test_slow_server_that_reads_at_last_gets_every_byte(rig: Make) -> None:
    lb = rig(
        [Listener(receive_buffer=8192)],
        frontend={"timeout_client": 300},
        backend={"timeout_server": 5000},
    )
    client, server = lb.session()
    sent = client.sends_what_fits(quiet_s=0.6)
    assert lb.live() == 1, "ended while the client waited for the server"
    assert server.reads_count(sent) == bytes(sent)
    # From here on the client is late, and the end is a clean one: nothing is lost.
    server.reads_end()


def test_client_that_waits_for_a_pipe_does_not_time_out(rig: Make) -> None:
    """One pipe, and another session holds it. The client's bytes wait unread: a timeout
    would tell the server a clean end in their place."""
    lb = rig([Listener(receive_buffer=8192)], max_pipes=1, frontend={"timeout_client": 300})
    holder, slow = lb.session()
    sent = holder.sends_what_fits(quiet_s=0.05)
    wait_until(lambda: held(lb.records()[0].relays[lib.LBS_CLIENT]), "the pipe is held")
    client, server = lb.session()
    client.sends(b"waits")
    server.sees_nothing(for_s=0.7)
    slow.reads_count(sent)
    server.reads(b"waits").sends(b"answer")
    client.reads(b"answer")


# ---- the rest ----


def test_source_port_of_a_long_session_is_passed_over(rig: Make) -> None:
    """Binding to it succeeds (both may share it), connecting to the same server does not."""
    first = 23100
    lb = rig(
        slot={
            "source": ip_address("127.0.0.1", 0),
            "source_port_low": first,
            "source_port_high": first + 3,
        }
    )
    _, long_server = lb.session()
    taken = long_server.socket.getpeername()[1]
    for _ in range(8):
        client, server = lb.session()
        port = server.socket.getpeername()[1]
        assert first <= port <= first + 3
        assert port != taken
        server.resets()
        client.reads_reset()
        wait_until(lambda: lb.live() == 1, "the short session ended")


def test_listener_that_was_shut_down_by_another_is_not_asked_without_end(lb: Rig) -> None:
    """An inherited socket is shared: whoever gave it may shut it down."""
    lb.listening.shutdown(socket.SHUT_RD)
    before = lb.counters.workers().batches
    select.select([], [], [], 0.35)
    assert lb.counters.workers().batches - before < 20


def test_sessions_left_at_the_end_are_reset() -> None:
    """When the control plane gives up: what was under way must not look finished."""
    lb = Rig()
    client, server = lb.session()
    lb.workers.close()
    client.reads_reset()
    server.reads_reset()
    for peer in (client, server, lb.servers[0]):
        peer.closes()
    lb.listening.close()
