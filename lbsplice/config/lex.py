"""One line of configuration text into words: quotes, escapes, comments, environment.

    "weak"   keeps spaces; ${NAME}, $NAME and ${NAME-default} are replaced
    'strong' keeps everything
    \\        keeps the next character's meaning away (space " ' # \\, and $ inside of
             weak quotes); \\n \\r \\t \\xHH name one
    #        starts a comment, outside of quotes

An unset variable is replaced by nothing. "${NAME[*]}" becomes one word per part of the
variable's value, which may be none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lbsplice.errors import ConfigError

MAX_WORDS = 64
"""More words on one line are an error."""

MAX_LENGTH = 1024 * 1024
"""A line may not expand to more characters than this."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_SPACES = " \t\r\f\v"
_HEX = frozenset("0123456789abcdefABCDEF")
_NAME_START = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME = _NAME_START | frozenset("0123456789")


class LexError(ConfigError):
    """A line that can not be split. `position` counts characters from 0."""

    def __init__(self, what: str, text: str, position: int) -> None:
        self.what = what
        self.position = position
        shown, at = _window(text, position)
        super().__init__(f"{what} at position {position + 1}:\n  {shown}\n  {' ' * at}^")


def _window(text: str, position: int) -> tuple[str, int]:
    """The part of a line to show for a position, and where the position is in it."""
    indent = len(text) - len(text.lstrip(_SPACES))
    if position >= indent:
        text, position = text[indent:], position - indent
    text = text.expandtabs(1)
    if len(text) <= 120:
        return text, position
    start = max(0, min(position - 60, len(text) - 120))
    return text[start : start + 120], position - start


@dataclass
class _Splitter:
    text: str
    env: Mapping[str, str]
    at: int = 0
    length: int = 0

    def split(self) -> list[str]:
        words: list[str] = []
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACES:
                self.at += 1
            if self.at >= len(self.text) or self.text[self.at] == "#":
                return words
            start = self.at
            words.extend(self._word())
            if len(words) > MAX_WORDS:
                raise ConfigError(
                    f"too many words, truncating after word {MAX_WORDS}, position {start + 1}: "
                    f"<{self.text[start : start + 40].split()[0]}>."
                )

    def _word(self) -> list[str]:
        """The word that starts here; several or none if a list variable says so."""
        done: list[str] = []
        current: list[str] = []
        quote = ""
        opened = self.at
        listed = False
        while self.at < len(self.text):
            c = self.text[self.at]
            if quote == "'":
                self.at += 1
                if c == "'":
                    quote = ""
                else:
                    current.append(c)
            elif c == "\\":
                current.append(self._escape(quote))
            elif quote == '"' and c == "$":
                parts, is_list = self._variable()
                self._grow(sum(map(len, parts)))
                if is_list:
                    listed = True
                    if parts:
                        current.append(parts[0])
                        for part in parts[1:]:
                            done.append("".join(current))
                            current = [part]
                else:
                    current.extend(parts)
            elif c == '"':
                self.at += 1
                quote = "" if quote else '"'
                opened = self.at - 1 if quote else opened
            elif quote:
                current.append(c)
                self.at += 1
            elif c == "'":
                quote, opened = "'", self.at
                self.at += 1
            elif c in _SPACES or c == "#":
                break
            else:
                current.append(c)
                self.at += 1
        if quote:
            raise LexError("unmatched quote", self.text, opened)
        last = "".join(current)
        if last or not listed:
            done.append(last)
        return done

    def _grow(self, count: int) -> None:
        self.length += count
        if self.length > MAX_LENGTH:
            raise LexError("line too long after expansion", self.text, self.at - 1)

    def _escape(self, quote: str) -> str:
        """What a backslash stands for here. Before any other character than those of
        the language it stands for itself."""
        start = self.at
        follower = self.text[start + 1 : start + 2]
        if follower == "x":
            digits = self.text[start + 2 : start + 4]
            if len(digits) != 2 or not set(digits) <= _HEX or digits == "00":
                raise LexError("truncated or invalid hexadecimal sequence", self.text, start)
            self.at += 4
            return bytes([int(digits, 16)]).decode("utf-8", "surrogateescape")
        plain = " \\\"'#" + ("$" if quote else "")
        if follower and (follower in plain or follower in _ESCAPES):
            self.at += 2
            return _ESCAPES.get(follower, follower)
        self.at += 1
        return "\\"

    def _variable(self) -> tuple[list[str], bool]:
        """The value of the variable that starts here: its parts, and whether it is a
        list (`[*]`)."""
        text = self.text
        start = self.at
        brace = text[start + 1 : start + 2] == "{"
        at = first = start + (2 if brace else 1)
        if text[at : at + 1] not in _NAME_START:
            where = min(at, len(text) - 1)
            raise LexError(
                "forbidden first char in environment variable name", text, max(where, start)
            )
        while at < len(text) and text[at] in _NAME:
            at += 1
        name = text[first:at]
        is_list = False
        default = ""
        if brace:
            if text.startswith("[*]", at):
                is_list = True
                at += 3
            if text[at : at + 1] == "-":
                end = at + 1
                while end < len(text) and text[end] != "}":
                    end += 1
                default = text[at + 1 : end]
                at = end
            if text[at : at + 1] != "}":
                raise LexError("unmatched brace in environment variable name", text, start + 1)
            at += 1
        self.at = at
        value = self.env.get(name, default)
        return (value.split() if is_list else [value]), is_list


def split(text: str, env: Mapping[str, str]) -> list[str]:
    """The words of one line (without its newline). A comment or an empty line has none;
    a word may be empty if it was quoted. Raises `ConfigError`, whose text tells where."""
    return _Splitter(text, env).split()
