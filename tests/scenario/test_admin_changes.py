"""What operators change at run time, over the stats socket of a real program: it takes the
road of a failed check, and neither a crash nor a reload forgets it."""

from __future__ import annotations

import select
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.admin_program import Admin
from tests.support.command import DEADLINE_S
from tests.support.crash import talks, told
from tests.support.peers import Peer
from tests.support.program import Program, Service
from tests.support.waiting import wait_until

CHECK = "check inter 100ms fall 2 rise 2"
KILLS = f"{CHECK} on-marked-down shutdown-sessions"


@pytest.fixture
def admin(lb: Program) -> Iterator[Admin]:
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        yield Admin(lb, Path(name))


def anywhere(lb: Program, *servers: Service) -> tuple[Peer, Peer, Service]:
    """A session on whichever server gets it."""
    client = lb.connects()
    client.sends(b"?")

    def found() -> list[Service]:
        waiting = [server.sessions.socket for server in servers]
        ready = select.select(waiting, [], [], 0)[0]
        return [server for server in servers if server.sessions.socket in ready]

    server = wait_until(found, "a server gets the session")[0]
    return client, server.accepts().reads(b"?"), server


def open_sessions(admin: Admin, servers: dict[str, Service], count: int) -> Counter[str]:
    """So many new sessions; how many each server got."""
    names = {id(server): name for name, server in servers.items()}
    got = [anywhere(admin.lb, *servers.values()) for _ in range(count)]
    return Counter(names[id(server)] for _, _, server in got)


def get(admin: Admin, servers: dict[str, Service], wanted: dict[str, int]) -> None:
    """New sessions are shared out so, once every relay thread has obeyed."""
    count = sum(wanted.values())
    wait_until(lambda: open_sessions(admin, servers, count) == wanted, f"{wanted}", DEADLINE_S)


def is_reset(*peers: Peer) -> None:
    for peer in peers:
        peer.reads_reset()


# ---- states ----


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_state_is_kept_over_a_crash_and_a_reload(lb, admin, victim, state):
    a, b = lb.server(), lb.server()
    lines = (f"server a {a} {CHECK}", f"server b {b} {CHECK}")
    admin.start(*lines)
    admin.does(f"set server l/a state {state}")
    admin.shows("a", status=state.upper())
    victim.crash()
    admin.shows("a", status=state.upper())
    assert admin.reload(*lines).startswith("Success=1")
    admin.shows("a", status=state.upper())
    get(admin, {"a": a, "b": b}, {"b": 4})
    admin.does("set server l/a state ready")
    admin.shows("a", status="UP")
    get(admin, {"a": a, "b": b}, {"a": 2, "b": 2})
    lb.stops()


def test_maintenance_ends_sessions_and_draining_does_not(lb, admin):
    a, b = lb.server(), lb.server()
    admin.start(f"server a {a} {KILLS}", f"server b {b} {KILLS}")
    on_a, on_b = lb.session(a), lb.session(b)
    admin.does("set server l/a state drain")
    lb.logs("Server l/a enters drain state")
    talks(*on_a)
    admin.does("set server l/a state maint")
    is_reset(*on_a)
    talks(*on_b)
    assert lb.sessions()[0].state == "DD"
    lb.logs(r"set server l/a state maint, asked by .*\(pid \d+, uid \d+\)")
    lb.stops()


def test_health_is_what_an_operator_says_until_checks_say_otherwise(lb, admin, victim):
    a, b = lb.server(), lb.server()
    admin.start(f"server a {a} {KILLS}", f"server b {b} {KILLS}")
    on_a = lb.session(a)
    admin.does("disable health l/a")
    admin.shows("a", status="no check")
    admin.does("set server l/a health stopping")
    admin.shows("a", status="NOLB")
    talks(*on_a)
    admin.does("set server l/a health down")
    is_reset(*on_a)
    lb.logs("Server l/a is DOWN, changed from CLI")
    victim.crash()
    admin.shows("a", status="DOWN")
    admin.does("enable health l/a")
    lb.logs("Server l/a is UP, reason: Layer4 check passed")
    lb.stops()


# ---- weights ----


