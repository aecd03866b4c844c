"""Every keyword of HAProxy, and what lbsplice does with it.

One table a group (`keyword_tables.py`). A keyword that is not `USED` has a reason that
the operator is shown; a word in no table gets the nearest known one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum


class Group(Enum):
    """Where a keyword stands."""

    SECTION = "section"
    GLOBAL = "global"
    PROXY = "proxy"
    OPTION = "option"
    TIMEOUT = "timeout"
    BIND = "bind"
    SERVER = "server"
    BALANCE = "balance"
    STATS = "stats"


class Support(Enum):
    USED = "used"
    IGNORED = "ignored"  # accepted with a warning: leaving it out changes no session
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Keyword:
    group: Group
    name: str
    support: Support
    why: str = ""  # for IGNORED and REFUSED

    def told(self, shown: str | None = None) -> str:
        """What the operator is told of an IGNORED or a REFUSED keyword, which stands in
        the configuration as `shown`."""
        shown = shown or self.name
        if self.support is Support.IGNORED:
            return f"'{shown}' ignored: {self.why}."
        return f"'{shown}' is not supported by lbsplice: {self.why}."


Table = Mapping[str, Keyword]


def make_table(
    group: Group,
    used: str,
    *,
    ignored: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> Table:
    """A table from words: `used` separated by spaces, the others by reason. A name that
    stands twice is a mistake in the table and raises ValueError."""
    table: dict[str, Keyword] = {}

    def add(names: str, support: Support, why: str = "") -> None:
        for name in names.split():
            if name in table:
                raise ValueError(f"{group.value} keyword {name} stands twice")
            table[name] = Keyword(group, name, support, why)

    add(used, Support.USED)
    for why, names in (ignored or {}).items():
        add(names, Support.IGNORED, why)
    for why, names in (refused or {}).items():
        add(names, Support.REFUSED, why)
    return table


_LONGEST = 48


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None if none is near. Bounded work: very
    long words have no neighbour."""
    if not 2 <= len(word) <= _LONGEST:
        return None
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(word)
    best, best_ratio = None, 0.65
    for candidate in known:
        matcher.set_seq1(candidate)
        if matcher.real_quick_ratio() > best_ratio and matcher.quick_ratio() > best_ratio:
            ratio = matcher.ratio()
            if ratio > best_ratio:
                best, best_ratio = candidate, ratio
    return best


def hint(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'bind' maybe ?`, or "" if no known word is near."""
    near = nearest(word, known)
    return f"; did you mean '{near}' maybe ?" if near else ""
