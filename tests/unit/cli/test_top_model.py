"""`lbsplice top` without a terminal: what is shown, and what each key does."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from lbsplice.admin.objects import status_object
from lbsplice.admin.view import Flow, Rate, Transition
from lbsplice.cli.top_model import Model, Order, fitted, sparkline
from lbsplice.cli.top_view import screen, window
from tests.support.admin import backend_view, small_view


def status(**servers):
    """A status in which `l` has these servers, with changes of each."""
    backend = backend_view("l", servers=tuple(servers))
    rows = tuple(replace(row, **servers[row.key[1]]) for row in backend.servers)
    view = small_view(proxies=("l",), backends={"l": replace(backend, servers=rows)})
    return status_object(view)


@pytest.fixture
def model():
    made = Model()
    made.look(
        status(
            a={"sessions": Flow(now=5), "session_rate": Rate(now=1), "last_change": 90},
            b={"sessions": Flow(now=9), "session_rate": Rate(now=0), "last_change": 30},
            c={"status": "DOWN", "word": "DOWN", "is_up": False, "last_change": 60},
        ),
        10.0,
    )
    return made


def names(model):
    return [row.name for row in model.rows()]


def press(model, keys):
    """What the last of the keys orders."""
    order = None
    for key in keys:
        order = model.key(key)
    return order


def test_the_first_server_is_selected_and_arrows_move(model):
    assert model.selected == "l/a"
    press(model, ["down", "j", "down"])
    assert model.selected == "l/c"
    press(model, ["up", "k", "k"])
    assert model.selected == "l/a"


@pytest.mark.parametrize(
    ("presses", "sort", "order"),
    [
        (0, "file", "abc"),
        (1, "name", "abc"),
        (2, "status", "cab"),
        (3, "sessions", "bac"),
        (6, "changed", "bca"),
        (7, "file", "abc"),
    ],
)
def test_sorting(model, presses, sort, order):
    press(model, "s" * presses)
    assert model.sort == sort
    assert names(model) == [f"l/{letter}" for letter in order]
    press(model, "S")
    assert names(model) == [f"l/{letter}" for letter in reversed(order)]


@pytest.mark.parametrize(
    ("key", "state"),
    [("d", "drain"), ("r", "ready")],
)
def test_drain_and_ready_are_ordered_at_once(model, key, state):
    press(model, ["down"])
    assert model.key(key) == Order("l/b", ("set", "server", "l/b", "state", state))


@pytest.mark.parametrize(
    ("key", "command"),
    [("m", "set server l/a state maint"), ("K", "lbsplice kill server l/a")],
)
def test_what_may_end_sessions_is_asked_for_twice(model, key, command):
    assert model.key(key) is None
    assert model.confirming.words == tuple(command.split())
    assert model.key("n") is None
    assert model.message == "nothing was done"
    assert press(model, [key, "y"]) == Order("l/a", tuple(command.split()))
    assert model.confirming is None


def test_the_filter_narrows_while_it_is_typed(model):
    press(model, ["/", "l", "/", "b"])
    assert names(model) == ["l/b"]
    assert model.selected == "l/b"
    press(model, ["backspace"])
    assert len(names(model)) == 3
    press(model, ["enter", "q"])
    assert model.quit
    assert model.filter == "l/"


def test_a_filter_finds_a_status_and_escape_ends_it(model):
    press(model, ["/", *"down"])
    assert names(model) == ["l/c"]
    press(model, ["escape"])
    assert len(names(model)) == 3


def test_keys_typed_into_the_filter_order_nothing(model):
    assert press(model, ["/", "d", "K", "q"]) is None
    assert not model.quit
    assert model.filter == "dKq"


def test_nothing_is_ordered_where_nothing_is_shown(model):
    press(model, ["/", *"nowhere", "enter"])
    assert model.selected is None
    assert press(model, ["down", "d", "K"]) is None


def test_rates_are_from_one_look_to_the_next(model):
    assert model.rows()[0].bytes_out_rate is None
    model.look(status(a={"bytes_in": 300, "bytes_out": 6_000}), 12.0)
    (row,) = model.rows()
    assert (row.bytes_in_rate, row.bytes_out_rate) == (100.0, 2_000.0)
    assert row.history == (2_100.0,)
    model.look(status(a={"bytes_in": 0, "bytes_out": 0}), 13.0)  # `clear counters all`
    assert model.rows()[0].bytes_out_rate is None


def test_a_pause_keeps_what_is_shown(model):
    press(model, ["p"])
    model.look(status(new={}), 11.0)
    assert names(model) == ["l/a", "l/b", "l/c"]
    press(model, ["p"])
    model.look(status(new={}), 12.0)
    assert names(model) == ["l/new"]
    assert model.selected == "l/new"


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ((), 3, "   "),
        ((0.0, 0.0), 3, "   "),
        ((0, 1, 4, 8), 6, "   ▁▄█"),
        ((1, 1000), 2, "▁█"),
        ((9, 9, 1, 8), 2, "▁█"),
        ((1,), 0, ""),
    ],
)
def test_sparklines(values, width, bars):
    assert sparkline(values, width) == bars


# ---- the screen ----


def shown(model, width=120, height=24):
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(screen(model, width, height))
    return console.file.getvalue().splitlines()


def test_a_screen_has_head_servers_timeline_and_prompt(model):
    change = Transition(1_700_000_000.0, ("l", "c"), "UP", "DOWN", "Layer4 timeout", 3)
    model.status["transitions"] = status_object(small_view(transitions=(change,)))["transitions"]
    lines = shown(model)
    assert "lbsplice" in lines[0]
    assert "sessions 2/1000 (most 5)" in lines[0]
    assert lines[1].split()[:3] == ["server", "status", "weight"]
    assert lines[2].split()[:2] == ["l/a", "UP"]
    assert any("l/c  UP -> DOWN  ended 3 sessions  Layer4 timeout" in line for line in lines)
    assert "q quit" in lines[-1]


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (40, 10), (200, 50), (20, 7), (20, 6), (20, 4), (10, 3)]
)
def test_a_screen_is_never_longer_or_wider_than_the_terminal(model, width, height):
    press(model, ["K"])
    lines = shown(model, width, height)
    assert len(lines) <= max(height, 4)
    assert "l/a" in lines[2]
    assert lines[-1].startswith("l/a: end")
    assert all(len(line) <= width for line in lines)


def test_a_narrow_screen_has_the_sessions_and_tells_servers_apart():
    model = Model()
    model.look(
        status(**{f"a-node-with-a-name-of-thirty-{n}": {"sessions": Flow(now=n)} for n in (1, 2)}),
        1.0,
    )
    key = ("a-long-backend", "and-its-server-9")
    change = Transition(1_700_000_000.0, key, "UP", "DOWN", "why")
    model.status["transitions"] = status_object(small_view(transitions=(change,)))["transitions"]
    lines = shown(model, 40, 10)
    assert "sessions 2/1000" in lines[0]
    assert lines[1].split() == ["server", "status", "sess"]
    assert [line.split()[0][-4:] for line in lines[2:4]] == ["ty-1", "ty-2"]
    assert [line.split()[-1] for line in lines[2:4]] == ["1", "2"]
    assert any(line.endswith("-9  UP -> DOWN") for line in lines)


@pytest.mark.parametrize(("key", "what"), [("K", "end all its"), ("m", "put it into")])
def test_a_narrow_screen_still_asks_for_an_answer(key, what):
    model = Model()
    model.look(status(**{"a-node-with-a-name-of-thirty-1": {}}), 1.0)
    press(model, [key])
    asked = shown(model, 40, 10)[-1]
    assert f"-1: {what}" in asked
    assert asked.endswith("? y/n")


def test_a_crash_is_told_in_the_head(model):
    assert "crash" not in shown(model)[0]
    model.status["process"]["crashes"] = 1
    assert "1 crash" in shown(model)[0]


@pytest.mark.parametrize(
    ("name", "width", "said"),
    [
        ("amqp/a", 6, "amqp/a"),
        ("amqp/a", 5, "am…/a"),
        ("amqp/rabbit-17", 10, "amqp/…t-17"),
        ("a/rabbit-17", 10, "a/…bbit-17"),
        ("amqp/rabbit-17", 3, "…/…"),
    ],
)
def test_a_name_that_is_cut_keeps_its_ends(name, width, said):
    assert fitted(name, width) == said
    assert len(said) <= width


def test_a_long_list_shows_the_selected_one():
    model = Model()
    model.look(status(**{f"s{number}": {} for number in range(100)}), 1.0)
    press(model, ["down"] * 70)
    lines = shown(model, height=20)
    assert any(line.startswith("l/s70 ") for line in lines)
    assert any(" more" in line for line in lines)
    assert len(lines) <= 20


def test_a_window_is_full_at_both_ends():
    model = Model()
    model.look(status(**{f"s{number}": {} for number in range(10)}), 1.0)
    rows = model.rows()
    assert [row.name for row in window(rows, "l/s0", 4)] == ["l/s0", "l/s1", "l/s2", "l/s3"]
    assert [row.name for row in window(rows, "l/s9", 4)] == ["l/s6", "l/s7", "l/s8", "l/s9"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["/", "x"], "filter: x"),
        (["K"], "l/a: end all its sessions? y/n"),
        (["m"], "l/a: put it into maintenance? y/n"),
        (["s"], "server▼"),
        (["s", "S"], "server▲"),
        (["p"], "paused"),
        (["?"], "drain, ready, maint"),
    ],
)
def test_what_was_pressed_is_seen(model, keys, says):
    press(model, keys)
    assert any(says in line for line in shown(model, width=140))


def test_trouble_is_told_below_what_was_seen_last(model):
    model.fails("no answer: nobody answers")
    lines = shown(model)
    assert "no answer: nobody answers" in lines[-1]
    assert any("l/a" in line for line in lines)
    first = Model()
    first.fails("no answer yet")
    assert shown(first) == ["no answer yet"]
