"""A server goes down under its sessions: who is told, how, and who is left alone."""

from __future__ import annotations

import re
import select
import socket

import pytest

from tests.support.peers import Peer
from tests.support.program import Program, Service, SessionLine, tries
from tests.support.waiting import wait_until

ACTION = "on-marked-down shutdown-sessions"
CHECK = "check inter 50ms fall 2 rise 1"


def head(lb: Program, threads: int = 1) -> str:
    return f"""\
global
 nbthread {threads}
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 retries 0
 timeout connect 2s
 timeout client 30s
 timeout server 30s
"""


def listen(lb: Program, *lines: str) -> str:
    return f"listen l\n bind 127.0.0.1:{lb.port()}\n " + "\n ".join(lines) + "\n"


def is_broken(peer: Peer) -> None:
    """A reset comes where an end was read: the kernel tells it to writers alone."""
    wait_until(
        lambda: peer.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "a reset after an end"
    )


def soon_session(lb: Program, server: Service) -> tuple[Peer, Peer]:
    """A session on the server that sessions go to from now on: a log line of a transition
    may be ahead of the worker's new plan."""

    def chosen() -> tuple[Peer, Peer] | None:
        client = lb.connects()
        name = b"%05d" % client.socket.getsockname()[1]
        client.sends(name)
        while select.select([server.sessions.socket], [], [], 0.1)[0]:
            end = server.accepts()
            if end.reads_count(len(name)) == name:
                return client, end
            end.closes()  # of an earlier try, which nobody waits for any more
        client.closes()
        return None

    return wait_until(chosen, "a session on the server")


def test_sessions_of_a_dead_server_are_reset_and_no_others(lb):
    a, b = lb.server(), lb.server()
    lb.start(
        head(lb) + listen(lb, f"server a {a} {CHECK} {ACTION}", f"server b {b} {CHECK} {ACTION}")
    )
    doomed, spared = [], []
    for _ in range(3):  # round robin
        doomed.append(lb.session(a))
        spared.append(lb.session(b))
    half_closed = lb.session(a)
    half_closed[0].shuts_output()
    half_closed[1].reads_end()
    other_half_closed = (lb.connects(), b.accepts())
    answered = lb.session(a)
    answered[1].shuts_output()
    answered[0].reads_end()
    a.dies()
    for client, end in doomed:
        client.reads_reset()
        end.reads_reset()
    half_closed[0].reads_reset()
    is_broken(half_closed[1])
    answered[1].reads_reset()
    is_broken(answered[0])
    (down,) = lb.logs("Server l/a is DOWN")
    assert down.severity == 1
    assert re.search(
        r"Server l/a is DOWN, reason: Layer4 connection problem, info: "
        r'"ECONNREFUSED returned by OS \(Connection refused\)", check duration: \d+ms\. '
        r"1 active and 0 backup servers left\. "
        r"5 sessions active, 0 requeued, 0 remaining in queue\.$",
        down.text,
    ), down
    killed = [SessionLine.read(line) for line in lb.logs(r" 0/0$", 5)]
    assert [(one.server, one.state) for one in killed] == [("a", "DD")] * 5
    for client, end in [*spared, other_half_closed]:
        client.sends(b"still there")
        end.reads(b"still there").sends(b"yes")
        client.reads(b"yes")
    for _ in range(3):  # nobody is sent to it any more
        lb.session(b)
    lb.stops()
    lb.says_no_more(" DD ", 5)


def test_slow_client_gets_what_was_held_for_it_and_then_a_reset(lb):
    a = lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK} {ACTION}"))
    client, end = lb.session(a, receive_buffer=4096)
    sent = end.sends_what_fits()
    assert sent > 65536
    a.dies()
    lb.logs("Server l/a is DOWN")
    got = client.reads_until_reset()
    assert 4096 < len(got) <= sent
    assert not got.strip(b"\0")
    end.reads_reset()
    (line,) = lb.sessions()
    assert line.state == "DD"
    assert line.bytes <= len(got), "every byte that is told of was delivered"
    lb.stops()


