"""Any text is a configuration or it is told what is wrong with it; nothing else happens,
and it does not take long."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsplice.config.conditions import evaluate
from lbsplice.config.files import Source
from lbsplice.config.keyword_tables import TABLES
from lbsplice.config.keywords import Group
from lbsplice.config.lex import split
from lbsplice.config.messages import Severity, render
from lbsplice.config.parse import Outcome, parse
from lbsplice.errors import ConfigError

EXAMPLES = Path(__file__).parents[1] / "unit" / "data" / "examples"
ENV = {"A": "10.0.0.1", "LIST": "a b  c", "EMPTY": ""}
PACE = settings(max_examples=300, deadline=timedelta(seconds=2))


def judge(*texts: bytes) -> Outcome:
    """Parse, and hold the outcome to what is promised of every outcome."""
    outcome = parse([Source.from_bytes(f"{n}.cfg", text) for n, text in enumerate(texts)], ENV)
    failed = any(message.severity is Severity.ALERT for message in outcome.messages)
    assert (outcome.config is None) == failed
    for message in outcome.messages:
        assert message.text
        render(message, 1).encode("utf-8")
    if failed:
        assert outcome.messages[-1].text == "Fatal errors found in configuration."
    if outcome.config is not None:
        names = [s.name for p in outcome.config.proxies for s in p.servers]
        assert all(names)
    return outcome


@PACE
@given(st.binary(max_size=2000))
def test_any_bytes(text: bytes) -> None:
    judge(text)


_EXAMPLE_TEXTS = sorted(path.read_bytes() for path in EXAMPLES.glob("*.cfg"))


@PACE
@given(st.sampled_from(_EXAMPLE_TEXTS), st.data())
def test_real_configurations_with_bytes_changed(text: bytes, data: st.DataObject) -> None:
    changed = bytearray(text)
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, len(changed) - 1))
        change = data.draw(st.sampled_from(["replace", "insert", "delete", "copy"]))
        if change == "replace":
            changed[at] = data.draw(st.integers(0, 255))
        elif change == "insert":
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=8))
        elif change == "delete" and len(changed) > 50:
            del changed[at : at + data.draw(st.integers(1, 20))]
        else:
            start = data.draw(st.integers(0, len(changed) - 1))
            changed[at:at] = changed[start : start + 40]
    judge(bytes(changed))


@PACE
@given(st.sampled_from(_EXAMPLE_TEXTS), st.data())
def test_real_configurations_with_lines_moved(text: bytes, data: st.DataObject) -> None:
    lines = data.draw(st.permutations(text.splitlines(keepends=True)))
    cut = data.draw(st.integers(0, len(lines)))
    judge(b"".join(lines[:cut]), b"".join(lines[cut:]))


def _names(*groups: Group) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(name for group in groups for name in TABLES[group]))


_VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                "1.2.3.4:80",
                ":80",
                "*:1-9",
                "[::1]:80",
                "db.example:80",
                "/run/x",
                "fd@3",
                "abns@x",
            ),
            *("5s", "0", "-1", "99999999999999999999", "1us", "24d", "64k", "on", "off", "10:20"),
            *("shutdown-sessions", "avalanche", "consistent", "random(3)", "random(", "interface"),
            *('"', "'", "\\", "#", '"${A}"', '"${LIST[*]}"', '"${NO-d}"', "${A}", "if", "from"),
            *("stdout", "local0", "format", "raw", "len", "info", "socket", "level", "admin"),
        ]
    ),
    st.integers(-5, 70000).map(str),
    st.text(max_size=6),
    _names(Group.BIND, Group.SERVER, Group.OPTION, Group.TIMEOUT, Group.BALANCE),
)


@st.composite
def _lines(draw: st.DrawFn) -> str:
    first = draw(
        st.one_of(
            _names(Group.SECTION),
            _names(Group.GLOBAL, Group.PROXY),
            st.sampled_from(
                [
                    *("option", "timeout", "bind", "server s", "default-server", "balance", "log"),
                    *("server s 1.2.3.4:80 check", "bind :80", "no option", "default option"),
                    *("stats socket /x", "listen l", "frontend f", "backend b", "no", "hash-type"),
                    *(".if 1", ".if 0", ".elif", ".else", ".endif", ".notice", ".alert", ".if"),
                ]
            ),
        )
    )
    words = draw(st.lists(_VALUES, max_size=6))
    return " ".join([first, *words])


@PACE
@given(st.lists(_lines(), max_size=25))
def test_configurations_made_of_the_words_of_the_language(lines: list[str]) -> None:
    judge(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))


@PACE
@given(st.text(max_size=200))
def test_words_of_any_line(text: str) -> None:
    try:
        assert all(isinstance(word, str) for word in split(text, ENV))
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either way is right


@PACE
@given(
    st.lists(
        st.sampled_from(
            ["(", ")", "!", "&&", "||", " ", "1", "0", "-", "streq(", "defined(A)", ",", '"', "a"]
        ),
        max_size=40,
    ).map("".join)
    | st.text(max_size=60)
)
def test_any_condition_is_true_or_false_or_an_error(expression: str) -> None:
    try:
        assert evaluate(expression, ENV) in (True, False)
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    "text",
    [
        b"x" * 1_000_000 + b"\n",
        b'"' * 1_000_001 + b"\n",
        b"\\" * 1_000_000 + b"\n",
        b"x " * 500_000 + b"\n",
        b"bogus-word x\n" * 20_000,
        b"global\n" + b" bogus-word x\n" * 5_000,
        b"listen l\n" + b" bind :1-65535\n" * 100,
        b"listen l\n" + b" bind :1-65535 id 4\n" * 100,
        b"listen l\n bind " + b":1-65535," * 1000 + b":1\n",
        b".if 1\n" * 20_000,
        b'listen l\n description "' + b"${A}" * 50_000 + b'"\n',
        b"backend b\n" + b"".join(b" server s%d 1.2.3.4:5 check\n" % n for n in range(5000)),
        b"".join(b"listen l%d\n bind :80\n" % n for n in range(3000)),
    ],
    ids=lambda text: repr(text[:20]),
)
@pytest.mark.timeout(20)
def test_large_configurations_take_bounded_time(text: bytes) -> None:
    judge(text)
