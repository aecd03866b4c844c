"""What the tests of crashes share: a configuration, and sessions that show they are whole."""

from __future__ import annotations

import re

import psutil

from tests.support.peers import Peer
from tests.support.program import Program
from tests.support.torture import pattern
from tests.support.waiting import SOON_S

FULL_S = 0.2
"""Nobody takes a byte for so long: everything between the two ends is full."""


def text(lb: Program, *lines: str, globals_: str = "", defaults: str = "") -> str:
    """A `listen l` with these lines at the port `front`."""
    body = "\n ".join(lines)
    return f"""\
global
 nbthread 2
 {globals_}
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 timeout connect 5s
 timeout client 1m
 timeout server 1m
 {defaults}
listen l
 bind 127.0.0.1:{lb.port()}
 {body}
"""


def talks(client: Peer, server: Peer) -> None:
    """Both ways, as if nothing had been."""
    client.sends(b"ask")
    server.reads(b"ask").sends(b"answer")
    client.reads(b"answer")


def ends_cleanly(client: Peer, server: Peer) -> None:
    client.shuts_output()
    server.reads_end().sends(b"last").closes()
    client.reads(b"last").reads_end().closes()


def fills(peer: Peer, stream: int) -> int:
    """Send that stream of tests.support.torture.pattern until nobody takes more; how much
    was taken."""
    sent = 0
    peer.socket.settimeout(FULL_S)
    try:
        while True:
            sent += peer.socket.send(pattern.piece(stream, sent, 1 << 16))
    except TimeoutError:
        peer.socket.settimeout(SOON_S)
        return sent


def reads_stream(peer: Peer, stream: int, begin: int, end: int) -> None:
    """What the stream says from `begin` to `end` comes next."""
    for at in range(begin, end, pattern.LONGEST):
        piece = peer.reads_count(min(pattern.LONGEST, end - at))
        wrong = pattern.difference(stream, at, piece)
        assert wrong is None, wrong


def says(lb: Program, sought: str) -> int:
    """How many lines of the log say that by now."""
    return sum(bool(re.search(sought, line.text)) for line in lb.log.lines)


def is_connecting(lb: Program) -> bool:
    """Has the worker a socket that waits for the answer to its connect?"""
    return any(
        each.status == psutil.CONN_SYN_SENT
        for each in psutil.Process(lb.worker_pid).net_connections("tcp")
    )


def told(lb: Program, word: str) -> set[str]:
    """The clients of the sessions whose lines have this."""
    return {line.text.split()[0] for line in list(lb.log.lines) if word in line.text}
