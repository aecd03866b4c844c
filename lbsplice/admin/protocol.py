"""The line protocol of a stats socket, as values: from bytes to commands, and from an answer
to what is sent.

A line has one command or several with `;` between them. A backslash takes away what the
character after it means (a blank, `;`, a backslash); quotes mean nothing, as in HAProxy. A
NUL is a blank, as there.
A line that ends with `<<` has a payload: the lines after it up to an empty one, or with
`<<WORD` up to one that is WORD. Every answer ends with an empty line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lbsplice.admin.commands import Said
from lbsplice.terms import LogLevel

MOST_BYTES = 16384
"""Of a line, and of a payload: the size of HAProxy's buffers."""

MOST_WORDS = 64
"""Of a command; what comes after them is not looked at."""

LONGEST_PATTERN = 7
"""Characters of the word that ends a payload."""

_PAYLOAD = re.compile(r"(?:^|[ \t;])<<([^ \t;]*)[ \t]*$")
_TARGET = re.compile(r"@(?:master|[!@]?[0-9]+)$")
_BLANKS = " \t\0"


class TooLong(Exception):
    """More than MOST_BYTES without an end, of what `str()` of it says."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line that was read; `payload` is None where it has none."""

    commands: tuple[tuple[str, ...], ...]
    payload: str | None = None


class LineReader:
    """Puts lines together from what comes in pieces of any size. Bytes that are no UTF-8
    pass through and back out unchanged."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._looked_at = 0
        self._command: str | None = None  # a line whose payload is being read
        self._pattern = ""
        self._payload: list[str] = []
        self._payload_bytes = 0
        self.asks_for_more = 0
        """Lines since the last look after which more of a payload has to come."""

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def take(self) -> bytes:
        """All that was fed and not yet used: it is the caller's from now on."""
        rest = bytes(self._bytes)
        self._bytes.clear()
        self._looked_at = 0
        return rest

    def line(self) -> Line | None:
        """The next complete line with its payload; None: more has to come. Raises TooLong."""
        while (text := self._text()) is not None:
            if self._command is None:
                found = _PAYLOAD.search(text)
                if found is None or len(found[1]) > LONGEST_PATTERN:
                    return Line(commands_of(text))
                self._command = text[: found.start(1) - len("<<")]
                self._pattern = found[1]
                self.asks_for_more += 1
            elif text == self._pattern:
                line = Line(commands_of(self._command), "".join(self._payload))
                self._command, self._payload, self._payload_bytes = None, [], 0
                return line
            else:
                self._payload.append(text + "\n")
                self.asks_for_more += 1
        return None

    def _text(self) -> str | None:
        end = self._bytes.find(b"\n", self._looked_at)
        if end < 0:
            self._looked_at = len(self._bytes)
        if (end if end >= 0 else len(self._bytes)) + self._payload_bytes > MOST_BYTES:
            raise TooLong("command" if self._command is None else "payload")
        if end < 0:
            return None
        text = bytes(self._bytes[:end])
        del self._bytes[: end + 1]
        self._looked_at = 0
        if self._command is not None:
            self._payload_bytes += end + 1
        return text.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def commands_of(text: str) -> tuple[tuple[str, ...], ...]:
    """The commands of a line, each as its words. A line that says nothing, and a `;` with
    nothing beside it, is a command of no words."""
    return tuple(words_of(part) for part in _parts(text))


def _parts(text: str) -> list[str]:
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == ";":
            parts.append(text[start:at])
            start = at + 1
        at += 1
    parts.append(text[start:])
    return parts


def words_of(text: str) -> tuple[str, ...]:
    """The words of one command, without a prefix that names a process (`@1`): there is
    one, and this is it."""
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text) and len(words) <= MOST_WORDS:
        character = text[at]
        if character in _BLANKS:
            if word is not None:
                words.append("".join(word))
                word = None
        else:
            word = [] if word is None else word
            if character == "\\" and at + 1 < len(text):
                at += 1
                character = text[at]
            word.append(character)
        at += 1
    if word is not None:
        words.append("".join(word))
    if words and _TARGET.match(words[0]):
        return tuple(words[1 : MOST_WORDS + 1]) or (NOTHING,)
    return tuple(words[:MOST_WORDS])


NOTHING = "@"
"""The word of a command that only chose the process to talk to: it is obeyed by silence."""


# ---- answers ----


def render(answer: str | Said, severity_output: str) -> str:
    """An answer as it is sent, ended by a newline; the silent success is nothing."""
    if isinstance(answer, str):
        return _ended(answer)
    if not answer.text:
        return ""
    return severity(answer.severity, severity_output) + _ended(answer.text)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def severity(level: LogLevel, output: str) -> str:
    """What stands before a sentence: nothing, `[3]: ` or `[err]: `."""
    if output == "number":
        return f"[{level.value}]: "
    if output == "string":
        return f"[{level.name.lower()}]: "
    return ""


MORE = "+ "
"""The prompt within a payload."""


def prompt(*, shown: bool, timed: bool, uptime_s: float) -> str:
    """What follows an answer: the empty line, and the prompt where one was asked for."""
    if not shown:
        return "\n"
    if not timed:
        return "\n> "
    minutes, seconds = divmod(int(uptime_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"\n[{days}:{hours:02}:{minutes:02}:{seconds:02}]> "