def test_without_the_action_sessions_stay_and_go_on(lb):
    a, b = lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}", f"server b {b} backup"))
    client, end = lb.session(a)
    name = client.socket.getsockname()
    a.dies()
    lb.logs("Server l/a is DOWN, .* 1 sessions active")
    soon_session(lb, b)
    client.sends(b"going on")
    end.reads(b"going on")
    a.returns()
    (up,) = lb.logs("Server l/a is UP")
    assert up.severity == 5
    assert re.search(
        r"Server l/a is UP, reason: Layer4 check passed, check duration: \d+ms\. "
        r"1 active and 1 backup servers online\. 0 sessions requeued, 0 total in queue\.$",
        up.text,
    ), up
    end.sends(b"and on").closes()
    client.reads(b"and on").reads_end().closes()
    mine = "{}:{}".format(*name)
    assert SessionLine.read(lb.logs(f"^{mine} ")[0]).state == "--"
    soon_session(lb, a)
    lb.stops()


def test_plan_comes_before_the_kill(lb):
    """A client that comes back in the moment of its reset never meets the dead server."""
    a, b = lb.server(), lb.server()
    lb.start(
        head(lb)
        + listen(lb, f"server a {a} {CHECK} {ACTION}", f"server b {b} backup {CHECK} {ACTION}")
    )
    doomed = [lb.session(a) for _ in range(40)]
    a.dies()
    for client, _ in doomed:
        client.reads_reset()
        lb.connects().sends(b"again")
        b.accepts().reads(b"again")
    a.sessions.accepts_nobody()
    lb.stops()


def test_connecting_session_goes_to_another_server(lb):
    b, health = lb.server(), lb.server()
    checked = f"addr 127.0.0.1 {str(health).split(' ', 1)[1]}"
    silent = lb.silent_server()
    lb.start(
        head(lb)
        + listen(
            lb,
            "timeout connect 20s",
            "balance first",
            f"server silent {silent} {checked} {CHECK} {ACTION}",
            f"server b {b} {CHECK} {ACTION}",
        )
    )
    before = tries(silent)  # what keeps it silent
    client = lb.connects().sends(b"hello")
    wait_until(lambda: tries(silent) > before, "an attempt to the silent server")
    health.dies()
    lb.logs("Server l/silent is DOWN, .* 1 sessions active")
    b.accepts().reads(b"hello").sends(b"welcome").closes()
    client.reads(b"welcome").reads_end().closes()
    (line,) = lb.sessions()
    assert (line.server, line.state, line.retries) == ("b", "--", "+1")
    lb.stops()


@pytest.mark.parametrize(
    ("option", "shares"), [("description first", (4, 0)), ("option allbackups", (2, 2))]
)
def test_backups_take_over_and_give_back(lb, option, shares):
    a, b1, b2 = lb.server(), lb.server(), lb.server()
    lb.start(
        head(lb)
        + listen(
            lb, option, f"server a {a} {CHECK}", f"server b1 {b1} backup", f"server b2 {b2} backup"
        )
    )
    lb.session(a)
    a.dies()
    (down,) = lb.logs("Server l/a is DOWN")
    assert "0 active and 2 backup servers left. Running on backup." in down.text
    soon_session(lb, b1)
    for stray in b2.sessions.accepts_waiting():
        stray.closes()
    clients = [lb.connects() for _ in range(4)]
    for backup, share in zip((b1, b2), shares, strict=True):
        for _ in range(share):
            backup.accepts().closes()
    for client in clients:
        client.reads_end()
    a.returns()
    lb.logs("Server l/a is UP")
    soon_session(lb, a)
    lb.stops()


