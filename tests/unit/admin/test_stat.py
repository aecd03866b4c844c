"""`show stat` has HAProxy's columns at their positions, and each type of row fills those that
it fills in HAProxy."""

import csv as csv_reader
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lbsplice.admin import stat
from lbsplice.admin.control import AdminError
from lbsplice.admin.stat import Filter
from lbsplice.admin.stat_columns import COLUMNS, HEADER, POSITIONS
from lbsplice.admin.stat_filter import parse_filter
from lbsplice.admin.view import Flow, ListenerView, View
from lbsplice.terms import AdminState, CheckStatus
from tests.support.admin import backend_view, frontend_view, server_view, small_view

CORPUS = Path(__file__).parents[2] / "corpus" / "admin"
EVERYTHING = Filter()
FIRST_OF_3 = POSITIONS["srid"]
"""HAProxy 2.6 has the columns before this one."""

TAGS_OF_3 = {
    ("B", "rate"): "MRP:u32",  # 2.6 has MGP:u32 there
}


def a_row_of_each() -> View:
    """What the corpus was recorded with."""
    servers = (
        server_view(("b", "s1"), 1, 3, sessions=Flow(1, 1, 1, limit=10)),
        server_view(
            ("b", "s2"),
            2,
            3,
            status="DOWN",
            word="DOWN",
            is_up=False,
            health=0,
            check_status=CheckStatus.L4_CONNECTION,
            check_text="Layer4 connection problem: refused",
        ),
        server_view(("b", "s3"), 3, 3, status="no check", checked=False, backup=True),
        server_view(("b", "s4"), 4, 3, status="MAINT", admin=AdminState.MAINT, checked=False),
    )
    listeners = [
        ListenerView("l", 4, lid, name, f"127.0.0.1:{17801 + lid}", "OPEN", Flow())
        for lid, name in ((1, "sock-1"), (2, "second"))
    ]
    return replace(
        small_view(),
        proxies=("f", "b", "l"),
        frontends={"f": frontend_view("f", 2), "l": frontend_view("l", 4)},
        backends={
            "b": replace(backend_view("b", 3), servers=servers),
            "l": replace(
                backend_view("l", 4),
                servers=(server_view(("l", "a"), 1, 4, status="no check", checked=False),),
            ),
        },
        listeners=tuple(listeners),
    )


def read(view, wanted=EVERYTHING):
    """The CSV as rows by column name; the header's and each row's cells agree."""
    text = "".join(stat.csv(view, wanted))
    header, *lines = csv_reader.reader(io.StringIO(text))
    assert {len(line) for line in lines} <= {len(header)}
    return [dict(zip(header, line, strict=True)) for line in lines]


def by_key(typed_lines):
    """Typed lines as {(letter, iid, sid): {name: (position, tag)}}."""
    rows = {}
    for line in typed_lines:
        where, tag, kind, _ = line.split(":", 3)
        letter, iid, sid, position, name, _ = where.split(".")
        rows.setdefault((letter, int(iid), int(sid)), {})[name] = (int(position), f"{tag}:{kind}")
    return rows


# ---- columns ----


@pytest.mark.parametrize(
    ("position", "name"),
    {
        **{0: "pxname", 1: "svname", 4: "scur", 7: "stot", 17: "status", 18: "weight"},
        **{24: "downtime", 32: "type", 33: "rate", 36: "check_status", 55: "lastsess"},
        **{56: "last_chk", 61: "ttime", 65: "check_desc", 73: "addr", 76: "algo"},
        **{80: "intercepted", 84: "connect", 94: "eint", 97: "used_conn_cur", 99: "uweight"},
        **{100: "agg_server_status", 103: "srid", 104: "sess_other", 112: "proto"},
        **{113: "priv_idle_cur", 114: "reqbin", 117: "resbout"},
    }.items(),
)
def test_columns_are_where_scripts_look_for_them(position, name):
    assert HEADER.removeprefix("# ").split(",")[position] == name


