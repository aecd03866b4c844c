from __future__ import annotations

import pytest

from lbsplice.config.conditions import ConditionError, evaluate, version_key
from lbsplice.config.files import Source
from lbsplice.config.messages import Severity
from lbsplice.config.parse import Outcome, parse

ENV = {"HOME": "/root", "A": "a"}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("", False),
        ("1", True),
        ("0", False),
        ("-0", False),
        ("2", True),
        ("-1", True),
        ("!1", False),
        ("!!1", True),
        ("! 1", False),
        ("1 || 0", True),
        ("0 || 0", False),
        ("1 && 0", False),
        ("0 && 0 || 1", True),
        ("1 || 1 && 0", True),
        ("(1 || 1) && 0", False),
        ("!(0 || 1)", False),
        ("defined(HOME)", True),
        ("defined(NOPE)", False),
        ("defined()", False),
        ("streq(a,a) && !streq(a,b)", True),
        ('streq("a b","a b")', True),
        ("streq( a , a )", True),
        ("streq(a, a)", False),
        ("strneq(a,b)", True),
        ("strstr(abc,b)", True),
        ("strstr(abc,x)", False),
        ("feature(EPOLL)", True),
        ("feature(LINUX_SPLICE)", True),
        ("feature(OPENSSL)", False),
        ("feature(LUA)", False),
        ("feature(BOGUS)", False),
        ("version_atleast(2.6)", True),
        ("version_atleast(3.2)", True),
        ("version_atleast(3.2.0)", True),
        ("version_atleast(3.2.1)", False),
        ("version_atleast(3.2-dev5)", True),
        ("version_atleast(3.3)", False),
        ("version_atleast(9)", False),
        ("version_before(3.3-dev1)", True),
        ("version_before(3.2)", False),
        ("openssl_version_atleast(1.1.1)", False),
        ("enabled(SPLICE)", True),
        ("enabled(KQUEUE)", False),
        ("enabled(BOGUS)", False),
    ],
)
def test_condition(expression: str, holds: bool) -> None:
    assert evaluate(expression, ENV) is holds


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("bogus(a)", "unparsable conditional expression 'bogus(a)'"),
        ("true", "unparsable conditional expression 'true'"),
        ("a", "unparsable conditional expression 'a'"),
        ("(1", "expected ')' after conditional expression '(1'"),
        (
            "streq(a,a",
            "expected ')' in argument 1 of predicate 'streq' used in conditional expression",
        ),
        (
            "streq(a)",
            "missing arguments (got 1/2), type 'string' expected in argument 2 of predicate "
            "'streq' used in conditional expression",
        ),
        ("1 2", "unexpected character '2' at the end of conditional expression '1 2'"),
        ("1 & 1", "unexpected character '&' at the end of conditional expression '1 & 1'"),
        ("1)", "unexpected character ')' at the end of conditional expression '1)'"),
        ("(" * 5000, "conditional expression nests too deep"),
        ("!" * 5000 + "1", "conditional expression nests too deep"),
    ],
)
def test_bad_condition_tells_what_is_wrong(expression: str, what: str) -> None:
    with pytest.raises(ConditionError) as caught:
        evaluate(expression, ENV)
    assert str(caught.value) == what


def test_a_development_version_comes_before_its_release() -> None:
    ordered = ["2.4-dev1", "2.4-dev19", "2.4.0", "2.4.1", "2.5-dev0", "2.5"]
    assert sorted(ordered, key=version_key) == ordered


def _said(text: str) -> list[tuple[Severity, str, int | None]]:
    outcome = _parse(text)
    return [
        (message.severity, message.text, message.place.line if message.place else None)
        for message in outcome.messages
    ]


def _parse(text: str) -> Outcome:
    return parse([Source("c.cfg", text)], ENV)


def test_only_the_first_true_branch_counts() -> None:
    text = """\
.if defined(NOPE)
 .notice no
 bogus outside of everything "and not even closed
 .if 1
 .notice no
 .else
 .notice no
 .endif
.elif streq("$A",a)
.notice "first"
.elif 1
.notice "second"
.else
.notice "last"
.endif
.if 0
.else
.warning "else of $A"
.endif
.diag "not shown"
"""
    assert _said(text) == [
        (Severity.NOTICE, "'first'.", 10),
        (Severity.WARNING, "'else of a'.", 18),
    ]


def test_alert_in_a_block_that_counts_makes_the_configuration_unusable() -> None:
    outcome = _parse(".if !feature(OPENSSL)\n.alert 'needs TLS'\n.endif\n")
    assert outcome.config is None
    assert outcome.messages[0].text == "'needs TLS'."


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        (".else\n", "lone '.else' with no matching '.if'.", 1),
        (".endif\n", "lone '.endif' with no matching '.if'.", 1),
        (".elif 1\n", "lone '.elif' with no matching '.if'.", 1),
        (".if 1\n.else\n.else\n.endif\n", "'.else' after '.else' is not permitted.", 3),
        (".if 1\n.else\n.elif 1\n.endif\n", "'.elif' after '.else' is not permitted.", 3),
        (".if 1\nglobal\n", "non-terminated '.if' block.", 2),
        (
            ".notice a b\n",
            "Unexpected argument 'b' for '.notice'. Use quotes if the message should contain "
            "spaces.",
            1,
        ),
        (
            ".if bogus\n.notice a\n.endif\n",
            "unparsable conditional expression 'bogus' in '.if' at position 1:\n  .if bogus\n"
            "      ^",
            1,
        ),
    ],
)
def test_bad_block_tells_what_is_wrong(text: str, what: str, line: int) -> None:
    assert _said(text)[0] == (Severity.ALERT, what, line)


def test_blocks_nest_only_so_deep() -> None:
    text = ".if 1\n" * 200 + ".endif\n" * 200
    assert "too many nested '.if' blocks." in [message.text for message in _parse(text).messages]
