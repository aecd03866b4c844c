"""lbsplice's own commands of the socket, on literal sessions and on real sockets."""

import asyncio
import json
import socket
from contextlib import ExitStack

import pytest

from lbsplice.admin.commands import Context
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.admin.own_commands import COMMANDS
from lbsplice.admin.session import LegView
from lbsplice.admin.session_filter import Filter, filter_words, parse_filter
from lbsplice.admin.view import Transition
from lbsplice.config.files import Source
from lbsplice.config.parse import parse
from lbsplice.stuck.selection import parse_endpoint
from tests.support import running
from tests.support.admin import StandInControl, session_view, small_view

CONFIG = running.CONFIG.format(socket="")


@pytest.fixture
def control():
    return StandInControl()


@pytest.fixture
def give(control):
    """Give a command; its answer, whatever kind the handler made of it."""
    config = parse([Source("lb.cfg", CONFIG)], {}).config

    def given(line):
        words = line.split()
        command = next(each for each in COMMANDS if words[: len(each.words)] == list(each.words))
        context = Context(control, config, Level.ADMIN, "a test")
        answer = command.handler(context, words[len(command.words) :], None)
        return answer if isinstance(answer, str) else asyncio.run(_whole(answer))

    return given


async def _whole(pieces):
    return "".join([piece async for piece in pieces])


def objects(answer):
    return [json.loads(line) for line in answer.splitlines()]


@pytest.fixture
def pair():
    """Two legs of a session of this very process: their far ends are here as well."""
    with ExitStack() as stack:
        ends = []
        for _ in range(2):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            far = stack.enter_context(socket.create_connection(listener.getsockname()))
            near = stack.enter_context(listener.accept()[0])
            ends.append((near, far))
        yield ends


def legs_of(pair):
    return tuple(LegView(fd=near.fileno(), idle_ms=10) for near, _ in pair)


# ---- status ----


def test_status_has_all_servers_in_the_order_of_the_file(give):
    (found,) = objects(give("lbsplice show status json"))
    names = [
        f"{each['backend']}/{each['name']}" for b in found["backends"] for each in b["servers"]
    ]
    assert names == ["l/s1", "l/s2", "b/s1"]
    server = found["backends"][0]["servers"][0]
    assert server["status"] == "UP"
    assert server["sessions"] == {"now": 1, "max": 3, "total": 5, "limit": 0}
    assert server["check"]["status"] == "L4OK"
    assert found["process"]["pid"] == 4321


def test_status_has_what_happened(control, give):
    change = Transition(1_700_000_000.5, ("l", "s1"), "UP", "DOWN", "Layer4 timeout", 7)
    control.shown = small_view(transitions=(change,))
    (found,) = objects(give("lbsplice show status"))
    assert found["transitions"] == [
        {
            "at": 1_700_000_000.5,
            "backend": "l",
            "server": "s1",
            "before": "UP",
            "after": "DOWN",
            "why": "Layer4 timeout",
            "ended": 7,
        }
    ]


# ---- sessions ----


def ids(answer):
    return [each["id"] for each in objects(answer)]


def test_all_sessions_are_listed_however_many(control, give):
    control.open_sessions = {number: session_view(number) for number in range(1, 101)}
    assert ids(give("lbsplice show sessions json quick")) == [f"{n:#x}" for n in range(1, 101)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("server l/s1", [1, 2, 3]),
        ("server s1", [1, 2, 3, 5]),
        ("server s2", [4]),
        ("backend b", [5]),
        ("client 10.0.0.7", [2]),
        ("client 10.0.0.7:99", []),
        ("client [2001:db8::1]:5000", [3]),
        ("older 1m", [4, 5]),
        ("older 30d", [5]),
        ("older 2592000000ms", [5]),
        ("idle 5s", [2]),
        ("idle 5", [2]),
        ("server s1 limit 2", [1, 2]),
        ("stalled", []),
    ],
)
def test_filters(control, give, words, expected):
    quiet = (LegView(idle_ms=6_000), LegView(idle_ms=9_000))
    control.open_sessions = {
        1: session_view(1, client="unix:1"),
        2: session_view(2, client="10.0.0.7:5000", legs=quiet),
        3: session_view(3, client="2001:db8::1:5000"),
        4: session_view(4, server=("l", "s2"), age_ms=61_000),
        5: session_view(5, server=("b", "s1"), backend="b", age_ms=31 * 86_400_000),
    }
    assert ids(give(f"lbsplice show sessions {words}")) == [hex(each) for each in expected]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("nonsense", "'nonsense' is not known here"),
        ("older", "'older' expects a value"),
        ("older soon", "'older': unexpected character"),
        ("limit 0", "'limit': '0' is less than 1"),
        ("client here", "'client': 'here' is not an IP address"),
        ("stalled quick", "not with 'quick'"),
    ],
)
def test_a_wrong_filter_is_said_to_be_one(give, words, says):
    with pytest.raises(AdminError) as why:
        give(f"lbsplice show sessions {words}")
    assert says in str(why.value)


def test_a_filter_is_the_same_in_words():
    older_ms = 31 * 86_400_000
    full = Filter("l/s1", "l", parse_endpoint("[::1]:80"), older_ms, 2000, True, False, 7)
    assert parse_filter(filter_words(full)) == full
    assert parse_filter(filter_words(Filter(quick=True))) == Filter(quick=True)


