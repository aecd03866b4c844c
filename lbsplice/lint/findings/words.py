"""Words that HAProxy does not know, or that do nothing where they stand: L13."""

from __future__ import annotations

from collections.abc import Iterator

from lbsplice.config.keyword_tables import (
    BIND,
    GLOBAL,
    HTTP,
    OBSOLETE,
    OPTION,
    PROXY,
    SECTIONS,
    SERVER,
    TIMEOUT,
)
from lbsplice.config.keywords import Table, nearest
from lbsplice.lint.build import setting_length
from lbsplice.lint.finding import Finding, Severity, Subject
from lbsplice.lint.model import Proxy
from lbsplice.lint.reader import Line
from lbsplice.lint.vocabulary import (
    ACTIONS,
    BIND_FLAGS,
    FIRST_SETTING,
    LETTERS,
    OPTION_PLACES,
    PLACES,
    SERVER_FLAGS,
    TIMEOUT_PLACES,
)

_OF_PAGES = frozenset(("stats", "http-request"))
"""What lbsplice takes in `mode http` alone, as HAProxy does."""

_NAMES = {"d": "defaults", "f": "frontend", "l": "listen", "b": "backend"}


def words_out_of_place(subject: Subject) -> Iterator[Finding]:
    """L13, line by line."""
    for line in subject.model.strays:
        if line.certain:
            yield _unknown(line, line.statement.keyword, "outside of any section", SECTIONS)
    for line in subject.model.globals.lines:
        if line.certain and line.statement.keyword not in GLOBAL:
            yield _unknown(line, line.statement.keyword, "in 'global'", GLOBAL)
    for proxy in (*subject.model.defaults, *subject.model.proxies):
        for line in proxy.lines:
            if line.certain:
                yield from _of_line(subject, proxy, line)


def _of_line(subject: Subject, proxy: Proxy, line: Line) -> Iterator[Finding]:
    keyword = line.statement.keyword
    where = f"in '{proxy.section}'"
    if keyword not in PROXY:
        yield _unknown(line, keyword, where, PROXY)
        return
    word, table, places = keyword, PROXY, PLACES
    if keyword in ("option", "timeout"):
        word = line.statement.word(1)
        table = OPTION if keyword == "option" else TIMEOUT
        places = OPTION_PLACES if keyword == "option" else TIMEOUT_PLACES
        if word not in table:
            yield _unknown(line, f"{keyword} {word}", where, table)
            return
    shown = word if table is PROXY else f"{keyword} {word}"
    why = table[word].why
    letters = places.get(word, "dflb")
    if why.startswith(OBSOLETE):
        yield _obsolete(line, shown, why)
    elif LETTERS[proxy.section] not in letters:
        yield _misplaced(line, shown, proxy, letters)
    elif (
        (why == HTTP or (table is PROXY and word in _OF_PAGES))
        and table is not TIMEOUT
        and _stays_tcp(subject, proxy)
    ):
        yield Finding(
            "L13",
            Severity.WARNING,
            line.place,
            f"'{shown}' is for HTTP and does nothing in {proxy.title}, which is 'mode tcp'",
            "remove it, or write 'mode http'",
        )
    if keyword in FIRST_SETTING:
        yield from _settings(line)


def _settings(line: Line) -> Iterator[Finding]:
    """The words behind an address."""
    statement = line.statement
    is_bind = statement.keyword == "bind"
    table, flags = (BIND, BIND_FLAGS) if is_bind else (SERVER, SERVER_FLAGS)
    at = FIRST_SETTING[statement.keyword]
    while at < len(statement.words):
        word = statement.word(at)
        if word not in table and not word.startswith("set-proxy-v2-tlv-fmt("):
            yield _unknown(line, word, f"on a '{statement.keyword}' line", table)
            return  # what follows may be its value
        value = statement.word(at + 1)
        if not is_bind and value not in ACTIONS.get(word, (value,)):
            yield _no_action(line, word, value)
        at += setting_length(statement, at, table, flags)


def _stays_tcp(subject: Subject, proxy: Proxy) -> bool:
    """Whether a section is for TCP and nothing turns its sessions into HTTP."""
    if not proxy.is_tcp:
        return False
    if proxy.kind is None:
        heirs = [p for p in subject.model.proxies if any(q is proxy for q in p.parents)]
        return bool(heirs) and all(heir.is_tcp for heir in heirs)
    everywhere = [line for p in subject.model.proxies for line in p.lines]
    return not any("switch-mode" in line.statement.words for line in everywhere)


def _unknown(line: Line, word: str, where: str, table: Table) -> Finding:
    near = nearest(word.rpartition(" ")[2], table)
    return Finding(
        "L13",
        Severity.WARNING,
        line.place,
        f"'{word}' {where} is no word of HAProxy's (up to version 3.2)",
        f"did you mean '{near}'?" if near else "remove it, or check its spelling",
    )


def _no_action(line: Line, word: str, value: str) -> Finding:
    return Finding(
        "L13",
        Severity.ERROR,
        line.place,
        f"'{word}' has no '{value}'" if value else f"'{word}' lacks its value",
        f"write {' or '.join(repr(each) for each in sorted(ACTIONS[word]))}",
    )


def _obsolete(line: Line, word: str, why: str) -> Finding:
    instead = why.partition("; ")[2]
    return Finding(
        "L13",
        Severity.WARNING,
        line.place,
        f"'{word}' is not known to today's HAProxy any more",
        instead or "remove it",
    )


def _misplaced(line: Line, word: str, proxy: Proxy, letters: str) -> Finding:
    allowed = " and ".join(f"'{_NAMES[letter]}'" for letter in letters)
    return Finding(
        "L13",
        Severity.WARNING,
        line.place,
        f"'{word}' does nothing in a '{proxy.section}' section",
        f"move it to where it counts: {allowed}",
    )
