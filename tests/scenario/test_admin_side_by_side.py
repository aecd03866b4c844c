"""Asked the same in the same situation, a real HAProxy and lbsplice answer alike: the same
lines, columns, words and counts. Where they differ it is because of the version that is
followed, or because lbsplice has no such thing; those tables fail when a difference is no
more."""

from __future__ import annotations

import json
import re

import pytest

from lbsplice.admin.stat_columns import POSITIONS
from tests.support.side_by_side import Record, Side, Situation, both_sides, rows
from tests.support.sidebyside import haproxy_is_the_oracle

pytestmark = pytest.mark.skipif(not haproxy_is_the_oracle(), reason="needs HAProxy 2.6")

QUESTIONS = (
    *("show stat", "show stat up", "show stat -1 4 -1 no-maint", "show stat typed"),
    *("show info", "show servers state", "show servers conn b", "show backend"),
    *("show sess", "show errors", "get weight b/s1", "get weight b/s3"),
)
USER = "show stat (as user)"


# ---- the situations ----


def begins(side: Side) -> None:
    side.until("s1", "UP")
    side.until("s2", "UP")


def has_sessions(side: Side) -> None:
    side.calls(b"hello")
    side.calls(b"good day")
    side.calls(b"!", port="port2")
    side.shows_sessions(3)


def had_sessions(side: Side) -> None:
    side.hang_up()
    side.shows_sessions(0)


def is_down(side: Side) -> None:
    side.servers["s2"].dies()
    side.until("s2", "DOWN")


def is_up_again(side: Side) -> None:
    side.servers["s2"].returns()
    side.until("s2", "UP")


def is_in_maintenance(side: Side) -> None:
    side.tells("set server b/s1 state maint")


def drains(side: Side) -> None:
    side.tells("set server b/s1 state ready")
    side.until("s1", "UP")
    side.tells("set server b/s1 state drain")


def has_no_server(side: Side) -> None:
    side.tells("set server b/s2 state maint", "set server b/s3 state maint")


def has_another_weight(side: Side) -> None:
    for server in ("s1", "s2", "s3"):
        side.tells(f"set server b/{server} state ready")
    side.until("s1", "UP")
    side.until("s2", "UP")
    side.tells("set server b/s1 weight 7", "set weight b/s3 50%", "set server b/s2 weight 0")


def was_cleared(side: Side) -> None:
    side.tells("set server b/s1 weight 1", "set server b/s2 weight 100%", "set weight b/s3 10")
    side.tells("clear counters all")


def accepts_nobody(side: Side) -> None:
    side.tells("disable frontend f")


def accepts_again(side: Side) -> None:
    side.tells("enable frontend f", "shutdown frontend l")


SITUATIONS: tuple[Situation, ...] = tuple(
    (each.__name__, each)
    for each in (
        *(begins, has_sessions, had_sessions, is_down, is_up_again, is_in_maintenance, drains),
        *(has_no_server, has_another_weight, was_cleared, accepts_nobody, accepts_again),
    )
)
NAMES = [name for name, _ in SITUATIONS]


@pytest.fixture(scope="module")
def record() -> Record:
    """Everything that both answered, in every situation."""
    made = Record()
    with both_sides() as sides:
        for name, play in SITUATIONS:
            for side in sides:
                play(side)
                for question in QUESTIONS:
                    made.answers[side.program, name, question] = side.plain(question)
                user = side.plain("show stat", "user")
                made.answers[side.program, name, USER] = user
    return made


# ---- show stat ----

TIMED = frozenset(
    {
        *("lastchg", "downtime", "lastsess", "rate", "rate_max", "conn_rate", "conn_rate_max"),
        *("check_duration", "chkfail", "qtime", "ctime", "ttime"),
        *("qtime_max", "ctime_max", "ttime_max"),
    }
)
"""Of these only whether there is a value is compared: they are of the clock."""

DIFFERENT_CELLS: dict[tuple[str, str], str] = {
    ("1", "chkdown"): "HAProxy 2.6 does not clear this one, 3.x does",
    ("2", "last_chk"): "HAProxy 2.6 has other words for what the system said",
    ("3", "conn_tot"): "since 3.0 it is told of listeners, too",
    ("2", "need_conn_est"): "HAProxy counts the connections of checks among those to reuse",
}
"""By type of row and column: why a cell is not the same."""


