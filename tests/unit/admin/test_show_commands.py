"""The commands that look, as the table has them."""

import asyncio
import contextlib
import inspect
import itertools
import json
import os
import socket
from dataclasses import replace

import pytest

from lbsplice.admin.commands import Context
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.admin.show_commands import COMMANDS
from lbsplice.admin.view import ThreadView, Transition
from lbsplice.config.model import Config, Global
from tests.support.admin import StandInControl, session_view, small_view
from tests.unit.config_reading import config as read_config

TEXT = """\
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend f
    bind 127.0.0.1:8080
    default_backend b
backend b
    server s1 127.0.0.1:8001 check
listen l
    bind 127.0.0.1:8081
    server s1 127.0.0.1:8001 check
    server s2 127.0.0.1:8002 check
"""


def ask(text, control=None, level=Level.ADMIN, config=None):
    """The whole answer to a command."""
    words = text.split()
    found = [each for each in COMMANDS if tuple(words[: len(each.words)]) == each.words]
    command = max(found, key=lambda each: len(each.words))
    context = Context(control or StandInControl(), config or Config(Global(), ()), level, "a test")

    async def answer():
        got = command.handler(context, words[len(command.words) :], None)
        if inspect.isawaitable(got):
            got = await got
        if hasattr(got, "__aiter__"):
            return "".join([piece async for piece in got])
        return got if isinstance(got, str) else "".join(got)

    return asyncio.run(answer())


@pytest.mark.parametrize(
    ("command", "start"),
    [
        ("show stat", "# pxname,svname,"),
        ("show stat typed", "F.2.0.0.pxname.1:KNS:str:l\n"),
        ("show stat json", '[[{"objType":"Frontend",'),
        ("show stat -1 4 -1 typed", "S.2.1.0.pxname"),
        ("show stat json typed", "F.2.0.0.pxname.1:KNS:str:l\n"),
        ("show stat typed json", "[["),
        ("show stat desc typed", 'F.2.0.0.pxname.1:KNS:str:l:"'),
        ("show info", "Name: HAProxy\nVersion: 3.2.0\n"),
        ("show info typed", "0.Name.1:POS:str:HAProxy\n"),
        ("show info json", '[{"field":{"pos":0,"name":"Name"},'),
        ("show info desc float", 'Name: HAProxy:"'),
        ("show version", "3.2.0\n"),
        ("show backend", "# name\nl\nb\n"),
        ("show errors", "Total events captured on ["),
        ("show errors 99", "Total events captured on ["),
        ("show sess help", "Usage: show sess"),
        ("show startup-logs", "\n"),
        ("show resolvers", ""),
        ("show peers", ""),
        ("show peers -", ""),
        ("show table", ""),
        ("show threads", ""),
        ("show libs", "0x"),
        ("show pools", "What is kept to be used again: pipes.\n  - Pool pipe "),
        ("show tasks", "Running tasks: "),
        ("show activity", "thread_id: 1 (1..2)\n"),
        ("show events", "Sinks of events."),
        ("show events buf0", ""),
    ],
)
def test_answers_begin_so_and_end_with_their_line(command, start):
    answer = ask(command)
    assert answer.startswith(start)
    assert answer == "" or answer.endswith("\n")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("show stat nope 4 -1", "No such proxy."),
        ("show stat domain", "Invalid statistics domain."),
        ("show stat domain wat typed up", "Invalid statistics domain."),
        ("show stat domain proxy wat 4 -1", "No such proxy."),
        ("show stat #9 4 -1", "No such proxy."),
        ("show servers state nope", "Can't find backend."),
        ("show servers state #3", "Can't find backend."),
        ("show servers conn nope", "Can't find backend."),
        ("show errors nope", "No such proxy."),
        ("show sess 0x12", "Session not found."),
        ("show env LBSPLICE_HAS_NO_SUCH", "Variable not found"),
        ("show resolvers x", "Can't find that resolvers section"),
        ("show peers x", "No such peers"),
        ("show table x", "No such table"),
        ("show events nope", "No such event sink"),
        ("show events buf0 -x", "unknown option"),
        ("show events buf0 x", "unknown option"),
    ],
)
def test_errors_are_haproxys(command, says):
    with pytest.raises(AdminError) as error:
        ask(command)
    assert str(error.value) == says


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "\uff11\uff12"]
)
@pytest.mark.parametrize(
    "command",
    ["show stat {} 4 -1", "show stat -1 {0} {0}", "show sess {}", "show fd {}", "show errors {}"],
)
def test_no_number_is_too_much(command, number):
    with contextlib.suppress(AdminError):
        assert isinstance(ask(command.format(number)), str)


def test_levels_are_haproxys():
    operators = {" ".join(each.words) for each in COMMANDS if each.level is Level.OPERATOR}
    assert operators == {
        *("show sess", "show errors", "show env", "show startup-logs", "show fd", "show libs"),
    }
    assert {each.level for each in COMMANDS} == {Level.USER, Level.OPERATOR}
    with pytest.raises(AdminError, match="Permission denied"):
        ask("show events buf0", level=Level.USER)


def test_users_see_no_addresses():
    assert "127.0.0.1" not in ask("show stat", level=Level.USER)
    assert "127.0.0.1" in ask("show stat", level=Level.OPERATOR)


def test_the_schema_is_json_and_allows_what_is_answered():
    schema = json.loads(ask("show schema json"))
    assert [each["title"] for each in schema["oneOf"]] == ["Info", "Stat", "Error"]
    tags = schema["definitions"]["tags"]["properties"]
    for command in ("show info json", "show stat json"):
        answer = json.loads(ask(command))
        rows = [answer] if command == "show info json" else answer
        for figure in itertools.chain(*rows):
            for name, word in figure["tags"].items():
                assert word in tags[name]["enum"]
            kind = figure["value"]["type"]
            assert f"{kind}Value" in schema["definitions"]["typedValue"]["definitions"]