def test_all_servers_down_refuses_at_once(lb):
    a, b = lb.server(), lb.server()
    lb.start(
        head(lb) + listen(lb, f"server a {a} {CHECK} {ACTION}", f"server b {b} {CHECK} {ACTION}")
    )
    held = [lb.session(a)[0], lb.session(b)[0]]
    a.dies()
    held[0].reads_reset()
    held[1].sees_nothing()
    b.dies()
    held[1].reads_reset()
    (nobody,) = lb.logs("has no server available!")
    assert (nobody.severity, nobody.text) == (0, "proxy l has no server available!")
    client = lb.connects()
    client.reads_end().closes()
    line = SessionLine.read(lb.logs("NOSRV")[0])
    assert (line.server, line.state, line.tw, line.tc) == ("<NOSRV>", "SC", -1, -1)
    assert line.tt < 500
    b.returns()
    lb.logs("Server l/b is UP")
    soon_session(lb, b)
    lb.stops()


def test_flapping_server_is_killed_each_time(lb):
    a = lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK} {ACTION}"))
    for times in range(1, 4):
        client, end = soon_session(lb, a)
        a.dies()
        client.reads_reset()
        end.reads_reset()
        lb.logs("is DOWN", times)
        a.returns()
        lb.logs("is UP", times)
    lb.stops()
    lb.says_no_more(" DD ", 3)


def test_two_servers_that_fail_together_lose_all_their_sessions(lb):
    dying, good = [lb.server() for _ in range(2)], lb.server()
    lb.start(
        head(lb)
        + listen(
            lb,
            *(f"server d{n} {each} {CHECK} {ACTION}" for n, each in enumerate(dying)),
            f"server good {good}",
        )
    )
    sessions = []
    for _ in range(10):
        sessions += [lb.session(each) for each in dying]
        kept = lb.session(good)
    for each in dying:
        each.dies()
    for client, _ in sessions:
        client.reads_reset()
    kept[0].sends(b"x")
    kept[1].reads(b"x")
    lb.stops()


def test_disabled_and_weightless_servers_get_nobody(lb):
    off, none, good = lb.server(), lb.server(), lb.server()
    lb.start(
        head(lb)
        + listen(
            lb,
            f"server off {off} {CHECK} disabled",
            f"server none {none} {CHECK} {ACTION} weight 0",
            f"server good {good} {CHECK}",
        )
    )
    for _ in range(4):
        lb.session(good)
    none.dies()  # it is checked all the same
    (down,) = lb.logs("Server l/none is DOWN")
    assert "1 active and 0 backup servers left" in down.text
    off.dies()
    off.returns()
    lb.session(good)
    off.sessions.accepts_nobody()
    none.sessions.accepts_nobody()
    lb.stops()
    lb.says_no_more("Server l/off", 0)


def test_health_checks_are_told_step_by_step(lb):
    a = lb.server()
    lb.start(
        head(lb)
        + listen(
            lb, "option log-health-checks", f"server a {a} check inter 50ms fall 3 rise 2 {ACTION}"
        )
    )
    client, _ = lb.session(a)
    lb.logs("succeeded")
    a.dies()
    client.reads_reset()
    lb.logs("no server available")
    a.returns()
    lb.logs("Server l/a is UP")
    lb.stops()
    steps = [
        re.sub(r"\d+ms", "Nms", line.text)
        for line in lb.log.lines
        if line.text.startswith(("Health", "Server"))
    ]
    failed = (
        "Health check for server l/a failed, reason: Layer4 connection problem, info: "
        '"ECONNREFUSED returned by OS (Connection refused)", check duration: Nms, status: '
    )
    passed = (
        "Health check for server l/a succeeded, reason: Layer4 check passed, "
        "check duration: Nms, status: "
    )
    assert steps == [
        passed + "3/3 UP.",  # the first one
        failed + "2/3 UP.",
        failed + "1/3 UP.",
        failed + "0/2 DOWN.",
        "Server l/a is DOWN. 0 active and 0 backup servers left. "
        "1 sessions active, 0 requeued, 0 remaining in queue.",
        passed + "1/2 DOWN.",
        passed + "3/3 UP.",
        "Server l/a is UP. 1 active and 0 backup servers online. "
        "0 sessions requeued, 0 total in queue.",
    ]
