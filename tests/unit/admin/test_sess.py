"""`show sess` has lines of HAProxy's shape, and its filters."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lbsplice.admin import named, sess
from lbsplice.admin.control import AdminError
from lbsplice.admin.session import LegView
from lbsplice.admin.state_text import length
from tests.support.admin import session_view, small_view

CORPUS = Path(__file__).parents[2] / "corpus" / "admin"


def fields(line):
    """The names of a line's fields, those in brackets under the name before them."""
    pointer, rest = line.split(": ", 1)
    assert re.fullmatch(r"0x[0-9a-f]+", pointer)
    found = []
    for word in rest.split():
        name = re.match(r"\w+", word)[0]
        found += [name, *(f"{name}.{each}" for each in re.findall(r"[\[,](\w+)=", word))]
    return found


def test_a_line_has_haproxys_fields_in_their_order():
    theirs = fields((CORPUS / "sess-2.6.txt").read_text())
    # Since 2.8 the expiry of a side stands with the side, no more with its channel.
    moved = {"rq.rx", "rq.wx", "rp.rx", "rp.wx"}
    sides = {"scf.fd": ["scf.rex", "scf.wex"], "scb.fd": ["scb.rex", "scb.wex"]}
    wanted = []
    for name in theirs:
        if name not in moved:
            wanted += [name, *sides.get(name, [])]
    assert fields(sess.line(session_view(1))) == wanted


def test_a_line():
    assert sess.line(session_view(0x2A)) == (
        "0x2a: proto=tcpv4 src=127.0.0.1:40042 fe=l be=l srv=s1 ts=00 epoch=0 age=12s calls=0 "
        "rate=0 cpu=0 lat=0 rq[f=000000h,i=0,an=00h,ax=] rp[f=000000h,i=0,an=00h,ax=] "
        "scf=[8,0h,fd=1/20,rex=59m59s,wex=] scb=[8,1h,fd=1/21,rex=59m59s,wex=] exp=59m59s rc=0 "
        "c_exp=\n"
    )


def test_a_session_that_is_not_connected():
    line = sess.line(
        session_view(
            1,
            state="connecting",
            backend=None,
            server=None,
            connected_ms=None,
            retries=2,
            expires_ms=4000,
            legs=(LegView(fd=20, in_pipe=7), LegView()),
        )
    )
    for part in (
        "be=<NONE> srv=<none>",
        "rq[f=000000h,i=7,",
        "scb=[5,1h,fd=-1,rex=,wex=]",
        "exp=4s rc=2 c_exp=4s",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("changes", "rex"),
    [
        ({"timeout_tunnel": 7_200_000}, "1h59m"),
        ({"timeout_tunnel": 7_200_000, "connected_ms": None}, "59m59s"),
        ({"timeout_client": 0}, ""),
        ({"legs": (LegView(fd=3, ended=True), LegView(fd=4))}, ""),
        ({"legs": (LegView(fd=3, idle_ms=9_999_999), LegView(fd=4))}, "0s"),
    ],
)
def test_the_clients_side_tells_when_it_was_silent_for_too_long(changes, rex):
    assert f"scf=[8,0h,fd=1/{changes.get('legs', [LegView(fd=20)])[0].fd},rex={rex},wex=]" in (
        sess.line(session_view(1, **changes))
    )


@pytest.mark.parametrize(
    ("ms", "text"),
    {
        **{0: "0s", 999: "0s", 59_999: "59s", 60_000: "1m", 3_603_000: "1h3s"},
        **{90_060_000: "1d1h", 86_400_000 * 30: "30d", 86_460_000: "1d1m"},
    }.items(),
)
def test_lengths_of_time_are_in_two_units(ms, text):
    assert length(ms) == text


# ---- everything about one ----


def detail(session, view):
    return sess.detail(session, view, named.servers(view))


def starts(text):
    """What the lines of the long form begin with."""
    return [re.match(r" *[a-z0-9_]*", line)[0] for line in text.splitlines()[1:]]


def test_all_about_a_session_is_in_haproxys_lines():
    assert starts(detail(session_view(1), small_view())) == starts(
        (CORPUS / "sess-detail-2.6.txt").read_text()
    )


def test_all_about_a_session_names_what_it_is_made_of():
    text = detail(session_view(0x2A), small_view())
    assert text.startswith("0x2a: [")
    assert "] id=42 proto=tcpv4 source=127.0.0.1:40042\n" in text
    for part in (
        "frontend=l (id=2 mode=tcp), listener=? (id=0) addr=127.0.0.1:8080",
        "backend=l (id=2 mode=tcp)",
        "server=s1 (id=1) addr=127.0.0.1:8001",
        "fd=20 ",
        "fd=21 ",
        "total=100)",
        "total=2000)",
    ):
        assert part in text


def test_a_session_outlives_its_backend_and_server_in_the_configuration():
    view = replace(small_view(), backends={}, frontends={})
    text = detail(session_view(1), view)
    assert "backend=l (id=-1 mode=-)\n  server=s1 (id=-1)\n" in text
    text = detail(session_view(1, backend=None, server=None), view)
    assert "backend=<NONE> (id=-1 mode=-)\n  server=<NONE> (id=-1)\n" in text


# ---- selection ----


SESSIONS = (
    session_view(1, age_ms=500),
    session_view(2, server=("l", "s2"), age_ms=60_000),
    session_view(3, frontend="f", backend="b", server=("b", "s1"), age_ms=5_000),
    session_view(4, expires_ms=-5),
    session_view(5, legs=(LegView(ended=True), LegView(ended=True))),
)


@pytest.mark.parametrize(
    ("words", "serials"),
    [
        ("", [1, 2, 3, 4, 5]),
        ("all", [1, 2, 3, 4, 5]),
        ("foo", [1, 2, 3, 4, 5]),
        ("backend b", [3]),
        ("frontend l", [1, 2, 4, 5]),
        ("server l/s2", [2]),
        ("server #2/#2", [2]),
        ("backend #4", [3]),
        ("frontend #2", [1, 2, 4, 5]),
        ("older 5", [2, 3, 4, 5]),
        ("older 1m", [2]),
        ("susp", [4, 5]),
        ("all older 1m backend l", [2]),
        ("all susp server l/s1", [4, 5]),
    ],
)
def test_filters(words, serials):
    wanted = sess.parse(words.split(), small_view())
    assert [each.serial for each in SESSIONS if wanted.matches(each)] == serials


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("backend nope", "No such backend."),
        ("frontend nope", "No such frontend."),
        ("server l/nope", "No such server."),
        ("server l/#9", "No such server."),
        ("backend #3", "No such backend."),
        ("server nope/s1", "No such backend."),
        ("server l", "No such server."),
        ("older x", "Invalid age 'x'."),
        ("older", "'older' expects an age."),
        ("all wat", "Unsupported option 'wat', try 'show sess help'."),
    ],
)
def test_what_can_not_be_selected(words, says):
    with pytest.raises(AdminError) as error:
        sess.parse(words.split(), small_view())
    assert str(error.value) == says


@pytest.mark.parametrize(
    ("word", "serial"), [("0x2a", 42), ("42", 42), ("0x2A", 42), ("-1", 0), ("0", 0), ("x2a", 0)]
)
def test_a_session_is_named_by_its_number(word, serial):
    assert sess.parse([word], small_view()).serial == serial


def test_help_is_asked_for():
    assert sess.parse(["help"], small_view()).help
