"""The line protocol: from bytes in pieces to commands, and what an answer looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.admin.commands import Said
from lbsplice.admin.protocol import (
    MOST_BYTES,
    MOST_WORDS,
    NOTHING,
    Line,
    LineReader,
    TooLong,
    commands_of,
    prompt,
    render,
    words_of,
)
from lbsplice.terms import LogLevel


def lines(*pieces: bytes) -> list[Line]:
    reader = LineReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (line := reader.line()) is not None:
            found.append(line)
    return found


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("show version", ("show", "version")),
            ("  show \t version  ", ("show", "version")),
            ("", ()),
            (" \t", ()),
            (r"echo a\ b", ("echo", "a b")),
            (r"echo a\;b", ("echo", "a;b")),
            (r"echo a\\b", ("echo", r"a\b")),
            (r"sh\ow", ("show",)),
            ("echo a\\", ("echo", "a\\")),
            ('show "version"', ("show", '"version"')),  # quotes mean nothing
            ("show # x", ("show", "#", "x")),
        ],
    )
    def test_blanks_part_them_and_a_backslash_does_not(self, text, words):
        assert words_of(text) == words

    @pytest.mark.parametrize("prefix", ["@1", "@!4321", "@@1", "@master", "@0"])
    def test_a_process_in_front_is_passed_over(self, prefix):
        assert words_of(f"{prefix} show info") == ("show", "info")

    def test_a_process_alone_is_a_command_that_does_nothing(self):
        assert words_of("@1") == (NOTHING,)

    def test_what_only_looks_like_a_process_is_a_word(self):
        assert words_of("@x show") == ("@x", "show")

    def test_words_beyond_the_most_are_not_looked_at(self):
        assert len(words_of(" ".join("w" * (MOST_WORDS + 20)))) == MOST_WORDS

    @pytest.mark.parametrize(
        ("text", "commands"),
        [
            ("a;b", (("a",), ("b",))),
            ("a ; ; b;", (("a",), (), ("b",), ())),
            (r"a\;b;c", (("a;b",), ("c",))),
            ("", ((),)),
            ("@1 a;@1 b", (("a",), ("b",))),
        ],
    )
    def test_semicolons_part_commands(self, text, commands):
        assert commands_of(text) == commands


class TestLines:
    def test_a_line_in_pieces(self):
        assert lines(b"sh", b"ow ver", b"sion", b"\n") == [Line((("show", "version"),))]

    def test_a_line_without_its_end_is_no_line(self):
        assert lines(b"show version") == []

    def test_carriage_returns_are_taken(self):
        assert lines(b"show version\r\n") == [Line((("show", "version"),))]

    def test_an_empty_line_is_a_line(self):
        assert lines(b"\n") == [Line(((),))]

    def test_a_payload_ends_with_an_empty_line(self):
        (first, second) = lines(b"add x <<\na b\n\tc\n\nshow version\n")
        assert first == Line((("add", "x"),), "a b\n\tc\n")
        assert second == Line((("show", "version"),))

    def test_a_payload_ends_with_its_own_word(self):
        (line,) = lines(b"add x <<EOF\na\n\nEOFX\nEOF\n")
        assert line == Line((("add", "x"),), "a\n\nEOFX\n")

    def test_a_payload_may_be_empty(self):
        assert lines(b"add x <<\n\n") == [Line((("add", "x"),), "")]

    def test_a_payload_comes_in_pieces(self):
        assert lines(b"add x <", b"<\na", b"\n", b"\r\n") == [Line((("add", "x"),), "a\n")]

    @pytest.mark.parametrize("text", [b"add << x\n", b"add x<<\n", b"add <<LONGWORDS\n"])
    def test_what_is_no_payload(self, text):
        (line,) = lines(text)
        assert line.payload is None

    def test_the_payload_is_after_the_last_command(self):
        (line,) = lines(b"a;b <<\nx\n\n")
        assert line == Line((("a",), ("b",)), "x\n")

    def test_a_nul_is_a_blank(self):
        assert lines(b"get\0weight l/s1\0\n") == [Line((("get", "weight", "l/s1"),))]

    def test_bytes_that_are_no_text_pass_through(self):
        (line,) = lines(b"echo \xff\xfe\n")
        assert line.commands[0][1].encode("utf-8", "surrogateescape") == b"\xff\xfe"

    def test_a_line_as_long_as_may_be(self):
        assert len(lines(b"a" * MOST_BYTES + b"\n")) == 1

    def test_a_longer_line_is_refused_before_its_end_comes(self):
        reader = LineReader()
        reader.feed(b"a" * (MOST_BYTES + 1))
        with pytest.raises(TooLong, match="command"):
            reader.line()

    @pytest.mark.parametrize("payload", [b"x" * 80 + b"\n", b"x\n"])
    def test_a_payload_is_bounded_as_a_whole(self, payload):
        reader = LineReader()
        reader.feed(b"add <<E\n")
        times = MOST_BYTES // len(payload)
        for _ in range(times):
            reader.feed(payload)
            assert reader.line() is None
        reader.feed(payload)
        with pytest.raises(TooLong, match="payload"):
            reader.line()

    @given(st.binary(max_size=400), st.lists(st.integers(1, 50), min_size=1, max_size=20))
    def test_pieces_make_no_difference(self, data, sizes):
        pieces, at = [], 0
        while at < len(data):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(data[at : at + size])
            at += size
        assert lines(*pieces) == lines(data)


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "output", "sent"),
        [
            ("", "number", ""),
            ("a\n", "none", "a\n"),
            ("a", "none", "a\n"),
            ("a", "number", "a\n"),  # a listing
            (Said("a"), "none", "a\n"),
            (Said("a"), "number", "[6]: a\n"),
            (Said("a\n", LogLevel.ERR), "string", "[err]: a\n"),
            (Said(""), "string", ""),
        ],
    )
    def test_a_sentence_says_how_severe_it_is(self, answer, output, sent):
        assert render(answer, output) == sent

    def test_the_end_of_an_answer(self):
        assert prompt(shown=False, timed=False, uptime_s=0) == "\n"
        assert prompt(shown=True, timed=False, uptime_s=0) == "\n> "
        assert prompt(shown=True, timed=True, uptime_s=93785.9) == "\n[1:02:03:05]> "
