"""`show servers state`, version 1: written, read, applied, and who is at fault."""

from __future__ import annotations

import pytest

from lbsplice.config.model import StateFile
from lbsplice.health.judge import CheckResult
from lbsplice.roster import Roster
from lbsplice.state_files import load_states
from lbsplice.statefile import HEADER, parse, render, saved_states
from lbsplice.terms import AdminState, CheckStatus
from tests.unit.config_reading import TIMEOUTS, config

FILE = "global server state file '/s'"
A, B = ("b1", "a"), ("b1", "b")
NOW = 1000.0
FAILED = CheckResult(False, CheckStatus.L4_CONNECTION, 1)


def backend(*servers, name="b1", more=""):
    body = "".join(f" server {each}\n" for each in servers)
    return config(f"backend {name}\n{TIMEOUTS}{more}{body}")


def row(name="a", op=2, admin=0, weight=1, initial=1, since=100, status=6, result=3, health=4):
    return (
        f"2 b1 1 {name} 127.0.0.1 {op} {admin} {weight} {initial} {since} {status} {result} "
        f"{health} 6 0 0 0 - 80 - 0 0 - - 0\n"
    )


def text(*rows):
    return f"1\n# {HEADER}\n" + "".join(rows)


def applied(setup, *rows):
    """The states that servers of `setup` begin with."""
    found = parse(text(*rows), FILE, {A, B})
    assert not found.warnings
    saved = type(setup)(setup.global_, setup.proxies, found.servers)
    return saved_states(saved, NOW)


# ---- writing ----


def test_rows_are_haproxys():
    """Measured with HAProxy 2.6 on the same configuration and events."""
    setup = backend(
        "ok 127.0.0.1:80 check",
        "dead 127.0.0.1:80 check weight 7",
        "plain 127.0.0.1:2",
        "off 127.0.0.1:80 check disabled",
        "drained 127.0.0.1:80 check",
        "maint 127.0.0.1:80 check",
        "sock /x.sock check",
        "six [::1]:80",
        "any 127.0.0.1",
        "port 127.0.0.1:80 check port 81 addr 127.0.0.9",
        "new 127.0.0.1:80 check",
    )
    roster = Roster(setup, NOW)
    passed = CheckResult(True, CheckStatus.L4_OK, 0)
    for name in ("ok", "drained", "port"):
        roster.check_result(("b1", name), passed, NOW)
    roster.check_result(("b1", "dead"), FAILED, NOW)
    roster.set_weight(("b1", "plain"), 3)
    roster.set_admin(("b1", "drained"), AdminState.DRAIN, NOW)
    roster.set_admin(("b1", "maint"), AdminState.MAINT, NOW)
    written = render(setup, roster.states, NOW + 2)
    assert written == text(
        "2 b1 1 ok 127.0.0.1 2 0 1 1 2 6 3 4 6 0 0 0 - 80 - 0 0 - - 0\n",
        "2 b1 2 dead 127.0.0.1 0 0 7 7 2 8 2 0 6 0 0 0 - 80 - 0 0 - - 0\n",
        "2 b1 3 plain 127.0.0.1 2 0 3 1 2 1 0 2 0 0 0 0 - 2 - 0 0 - - 0\n",
        "2 b1 4 off 127.0.0.1 0 5 1 1 2 1 0 0 14 0 0 0 - 80 - 0 0 - - 0\n",
        "2 b1 5 drained 127.0.0.1 2 8 1 1 2 6 3 4 6 0 0 0 - 80 - 0 0 - - 0\n",
        "2 b1 6 maint 127.0.0.1 0 1 1 1 2 1 0 0 14 0 0 0 - 80 - 0 0 - - 0\n",
        "2 b1 7 sock - 2 0 1 1 2 1 0 2 6 0 0 0 - 0 - 0 0 - - 0\n",
        "2 b1 8 six ::1 2 0 1 1 2 1 0 2 0 0 0 0 - 80 - 0 0 - - 0\n",
        "2 b1 9 any 127.0.0.1 2 0 1 1 2 1 0 2 0 0 0 0 - 0 - 0 0 - - 0\n",
        "2 b1 10 port 127.0.0.1 2 0 1 1 2 6 3 4 6 0 0 0 - 80 - 0 81 127.0.0.9 - 0\n",
        "2 b1 11 new 127.0.0.1 2 0 1 1 2 1 0 2 6 0 0 0 - 80 - 0 0 - - 0\n",
    )