def test_header_ends_as_haproxys():
    assert HEADER.endswith(",resbout,-,")
    assert HEADER.split(",").index("-") == 118


def test_every_line_has_a_cell_for_each_column():
    lines = "".join(stat.csv(a_row_of_each())).splitlines()
    assert len(lines) == 1 + 12 - 1
    assert {line.count(",") for line in lines} == {119}
    assert all(line.endswith(",-,") for line in lines[1:])


# ---- rows ----


def test_rows_fill_what_they_fill_in_haproxy():
    theirs = by_key((CORPUS / "stat-typed-2.6.txt").read_text().splitlines())
    ours = by_key("".join(stat.typed(a_row_of_each())).splitlines())
    assert list(ours) == list(theirs)
    for key, columns in theirs.items():
        mine = {name: it for name, it in ours[key].items() if it[0] < FIRST_OF_3}
        wanted = {
            name: (position, TAGS_OF_3.get((key[0], name), tag))
            for name, (position, tag) in columns.items()
        }
        if key[0] == "L":
            wanted["conn_tot"] = (79, "MCP:u64")  # since 3.0
        assert mine == wanted, key
        assert list(mine) == sorted(mine, key=lambda name: mine[name][0])


def test_columns_of_version_3_are_filled_as_there():
    frontend, server, *_ = read(small_view())
    backend = read(small_view(), Filter(types=stat.BACKENDS))[0]
    assert frontend["sess_other"] == frontend["stot"] == "10"
    assert [row["srid"] for row in (frontend, server, backend)] == ["", "0", ""]
    for row in (frontend, server, backend):
        assert row["reqbin"] == row["reqbout"] == row["bin"]
        assert row["resbin"] == row["resbout"] == row["bout"]


def test_a_listener_tells_its_protocol():
    view = a_row_of_each()
    shown = read(replace(view, listeners=(replace(view.listeners[0], address="unix"),)))
    assert [row["proto"] for row in shown if row["type"] == "3"] == ["unix_stream"]
    shown = read(replace(view, listeners=(replace(view.listeners[0], address="[::1]:80"),)))
    assert [row["proto"] for row in shown if row["type"] == "3"] == ["tcpv6"]


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, {"status": "UP", "act": "1", "bck": "0", "check_status": "L4OK"}),
        ({"status": "UP 1/2", "health": 2}, {"status": "UP 1/2", "check_health": "2"}),
        ({"backup": True}, {"act": "0", "bck": "1"}),
        ({"checking": True}, {"check_status": "* L4OK"}),
        ({"user_weight": 7, "weight": 0}, {"weight": "7", "uweight": "7"}),
        ({"check_duration_ms": -1}, {"check_duration": ""}),
        (
            {
                "check_status": CheckStatus.L7_STATUS,
                "check_code": 503,
                "check_text": "Layer7 wrong status: Service Unavailable",
            },
            {
                "check_code": "503",
                "check_desc": "Layer7 wrong status",
                "last_chk": "Service Unavailable",
            },
        ),
        (
            {"checked": False, "status": "no check"},
            dict.fromkeys(
                ("check_status", "chkfail", "chkdown", "downtime", "check_rise", "last_chk"), ""
            ),
        ),
        (
            {"admin": AdminState.MAINT, "status": "MAINT", "downs": 1},
            {"check_status": "", "check_health": "", "chkdown": "1", "downtime": "0"},
        ),
        ({"address": ""}, {"addr": "unix"}),
        ({"last_session": -1}, {"lastsess": "-1"}),
    ],
)
def test_a_servers_state_in_its_cells(changes, cells):
    view = replace(
        small_view(),
        backends={"l": replace(backend_view("l"), servers=(server_view(("l", "s1"), **changes),))},
    )
    (row,) = read(view, Filter(types=stat.SERVERS))
    assert {name: row[name] for name in cells} == cells


def test_a_backend_without_servers_was_never_down():
    (row,) = read(
        replace(small_view(), proxies=("e",), backends={"e": backend_view("e", servers=())})
    )
    assert (row["downtime"], row["act"]) == ("", "0")


