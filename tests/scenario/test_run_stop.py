"""The end of the program: softly, with checks and mark-downs alive until the last session
has ended, or at once; one log line for every session either way."""

from __future__ import annotations

import signal

import pytest

from tests.support.program import Program, SessionLine, listening, tries
from tests.support.waiting import wait_until

ACTION = "check inter 50ms fall 2 on-marked-down shutdown-sessions"


def text(lb: Program, *servers: str, globals_: str = "description stop") -> str:
    lines = "\n ".join(servers)
    return f"""\
global
 nbthread 2
 {globals_}
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
 {lines}
"""


def stops_softly(lb: Program) -> None:
    lb.signals(signal.SIGUSR1)
    wait_until(lambda: ("127.0.0.1", lb.port()) not in listening(), "it listens no more")


def test_server_that_dies_during_a_soft_stop_loses_its_sessions(lb):
    a, b = lb.server(), lb.server()
    lb.start(text(lb, f"server a {a} {ACTION}", f"server b {b} {ACTION}"))
    doomed, spared = lb.session(a), lb.session(b)
    stops_softly(lb)
    lb.logs(r"Proxy l stopped \(cumulated conns: FE: 2, BE: 2\)\.")
    a.dies()
    doomed[0].reads_reset()
    doomed[1].reads_reset()
    lb.logs("Server l/a is DOWN, .* 1 sessions active")
    (line,) = lb.sessions()
    assert (line.server, line.state) == ("a", "DD")
    spared[0].sends(b"still there")
    spared[1].reads(b"still there").sends(b"yes").closes()
    assert lb.process.poll() is None
    spared[0].reads(b"yes").reads_end().closes()
    lb.ends()
    assert [line.state for line in lb.sessions(2)] == ["DD", "--"]


def test_server_may_fail_and_return_during_a_soft_stop(lb):
    a = lb.server()
    lb.start(text(lb, f"server a {a} check inter 50ms fall 1 rise 1"))
    client, end = lb.session(a)
    stops_softly(lb)
    a.dies()
    lb.logs("Server l/a is DOWN")
    a.returns()
    lb.logs("Server l/a is UP")
    client.sends(b"x")
    end.reads(b"x").closes()
    client.reads_end().closes()
    lb.ends()
    assert lb.sessions()[0].state == "--"


def test_soft_stop_without_sessions_ends_at_once(lb):
    a = lb.server()
    lb.start(text(lb, f"server a {a} {ACTION}"))
    client, end = lb.session(a)
    client.closes()
    end.reads_end().closes()
    lb.sessions()
    lb.signals(signal.SIGUSR1).ends()
    lb.says_no_more(r"Proxy l stopped \(cumulated conns: FE: 1, BE: 1\)\.", 1)


def test_idle_timeouts_hold_during_a_soft_stop(lb):
    a = lb.server()
    lb.start(text(lb, "timeout tunnel 300ms", f"server a {a}"))
    client, end = lb.session(a)
    stops_softly(lb)
    client.reads_end()
    end.reads_end()
    lb.ends()
    assert lb.sessions()[0].state == "cD"


def test_session_that_is_connecting_is_served_during_a_soft_stop(lb):
    a, health = lb.server(), lb.server()
    address = lb.silent_server()
    silent = f"server silent {address} {str(health).split(' ', 1)[1]}"
    lb.start(
        text(lb, "timeout connect 20s", "balance first", f"{silent} {ACTION}", f"server a {a}")
    )
    before = tries(address)  # what keeps it silent
    client = lb.connects().sends(b"hello")
    wait_until(lambda: tries(address) > before, "an attempt to the silent server")
    stops_softly(lb)
    health.dies()
    a.accepts().reads(b"hello").closes()
    client.reads_end().closes()
    lb.ends()
    (line,) = lb.sessions()
    assert (line.server, line.state, line.retries) == ("a", "--", "+1")


def test_hard_stop_after_ends_what_is_left_with_a_line_each(lb):
    a = lb.server()
    lb.start(text(lb, f"server a {a}", globals_="hard-stop-after 1s"))
    sessions = [lb.session(a) for _ in range(5)]
    sessions[0][0].shuts_output()
    stops_softly(lb)
    sessions[1][0].sends(b"until then all is well")
    sessions[1][1].reads(b"until then all is well")
    for client, end in sessions[1:]:
        client.reads_reset()
        end.reads_reset()
    sessions[0][0].reads_reset()
    lb.ends()
    assert [line.state for line in lb.sessions(5)] == ["KC"] * 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_resets_all_sessions_with_a_line_each(lb, number):
    a = lb.server()
    silent = lb.silent_server()
    lb.start(
        text(lb, f"server a {a}")
        + f"listen waits\n bind 127.0.0.1:{lb.port('waits')}\n server s {silent}\n"
    )
    sessions = [lb.session(a) for _ in range(20)]
    before = tries(silent)  # what keeps it silent
    waiting = lb.connects("waits").sends(b"x")
    wait_until(lambda: tries(silent) > before, "an attempt to the silent server")
    slow, held = lb.session(a, receive_buffer=4096)
    count = held.sends_what_fits()
    lb.signals(number)
    for client, end in sessions:
        client.reads_reset()
        end.reads_reset()
    waiting.reads_reset()
    assert 4096 < len(slow.reads_until_reset()) <= count
    lb.ends()
    lines = [SessionLine.read(line) for line in lb.logs(r" 0/0$", 22)]
    assert [(line.frontend, line.state) for line in lines if line.tc < 0] == [("waits", "KC")]
    assert {line.state for line in lines} == {"KC"}
    lb.says_no_more(r" 0/0$", 22)


def test_stop_signal_during_a_soft_stop_ends_it(lb):
    a = lb.server()
    lb.start(text(lb, f"server a {a}"))
    client, _ = lb.session(a)
    stops_softly(lb)
    lb.signals(signal.SIGTERM)
    client.reads_reset()
    lb.ends()
    assert lb.sessions()[0].state == "KC"
