"""`lbsplice status`, `sessions`, `server`, `kill` and `explain`: what they print and order."""

import json
import re
from dataclasses import replace

import pytest
from click import unstyle

from lbsplice.cli.sessions import table
from lbsplice.cli.status import styled
from lbsplice.terms import AdminState
from tests.support.admin import backend_view, session_view, small_view


def with_status(**changes):
    """A view in which the first server of `l` is different."""
    backend = backend_view("l")
    first = replace(backend.servers[0], **changes)
    return small_view(
        proxies=("l",), backends={"l": replace(backend, servers=(first, backend.servers[1]))}
    )


def test_the_help_has_a_whole_sentence_for_each_command(call):
    for words in ((), ("kill",)):
        told = call(*words, "--help").stdout.partition("Commands:\n")[2]
        assert "..." not in told
        assert re.sub(r"\n {4,}", " ", told).count(".\n") == len(re.findall(r"^  \w", told, re.M))


# ---- status ----


def test_status_is_a_line_per_server(run, call):
    made = run()
    made.control.shown = with_status(status="UP 1/2")
    assert call("status", "-f", made.file).stdout == "l/s1|UP 1/2\nl/s2|UP\n"


def test_status_of_some(run, call):
    made = run()
    assert call("status", "-f", made.file, "b").stdout == "b/s1|UP\n"
    assert call("status", "-f", made.file, "l/s2", "b/s1").stdout == "l/s2|UP\nb/s1|UP\n"
    assert call("status", "-f", made.file, "s1").stdout == "l/s1|UP\nb/s1|UP\n"
    done = call("status", "-f", made.file, "nowhere")
    assert done.exit_code == 1
    assert (
        done.stderr
        == "lbsplice: no backend or server 'nowhere'; there are: l, b, l/s1, l/s2, b/s1\n"
    )


def test_status_as_json_is_one_object(run, call):
    made = run()
    told = json.loads(call("status", "-f", made.file, "--json", "l/s2").stdout)
    (backend,) = told["backends"]
    assert [server["name"] for server in backend["servers"]] == ["s2"]
    assert told["process"]["sessions"]["now"] == 2


def test_status_has_colours_where_they_are_seen(run, call):
    made = run()
    assert "\x1b[" in call("status", "-f", made.file, color=True).stdout
    assert "\x1b[" not in call("status", "-f", made.file).stdout


def test_no_colour_where_nobody_wants_it(run, call):
    made = run()
    done = call("status", "-f", made.file, color=True, env={"NO_COLOR": "1"})
    assert "\x1b[" not in done.stdout


@pytest.mark.parametrize(
    ("one", "other"),
    [("UP", "DOWN"), ("UP", "UP 1/2"), ("DOWN", "DOWN 1/2"), ("DRAIN", "MAINT")],
)
def test_states_look_different(one, other):
    assert styled(one).replace(one, "") != styled(other).replace(other, "")


# ---- sessions ----


def test_a_session_is_a_line_and_one_for_each_side(run, call):
    made = run()
    made.control.open_sessions = {
        0x1F: session_view(0x1F, client="10.0.0.7:5000", age_ms=75_000),
        0x20: session_view(0x20, server=None, backend=None, state="connecting"),
    }
    lines = call("sessions", "-f", made.file).stdout.splitlines()
    assert lines[0].split()[:4] == ["leg", "idle", "bytes", "state"]
    assert lines[1] == "0x1f  10.0.0.7:5000 -> l -> l/s1  open 1m15s"
    assert [line.split()[0] for line in lines[2:4]] == ["client", "server"]
    assert lines[4].endswith(" -> -/<NOSRV>  open 12.3s, connecting")
    assert len(lines) == 1 + 2 * 3


KERNEL = {
    "state": "ESTABLISHED",
    "peer": "10.0.0.9:5672",
    "timer": "keepalive",
    "expires_ms": 7_199_900,
    "retransmits": 0,
    "probes": 0,
    "unsent": 0,
    "unacknowledged": 0,
    "last_ack_ms": 1_400,
    "stalled": False,
}


def told(**of_the_server):
    """A session as a process tells of it, with these facts of its server's side."""
    leg = {"fd": 9, "idle_ms": 83_000, "bytes": 1_234_567_890, "kernel": KERNEL}
    return {
        "id": "0x10000000000001f",
        "state": "established",
        "frontend": "amqp",
        "backend": "amqp",
        "server": "rabbit-1",
        "client": "192.168.100.35:32850",
        "age_ms": 100_000,
        "legs": {"client": leg, "server": {**leg, "kernel": {**KERNEL, **of_the_server}}},
    }