def test_a_text_with_a_comma_stays_one_cell_and_is_plain_elsewhere():
    server = server_view(("l", "s1"), check_text='Layer4 check passed: a "b", c')
    view = replace(
        small_view(), backends={"l": replace(backend_view("l"), servers=(server,))}, frontends={}
    )
    row, _ = read(view)
    assert row["last_chk"] == 'a "b", c'
    assert ':str:a "b", c\n' in "".join(stat.typed(view))
    figures = json.loads("".join(stat.json(view)))[0]
    assert 'a "b", c' in [figure["value"]["value"] for figure in figures]


def test_a_listener_may_have_any_name_and_path():
    name, path = 'a,b "c"\n', "/run/x,y"
    view = replace(
        small_view(),
        frontends={"l": frontend_view("l", 2)},
        backends={},
        listeners=(ListenerView("l", 2, 1, name, path, "OPEN", Flow()),),
    )
    row = read(view, Filter(types=stat.LISTENERS))[0]
    assert (row["svname"], row["addr"]) == ('a,b "c"', path)
    assert json.loads("".join(stat.json(view)))[1][1]["value"]["value"] == 'a,b "c"'


def test_what_a_server_said_stays_in_its_line():
    said = "Layer7 invalid response: bad\r\n\nF.2.0.0.pxname.1:KNS:str:no\x1b[2J\n"
    server = server_view(("l", "s1"), check_status=CheckStatus.L7_RESPONSE, check_text=said)
    view = replace(small_view(), backends={"l": replace(backend_view("l"), servers=(server,))})
    shown = "bad#0D#0A#0AF.2.0.0.pxname.1:KNS:str:no#1B[2J"
    assert shown in [row["last_chk"] for row in read(view)]
    assert all(line.count(":") >= 3 for line in "".join(stat.typed(view)).splitlines())
    assert json.loads("".join(stat.json(view)))


def test_a_page_shows_its_requests():
    row, *_ = read(replace(small_view(), frontends={"l": frontend_view("l", mode="http")}))
    assert (row["mode"], row["sess_other"], row["h1sess"]) == ("http", "0", "10")
    assert row["intercepted"] == "0"


def test_frontend_and_backend_of_one_name_in_two_sections_come_in_their_order():
    view = replace(
        small_view(),
        proxies=("x", "x"),
        frontends={"x": frontend_view("x", 3)},
        backends={"x": backend_view("x", 2, ("s1",))},
    )
    assert [row["svname"] for row in read(view)] == ["s1", "BACKEND", "FRONTEND"]


# ---- filters ----


def shown(view, *words):
    return [f"{row['# pxname']}/{row['svname']}" for row in read(view, parse_filter(words, view))]


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (("f", "-1", "-1"), ["f/FRONTEND"]),
        (("3", "4", "2"), ["b/s2"]),
        (("b", "6", "2"), ["b/s2", "b/BACKEND"]),
        (("-1", "2", "-1"), ["b/BACKEND", "l/BACKEND"]),
        (("-1", "8", "-1"), ["l/sock-1", "l/second"]),
        (("4", "8", "2"), ["l/second"]),
        (("99", "-1", "-1"), []),
        (("#3", "4", "2"), ["b/s2"]),
        (("b", "x", "y"), []),
        (("-1", "4", "-1", "up"), ["b/s1", "b/s3", "l/a"]),
        (("-1", "4", "-1", "no-maint"), ["b/s1", "b/s2", "b/s3", "l/a"]),
    ],
)
def test_filters(words, rows):
    assert shown(a_row_of_each(), *words) == rows


@pytest.mark.parametrize("words", [(), ("b",), ("b", "4"), ("nope", "typed")])
def test_less_than_three_words_are_no_filter(words):
    assert len(shown(a_row_of_each(), *words)) == 11


def test_three_words_name_a_proxy_whatever_they_are():
    with pytest.raises(AdminError, match=r"^No such proxy\.$"):
        parse_filter(("typed", "desc", "up"), a_row_of_each())