def test_one_backend_may_be_asked_for():
    setup = config(
        f"backend b1\n{TIMEOUTS} server a 127.0.0.1:1\n"
        f"backend b2\n{TIMEOUTS} id 77\n server s 127.0.0.1:1 id 9\n"
    )
    states = Roster(setup, NOW).states
    assert render(setup, states, NOW, "b2").splitlines()[2:] == [
        "77 b2 9 s 127.0.0.1 2 0 1 1 0 1 0 2 0 0 0 0 - 1 - 0 0 - - 0"
    ]


# ---- reading ----


@pytest.mark.parametrize("content", ["", "2\n", "one\n", f"# {HEADER}\n", " 1\n"])
def test_another_version_is_told_and_not_read(content):
    assert parse(content + row(), FILE, {A}) == parse("", FILE, {A})
    assert parse("", FILE, {A}).warnings == (f"config: Can't get version of the {FILE}.",)


def test_columns_that_are_too_few_or_too_many_are_told_and_left_out():
    found = parse(text("2 b1 1 a 127.0.0.1\n", row("b"), f"{row('a').rstrip()} 1\n"), FILE, {A, B})
    assert [each.name for each in found.servers] == ["b"]
    assert found.warnings == tuple(f"config: corrupted {FILE} at line {n}." for n in (3, 5))


def test_a_short_file_of_old_is_read():
    (found,) = parse(text("1 b1 1 a 127.0.0.1 0 0 11 11 4 6 3 4 6 0 0\n"), FILE, {A}).servers
    assert (found.op_state, found.user_weight, found.since_s) == (0, 11, 4)


def test_servers_that_nobody_has_are_passed_over_whatever_they_say():
    assert parse(text(row("other", op=99)), FILE, {A}) == parse("1\n", FILE, {A})


@pytest.mark.parametrize(
    ("fields", "column", "shown"),
    [
        ({"op": "x"}, "srv_op_state", "x"),
        ({"op": 4}, "srv_op_state", "4"),
        ({"admin": 128}, "srv_admin_state", "128"),
        ({"weight": 257}, "srv_uweight", "257"),
        ({"initial": -1}, "srv_iweight", "-1"),
        ({"since": -4}, "srv_time_since_last_change", "-4"),
        ({"status": 21}, "srv_check_status", "21"),
        ({"result": 5}, "srv_check_result", "5"),
        ({"health": "9" * 30}, "srv_check_health", "9" * 30),
        ({"health": "\u0663"}, "srv_check_health", "\u0663"),
    ],
)
def test_a_value_that_can_not_be_is_told_and_the_server_left_out(fields, column, shown):
    found = parse(text(row(**fields), row("b")), FILE, {A, B})
    assert [each.name for each in found.servers] == ["b"]
    assert found.warnings == (
        f"server-state application failed for server 'b1/a', invalid {column} value '{shown}'",
    )


# ---- applying ----


@pytest.mark.parametrize(
    ("fields", "shows", "admin"),
    [
        ({}, "UP", "ready"),
        ({"op": 0, "health": 0, "status": 8, "result": 2}, "DOWN", "ready"),
        ({"op": 0, "health": 1}, "DOWN", "ready"),
        ({"health": 3}, "UP", "ready"),
        ({"health": 99}, "UP", "ready"),
        ({"op": 1, "health": 3}, "UP 2/3", "ready"),
        ({"op": 3}, "UP", "ready"),
        ({"admin": 1, "op": 0}, "MAINT", "maint"),
        ({"admin": 8}, "DRAIN", "drain"),
        ({"admin": 9, "op": 0}, "MAINT", "maint"),
        ({"admin": 4, "op": 0}, "DOWN", "ready"),  # the configuration disabled it then
        ({"admin": 5, "op": 0}, "DOWN", "ready"),
    ],
)
def test_states_are_taken_up_as_haproxy_takes_them(fields, shows, admin):
    state = applied(backend("a 127.0.0.1:80 check"), row(**fields))[A]
    assert (state.status_text, state.admin.value) == (shows, admin)
    assert state.changed_at == NOW - 100
    assert state.down_since == (NOW - 100 if shows in ("DOWN", "MAINT") else None)


def test_a_server_that_the_configuration_disables_stays_disabled():
    state = applied(backend("a 127.0.0.1:80 check disabled"), row())[A]
    assert state.status_text == "MAINT"


