"""Each command that changes something, over a real socket, in the words that HAProxy 2.6 and
3.2 were seen to use."""

from __future__ import annotations

import time

import pytest

from lbsplice.terms import AdminState
from tests.support.admin import StandInControl, session_view
from tests.support.admin_socket import connect

L1 = ("l", "s1")
NO_BACKEND = "No such backend.\n\n"
NO_SERVER = "No such server.\n\n"
REQUIRE = "Require 'backend/server'.\n\n"
DENIED = "Permission denied\n\n"
SET_SERVER_USAGE = (
    "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | "
    "fqdn | health | ssl | state | weight\n\n"
)


def who(control: StandInControl) -> str:
    """Who the last thing was asked by."""
    return control.asked[-1][-1]


class TestChangesOfServers:
    @pytest.mark.parametrize(
        ("command", "asked"),
        [
            ("set server l/s1 state ready", ("set_admin", L1, AdminState.READY)),
            ("set server l/s1 state drain", ("set_admin", L1, AdminState.DRAIN)),
            ("set server l/s1 state maint", ("set_admin", L1, AdminState.MAINT)),
            ("set server l/s1 health up", ("set_health", L1, True)),
            ("set server l/s1 health down", ("set_health", L1, False)),
            ("set server l/s1 health stopping", ("set_health", L1, None)),
            ("set server l/s1 weight 5", ("set_weight", L1, "5")),
            ("set server l/s1 weight +5", ("set_weight", L1, "+5")),
            ("set weight l/s1 50%", ("set_weight", L1, "50%")),
            ("set weight l/s1 30000%", ("set_weight", L1, "30000%")),
            ("enable server l/s1", ("set_admin", L1, AdminState.READY)),
            ("disable server l/s1", ("set_admin", L1, AdminState.MAINT)),
            ("enable health l/s1", ("set_checks", L1, True)),
            ("disable health l/s1", ("set_checks", L1, False)),
            ("set maxconn server l/s1 20", ("set_server_maxconn", L1, 20)),
            ("shutdown sessions server l/s1", ("kill_server_sessions", L1)),
            ("set maxconn frontend f 50", ("set_frontend_maxconn", "f", 50)),
            ("enable frontend f", ("set_frontend", "f", True)),
            ("disable frontend f", ("set_frontend", "f", False)),
            ("shutdown frontend f", ("shutdown_frontend", "f")),
            ("set maxconn global 100", ("set_maxconn", 100)),
            ("set rate-limit connections global 7", ("set_rate_limit", "connections", 7)),
            ("set rate-limit sessions global 0", ("set_rate_limit", "sessions", 0)),
            ("set server #2/#2 state maint", ("set_admin", ("l", "s2"), AdminState.MAINT)),
            ("set weight #4/s1 3", ("set_weight", ("b", "s1"), "3")),
            ("disable server l/#1", ("set_admin", L1, AdminState.MAINT)),
            ("shutdown sessions server #2/#1", ("kill_server_sessions", L1)),
            ("disable frontend #3", ("set_frontend", "f", False)),
            ("shutdown frontend #2", ("shutdown_frontend", "l")),
            ("set maxconn frontend #3 50", ("set_frontend_maxconn", "f", 50)),
        ],
    )
    def test_a_silent_success_is_one_newline_and_says_who(self, admin, say, command, asked):
        assert say(command) == "\n"
        assert admin.control.asked == [(*asked, who(admin.control))]
        assert f"unix@{admin.config.global_.stats_sockets[0].address.host} (pid " in who(
            admin.control
        )

    @pytest.mark.parametrize(
        ("command", "answer"),
        [
            ("set server", REQUIRE),
            ("set server l", REQUIRE),
            ("set server q/s1 state ready", NO_BACKEND),
            ("set server l/q state ready", NO_SERVER),
            ("set server l/q", NO_SERVER),
            ("set server l/q bogus", NO_SERVER),
            ("set server l/q state bogus", NO_SERVER),
            ("set server l/q weight bogus", NO_SERVER),
            ("set server l/s1", SET_SERVER_USAGE),
            ("set server l/s1 bogus", SET_SERVER_USAGE),
            (
                "set server l/s1 state",
                "'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n",
            ),
            (
                "set server l/s1 health x",
                "'set server <srv> health' expects 'up', 'stopping', or 'down'.\n\n",
            ),
            ("set server l/s1 agent up", "agent checks are not enabled on this server.\n\n"),
            ("set server l/s1 weight", "Require <weight> or <weight%>.\n\n"),
            (
                "set server l/s1 weight 300",
                "Absolute weight can only be between 0 and 256 inclusive.\n\n",
            ),
            (
                "set server l/s1 weight -1",
                "Absolute weight can only be between 0 and 256 inclusive.\n\n",
            ),
            ("set server l/s1 weight 5x", "Trailing garbage in weight string\n\n"),
            ("set server l/s1 weight x", "Empty weight string empty or preceded by garbage\n\n"),
            ("set server l/s1 weight -5%", "Relative weight must be positive.\n\n"),
            (
                f"set server l/s1 weight {'9' * 30}",
                "Empty weight string empty or preceded by garbage\n\n",
            ),
            (
                "set server l/s1 addr",
                "set server <b>/<s> addr requires an address and optionally a port.\n\n",
            ),
            (
                "set server l/s1 fqdn x",
                "set server <b>/<s> fqdn failed because no resolution is configured.\n\n",
            ),
            ("get weight", REQUIRE),
            ("get weight q/s1", NO_BACKEND),
            ("get weight l/q", NO_SERVER),
            ("get weight l/s1", "1 (initial 1)\n\n"),
            ("set weight l/s1", "Require <weight> or <weight%>.\n\n"),
            ("enable server l", REQUIRE),
            ("enable server l/q", NO_SERVER),
            (
                "enable agent l/s1",
                "Agent was not configured on this server, cannot enable.\n\n",
            ),
            ("disable agent l/s1", "\n"),
            ("add server", REQUIRE),
            ("add server l/n 127.0.0.1:1", "New server registered.\n\n"),
            ("del server l/q", NO_SERVER),
            ("del server l/s1", "Server deleted.\n\n"),
            ("set maxconn server l/s1", "Require <maxconn>.\n\n"),
            ("set maxconn server l/s1 x", "maxconn string empty or preceded by garbage\n\n"),
        ],
    )
    def test_words_of_haproxy(self, say, command, answer):
        assert say(command) == answer

    def test_an_address_with_its_port(self, admin, say):
        assert say("set server l/s1 addr 127.0.0.2 port 81").startswith("no need to change")
        assert say("set server l/s1 addr 127.0.0.2").startswith("no need to change")
        assert [each[1:4] for each in admin.control.asked] == [
            (L1, "127.0.0.2", "81"),
            (L1, "127.0.0.2", None),
        ]

    def test_the_words_of_a_new_server_are_passed_on(self, admin, say):
        say("add server l/n 127.0.0.1:1 check weight 3")
        assert admin.control.asked[0][:3] == (
            "add_server",
            ("l", "n"),
            ("127.0.0.1:1", "check", "weight", "3"),
        )

    def test_the_backend_of_a_new_server_may_be_named_by_its_number(self, admin, say):
        assert say("add server #2/n 10.0.0.1:80") == "New server registered.\n\n"
        assert admin.control.asked[-1][:2] == ("add_server", ("l", "n"))
        assert say("add server #3/n 10.0.0.1:80") == NO_BACKEND

    def test_a_refusal_is_told_in_its_own_words(self, admin, say):
        admin.control.refuses["del_server"] = "Only servers in maintenance mode can be deleted."
        assert say("del server l/s1", "numbers") == (
            "[3]: Only servers in maintenance mode can be deleted.\n\n"
        )