def test_a_name_that_is_a_number_comes_before_the_number():
    view = a_row_of_each()
    view = replace(
        view, proxies=("f", "2", "3l"), backends={"2": view.backends["b"], "3l": view.backends["l"]}
    )
    assert shown(view, "2", "2", "-1") == ["b/BACKEND"]
    assert shown(view, "3l", "2", "-1") == ["l/BACKEND"]
    assert shown(view, "4", "2", "-1") == ["l/BACKEND"]


def test_with_servers_left_out_a_backend_tells_how_many_are_up():
    view = a_row_of_each()
    wanted = parse_filter(("up",), view)
    status = [row["status"] for row in read(view, wanted) if row["svname"] == "BACKEND"]
    assert status == ["UP (2/4)", "UP (1/1)"]


def test_a_server_that_is_the_one_of_the_answer_before_has_its_line_still():
    view = a_row_of_each()
    lines = stat.Lines()
    first = list(lines.csv(view))
    assert first == list(stat.csv(view))
    s1, *others = view.backends["b"].servers
    moved = replace(s1, bytes_in=s1.bytes_in + 1)
    backends = {**view.backends, "b": replace(view.backends["b"], servers=(moved, *others))}
    later = replace(view, backends=backends)
    second = list(lines.csv(later))
    assert second == list(stat.csv(later)) != first
    of_servers = [
        (new is old, new == old) for old, new in zip(first[2:6], second[2:6], strict=True)
    ]
    assert of_servers == [(False, False), (True, True), (True, True), (True, True)]


@pytest.mark.parametrize(
    "wanted", [Filter(legends=False), Filter(up=True), Filter(sid=2), Filter(iid=4), Filter()]
)
def test_lines_that_are_kept_are_those_of_the_filter(wanted):
    view, lines = a_row_of_each(), stat.Lines()
    for each in (Filter(), wanted, Filter(), wanted):
        assert list(lines.csv(view, each)) == list(stat.csv(view, each))


def test_lines_of_servers_that_are_gone_are_forgotten():
    view, lines = a_row_of_each(), stat.Lines()
    list(lines.csv(view))
    list(lines.csv(replace(view, backends={"l": view.backends["l"]})))
    assert len(lines) == 1


def test_who_may_not_see_addresses_sees_neither_them_nor_algorithms():
    view = a_row_of_each()
    rows = read(view, Filter(legends=False))
    assert {row[name] for row in rows for name in ("addr", "algo")} == {""}
    assert {row["addr"] for row in read(view) if row["type"] in "23"} != {""}


# ---- outputs ----


def test_json_has_the_same_figures_as_the_typed_output():
    view = a_row_of_each()
    letters = {"Frontend": "F", "Backend": "B", "Server": "S", "Listener": "L"}
    told = [
        f"{letters[each['objType']]}.{each['proxyId']}.{each['id']}."
        f"{each['field']['pos']}.{each['field']['name']}={each['value']['value']}"
        for row in json.loads("".join(stat.json(view)))
        for each in row
    ]
    lines = [line.split(":", 3) for line in "".join(stat.typed(view)).splitlines()]
    assert told == [f"{where.removesuffix('.1')}={value}" for where, _, _, value in lines]


def test_json_of_nothing_is_a_list():
    assert "".join(stat.json(small_view(), Filter(iid=99))) == "[]\n"


def test_json_tags_are_words():
    figure = json.loads("".join(stat.json(small_view())))[0][2]
    assert figure["field"] == {"pos": 4, "name": "scur"}
    assert figure["tags"] == {"origin": "Metric", "nature": "Gauge", "scope": "Process"}
    assert figure["value"] == {"type": "u32", "value": 2}


def test_desc_tells_what_each_figure_is():
    lines = "".join(stat.typed(small_view(), desc=True)).splitlines()
    assert lines[0] == 'F.2.0.0.pxname.1:KNS:str:l:"Name of the proxy"'
    assert all(column.text for column in COLUMNS)
