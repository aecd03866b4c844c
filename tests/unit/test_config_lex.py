from __future__ import annotations

import pytest

from lbsplice.config.lex import MAX_WORDS, LexError, split
from lbsplice.errors import ConfigError

ENV = {"A": "one", "LIST": "1 2 3", "EMPTY": "", "_x9": "under"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("   # only a comment", []),
        (" bind :80 # comment", ["bind", ":80"]),
        ("a#b", ["a"]),
        ("a\tb\r", ["a", "b"]),
        ('"a b" c', ["a b", "c"]),
        ("'a \"b' c", ['a "b', "c"]),
        ("a\"b c\"'d e'f", ["ab cd ef"]),
        (r"a\ b \# \\ \" \'", ["a b", "#", "\\", '"', "'"]),
        (r"\n\r\t\x41", ["\n\r\tA"]),
        (r'"\n\"\\\$A\x41"', ['\n"\\$AA']),
        (r"'\n$A'", [r"\n$A"]),
        (r"a\qb", [r"a\qb"]),
        (r"c\$d", [r"c\$d"]),
        ("foo\\", ["foo\\"]),
        ("$A ${A}", ["$A", "${A}"]),
        ('"$A" "${A}" "x${A}y"', ["one", "one", "xoney"]),
        ('"$_x9-z"', ["under-z"]),
        ('"${NOPE}"', [""]),
        ('"${NOPE-b c}" "${A-b}" "${EMPTY-b}"', ["b c", "one", ""]),
        ('"${NOPE- d${A}}"', [" d${A}"]),
        ('"${LIST}"', ["1 2 3"]),
        ('"${LIST[*]}"', ["1", "2", "3"]),
        ('a "x${LIST[*]}y" b', ["a", "x1", "2", "3y", "b"]),
        ('a "${EMPTY[*]}" b "${NOPE[*]}"', ["a", "b"]),
        ('"$LIST[*]"', ["1 2 3[*]"]),
        ("'' \"\"", ["", ""]),
        (r"\xc3\xa9", [b"\xc3".decode("utf-8", "surrogateescape") + "\udca9"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split(text, ENV) == words


@pytest.mark.parametrize(
    ("text", "what", "position"),
    [
        (' bind "x', "unmatched quote", 6),
        (" bind 'x", "unmatched quote", 6),
        ("a\\x4", "truncated or invalid hexadecimal sequence", 1),
        ("a\\xzz", "truncated or invalid hexadecimal sequence", 1),
        ("a\\x00", "truncated or invalid hexadecimal sequence", 1),
        (' b "${A', "unmatched brace in environment variable name", 5),
        (' b "${A B}"', "unmatched brace in environment variable name", 5),
        (' b "${1A}"', "forbidden first char in environment variable name", 6),
        (' b "$"', "forbidden first char in environment variable name", 5),
        (' b "${}"', "forbidden first char in environment variable name", 6),
    ],
)
def test_bad_line_tells_where(text: str, what: str, position: int) -> None:
    with pytest.raises(LexError) as caught:
        split(text, ENV)
    assert (caught.value.what, caught.value.position) == (what, position)
    shown, pointer = str(caught.value).splitlines()[1:]
    assert shown[pointer.index("^")] == text[position]


def test_an_error_far_out_in_a_line_is_shown_in_a_part_of_it() -> None:
    with pytest.raises(LexError) as caught:
        split("x" * 5000 + ' "' + "y" * 5000, {})
    shown, pointer = str(caught.value).splitlines()[1:]
    assert len(shown) < 130
    assert shown[pointer.index("^")] == '"'


def test_as_many_words_as_haproxy_takes() -> None:
    assert len(split("x " * MAX_WORDS, {})) == MAX_WORDS
    with pytest.raises(ConfigError, match="too many words, truncating after word 64"):
        split("x " * (MAX_WORDS + 1), {})


def test_expansion_is_bounded() -> None:
    with pytest.raises(LexError, match="too long after expansion"):
        split('"' + "$A" * 60 + '"', {"A": "x" * 100_000})