def cells(text: str) -> dict[tuple[str, str], str]:
    """The cells that both versions have, with what the clock says taken out."""
    return {
        (key, name): re.sub(r"^\* ", "", value) if name not in TIMED else "N" * bool(value)
        for key, row in rows(text).items()
        for name, value in row.items()
        if POSITIONS.get(name, 999) < POSITIONS["srid"]
    }


BYTES = ("bin", "bout")
"""HAProxy counts them when a session ends, with `option contstats` now and then before."""

IN_CELLS = ("show stat", "show stat up", "show stat -1 4 -1 no-maint", USER)
"""What is answered with CSV."""


def different_cells(record: Record, name: str, question: str) -> dict[tuple[str, str], str]:
    """By type of row and column, what each of both says."""
    theirs, ours = map(cells, record.both(name, question))
    assert list(theirs) == list(ours)
    return {
        (ours[key, "type"], column): f"{key}: {theirs[key, column]} is {ours[key, column]} here"
        for key, column in theirs
        if theirs[key, column] != ours[key, column]
        if not (name == "has_sessions" and column in BYTES)
    }


@pytest.mark.parametrize("name", NAMES)
def test_show_stat_has_the_same_cells(record, name):
    for question in IN_CELLS:
        found = different_cells(record, name, question)
        assert {key: it for key, it in found.items() if key not in DIFFERENT_CELLS} == {}


def test_no_difference_of_cells_is_gone(record):
    found = {
        key
        for name in NAMES
        for question in IN_CELLS
        for key in different_cells(record, name, question)
    }
    assert found == set(DIFFERENT_CELLS)


@pytest.mark.parametrize("name", NAMES)
def test_show_stat_typed_has_the_same_figures_and_tags(record, name):
    def figures(text: str) -> dict[str, str]:
        found = {}
        for line in text.splitlines():
            if line:
                where, tag, kind, _ = line.split(":", 3)
                if int(where.split(".")[3]) < POSITIONS["srid"]:
                    found[where] = f"{tag}:{kind}"
        return found

    theirs, ours = map(figures, record.both(name, "show stat typed"))
    for where in [each for each in theirs if each.startswith("B.") and ".rate." in each]:
        assert (theirs.pop(where), ours.pop(where)) == ("MGP:u32", "MRP:u32")  # since 3.0
    for where in [each for each in ours if each.startswith("L.") and ".conn_tot." in each]:
        assert (theirs.get(where), ours.pop(where)) == (None, "MCP:u64")  # since 3.0
    assert ours == theirs


# ---- show info ----

OTHER_KEYS = {
    "TotalSplicdedBytesOut": "written right since 3.0",
    "TotalSplicedBytesOut": "written right since 3.0",
    "ZlibMemUsage": "Debian's is built without zlib",
    "MaxZlibMemUsage": "Debian's is built without zlib",
}
SAME_VALUES = (
    *("Name", "Nbthread", "Nbproc", "Process_num", "Maxconn", "CurrConns", "Stopping"),
    *("node", "description", "Memmax_MB", "SessRateLimit", "ConnRateLimit", "ActivePeers"),
)


def info(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines() if line)


@pytest.mark.parametrize("name", NAMES)
def test_show_info_has_the_same_keys_and_values(record, name):
    theirs, ours = map(info, record.both(name, "show info"))
    common = [key for key in theirs if key not in OTHER_KEYS]
    assert [key for key in ours if key in theirs and key not in OTHER_KEYS] == common
    # HAProxy counts the connection that asks.
    assert {key: ours[key] for key in SAME_VALUES} == {key: theirs[key] for key in SAME_VALUES}
    assert set(OTHER_KEYS) == {key for key in OTHER_KEYS if (key in theirs) != (key in ours)}


# ---- servers, backends, sessions ----


CHECK_RUNS, CHECKS_GO_ON, CHECKED = 1, 6, 14
"""Bits of srv_check_state."""