def test_a_weight_decides_who_gets_sessions_and_survives(lb, admin, victim):
    a, b = lb.server(), lb.server()
    servers = {"a": a, "b": b}
    lines = (f"server a {a} weight 2", f"server b {b} weight 2")
    admin.start(*lines)
    admin.does("set server l/a weight 300%")
    assert admin.say("get weight l/a") == "6 (initial 2)"
    get(admin, servers, {"a": 12, "b": 4})
    victim.crash()
    assert admin.reload(*lines).startswith("Success=1")
    assert admin.say("get weight l/a") == "6 (initial 2)"
    admin.does("set server l/a weight 0")
    get(admin, servers, {"b": 4})
    lb.stops()


# ---- addresses ----


def test_new_sessions_go_to_the_new_address_and_old_ones_follow_the_old(lb, admin, victim):
    old, new = lb.server(), lb.server()
    checked = f"check port {str(old).rpartition(' ')[2]} inter 100ms fall 2 rise 2"
    line = f"server a 127.0.0.1:{old.sessions.port} {checked} on-marked-down shutdown-sessions"
    admin.start(line)
    before = lb.session(old)
    said = admin.say(f"set server l/a addr 127.0.0.1 port {new.sessions.port}")
    assert said == (
        f"no need to change the addr, port changed from '{old.sessions.port}' to "
        f"'{new.sessions.port}' by 'stats socket command'"
    )
    after = lb.session(new)
    victim.crash()
    assert admin.reload(line).startswith("Success=1")
    talks(*before)
    talks(*after)
    lb.session(new)
    old.dies()  # for the checks of both, which ask the same port
    is_reset(*before, *after)
    lb.logs(r"Server l/a \(no longer configured\) is DOWN")
    lb.stops()


# ---- servers that come and go ----


def test_maintenance_ends_the_sessions_at_an_old_address_too(lb, admin):
    """They are the same server's, whose operator wants it empty."""
    a, b = lb.server(), lb.server()
    kills = "on-marked-down shutdown-sessions"
    admin.start(f"server a 127.0.0.1:{a.sessions.port} {kills}", f"server b {b} {kills}")
    at_old, on_b = lb.session(a), lb.session(b)
    admin.say(f"set server l/a addr 127.0.0.1 port {b.sessions.port}")
    talks(*at_old)
    admin.does("set server l/a state drain")
    talks(*at_old)
    admin.does("set server l/a state maint")
    is_reset(*at_old)
    assert lb.sessions()[0].state == "DD"
    assert admin.say("wait 20s srv-removable l/a") == "Done."
    assert admin.say("del server l/a") == "Server deleted."
    talks(*on_b)
    lb.stops()


def test_a_server_is_added_and_removed_under_load(lb, admin, victim):
    a, b = lb.server(), lb.server()
    servers = {"a": a, "b": b}
    line = f"server a {a} {CHECK}"
    admin.start(line)
    old = lb.session(a)
    assert admin.say(f"add server l/b {b} {CHECK}") == "New server registered."
    admin.shows("b", status="MAINT")
    get(admin, servers, {"a": 2})
    admin.does("enable health l/b")
    admin.does("enable server l/b")
    admin.shows("b", status="UP")
    victim.crash()
    admin.shows("b", status="UP")
    get(admin, servers, {"a": 2, "b": 2})
    assert admin.say("del server l/b") == "Only servers in maintenance mode can be deleted."
    admin.does("disable server l/b")
    assert admin.say("del server l/b") == (
        "Server still has connections attached to it, cannot remove it."
    )
    admin.does("shutdown sessions server l/b")
    assert admin.say("wait 5s srv-removable l/b") == "Done."
    assert admin.say("del server l/b") == "Server deleted."
    assert "l,b," not in admin.say("show stat")
    get(admin, servers, {"a": 2})
    talks(*old)
    lb.stops()


def test_a_reload_brings_back_the_servers_of_the_file(lb, admin):
    a, b, c = lb.server(), lb.server(), lb.server()
    lines = (f"server a {a}", f"server b {b}")
    admin.start(*lines)
    admin.does("disable server l/a")
    assert admin.say("del server l/a") == "Server deleted."
    admin.say(f"add server l/c 127.0.0.1:{c.sessions.port}")
    admin.does("enable server l/c")
    some = [anywhere(lb, a, b, c) for _ in range(2)]
    client, end = next((client, end) for client, end, server in some if server is c)
    assert admin.reload(*lines).startswith("Success=1")
    names = [row.split(",")[1] for row in admin.say("show stat").splitlines()]
    assert names[1:] == ["FRONTEND", "a", "b", "BACKEND"]
    admin.shows("a", status="no check")
    talks(client, end)  # it goes on until it ends
    lb.stops()


