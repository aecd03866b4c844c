"""Any HAProxy configuration as sections of lines. Nothing is refused: what can not be read
is left out with a note."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lbsplice.config.conditions import Blocks
from lbsplice.config.files import Source
from lbsplice.config.keyword_tables import SECTIONS
from lbsplice.config.lex import split
from lbsplice.config.messages import Report
from lbsplice.config.model import Place
from lbsplice.config.parse import TCP_LOG_FORMAT
from lbsplice.config.statement import Statement
from lbsplice.errors import ConfigError

_SUPPRESS = re.compile(r"#.*?\blbsplice-lint:\s*disable(-file)?=([A-Za-z0-9_, ]+)")

_ID = re.compile(r"\s*(,?)[\s,]*([A-Z0-9_]+)")
_LIKE_AN_ID = re.compile(r"L\d|ALL\Z")
_BUILD = re.compile(
    r"\b(?:feature|enabled|openssl_version_atleast|openssl_version_before)\([^)]*\)"
)
_TRUTH = {"0": "false", "1": "true"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a section. `certain` is false where it has a variable that is not set
    here, so that its words may be others on the machine that uses it."""

    statement: Statement
    text: str
    certain: bool = True

    @property
    def place(self) -> Place:
        return self.statement.place


@dataclass(frozen=True, slots=True)
class Section:
    """A section: the line that opens it, and its own lines."""

    opening: Line
    lines: list[Line] = field(default_factory=list)

    @property
    def keyword(self) -> str:
        return self.opening.statement.keyword


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the linter could not take into account."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Suppressions:
    """`# lbsplice-lint: disable=L1,L5` on a line or alone on the one before, and
    `disable-file=`; `all` stands for every id."""

    lines: Mapping[Place, frozenset[str]]
    files: Mapping[str, frozenset[str]]
    said: tuple[tuple[Place, frozenset[str]], ...] = ()

    def cover(self, rule: str, place: Place) -> bool:
        off = self.lines.get(place, frozenset()) | self.files.get(place.file, frozenset())
        return not off.isdisjoint((rule.upper(), "ALL"))

    def misspelt(self, known: Iterable[str]) -> Iterator[Note]:
        """A note for each id in a comment that is none, and so silences nothing."""
        for place, ids in self.said:
            for each in sorted(ids.difference(known, {"ALL"})):
                yield Note(place, f"'{each}' is no finding's id, so this silences nothing with it")


@dataclass(frozen=True, slots=True)
class Document:
    """What was read. `strays` stand before any section."""

    sources: tuple[Source, ...]
    sections: tuple[Section, ...]
    strays: tuple[Line, ...]
    notes: tuple[Note, ...]
    suppressions: Suppressions


def read(sources: Sequence[Source], env: Mapping[str, str]) -> Document:
    """Read all files as one configuration. Never raises for what they hold."""
    reader = _Reader(env)
    for source in sources:
        reader.read(source)
    return Document(
        tuple(sources),
        tuple(reader.sections),
        tuple(reader.strays),
        tuple(reader.notes),
        _suppressions(sources),
    )


class _Watched(dict[str, str]):
    """An environment that remembers which names it was asked for in vain."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(env)
        self.missed: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        if name not in self and not default:
            self.missed.append(name)
        return super().get(name, default)


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = _Watched({"HAPROXY_TCP_LOG_FMT": TCP_LOG_FORMAT, **env})
        self.sections: list[Section] = []
        self.strays: list[Line] = []
        self.notes: list[Note] = []
        self.section: Section | None = None
        self.blocks = Blocks(Report())

    def read(self, source: Source) -> None:
        self.section = None
        for number, text in enumerate(source.text.split("\n"), 1):
            place = Place(source.name, number)
            try:
                self._line(text.rstrip("\r"), place)
            except ConfigError as error:
                what = str(error).partition("\n")[0]
                self.notes.append(Note(place, f"left out, it can not be read: {what}"))
        self.blocks.finish(Place(source.name, number))

    def _line(self, text: str, place: Place) -> None:
        stripped = text.lstrip(" \t\f\v")
        if not stripped or stripped[0] == "#":
            return
        is_directive = stripped[0] == "."
        if not (self.blocks.active or is_directive):
            return
        self.env.missed.clear()
        words = split(text, self.env)
        if not words:
            return
        if is_directive:
            self.blocks.directive(self._assumed(words, place), self.env, place)
            return
        for name in dict.fromkeys(self.env.missed):
            if name.startswith("HAPROXY_"):
                continue  # HAProxy sets these itself
            self.notes.append(
                Note(place, f"${name} is not set here, so this line may mean something else")
            )
        prefix = words.pop(0) if words[0] in ("no", "default") and len(words) > 1 else ""
        line = Line(Statement(place, tuple(words), prefix), text, not self.env.missed)
        if not prefix and words[0] in SECTIONS:
            self.section = Section(line)
            self.sections.append(self.section)
        elif self.section is None:
            self.strays.append(line)
        else:
            self.section.lines.append(line)

    def _assumed(self, words: list[str], place: Place) -> list[str]:
        """A condition with what depends on how HAProxy was built taken for granted."""
        expression = " ".join(words[1:])
        asked = dict.fromkeys(match[0] for match in _BUILD.finditer(expression))
        for each in asked:
            answer = "0" if each.startswith("openssl_version_before") else "1"
            expression = expression.replace(each, answer)
            self.notes.append(Note(place, f"{each} is taken to be {_TRUTH[answer]}"))
        return [words[0], expression] if asked else words


def _suppressions(sources: Sequence[Source]) -> Suppressions:
    lines: dict[Place, frozenset[str]] = {}
    files: dict[str, frozenset[str]] = {}
    said = []
    for place, alone, whole_file, rules in _comments(sources):
        said.append((place, rules))
        if whole_file:
            files[place.file] = files.get(place.file, frozenset()) | rules
            continue
        at = Place(place.file, place.line + 1) if alone else place
        lines[at] = lines.get(at, frozenset()) | rules
    return Suppressions(lines, files, tuple(said))


def _ids(text: str) -> Iterator[str]:
    """The ids of a comment, up to where its reason begins: `L1, L5 L6 as we know`."""
    for position, match in enumerate(_ID.finditer(text)):
        comma, word = match.groups()
        if position and not comma and not _LIKE_AN_ID.match(word):
            return
        yield word


def _comments(sources: Sequence[Source]) -> Iterator[tuple[Place, bool, bool, frozenset[str]]]:
    """Each suppressing comment: where, whether alone on its line, for the whole file or
    not, and the ids."""
    for source in sources:
        for number, text in enumerate(source.text.split("\n"), 1):
            match = _SUPPRESS.search(text)
            if match:
                ids = frozenset(_ids(match[2].upper()))
                alone = text.lstrip().startswith("#")
                yield Place(source.name, number), alone, bool(match[1]), ids