def servers_state(text: str) -> list[dict[str, str]]:
    """The lines, without what is of the clock: the time since the last change and, while
    HAProxy's check is under way, its result. What health a server has that is not checked, or
    not at the moment, says nothing: in HAProxy maintenance and late results change it."""
    version, header, *lines = text.rstrip("\n").splitlines()
    columns = header.removeprefix("# ").split()
    found = [dict(zip(columns, line.split(), strict=True)) for line in lines]
    for line in found:
        del line["srv_time_since_last_change"]
        if int(line["srv_check_state"]) & CHECKED != CHECKS_GO_ON:
            del line["srv_check_health"]
    return [{"version": version, "header": header}, *found]


@pytest.mark.parametrize("name", NAMES)
def test_show_servers_state_is_the_same(record, name):
    theirs, ours = map(servers_state, record.both(name, "show servers state"))
    for their, our in zip(theirs, ours, strict=True):
        if int(state := their.get("srv_check_state", "0")) & CHECK_RUNS:
            their["srv_check_state"] = str(int(state) - CHECK_RUNS)
            our["srv_check_result"] = their["srv_check_result"]
        assert our == their


@pytest.mark.parametrize("name", NAMES)
def test_show_servers_conn_has_the_same_columns(record, name):
    theirs, ours = record.both(name, "show servers conn b")
    assert ours.splitlines()[0] == theirs.splitlines()[0]
    first = [[line.split()[:6] for line in text.splitlines()] for text in (theirs, ours)]
    assert first[0] == first[1]
    assert {len(line.split()) for line in ours.splitlines()[1:] if line} == {14}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("question", ["show backend", "get weight b/s1", "get weight b/s3"])
def test_answers_that_are_the_same(record, name, question):
    theirs, ours = record.both(name, question)
    assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_show_errors_says_that_there_are_none(record, name):
    theirs, ours = (re.sub(r"\[.*\]", "[date]", text) for text in record.both(name, "show errors"))
    assert ours == theirs


def sessions(text: str) -> list[list[str]]:
    """What each line says of a session; that of the one who asks is HAProxy's alone."""
    wanted = ("proto", "src", "fe", "be", "srv", "age", "rc", "c_exp")
    lines = [line for line in text.splitlines() if line and "fe=GLOBAL" not in line]
    found = []
    for line in lines:
        pointer, *words = line.split()
        assert re.fullmatch(r"0x[0-9a-f]+:", pointer)
        values = dict(word.partition("=")[::2] for word in words)
        values["src"] = re.sub(r":\d+$", ":N", values["src"])
        values["age"] = re.sub(r"\d+", "N", values["age"])
        found.append([values[each] for each in wanted])
    return sorted(found)


@pytest.mark.parametrize("name", NAMES)
def test_show_sess_has_the_same_sessions(record, name):
    theirs, ours = map(sessions, record.both(name, "show sess"))
    assert ours == theirs
    assert len(ours) == (3 if name == "has_sessions" else 0)


def test_figures_of_sessions_are_there(record):
    """What is compared is not nothing."""
    _, ours = record.both("had_sessions", "show stat")
    found = rows(ours)
    assert (found["f/FRONTEND"]["stot"], found["f/FRONTEND"]["bin"]) == ("2", "13")
    assert [found[f"b/{server}"]["lbtot"] for server in ("s1", "s2", "s3")] == ["1", "1", "0"]


def test_listeners_have_rows_of_their_own(record):
    _, ours = record.both("had_sessions", "show stat")
    found = {key: row for key, row in rows(ours).items() if row["type"] == "3"}
    assert list(found) == ["f/sock-1", "l/other"]
    assert [(row["stot"], row["bin"], row["sid"]) for row in found.values()] == [
        ("2", "13", "1"),
        ("1", "1", "1"),
    ]


def test_bytes_of_open_sessions_are_counted(record):
    _, ours = record.both("has_sessions", "show stat")
    found = rows(ours)
    for key, count in {"f/FRONTEND": "13", "f/sock-1": "13", "b/s1": "5", "b/s2": "8"}.items():
        assert (found[key]["bin"], found[key]["bout"]) == (count, count), key


def test_json_answers_are_json_for_both():
    with both_sides() as sides:
        for side in sides:
            for question in ("show stat json", "show info json", "show schema json"):
                text = side.ask(question)
                assert text.endswith("\n\n")
                assert json.loads(text), side.program