class TestWait:
    def test_for_a_server_that_is_removable(self, say):
        assert say("wait 5s srv-removable l/s1") == "Done.\n\n"

    def test_in_vain(self, admin, say):
        admin.control.removable = False
        assert say("wait 20ms srv-removable l/s1") == "Wait delay expired.\n\n"

    def test_until_it_is(self, admin, say):
        """The third look finds it so."""

        looks: list[int] = []

        def is_removable(_key):
            looks.append(1)
            return len(looks) > 2

        admin.control.is_removable = is_removable
        began = time.monotonic()
        assert say("wait 60s srv-removable l/s1") == "Done.\n\n"
        assert time.monotonic() - began < 50

    def test_others_are_served_meanwhile(self, admin, say, directory):
        with connect(directory / "admin") as waiting:
            waiting.sendall(b"wait 60s\n")
            assert say("get weight l/s1") == "1 (initial 1)\n\n"

    @pytest.mark.parametrize(
        ("command", "begins"),
        [
            ("wait", "Usage: wait"),
            ("wait -h", "Usage: wait"),
            ("wait x", "Invalid duration."),
            ("wait 1 bogus", "Unknown condition 'bogus'."),
            ("wait 1 srv-removable", "Missing server name"),
            ("wait 1 srv-removable l/q", "No such server."),
        ],
    )
    def test_what_can_not_be_waited_for(self, say, command, begins):
        assert say(command).startswith(begins)

    def test_for_nothing(self, say):
        assert say("wait 1") == "Done.\n\n"