def test_a_busy_table_of_sessions_fits_a_narrow_terminal():
    lost = told(timer="on", expires_ms=23_500, retransmits=12, unacknowledged=123_456, stalled=True)
    head, session, *sides = map(unstyle, table([lost], kernel=True))
    assert head.split()[4:] == ["timer", "unsent", "unack", "resent", "probes", "heard"]
    assert session == (
        "0x10000000000001f  192.168.100.35:32850 -> amqp -> amqp/rabbit-1 (10.0.0.9:5672)"
        "  open 1m40s"
    )
    assert sides[1].split() == (
        ["server!", "1m23s", "1.2G", "ESTAB", "retrans", "23.5s", "0", "123k", "12", "0", "1.4s"]
    )
    assert max(map(len, (head, *sides))) <= 80


def test_the_widest_table_of_sessions_fits_a_narrow_terminal():
    worst = told(
        state="CLOSE_WAIT",
        timer="keepalive",
        expires_ms=7_199_900,
        unsent=123_456,
        unacknowledged=123_456,
        retransmits=15,
        probes=15,
        last_ack_ms=675_000,
        stalled=True,
    )
    worst["legs"]["server"]["idle_ms"] = 86_399_000
    head, _, *sides = map(unstyle, table([worst], kernel=True))
    assert sides[1].split()[-1] == "11m"
    assert max(map(len, (head, *sides))) <= 80


@pytest.mark.parametrize(
    ("timer", "shown"),
    [
        ("off", "-"),
        (None, "?"),
        ("keepalive", "keepalive 1h59m"),
        ("probe", "probe 1h59m"),
        ("on", "retrans 1h59m"),
    ],
)
def test_a_timer_of_the_kernel_is_for_people(timer, shown):
    line = list(table([told(timer=timer)], kernel=True))[3]
    assert f" ESTAB {shown} " in " ".join(line.split())


def test_who_was_never_heard_is_said_so():
    line = list(table([told(state="SYN_SENT", timer=None, last_ack_ms=None)], kernel=True))[3]
    assert line.split()[-1] == "-"


def test_no_session_is_said_so(run, call):
    made = run()
    assert call("sessions", "-f", made.file).stdout == "no session matches\n"
    assert json.loads(call("sessions", "-f", made.file, "--json").stdout) == {"sessions": []}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--server", "l/s11"), "no server 'l/s11'; close to it: l/s1"),
        (("--backend", "nowhere"), "no backend 'nowhere'; there are: l, b"),
        (("--server", "x; show info"), "no server 'x; show info'"),
        (("--server", ""), "'' can not be asked for"),
        (("--server", "a\nb"), "'a\\nb' can not be asked for"),
    ],
)
def test_sessions_of_what_there_is_not_are_no_empty_answer(run, call, words, says):
    made = run()
    for more in ((), ("--json",)):
        done = call("sessions", "-f", made.file, *words, *more)
        assert (done.exit_code, done.stdout) == (1, "")
        assert says in done.stderr


def test_sessions_of_a_server_that_was_removed_are_found(run, call):
    made = run()
    made.control.open_sessions = {1: session_view(1, server=("l", "gone"))}
    assert "l/gone" in call("sessions", "-f", made.file, "--server", "gone").stdout


def test_filters_of_sessions_reach_the_process(run, call):
    made = run()
    made.control.open_sessions = {
        1: session_view(1),
        2: session_view(2, server=("l", "s2"), client="10.0.0.7:5000", age_ms=100_000),
        3: session_view(3, server=("l", "s2"), age_ms=100_000),
    }

    def ids(*words):
        done = call("sessions", "-f", made.file, "--json", *words)
        assert done.exit_code == 0, done.stderr
        return [each["id"] for each in json.loads(done.stdout)["sessions"]]

    assert ids() == ["0x1", "0x2", "0x3"]
    assert ids("--server", "l/s2") == ["0x2", "0x3"]
    assert ids("--server", "s2", "--client", "10.0.0.7") == ["0x2"]
    assert ids("--older", "90s", "--limit", "1") == ["0x2"]
    assert ids("--backend", "b") == []
    assert ids("--idle", "1h") == []
    assert ids("--older", "30d") == []
    assert ids("--stalled") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--older", "soon"), "'soon' is no time"),
        (("--older", "99999d"), "'99999d' is too large"),
        (("--client", "somewhere"), "'somewhere' is not an IP address"),
        (("--client", "10.0.0.0/8"), "'10.0.0.0/8' is not an IP address"),
        (("--stalled", "--quick"), "not with --quick"),
    ],
)
def test_wrong_filters_of_sessions(call, words, says):
    done = call("sessions", *words)
    assert done.exit_code == 2
    assert says in done.stderr