# ---- sessions ----


def with_sessions(count):
    return StandInControl(open_sessions={n: session_view(n) for n in range(1, count + 1)})


def test_all_sessions_come_a_few_at_a_time():
    control = with_sessions(700)
    lines = ask("show sess", control).splitlines()
    assert [int(line.split(":")[0], 16) for line in lines] == list(range(1, 701))


def test_one_session_is_shown_whole():
    assert ask("show sess 0x3", with_sessions(3)).startswith("0x3: [")
    assert ask("show sess all", with_sessions(3)).count("] id=") == 3
    assert ask("show sess older 1h", with_sessions(3)) == ""


def test_descriptors_are_those_of_listeners_and_sessions():
    control = with_sessions(1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number, port = listener.fileno(), listener.getsockname()[1]
        control.sockets = [("", number)]
        first, client, server = ask("show fd", control).splitlines()
        assert ask("show fd 21", control) == server + "\n"
        assert ask("show fd 99", control) == ""
    assert first.startswith(f"{number:>7} : st=0x")
    assert first.endswith(f"l.st=RDY fam=ipv4 lport={port}")
    assert client.startswith("     20 : ")
    assert " lport=8080 rport=40001 fe=l " in client
    assert server.startswith("     21 : ")
    assert " rport=8001 sv=l/s1 " in server


# ---- servers ----


def test_servers_state_can_be_read_back():
    read = read_config(TEXT)
    text = ask("show servers state", config=read)
    version, header, *rows = text.splitlines()
    assert version == "1"
    assert header.startswith("# be_id be_name ")
    assert [row.split()[1::2][:2] for row in rows] == [["b", "s1"], ["l", "s1"], ["l", "s2"]]
    assert ask("show servers state b", config=read).splitlines()[2:] == rows[:1]
    assert ask("show servers state #4", config=read).splitlines()[2:] == rows[:1]


def test_a_server_that_is_not_shown_yet_is_left_out():
    read = read_config(TEXT.replace("server s2 ", "server new "))
    rows = ask("show servers state l", config=read).splitlines()[2:]
    assert [row.split()[3] for row in rows] == ["s1"]


def test_servers_conn_has_a_line_for_each():
    header, *rows = ask("show servers conn l").splitlines()
    assert header.endswith("idle_cur idle_per_thr[2]")
    assert rows[0] == "l/s1 2/1 127.0.0.1 8001 - 5000 0 0 0 0 0 -1 0 0 0"
    assert len(rows) == 2
    assert ask("show servers conn #2") == ask("show servers conn l")


@pytest.mark.parametrize("rest", ["", " l 4 -1", " typed", " -1 4 -1 json", " up"])
def test_figures_of_the_domain_of_proxies_are_those_of_show_stat(rest):
    assert ask(f"show stat domain proxy{rest}") == ask(f"show stat{rest}")


def test_of_the_domain_of_resolvers_there_are_none():
    assert ask("show stat domain resolvers").startswith("# id,pid,sent,")
    assert len(ask("show stat domain resolvers").splitlines()) == 1
    assert json.loads(ask("show stat domain resolvers json")) == []
    assert ask("show stat domain resolvers typed") == ""


# ---- the process ----


def test_environment():
    assert f"PATH={os.environ['PATH']}\n" in ask("show env")
    assert ask("show env PATH") == f"PATH={os.environ['PATH']}\n"


def test_what_was_told_at_the_start():
    control = StandInControl(replace(small_view(), startup_logs=("[WARNING] a", "b")))
    assert ask("show startup-logs", control) == "[WARNING] a\nb\n"


def test_activity_is_told_by_thread():
    threads = (ThreadView(accepted=3, batches=10), ThreadView(accepted=4))
    answer = ask("show activity", StandInControl(replace(small_view(), threads=threads)))
    assert "accepted: 7 [ 3 4 ]\n" in answer
    answer = ask("show activity", StandInControl(replace(small_view(), threads=threads[:1])))
    assert "loops: 10\n" in answer


# ---- events ----


def change(number):
    return Transition(1_700_000_000.25 + number, ("l", "s1"), "UP", "DOWN", "Layer4 timeout", 2)


def test_events_are_the_servers_last_changes():
    control = StandInControl(replace(small_view(), transitions=(change(0),)))
    assert ask("show events buf0", control) == (
        "2023-11-14T22:13:20.250+00:00 server l/s1: UP -> DOWN, reason: Layer4 timeout, "
        "2 sessions ended\n"
    )
    assert ask("show events buf0 -n", control) == ""
    assert ask("show events buf0 -0", control).endswith("ended\0")


def test_who_waits_for_events_gets_new_ones_until_it_leaves():
    control = StandInControl(replace(small_view(), transitions=(change(0),)))
    context = Context(control, Config(Global(), ()), Level.ADMIN, "a test")
    (command,) = [each for each in COMMANDS if each.words == ("show", "events")]

    async def watch():
        key = asyncio.get_running_loop().create_future()

        async def heard():
            await key

        context.client.heard = heard
        answer = command.handler(context, ["buf0", "-wn"], None)
        first = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0)
        control.shown = replace(control.shown, transitions=(change(0), change(1)))
        got = [await asyncio.wait_for(first, 30)]
        key.set_result(None)
        got += [piece async for piece in answer]
        return got

    (piece,) = asyncio.run(watch())
    assert piece.startswith("2023-11-14T22:13:21.250")
    assert piece.count("\n") == 1
