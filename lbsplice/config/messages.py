"""What is told about a configuration, in the shape HAProxy prints it.

[ALERT]    (1909) : config : parsing [lb.cfg:4] : unknown keyword 'bindd' in 'listen' section
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lbsplice.config.model import Place


class Severity(Enum):
    NOTICE = "NOTICE"
    WARNING = "WARNING"
    ALERT = "ALERT"


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell the operator. An ALERT means that the configuration can not
    be used. `area` is the word before the text; "" leaves it out. A `text` of several
    lines keeps them as they are."""

    severity: Severity
    text: str
    place: Place | None = None
    area: str = "config"


def render(message: Message, pid: int) -> str:
    """The message as printed on stderr, without a newline at its end."""
    parts = [f"{f'[{message.severity.value}]':<10} ({pid})"]
    if message.area:
        parts.append(message.area)
    if message.place is not None:
        parts.append(f"parsing [{message.place.file}:{message.place.line}]")
    parts.append(message.text)
    return printable(" : ".join(parts))


def printable(text: str) -> str:
    """`text` with bytes that are no characters, and control characters other than a
    newline or a tab, shown as `\\xHH`, so that no configuration can move the cursor."""
    return "".join(
        c if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF) else _escape(c)
        for c in text
    )


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (surrogateescape)
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


class Report:
    """Collects messages while a configuration is read; nothing stops at the first."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    @property
    def failed(self) -> bool:
        return any(message.severity is Severity.ALERT for message in self.messages)

    def alert(self, text: str, place: Place | None = None) -> None:
        self.messages.append(Message(Severity.ALERT, text, place))

    def warn(self, text: str, place: Place | None = None) -> None:
        self.messages.append(Message(Severity.WARNING, text, place))

    def notice(self, text: str, place: Place | None = None) -> None:
        self.messages.append(Message(Severity.NOTICE, text, place))