# ---- server ----


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("l/s2", "drain"), ("set_admin", ("l", "s2"), AdminState.DRAIN)),
        (("s2", "maint"), ("set_admin", ("l", "s2"), AdminState.MAINT)),
        (("l/s2", "ready"), ("set_admin", ("l", "s2"), AdminState.READY)),
        (("l/s2", "weight", "50%"), ("set_weight", ("l", "s2"), "50%")),
    ],
)
def test_server_orders(run, call, words, asked):
    made = run()
    done = call("server", "-f", made.file, *words)
    assert done.exit_code == 0, done.stderr
    assert made.control.asked[0][:3] == asked
    assert done.stdout.startswith("l/s2|UP")


def test_a_weight_of_nothing_is_told_of(run, call):
    made = run()
    made.control.shown = with_status(user_weight=0)
    done = call("server", "-f", made.file, "l/s1", "weight", "50%")
    assert done.stdout == "l/s1|UP (weight 0: it gets no new sessions)\n"


def test_a_name_that_two_backends_have_is_asked_back(run, call):
    made = run()
    done = call("server", "-f", made.file, "s1", "drain")
    assert done.exit_code == 1
    assert "several backends have a server 's1': l/s1, b/s1" in done.stderr
    assert made.control.asked == []


def test_a_server_that_there_is_not(run, call):
    made = run()
    done = call("server", "-f", made.file, "s9", "drain")
    assert done.exit_code == 1
    assert "no server 's9'; there are: l/s1, l/s2, b/s1" in done.stderr


def test_a_refusal_is_told(run, call):
    made = run()
    made.control.refuses["set_weight"] = "Absolute weight can only be between 0 and 256 inclusive."
    done = call("server", "-f", made.file, "l/s1", "weight", "999")
    assert done.exit_code == 1
    assert "Absolute weight can only be between 0 and 256" in done.stderr


def test_a_name_that_is_nearly_right_is_helped(run, call):
    made = run()
    for wrong in ("l/s11", "s22"):
        done = call("kill", "server", "-f", made.file, wrong)
        assert done.exit_code == 1
        assert f"no server '{wrong}'; close to it: " in done.stderr
    assert "'l' is a backend; its servers are: l/s1, l/s2" in (
        call("kill", "server", "-f", made.file, "l").stderr
    )
    assert made.control.asked == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("l/s1", "weight"), "a weight is 0 to 256, or a share such as 50%"),
        (("l/s1", "weight", "much"), "not 'much'"),
        (("l/s1", "weight", "1; show info"), "not '1; show info'"),
        (("l/s1", "drain", "7"), "`drain` takes no value"),
        (("l/s1", "down"), "'down' is not one of"),
    ],
)
def test_what_is_no_order(call, words, says):
    done = call("server", *words)
    assert done.exit_code == 2
    assert says in done.stderr


# ---- kill ----


def test_kill_of_sessions(run, call):
    made = run()
    made.control.open_sessions = {number: session_view(number) for number in (1, 2)}
    done = call("kill", "session", "-f", made.file, "0x1", "0x9", "0x2")
    assert done.exit_code == 1
    assert done.stderr == "lbsplice: No session 0x9 (any more).\n"
    assert done.stdout == "0x1: ended\n0x2: ended\n"
    assert made.control.open_sessions == {}


def test_kill_of_a_servers_sessions(run, call):
    made = run()
    made.control.open_sessions = {1: session_view(1), 2: session_view(2, server=("b", "s1"))}
    done = call("kill", "server", "-f", made.file, "l/s1")
    assert done.stdout == "l/s1: ended 1 session\n"
    assert list(made.control.open_sessions) == [2]


# ---- explain ----


def test_explain_in_words_and_as_json(run, call):
    made = run()
    made.control.open_sessions = {0x1F: session_view(0x1F)}
    said = call("explain", "-f", made.file, "0x1f")
    assert said.stdout.startswith("session 0x1f: ")
    assert "if the server goes down now" in said.stdout
    told = json.loads(call("explain", "-f", made.file, "0x1f", "--json").stdout)
    assert told["id"] == "0x1f"
    assert told["explanation"]["endings"][0]["case"] == "silence"


@pytest.mark.parametrize("words", [("explain",), ("kill", "session")])
def test_what_is_no_session_is_a_wrong_argument(call, words):
    done = call(*words, "abc")
    assert done.exit_code == 2
    assert "'abc' is no session's id, such as 0x1f" in done.stderr


def test_explain_of_what_is_not_there(run, call):
    made = run()
    for words in (("0x1f",), ("0x1f", "--json")):
        done = call("explain", "-f", made.file, *words)
        assert done.exit_code == 1
        assert done.stderr == "lbsplice: No session 0x1f (any more).\n"
