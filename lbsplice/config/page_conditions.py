"""What the lines of a statistics page can ask of a request:

    ... if|unless TERM [TERM...] [or TERM...]
    TERM = [!] TRUE | FALSE | LOCALHOST | NAME of an `acl` | { [!] TEST }
    TEST = src NETWORK... | path PATH... | path_beg PREFIX...

This is the part of HAProxy's conditions that pages are guarded with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_address, ip_network

from lbsplice.config.drafts import ProxyDraft
from lbsplice.config.keyword_tables import LATER
from lbsplice.config.keywords import hint
from lbsplice.config.messages import Report
from lbsplice.config.model import PageCondition, PageTerm, PageTest
from lbsplice.config.statement import Statement
from lbsplice.errors import ConfigError

_CAN_ASK = (
    "TRUE, FALSE, LOCALHOST, { src NETWORK }, { path PATH }, { path_beg PREFIX } and what "
    "'acl' lines before it have named"
)
_WORDS = {test.value: test for test in PageTest}
_PLAIN = frozenset((PageTest.TRUE, PageTest.FALSE, PageTest.LOCALHOST))


def read_acl(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """`acl NAME TEST`; a further line of that name adds values."""
    draft.only_in_page(f"'acl' is not supported by lbsplice: {LATER}.", line.place)
    name = line.word(1)
    try:
        if not name or not line.word(2):
            raise ConfigError("'acl' expects a name, a test and values.")
        draft.acls[name] = _added(draft.acls.get(name), line.words[2:], f"'acl {name}'")
    except ConfigError as error:
        draft.wrong_in_page(str(error), line.place)


def _added(before: PageTerm | None, words: Sequence[str], what: str) -> PageTerm:
    term = _test(words, False, what)
    if before is None:
        return term
    if before.test is not term.test:
        asks = before.test.value
        raise ConfigError(f"{what} : it asks '{asks}' already: lbsplice takes one test a name.")
    return replace(before, values=(*before.values, *term.values))


def holds(condition: PageCondition, path: str, source: str) -> bool:
    """Whether it holds for a request for `path` from the address `source`, "" for one over
    a unix socket."""
    found = any(
        all(_term_holds(term, path, source) for term in terms)
        for terms in (condition.terms, *condition.others)
    )
    return found != condition.negated


def _term_holds(term: PageTerm, path: str, source: str) -> bool:
    if term.test is PageTest.TRUE:
        found = True
    elif term.test is PageTest.FALSE:
        found = False
    elif term.test is PageTest.PATH:
        found = path in term.values
    elif term.test is PageTest.PATH_BEG:
        found = path.startswith(term.values)
    else:
        networks = ("127.0.0.0/8", "::1/128") if term.test is PageTest.LOCALHOST else term.values
        found = _is_in(source, networks)
    return found != term.negated


def _is_in(source: str, networks: Sequence[str]) -> bool:
    if not source:
        return False
    address = ip_address(source)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ip_network(each, strict=False) for each in networks)


def read_condition(words: Sequence[str], what: str, acls: Mapping[str, PageTerm]) -> PageCondition:
    """`if` or `unless` and the terms after it. Raises `ConfigError`."""
    if len(words) < 2 or words[0] not in ("if", "unless"):
        raise ConfigError(f"{what} requires either 'if' or 'unless' followed by a condition.")
    found: list[list[PageTerm]] = [[]]
    rest = [token for word in words[1:] for token in _tokens(word)]
    while rest:
        if rest[0] in ("or", "||"):
            if not found[-1] or len(rest) == 1:
                raise ConfigError(f"{what} : '{rest[0]}' has to stand between two conditions.")
            rest.pop(0)
            found.append([])
            continue
        negated = _negation(rest)
        word = rest.pop(0) if rest else ""
        if word == "{":
            found[-1].append(_braced(rest, negated, what))
        elif (test := _WORDS.get(word)) in _PLAIN and test is not None:
            found[-1].append(PageTerm(test, negated=negated))
        elif word in acls:
            found[-1].append(replace(acls[word], negated=acls[word].negated != negated))
        else:
            raise ConfigError(
                f"{what} : '{word}' can not be asked here: lbsplice knows {_CAN_ASK}"
                f"{hint(word, acls)}."
            )
    terms, *others = map(tuple, found)
    return PageCondition(terms, words[0] == "unless", tuple(others))


def _tokens(word: str) -> list[str]:
    """A leading `!` may stand by itself or before a word."""
    tokens = []
    while word.startswith("!"):
        tokens.append("!")
        word = word[1:]
    return [*tokens, word] if word else tokens


def _negation(rest: list[str]) -> bool:
    negated = False
    while rest and rest[0] == "!":
        rest.pop(0)
        negated = not negated
    return negated


def _braced(rest: list[str], negated: bool, what: str) -> PageTerm:
    if "}" not in rest:
        raise ConfigError(f"{what} : missing closing '}}' in the condition.")
    end = rest.index("}")
    inside, rest[: end + 1] = rest[:end], []
    negated ^= _negation(inside)
    return _test(inside, negated, what)


def _test(words: Sequence[str], negated: bool, what: str) -> PageTerm:
    test = _WORDS.get(words[0]) if words else None
    values = tuple(words[1:])
    if test is None or test in _PLAIN:
        shown = words[0] if words else "{ }"
        raise ConfigError(f"{what} : '{shown}' can not be asked here: lbsplice knows {_CAN_ASK}.")
    if not values or values[0].startswith("-"):
        raise ConfigError(f"{what} : '{test.value}' needs values, and takes no flags.")
    if test is PageTest.SRC:
        for value in values:
            try:
                ip_network(value, strict=False)
            except ValueError:
                raise ConfigError(f"{what} : '{value}' is no address and no network.") from None
    return PageTerm(test, values, negated)