def test_a_server_without_checks_can_not_be_down():
    assert applied(backend("a 127.0.0.1:80"), row(op=0, health=0))[A].weight == 1


@pytest.mark.parametrize(
    ("configured", "weight", "initial", "now"),
    [(1, 7, 1, 7), (1, 7, 5, 1), (5, 3, 1, 5), (3, 0, 3, 0), (3, 3, 3, 3)],
)
def test_a_weight_counts_unless_the_configured_one_was_changed(configured, weight, initial, now):
    setup = backend(f"a 127.0.0.1:80 weight {configured}")
    state = applied(setup, row(weight=weight, initial=initial))[A]
    assert state.user_weight == now


def test_the_last_check_is_taken_up():
    setup = backend("a 127.0.0.1:80 check", "b 127.0.0.1:80 check")
    states = applied(setup, row(status=8, result=2), row("b", status=1, result=0))
    assert states[A].last_check == CheckResult(False, CheckStatus.L4_CONNECTION)
    assert states[B].last_check is None


def test_what_was_written_is_read_again():
    setup = backend("a 127.0.0.1:80 check weight 5", "b 127.0.0.1:80 check")
    roster = Roster(setup, NOW - 50)
    roster.set_weight(A, 9)
    roster.check_result(A, CheckResult(True, CheckStatus.L4_OK), NOW - 40)
    roster.check_result(B, FAILED, NOW - 30)
    found = parse(render(setup, roster.states, NOW), FILE, {A, B})
    states = saved_states(type(setup)(setup.global_, setup.proxies, found.servers), NOW)
    for key in (A, B):
        old, new = roster.state(key), states[key]
        assert (new.status_text, new.user_weight) == (old.status_text, old.user_weight)
        assert new.changed_at == old.changed_at


# ---- finding the files ----

GLOBAL = " load-server-state-from-file global\n"
LOCAL = " load-server-state-from-file local\n"


def loaded(tmp_path, globals_, more):
    setup = config(f"global\n{globals_}backend b1\n{TIMEOUTS}{more} server a 127.0.0.1:1 check\n")
    found, messages = load_states(setup)
    return [each.op_state for each in found.saved], [message.text for message in messages]


def test_a_global_file_and_a_file_for_each_backend(tmp_path):
    (tmp_path / "all").write_text(text(row(op=0)))
    (tmp_path / "b1").write_text(text(row(op=1)))
    (tmp_path / "own").write_text(text(row(op=3)))
    base = f" server-state-base {tmp_path}\n server-state-file all\n"
    assert loaded(tmp_path, base, GLOBAL) == ([0], [])
    assert loaded(tmp_path, base, LOCAL) == ([1], [])
    assert loaded(tmp_path, base, LOCAL + " server-state-file-name use-backend-name\n")[0] == [1]
    assert loaded(tmp_path, base, LOCAL + " server-state-file-name own\n") == ([3], [])
    assert loaded(tmp_path, base, LOCAL + f" server-state-file-name {tmp_path}/all\n")[0] == [0]
    assert loaded(tmp_path, base, "") == ([], [])
    assert loaded(tmp_path, base, GLOBAL + " disabled\n") == ([], [])


def test_a_file_that_is_not_there_is_told(tmp_path):
    path = tmp_path / "x"
    assert loaded(
        tmp_path, f" server-state-file {path}\n", " load-server-state-from-file global\n"
    ) == (
        [],
        [f"config: Can't open global server state file '{path}': No such file or directory"],
    )
    local = f" load-server-state-from-file local\n server-state-file-name {path}\n"
    assert loaded(tmp_path, "", local)[1] == [
        f"Proxy 'b1': Can't open server state file '{path}': No such file or directory"
    ]
    assert loaded(tmp_path, "", GLOBAL)[1] == [
        "backend 'b1' configured to load server state file from global section "
        "'server-state-file' directive. Unfortunately, 'server-state-file' is not set!"
    ]


def test_where_states_come_from_is_inherited_from_defaults_and_can_be_switched_off():
    setup = config(
        "defaults\n load-server-state-from-file global\n"
        f"backend b1\n{TIMEOUTS}backend b2\n{TIMEOUTS} load-server-state-from-file none\n"
    )
    assert [proxy.state_file for proxy in setup.proxies] == [StateFile.GLOBAL, StateFile.NONE]