# ---- frontends and limits ----


def test_a_frontend_that_is_disabled_refuses_until_it_is_enabled(lb, admin, victim):
    a = lb.server()
    line = f"server a {a}"
    admin.start(line)
    old = lb.session(a)
    admin.does("disable frontend l")
    admin.shows("FRONTEND", status="PAUSED")
    refuses(lb)
    assert admin.say("disable frontend l") == "All sockets are already disabled."
    victim.crash()
    refuses(lb)
    assert admin.reload(line).startswith("Success=1")
    refuses(lb)
    talks(*old)
    admin.does("enable frontend l")
    admin.shows("FRONTEND", status="OPEN")
    lb.session(a)
    lb.stops()


def test_a_frontend_that_was_shut_down_comes_back_by_a_reload(lb, admin):
    a = lb.server()
    line = f"server a {a}"
    admin.start(line)
    old = lb.session(a)
    admin.does("shutdown frontend l")
    refuses(lb)
    admin.shows("FRONTEND", status="STOP")
    assert admin.say("enable frontend l") == "Frontend was previously shut down, cannot enable."
    talks(*old)
    assert admin.reload(line).startswith("Success=1")
    lb.session(a)
    lb.stops()


def refuses(lb: Program) -> None:
    """Whoever connects is told so at once, a moment after the order at the latest."""

    def refused() -> bool:
        try:
            lb.connects().closes()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, "connections are refused")


@pytest.mark.parametrize("what", ["frontend l", "global"])
def test_a_limit_holds_at_once_and_over_a_crash(lb, admin, victim, what):
    a = lb.server()
    admin.start(f"server a {a}")
    lb.session(a)
    admin.does(f"set maxconn {what} 2")
    lb.session(a)
    victim.crash()
    client = lb.connects()
    client.sends(b"?")
    admin.shows("FRONTEND", scur="2")
    a.sessions.accepts_nobody()
    admin.does(f"set maxconn {what} {'3' if what == 'global' else '100'}")
    a.accepts().reads(b"?")
    assert admin.say("set maxconn global 500000000") == "Value out of range."
    lb.stops()


# ---- sessions ----


def test_one_session_is_ended(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}")
    first = lb.session(a)
    number = admin.say("show sess").split(":")[0]
    second = lb.session(a)
    admin.does(f"shutdown session {number}")
    is_reset(*first)
    talks(*second)
    assert lb.sessions()[0].state == "KC"
    assert admin.say("shutdown session 0x123") == "No such session (use 'show sess')."
    lb.stops()


def test_the_sessions_of_a_server_are_ended_and_it_gets_new_ones(lb, admin):
    a, b = lb.server(), lb.server()
    admin.start(f"server a {a}", f"server b {b}")
    on_a, on_b = lb.session(a), lb.session(b)
    admin.does("shutdown sessions server l/a")
    is_reset(*on_a)
    talks(*on_b)
    lb.session(a)
    assert lb.sessions()[0].state == "KC"
    lb.stops()


def test_an_order_to_end_sessions_is_carried_out_by_the_successor(lb, admin, victim):
    a = lb.server()
    admin.start(f"server a {a}")
    sessions = [lb.session(a) for _ in range(40)]
    admin.does("shutdown sessions server l/a")
    victim.crash()
    for each in sessions:
        is_reset(*each)
    wait_until(lambda: len(told(lb, " KC ")) == 40, "each session has its line")
    assert len(lb.logs(" KC ", 40)) <= 41  # the one that was written of at the death, twice
    lb.session(a)
    lb.stops()


# ---- counters ----


def test_counters_that_were_cleared_stay_so(lb, admin, victim):
    a = lb.server()
    line = f"server a {a}"
    admin.start(line)
    for _ in range(3):
        lb.session(a)
    assert admin.row("a")["stot"] == "3"
    admin.does("clear counters all")
    assert admin.row("a")["stot"] == "0"
    lb.session(a)
    victim.crash()
    assert admin.reload(line).startswith("Success=1")
    assert admin.row("a")["stot"] == "1"
    lb.stops()
