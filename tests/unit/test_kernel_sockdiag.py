"""Timers of TCP sockets as `netstat -o` shows them, from the kernel itself."""

import socket

import pytest

from lbsplice.kernel.sockdiag import SocketWatch, timer_text


@pytest.mark.parametrize(
    ("timer", "expires_ms", "retransmits", "probes", "text"),
    [
        ("keepalive", 7_199_900, 0, 0, "keepalive (7199.90/0/0)"),
        ("on", 204, 3, 0, "on (0.20/3/0)"),
        ("probe", 1500, 0, 4, "probe (1.50/0/4)"),
        ("off", 0, 0, 0, "off (0.00/0/0)"),
    ],
)
def test_a_timer_is_written_as_netstat_writes_it(timer, expires_ms, retransmits, probes, text):
    assert timer_text(timer, expires_ms, retransmits, probes) == text


def test_the_keepalive_timer_of_a_real_socket_is_seen():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        SocketWatch() as watch,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        mine = [seen for seen in watch.established() if seen.local == client.getsockname()]
        (seen,) = mine
        assert seen.peer == listener.getsockname()
        assert seen.state == "ESTABLISHED"
        assert seen.timer == "keepalive"
        assert 50_000 < seen.expires_ms <= 60_000
        (other,) = (seen for seen in watch.established() if seen.peer == client.getsockname())
        assert other.timer_text() == "off (0.00/0/0)"
