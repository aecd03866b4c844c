"""What a finding is, and what its rule looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from lbsplice.config.model import Place
from lbsplice.lint.detect import Detection
from lbsplice.lint.facts import Host
from lbsplice.lint.model import Model, Proxy
from lbsplice.lint.reader import Line


class Severity(Enum):
    """How bad it is. A note is for knowing; it is no reason to change anything."""

    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return _RANKS.index(self)


_RANKS = (Severity.NOTE, Severity.WARNING, Severity.ERROR)


class EditKind(Enum):
    BEFORE = "before"  # a new line before this one
    REPLACE = "replace"  # this line becomes another


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one line."""

    kind: EditKind
    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell. `change` is what would mend it; `edits` is that change as a patch,
    for findings with one safe answer."""

    rule: str
    severity: Severity
    place: Place
    message: str
    change: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule looks at. `rtt_ms` is the round trip to the servers."""

    model: Model
    host: Host
    detections: tuple[Detection, ...]
    rtt_ms: float = 1.0

    def of_backend(self, backend: Proxy) -> list[Detection]:
        return [d for d in self.detections if d.path.backend is backend]


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of finding; its page is docs/lint/ID.md."""

    id: str
    title: str
    look: Callable[[Subject], Iterator[Finding]]


def indent_of(line: Line) -> str:
    return line.text[: len(line.text) - len(line.text.lstrip())]


def line_of(proxy: Proxy, place: Place) -> Line | None:
    """The line at a place, in a proxy or its defaults."""
    for owner in (proxy, *proxy.parents):
        for line in owner.lines:
            if line.place == place:
                return line
    return None


def before(line: Line, text: str) -> tuple[Edit, ...]:
    """A new line of the same indentation before this one."""
    return (Edit(EditKind.BEFORE, line.place, indent_of(line) + text),)
