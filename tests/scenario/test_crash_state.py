"""The worker is killed; what it knew is known to its successor: which servers are up, how
long sessions have been silent, who was to be killed, what was counted."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from tests.support.crash import is_connecting, says, talks, text, told
from tests.support.peers import Peer
from tests.support.program import Program, Service
from tests.support.waiting import holds_for, wait_until

CHECK = "check inter 100ms fall 2 rise 2 on-marked-down shutdown-sessions"


def passes(seconds: float) -> None:
    """So much time goes by."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, "the clock goes on", seconds + 1)


def is_served_by(lb: Program, server: Service, times: int = 6) -> None:
    for _ in range(times):
        lb.session(server)


# ---- servers ----


def test_server_that_is_down_stays_down(lb, victim):
    a, b = lb.server(), lb.server()
    slow = CHECK.replace("rise 2", "rise 40")
    lb.start(text(lb, f"server a {a} {slow}", f"server b {b} {CHECK}"))
    a.dies()
    lb.logs("Server l/a is DOWN")
    for _ in range(3):
        victim.crash()
        is_served_by(lb, b)
    assert says(lb, "Server l/a is (UP|DOWN)") == 1
    a.sessions.accepts_nobody()
    lb.stops()


def test_server_comes_up_by_the_checks_of_a_successor(lb, victim):
    a, b = lb.server(), lb.server()
    lb.start(text(lb, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    a.dies()
    lb.logs("Server l/a is DOWN")
    victim.crash()
    a.returns()
    lb.logs("Server l/a is UP")
    lb.session(a)
    lb.session(b)
    lb.stops()


def test_server_that_dies_after_a_crash_loses_the_sessions_of_before(lb, victim):
    a, b = lb.server(), lb.server()
    lb.start(text(lb, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    doomed, spared = lb.session(a), lb.session(b)
    victim.crash()
    a.dies()
    for peer in doomed:
        peer.reads_reset()
    lb.logs("Server l/a is DOWN, .* 1 sessions active")
    talks(*spared)
    assert lb.sessions()[0].state == "DD"
    lb.stops()


def test_server_that_dies_while_nobody_is_there_is_noticed(lb, victim):
    a, b = lb.server(), lb.server()
    lb.start(text(lb, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    doomed, spared = lb.session(a), lb.session(b)
    victim.freeze()
    a.dies()
    victim.crash()
    for peer in doomed:
        peer.reads_reset()
    talks(*spared)
    lb.stops()


def test_crashes_do_not_put_checks_off(lb, victim):
    """A crash comes more often than a check is due."""
    a, b = lb.server(), lb.server()
    check = "check inter 800ms fall 2 rise 2 on-marked-down shutdown-sessions"
    lb.start(text(lb, f"server a {a} {check}", f"server b {b} {check}"))
    doomed = lb.session(a)
    a.dies()
    deadline = time.monotonic() + 60
    while not says(lb, "Server l/a is DOWN"):
        assert time.monotonic() < deadline, "the checks never came to it"
        os.kill(lb.worker_pid, signal.SIGHUP)  # it may die before it has said so by itself
        passes(0.2)
        victim.crash()
    for peer in doomed:
        peer.reads_reset()
    lb.stops()


def test_crashes_do_not_put_the_first_check_off(lb, victim):
    """It is due 1.5 s after the start, and no worker lives that long."""
    a, b = lb.server(), lb.server()
    check = "check inter 3s fall 1 rise 1"
    b.dies()
    lb.start(text(lb, f"server a {a} {check}", f"server b {b} {check}"))
    deadline = time.monotonic() + 60
    while not says(lb, "Server l/b is DOWN"):
        assert time.monotonic() < deadline, "the check never came"
        os.kill(lb.worker_pid, signal.SIGHUP)  # it may die before it has said so by itself
        passes(0.2)
        victim.crash()
    lb.stops()


def test_server_in_maintenance_stays_there(lb, victim):
    a, b = lb.server(), lb.server()
    lb.start(text(lb, f"server a {a} {CHECK} disabled", f"server b {b} {CHECK}"))
    is_served_by(lb, b)
    victim.crash()
    is_served_by(lb, b)
    a.sessions.accepts_nobody()
    assert says(lb, "Server l/a is UP") == 0
    lb.stops()


def test_turn_of_the_servers_goes_on(lb, victim):
    """Round robin is not begun anew: over six sessions each server has two."""
    servers = [lb.server() for _ in range(3)]
    lb.start(text(lb, *(f"server s{n} {each}" for n, each in enumerate(servers))))
    for server in servers:
        lb.session(server)
        victim.crash()
    for server in servers:
        lb.session(server)
    lb.stops()


# ---- orders ----


def test_kill_order_is_carried_out_by_the_successor(lb, victim):
    """The worker dies in the middle of the kill of many sessions; not one of them lives."""
    a, b = lb.server(backlog=4096), lb.server()
    lb.start(text(lb, f"server a {a} {CHECK}", f"server b {b} backup", globals_="maxconn 4000"))
    pairs = [lb.session(a) for _ in range(1500)]
    a.dies()
    pairs[0][0].reads_reset()
    victim.crash()
    for client, end in pairs[1:]:
        client.reads_reset()
        end.reads_reset()
    pairs[0][1].reads_reset()
    wait_until(lambda: len(told(lb, " DD ")) == len(pairs), "each session has its line", 20)
    lb.session(b)
    lb.stops()
    assert len(told(lb, " DD ")) == len(pairs)
    assert says(lb, " DD ") <= len(pairs) + 1  # the one that the worker died over


def test_kill_order_holds_at_whatever_moment_the_worker_dies(lb, victim):
    """Between the check that fails and the end of the last session: several times."""
    a, b = lb.server(), lb.server()
    check = "check inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions"
    lb.start(text(lb, f"server a {a} {check}", f"server b {b} backup"))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for turn in range(1, 9):
        pairs = [lb.session(a) for _ in range(40)]
        a.dies()
        timer = threading.Timer(rng.uniform(0.0, 0.12), victim.kill, [signal.SIGKILL])
        timer.start()
        for client, end in pairs:
            client.reads_reset()
            end.reads_reset()
        timer.join()
        victim.settles()
        a.returns()
        wait_until(lambda turn=turn: says(lb, "Server l/a is UP") >= turn, "the server is back")
    lb.stops()


# ---- time ----


def test_timeout_of_a_silent_client_does_not_begin_anew(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}", defaults="timeout client 3s"))
    client, end = lb.session(server)
    since = time.monotonic()
    passes(1.5)
    victim.crash()
    end.reads_end()
    assert 2.0 <= time.monotonic() - since <= 4.0
    end.closes()
    client.reads_end()
    (line,) = lb.sessions()
    assert line.state == "cD"
    assert 2000 <= line.tt <= 4000
    lb.stops()


def test_timeout_comes_though_the_worker_dies_all_the_time(lb, victim):
    server = lb.server()
    timeouts = "timeout client 3s\n timeout server 3s"
    lb.start(text(lb, f"server a {server}", defaults=timeouts))
    lb.session(server)
    since = time.monotonic()
    # The first kill may fall between what a byte did for one side and for the other.
    while not says(lb, " cD ") and not says(lb, " sD "):
        assert time.monotonic() < since + 5, f"the timeout never came: {lb.log.lines[-8:]}"
        victim.crash()
    assert time.monotonic() - since >= 2
    lb.stops()


def test_timeout_that_ran_out_while_nobody_was_there_comes_at_once(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}", defaults="timeout client 2s"))
    client, end = lb.session(server)
    victim.freeze()
    passes(2.5)
    victim.crash()
    end.reads_end().closes()
    client.reads_end()
    assert lb.sessions()[0].state == "cD"
    lb.stops()


def test_session_that_is_not_silent_does_not_time_out_early(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}", defaults="timeout client 2s\n timeout server 2s"))
    pair = lb.session(server)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        talks(*pair)
        victim.crash()
    talks(*pair)
    lb.stops()


def test_age_of_a_connecting_attempt_counts(lb, victim):
    """The server is silent; the attempt ends when it would have ended."""
    lb.start(text(lb, "retries 0", f"server a {lb.silent_server()}", defaults="timeout connect 3s"))
    client = lb.connects()
    wait_until(lambda: is_connecting(lb), "the worker tries to connect")
    since = time.monotonic()
    passes(1.5)
    victim.crash()
    client.reads_end()
    assert 2.0 <= time.monotonic() - since <= 4.0
    assert lb.sessions()[0].state == "sC"
    lb.stops()


# ---- counters ----


def test_every_session_is_counted_and_logged_once(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    count, open_ = 0, []
    for _ in range(12):
        for _ in range(rng.randrange(1, 30)):
            open_.append(lb.session(server))
            count += 1
        rng.shuffle(open_)
        for client, end in open_[len(open_) // 2 :]:
            ending(rng, client, end)
        del open_[len(open_) // 2 :]
        victim.crash()
    for client, end in open_:
        ending(rng, client, end)
    wait_until(lambda: says(lb, r" l/a \d") >= count - 2, f"{count} lines")
    victim.settles()
    lb.signals(signal.SIGUSR1)
    lb.ends()
    lb.logs(rf"Proxy l stopped \(cumulated conns: FE: {count}, BE: {count}\)")
    lb.says_no_more(r" l/a \d", count)


def ending(rng: random.Random, client: Peer, end: Peer) -> None:
    if rng.random() < 0.3:
        client.resets()
        end.reads_reset()
    else:
        client.closes()
        end.reads_end().closes()


def test_limit_of_sessions_still_holds(lb, victim):
    """maxconn counts the sessions that were adopted, and their ends make room."""
    server = lb.server()
    lb.start(text(lb, f"server a {server}", globals_="maxconn 5"))
    pairs = [lb.session(server) for _ in range(5)]
    victim.crash()
    late = lb.connects().sends(b"?")
    server.sessions.accepts_nobody(0.3)
    client, end = pairs.pop()
    client.closes()
    end.reads_end().closes()
    server.accepts().reads(b"?").sends(b"yes")
    late.reads(b"yes")
    lb.stops()


# ---- a stop ----


@pytest.mark.parametrize("delay_ms", [0, 5, 20, 60])
def test_soft_stop_survives_a_crash(lb, victim, delay_ms):
    """It goes on to wait for the last session, and accepts nobody."""
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    client, end = lb.session(server)
    lb.signals(signal.SIGUSR1)
    passes(delay_ms / 1000)
    victim.kill(signal.SIGKILL)
    talks(client, end)
    lb.logs("Proxy l stopped")
    wait_until(lambda: refuses(lb), "it accepts nobody")
    victim.settles()
    talks(client, end)
    holds_for(lambda: lb.process.poll() is None, "it waits for the last session", 0.3)
    client.closes()
    end.reads_end().closes()
    lb.ends()


def refuses(lb: Program) -> bool:
    try:
        peer = lb.connects()
    except ConnectionRefusedError:
        return True
    peer.resets()
    return False
