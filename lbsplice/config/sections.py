"""The lines that open a section, and which defaults a proxy starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

from lbsplice.config.address import BIND
from lbsplice.config.bind import parse_addresses
from lbsplice.config.drafts import ProxyDraft, Settings
from lbsplice.config.keywords import hint
from lbsplice.config.messages import Report
from lbsplice.config.model import Bind, Place, ProxyKind
from lbsplice.config.statement import Statement
from lbsplice.errors import ConfigError


@dataclass
class Defaults:
    """The defaults sections so far. A proxy without `from` has those of the last one,
    whether that has a name or not."""

    last: ProxyDraft | None = None
    named: dict[str, list[ProxyDraft]] = field(default_factory=dict)

    def open(self, line: Statement, report: Report) -> ProxyDraft:
        """A `defaults [NAME] [from PARENT]` line."""
        words = list(line.arguments)
        name = words.pop(0) if words and words[0] != "from" else ""
        settings = Settings()
        try:
            _check_name("defaults", name)
            if words:
                if words[0] != "from" or len(words) < 2 or not words[1]:
                    raise ConfigError(f"'defaults' cannot handle unexpected argument '{words[0]}'.")
                settings = self._find(words[1], f"defaults '{name}'").copy()
                if len(words) > 2:
                    raise ConfigError(f"'defaults' cannot handle unexpected argument '{words[2]}'.")
        except ConfigError as error:
            report.alert(str(error), line.place)
        draft = ProxyDraft(line.place, None, name, settings)
        self.last = draft
        if name:
            self.named.setdefault(name, []).append(draft)
        return draft

    def _find(self, name: str, whose: str) -> Settings:
        found = self.named.get(name, [])
        if not found:
            near = hint(name, self.named)
            raise ConfigError(f"defaults section '{name}' not found for {whose}{near}.")
        if len(found) > 1:
            raise ConfigError(
                f"ambiguous defaults section name '{name}' referenced by {whose} exists at least "
                f"at {found[0].place} and {found[1].place}."
            )
        return found[0].settings

    def settings_for(self, parent: str, whose: str) -> Settings:
        """A proxy's own copy. Raises `ConfigError` if there is no such parent."""
        if parent:
            return self._find(parent, whose).copy()
        return self.last.settings.copy() if self.last else Settings()


def open_section(line: Statement, defaults: Defaults, report: Report) -> tuple[ProxyDraft, bool]:
    """A `frontend`, `backend` or `listen` line: the draft, and whether it has a name by
    which others can know it. What is wrong is reported; the section is read anyhow."""
    kind = ProxyKind(line.keyword)
    name = line.word(1)
    draft = ProxyDraft(line.place, kind, name, Settings())
    try:
        if not name:
            raise ConfigError(f"'{kind.value}' expects an <id> argument")
        _check_name(kind.value, name)
    except ConfigError as error:
        report.alert(str(error), line.place)
        return draft, False
    try:
        address, parent = _rest(line)
        draft.settings = defaults.settings_for(parent, f"proxy '{name}'")
        if address:
            draft.binds = _old_form(line, address, draft, report)
    except ConfigError as error:
        report.alert(str(error), line.place)
    return draft, True


def _check_name(section: str, name: str) -> None:
    for c in name:
        if not (c.isascii() and (c.isalnum() or c in ".:_-")):
            raise ConfigError(f"character '{c}' is not permitted in '{section}' name '{name}'.")


def _rest(line: Statement) -> tuple[str, str]:
    """The old form's address and the defaults' name, "" where there is none."""
    words = list(line.words[2:])
    address = words.pop(0) if words and words[0] != "from" else ""
    if not words:
        return address, ""
    if words[0] != "from":
        raise ConfigError(f"'{line.keyword}' cannot handle unexpected argument '{words[0]}'.")
    if len(words) == 1 or not words[1]:
        raise ConfigError(f"'{line.keyword}' : 'from' expects the name of a defaults section.")
    if len(words) > 2:
        raise ConfigError(f"'{line.keyword}' cannot handle unexpected argument '{words[2]}'.")
    return address, words[1]


def _old_form(line: Statement, address: str, draft: ProxyDraft, report: Report) -> list[Bind]:
    """The addresses of `listen NAME ADDRESS`, which HAProxy took until its version 1.9."""
    if draft.kind is ProxyKind.BACKEND:
        raise ConfigError(f"'backend' cannot handle unexpected argument '{address}'.")
    try:
        binds = [Bind(line.place, endpoint) for endpoint in parse_addresses(address, BIND)]
    except ConfigError as error:
        raise ConfigError(f"'{line.keyword}' : {error}") from None
    report.warn(
        "please use the 'bind' keyword for listening addresses: write "
        f"'{line.keyword} {draft.name}' and, on a line of its own below it, 'bind {address}'.",
        line.place,
    )
    return binds


def out_of_section(word: str, place: Place, report: Report) -> None:
    report.alert(f"unknown keyword '{word}' out of section.", place)