class TestTheProcess:
    @pytest.mark.parametrize(
        ("command", "answer"),
        [
            ("enable frontend", "A frontend name is expected.\n\n"),
            ("enable frontend q", "No such frontend.\n\n"),
            ("disable frontend b", "No such frontend.\n\n"),
            ("shutdown frontend", "A frontend name is expected.\n\n"),
            ("set maxconn frontend", "A frontend name is expected.\n\n"),
            ("set maxconn frontend q 5", "No such frontend.\n\n"),
            ("set maxconn frontend f", "Integer value expected.\n\n"),
            ("set maxconn frontend f x", "Integer value expected.\n\n"),
            ("set maxconn frontend f -4", "Value out of range.\n\n"),
            ("set maxconn global", "Expects an integer value.\n\n"),
            ("set maxconn global -1", "Value out of range.\n\n"),
            ("set rate-limit connections global", "Expects an integer value.\n\n"),
            ("shutdown session", "Session pointer expected (use 'show sess').\n\n"),
            ("shutdown session 0", "Session pointer expected (use 'show sess').\n\n"),
            ("shutdown session xx", "Session pointer expected (use 'show sess').\n\n"),
            ("shutdown session 0x55", "No such session (use 'show sess').\n\n"),
            ("shutdown sessions server", REQUIRE),
            ("shutdown sessions server l/q", NO_SERVER),
        ],
    )
    def test_words_of_haproxy(self, say, command, answer):
        assert say(command) == answer

    @pytest.mark.parametrize(
        "command", ["set rate-limit", "set rate-limit connections x 1", "set rate-limit q global 1"]
    )
    def test_what_can_be_limited(self, say, command):
        assert say(command).startswith("'set rate-limit' only supports :\n   - 'connections")

    @pytest.mark.parametrize("written", ["0x2a", "42"])
    def test_a_session_is_ended_by_its_number(self, admin, say, written):
        admin.control.open_sessions[42] = session_view(42)
        assert say(f"shutdown session {written}") == "\n"
        assert admin.control.asked[0][:2] == ("kill_session", 42)

    @pytest.mark.parametrize(
        ("command", "asked"),
        [
            ("clear counters", (False, None)),
            ("clear counters all", (True, None)),
            ("clear counters server l/s1", (True, L1)),
        ],
    )
    def test_counters_are_cleared_and_the_log_says_by_whom(self, admin, say, command, asked):
        if asked[1] is None:
            admin.control._known = lambda _key: None
        assert say(command) == "\n"
        assert admin.control.asked == [("clear_counters", *asked)]
        assert "counters were cleared by unix@" in admin.control.notes[0]

    def test_a_reload_says_how_it_went(self, admin, say):
        admin.control.supervisor["reload"] = {"error": None, "messages": ["[NOTICE] a"]}
        assert say("reload") == "Success=1\n--\n[NOTICE] a\n\n"
        admin.control.supervisor["reload"] = {"error": "bad", "messages": []}
        assert say("reload") == "Success=0\n--\nbad\n\n"

    def test_the_processes(self, admin, say):
        admin.control.supervisor["proc"] = {
            "supervisor": {"pid": 18801, "uptime_s": 382.4, "reloads": 0, "failed": 0},
            "workers": [{"pid": 18802, "uptime_s": 90061, "reloads": 2}],
            "old_workers": [{"pid": 18803, "uptime_s": 5, "reloads": 1}],
            "vaults": [{"pid": 18804, "uptime_s": 4, "reloads": 0}],
        }
        assert say("show proc") == (
            "#<PID>          <type>          <reloads>       <uptime>        <version>      \n"
            "18801           master          0 [failed: 0]   0d00h06m22s     3.2.0          \n"
            "# workers\n"
            "18802           worker          2               1d01h01m01s     3.2.0          \n"
            "# old workers\n"
            "18803           worker          1               0d00h00m05s     3.2.0          \n"
            "# programs\n"
            "18804           vault           0               0d00h00m04s     3.2.0          \n\n"
        )

    def test_a_supervisor_that_can_not_be_asked(self, admin, say):
        admin.control.supervisor["proc"] = {"error": "the supervisor is gone"}
        assert say("show proc", "numbers") == "[3]: the supervisor is gone\n\n"


class TestLevels:
    @pytest.mark.parametrize("socket", ["user", "operator"])
    @pytest.mark.parametrize(
        "command",
        [
            "set server l/s1 state ready",
            "set weight l/s1 1",
            "disable agent l/s1",
            "enable frontend l",
            "shutdown session 0",
            "shutdown sessions server l/s1",
            "set maxconn global 5",
            "set rate-limit sessions global 0",
            "clear counters all",
            "clear counters server l/s1",
            "add server l/n 127.0.0.1:1",
            "del server l/s1",
            "expert-mode on",
            "reload",
        ],
    )
    def test_who_may_not_change_anything(self, admin, say, socket, command):
        assert say(command, socket) == DENIED
        assert admin.control.asked == []

    def test_an_operator_clears_the_highest_values_and_a_user_does_not(self, say):
        assert say("clear counters", "operator") == "\n"
        assert say("clear counters", "user") == DENIED

    @pytest.mark.parametrize("socket", ["user", "operator", "admin"])
    def test_it_is_known(self, say, socket):
        assert say("show cli level", socket) == f"{socket}\n\n"

    def test_it_is_lowered_and_never_raised(self, say):
        said = say("show cli level;operator;show cli level;user;show cli level;operator;set weight")
        assert said == "admin\n\n\noperator\n\n\nuser\n\nPermission denied\n\nPermission denied\n\n"

    def test_help_lists_what_is_allowed(self, say):
        assert "set server" in say("help", "admin")
        assert "set server" not in say("help", "user")
