"""Several worker threads do as one does."""

from __future__ import annotations

import re
import select

import pytest

from tests.support.peers import Peer
from tests.support.program import Program, relay_threads
from tests.support.waiting import SOON_S, wait_until

ROUNDS = 20


def text(lb: Program, threads: int, *servers: str, balance: str = "roundrobin") -> str:
    return f"""\
global
 nbthread {threads}
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 timeout connect 2s
 timeout client 30s
 timeout server 30s
listen l
 bind 127.0.0.1:{lb.port()}
 balance {balance}
 """ + "\n ".join(servers)


def relay_ticks(pid: int) -> list[int]:
    """How often each relay thread was given a processor."""
    switches = []
    for thread in relay_threads(pid):
        found = re.search(
            r"^voluntary_ctxt_switches:\s+(\d+)", (thread / "status").read_text(), re.M
        )
        assert found is not None
        switches.append(int(found[1]))
    return switches


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_round_robin_is_exact_over_all_threads(lb, threads):
    servers = [lb.server() for _ in range(3)]
    lines = (f"server s{n} {each}" for n, each in enumerate(servers))
    lb.start(text(lb, threads, *lines) + "\n")
    for _ in range(ROUNDS):
        for server in servers:
            client, end = lb.session(server)
            client.sends(b"ask")
            end.reads(b"ask").sends(b"answer")
            client.reads(b"answer")
    lb.stops()
    lb.says_no_more(" KC ", ROUNDS * 3)


@pytest.mark.parametrize("threads", [2, 4])
def test_each_thread_gets_sessions(lb, threads):
    server = lb.server()
    lb.start(text(lb, threads, f"server a {server}") + "\n")
    wait_until(lambda: len(relay_ticks(lb.pid)) == threads, f"{threads} relay threads")
    before = min(relay_ticks(lb.pid))

    def used() -> bool:
        """Sessions come until every thread has woken for some."""
        for _ in range(20):
            lb.connects()
        for peer in server.sessions.accepts_waiting():
            peer.sends(b"x").closes()
        return min(relay_ticks(lb.pid)) > before + 5

    wait_until(used, "sessions on every thread")
    lb.stops()


@pytest.mark.parametrize("threads", [2, 4])
def test_least_connections_counts_those_of_all_threads(lb, threads):
    servers = [lb.server() for _ in range(3)]
    lines = (f"server s{n} {each}" for n, each in enumerate(servers))
    lb.start(text(lb, threads, *lines, balance="leastconn") + "\n")
    sessions: list[list[tuple[Peer, Peer]]] = [[], [], []]

    def connect() -> None:
        client = lb.connects().sends(b"?")
        everyone = {each.sessions.socket: number for number, each in enumerate(servers)}
        (ready, *_), _, _ = select.select(everyone, [], [], SOON_S)
        number = everyone[ready]
        sessions[number].append((client, servers[number].accepts().reads(b"?")))

    for _ in range(30):
        connect()
    assert [len(each) for each in sessions] == [10, 10, 10]
    for client, end in sessions[1]:
        client.closes()
        end.reads_end().closes()
    sessions[1].clear()
    lb.logs(" l/s1 ", 10)
    for _ in range(10):
        connect()
    assert [len(each) for each in sessions] == [10, 10, 10]
    lb.stops()


@pytest.mark.parametrize("threads", [1, 4])
def test_mark_down_ends_the_sessions_of_every_thread(lb, threads):
    a, b = lb.server(), lb.server()
    check = "check inter 50ms fall 1 on-marked-down shutdown-sessions"
    lb.start(text(lb, threads, f"server a {a} {check}", f"server b {b} {check}") + "\n")
    doomed, spared = [], []
    for _ in range(60):
        doomed.append(lb.session(a))
        spared.append(lb.session(b))
    a.dies()
    for client, end in doomed:
        client.reads_reset()
        end.reads_reset()
    lb.logs("Server l/a is DOWN, .* 60 sessions active")
    for client, end in spared:
        client.sends(b"x")
        end.reads(b"x")
    lb.logs(" DD ", 60)
    lb.stops()
    lb.says_no_more(" DD ", 60)
    lb.says_no_more(" KC ", 60)
