"""Configuration text into a `Config`, or into all that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lbsplice.config.assemble import assemble
from lbsplice.config.conditions import Blocks
from lbsplice.config.drafts import ProxyDraft
from lbsplice.config.files import Source
from lbsplice.config.globals import NO_NEGATION, GlobalSection
from lbsplice.config.keyword_tables import SECTIONS
from lbsplice.config.keywords import Support
from lbsplice.config.lex import split
from lbsplice.config.messages import Message, Report, Severity
from lbsplice.config.model import Config, Place
from lbsplice.config.proxies import read_proxy_line
from lbsplice.config.sections import Defaults, open_section, out_of_section
from lbsplice.config.statement import Statement
from lbsplice.config.validate import check_meaning, check_names, check_pages
from lbsplice.errors import ConfigError

TCP_LOG_FORMAT = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"
"""The line of `option tcplog`; a configuration finds it in HAPROXY_TCP_LOG_FMT."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What reading a configuration gave. `config` is None if any message is an ALERT."""

    config: Config | None
    messages: tuple[Message, ...]

    @property
    def warned(self) -> bool:
        return any(message.severity is Severity.WARNING for message in self.messages)


def parse(sources: Sequence[Source], env: Mapping[str, str]) -> Outcome:
    """Read all files as one configuration. `env` is what `${NAME}` stands for.

    Never raises for what the files hold: every error of every file is among the
    messages, in order, with the closing lines that HAProxy prints."""
    parser = _Parser(env)
    for source in sources:
        parser.read(source)
    return parser.finish()


_Section = Callable[[Statement], None]


class _Parser:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.report = Report()
        self.env = {"HAPROXY_TCP_LOG_FMT": TCP_LOG_FORMAT, **env}
        self.globals = GlobalSection(self.report, self.env)
        self.defaults = Defaults()
        self.drafts: list[ProxyDraft] = []
        self.section: _Section | None = None
        self.blocks = Blocks(self.report)

    def read(self, source: Source) -> None:
        """One file. A section does not go on in the next one."""
        before = len(self.report.messages)
        first_draft = len(self.drafts)
        self.section = None
        lines = source.text.split("\n")
        rest = lines.pop()
        for number, text in enumerate(lines, 1):
            self._line(text, Place(source.name, number))
        if rest:
            place = Place(source.name, len(lines) + 1)
            self._line(rest, place)
            self.report.alert(
                "Missing LF on last line, file might have been truncated at position "
                f"{len(rest) + 1}.",
                place,
            )
        self.blocks.finish(Place(source.name, max(1, len(lines))))
        check_pages(self.drafts[first_draft:], self.report)
        check_names(self.drafts, self.report, first_draft)
        if any(m.severity is Severity.ALERT for m in self.report.messages[before:]):
            self.report.alert(f"Error(s) found in configuration file : {source.name}")

    def finish(self) -> Outcome:
        """Look at the whole. After errors only further errors are told: a warning may
        come of a line that could not be read."""
        meaning = Report()
        check_meaning(self.globals.value, self.drafts, meaning)
        failed = self.report.failed
        self.report.messages += [
            m for m in meaning.messages if not failed or m.severity is Severity.ALERT
        ]
        if self.report.failed:
            self.report.alert("Fatal errors found in configuration.")
            return Outcome(None, tuple(self.report.messages))
        config = assemble(self.globals.value, self.drafts)
        return Outcome(config, tuple(self.report.messages))

    def _line(self, text: str, place: Place) -> None:
        stripped = text.lstrip(" \t\r\f\v")
        if not stripped or stripped[0] == "#":
            return
        is_directive = stripped[0] == "."
        if not (self.blocks.active or is_directive):
            return
        try:
            if "\0" in text:
                raise ConfigError(f"Stray NUL character at position {text.index(chr(0)) + 1}.")
            words = split(text, self.env)
            if not words:
                return
            if is_directive:
                self.blocks.directive(words, self.env, place)
            else:
                self._statement(words, place)
        except ConfigError as error:
            self.report.alert(str(error), place)

    def _statement(self, words: list[str], place: Place) -> None:
        prefix = ""
        if words[0] in ("no", "default"):
            prefix = words.pop(0)
            if not words:
                raise ConfigError(NO_NEGATION)
        line = Statement(place, tuple(words), prefix)
        if not prefix and line.keyword in SECTIONS:
            self.section = self._open(line)
        elif self.section is None:
            out_of_section(line.keyword, place, self.report)
        else:
            self.section(line)

    def _open(self, line: Statement) -> _Section:
        """What takes the lines of the section that this line opens."""
        section = SECTIONS[line.keyword]
        if section.support is Support.REFUSED:
            self.report.alert(section.told(), line.place)
            return _leave_out
        if line.keyword == "global":
            if line.arguments:
                self.report.alert(
                    f"'global' cannot handle unexpected argument '{line.word(1)}'.", line.place
                )
            return self.globals.read
        if line.keyword == "defaults":
            draft = self.defaults.open(line, self.report)
        else:
            draft, is_known = open_section(line, self.defaults, self.report)
            if is_known:
                self.drafts.append(draft)
        return lambda statement: read_proxy_line(statement, draft, self.report)


def _leave_out(line: Statement) -> None:
    """The lines of a section that is refused as a whole."""