def test_the_kernels_view_is_that_of_each_leg(control, give, pair):
    (client, _), (server, far) = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 7)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1234)
    far.sendall(b"12345")
    control.open_sessions = {1: session_view(1, legs=legs_of(pair))}
    (found,) = objects(give("lbsplice show sessions"))
    seen = found["legs"]["client"]["kernel"]
    assert seen["timer"] == "keepalive"
    assert 50_000 < seen["expires_ms"] <= 60_000
    assert seen["keepalive"] == {"idle": 60, "interval": 7, "count": seen["keepalive"]["count"]}
    assert seen["peer"] == "{}:{}".format(*client.getpeername())
    assert seen["state"] == "ESTABLISHED"
    other = found["legs"]["server"]["kernel"]
    assert other["timer"] == "off"
    assert other["receive_queue"] == 5
    assert other["user_timeout_ms"] == 1234
    assert not found["stalled"]


def test_a_server_that_has_not_answered_yet_was_never_heard(control, give, tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        waiting = [stack.enter_context(socket.socket()) for _ in range(4)]
        for sock in waiting:  # more than it takes: the last ones are not answered
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        legs = (LegView(fd=-1), LegView(fd=waiting[-1].fileno()))
        control.open_sessions = {1: session_view(1, legs=legs)}
        (found,) = objects(give("lbsplice show sessions"))
    kernel = found["legs"]["server"]["kernel"]
    assert kernel["state"] == "SYN_SENT"
    assert [kernel[f"last_{what}_ms"] for what in ("ack", "data_sent", "data_received")] == 3 * [
        None
    ]
    assert not kernel["stalled"]


def test_others_have_their_turn_while_many_are_looked_at(control, pair):
    control.open_sessions = {n: session_view(n, legs=legs_of(pair)) for n in range(1, 321)}
    command = next(each for each in COMMANDS if each.words[1:] == ("show", "sessions"))
    turns = 0

    async def listed():
        async def another():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(another())
        context = Context(control, parse([Source("lb.cfg", CONFIG)], {}).config, Level.ADMIN, "")
        answer = await _whole(command.handler(context, [], None))
        task.cancel()
        return answer

    assert len(ids(asyncio.run(listed()))) == 320
    assert turns >= 10


def test_looking_keeps_nothing_open(control, give, pair):
    (client, far), _ = pair
    control.open_sessions = {1: session_view(1, legs=legs_of(pair))}
    give("lbsplice show sessions")
    client.close()
    far.settimeout(30)
    assert far.recv(1) == b""  # the only copy was the one that is closed


def test_a_second_look_that_takes_fewer_at_once_loses_nobody(control, give, pair):
    control.open_sessions = {n: session_view(n, legs=legs_of(pair)) for n in range(1, 101)}
    whole, looks = control.sessions, 0

    def slower(first, room):
        nonlocal looks
        looks += 1
        return whole(first, room if looks % 2 else room // 3)

    control.sessions = slower
    assert len(ids(give("lbsplice show sessions"))) == 100


def test_a_session_that_ends_while_it_is_looked_at_is_left_out(control, give, pair):
    control.open_sessions = {1: session_view(1, legs=legs_of(pair)), 2: session_view(2)}
    answers = iter([control.sessions(0, 32), ([session_view(2)], None)])
    control.sessions = lambda _first, _room: next(answers)
    assert ids(give("lbsplice show sessions")) == ["0x2"]


def test_a_number_that_is_no_socket_has_no_kernel_view(control, give, tmp_path):
    with (tmp_path / "file").open("w") as file:
        legs = (LegView(fd=file.fileno()), LegView(fd=-1))
        control.open_sessions = {1: session_view(1, legs=legs)}
        (found,) = objects(give("lbsplice show sessions"))
    assert found["legs"]["client"]["kernel"] is None
    assert found["legs"]["server"]["kernel"] is None


# ---- one session ----


def test_a_session_is_explained_in_words_and_as_an_object(control, give, pair):
    control.open_sessions = {0x1F: session_view(0x1F, legs=legs_of(pair))}
    told = give("lbsplice explain 0x1f")
    assert told.startswith("session 0x1f: 127.0.0.1:")
    assert "When it ends" in told
    (found,) = objects(give("lbsplice explain 0x1f json"))
    assert found["id"] == "0x1f"
    assert found["explanation"]["endings"]
    (same,) = objects(give("lbsplice show session 31"))
    assert same["explanation"]["why"] == found["explanation"]["why"]


@pytest.mark.parametrize(
    "command", ["lbsplice explain", "lbsplice show session", "lbsplice kill session"]
)
def test_a_session_that_is_not_there_is_said_to_be_none(give, command):
    with pytest.raises(AdminError, match=r"No session 0x1f \(any more\)"):
        give(f"{command} 0x1f")
    with pytest.raises(AdminError, match="is no session's id"):
        give(f"{command} first")
    with pytest.raises(AdminError, match="Missing"):
        give(command)


# ---- kill ----


def test_kills_are_the_controls(control, give):
    control.open_sessions = {number: session_view(number) for number in (1, 2, 3)}
    assert objects(give("lbsplice kill session 0x2")) == [{"killed": 1}]
    assert objects(give("lbsplice kill server l/s1")) == [{"killed": 2}]
    assert control.asked == [
        ("kill_session", 2, "a test"),
        ("kill_server_sessions", ("l", "s1"), "a test"),
    ]


@pytest.mark.parametrize("words", ["", "s1"])
def test_the_server_to_kill_is_named_in_full(give, words):
    with pytest.raises(AdminError, match="BACKEND/NAME"):
        give(f"lbsplice kill server {words}")


def test_looking_at_everything_is_for_operators():
    levels = {command.words[1:]: command.level for command in COMMANDS}
    assert levels[("show", "status")] is Level.USER
    assert levels[("show", "sessions")] is levels[("explain",)] is Level.OPERATOR
    assert levels[("kill", "session")] is levels[("kill", "server")] is Level.ADMIN
