"""A read configuration into the linter's model. Values that can not be read are left out
with a note; words of HTTP, TLS, Lua and the like are left alone."""

from __future__ import annotations

from collections.abc import Callable

from lbsplice.config.keyword_tables import BIND, SERVER
from lbsplice.config.keywords import Table
from lbsplice.config.model import ProxyKind
from lbsplice.config.statement import Statement
from lbsplice.errors import UnitError
from lbsplice.lint.model import Bind, Globals, Model, Option, Proxy, Route, Said, Server, Words
from lbsplice.lint.reader import Document, Line, Note, Section
from lbsplice.lint.times import taken
from lbsplice.lint.vocabulary import BIND_FLAGS, CHECK_OPTIONS, SECONDS, SERVER_FLAGS
from lbsplice.units import parse_integer

_NUMBERS = frozenset(("maxconn", "fullconn", "retries", "clitcpka-cnt", "srvtcpka-cnt"))
_KEPT = frozenset(("balance", "hash-type", "source"))
_CHECK_RULES = frozenset(("tcp-check", "http-check"))
_GLOBAL_NUMBERS = frozenset(("maxconn", "ulimit-n", "maxpipes", "spread-checks"))
_GLOBAL_TIMES = frozenset(("hard-stop-after",))
_OPPOSITES = {"enabled": "disabled", "disabled": "enabled", "stick": "non-stick"}


def build(document: Document) -> Model:
    """The model of a document. Never raises for what it holds."""
    model = Model(strays=document.strays, notes=list(document.notes))
    builder = _Builder(model)
    for section in document.sections:
        builder.take(section)
    return model


class _Builder:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.last_defaults: Proxy | None = None

    def take(self, section: Section) -> None:
        if section.keyword == "global":
            self._global(section)
        elif section.keyword in ("defaults", "frontend", "backend", "listen"):
            self._proxy(section)

    def _note(self, line: Line, text: str) -> None:
        if line.certain:
            self.model.notes.append(Note(line.place, text))

    def _global(self, section: Section) -> None:
        found: Globals = self.model.globals
        found.place = found.place or section.opening.place
        found.lines += section.lines
        for line in section.lines:
            name = line.statement.keyword
            if name in _GLOBAL_NUMBERS:
                self._number(line, found.numbers, name, parse_integer, 1)
            elif name in _GLOBAL_TIMES:
                self._number(line, found.times, name, taken, 1)

    def _proxy(self, section: Section) -> None:
        proxy = self._opened(section)
        proxy.lines += section.lines
        if proxy.kind is None:
            self.last_defaults = proxy
            self.model.defaults.append(proxy)
        else:
            self.model.proxies.append(proxy)
        for line in section.lines:
            name = line.statement.keyword
            if name in _READERS:
                _READERS[name](self, line, proxy)
            elif name in _NUMBERS:
                self._number(line, proxy.numbers, name, parse_integer, 1)
            elif name in SECONDS:
                self._number(line, proxy.numbers, name, _seconds, 1)
            elif name in _CHECK_RULES:
                proxy.words[f"{name} {line.statement.word(1)}"] = line.statement
            elif name in _KEPT:
                proxy.words[name] = line.statement

    def _opened(self, section: Section) -> Proxy:
        """An empty section with its defaults merged in."""
        opening = section.opening.statement
        words = list(opening.arguments)
        parent = self.last_defaults
        if "from" in words:
            at = words.index("from")
            named = words[at + 1] if at + 1 < len(words) else ""
            del words[at:]
            parent = next((d for d in reversed(self.model.defaults) if d.name == named), None)
            if parent is None:
                self._note(section.opening, f"defaults {named} not found: none are used here")
        elif opening.keyword == "defaults":
            parent = None
        name = words[0] if words else ""
        kind = None if opening.keyword == "defaults" else ProxyKind(opening.keyword)
        proxy = (
            parent.heir(opening.place, kind, name) if parent else Proxy(opening.place, kind, name)
        )
        if len(words) > 1 and proxy.has_frontend:
            proxy.binds.append(Bind(opening.place, words[1], {}))
        if kind is ProxyKind.BACKEND:
            proxy.routes.clear()
        return proxy

    def _number(
        self,
        line: Line,
        into: dict[str, Said[int]],
        name: str,
        parse: Callable[[str], int],
        index: int,
    ) -> None:
        text = line.statement.word(index)
        try:
            value = parse(text)
        except UnitError as error:
            self._note(line, f"'{name}' left out: {error}")
            return
        into[name] = Said(value, line.place, " ".join(line.statement.words[: index + 1]))

    def mode(self, line: Line, proxy: Proxy) -> None:
        proxy.mode = line.statement.word(1) or proxy.mode

    def able(self, line: Line, proxy: Proxy) -> None:
        proxy.disabled = line.statement.keyword == "disabled"

    def timeout(self, line: Line, proxy: Proxy) -> None:
        name = line.statement.word(1)
        self._number(line, proxy.timeouts, name, taken, 2)
        if name in proxy.timeouts and proxy.timeouts[name].value == 0:
            del proxy.timeouts[name]  # 0 is no timeout

    def option(self, line: Line, proxy: Proxy) -> None:
        statement = line.statement
        names = [statement.word(1)]
        if names == ["tcpka"]:
            names = ["tcpka", "clitcpka", "srvtcpka"]
        if names[0] in CHECK_OPTIONS and not statement.prefix:
            for other in CHECK_OPTIONS:  # the last one is the check
                proxy.options.pop(other, None)
        for name in names:
            if statement.prefix == "default":
                proxy.options.pop(name, None)
            else:
                proxy.options[name] = Option(not statement.prefix, statement)

    def route(self, line: Line, proxy: Proxy) -> None:
        name = line.statement.word(1)
        if line.statement.keyword == "default_backend":
            inherited = {r.place for parent in proxy.parents for r in parent.routes}
            proxy.routes = [r for r in proxy.routes if r.place not in inherited]
        proxy.routes.append(Route(None if "%[" in name or not name else name, line.place))

    def bind(self, line: Line, proxy: Proxy) -> None:
        words = line.statement.words
        settings = self._settings(line.statement, 2, BIND, BIND_FLAGS)
        proxy.binds.append(Bind(line.place, words[1] if len(words) > 1 else "", settings))

    def default_server(self, line: Line, proxy: Proxy) -> None:
        added = self._settings(line.statement, 1, SERVER, SERVER_FLAGS)
        proxy.default_server = _merged(proxy.default_server, added)

    def server(self, line: Line, proxy: Proxy) -> None:
        statement = line.statement
        name, address = statement.word(1), statement.word(2)
        own = self._settings(statement, 3, SERVER, SERVER_FLAGS)
        merged = _merged(_handed_down(proxy), own)
        proxy.servers.append(
            Server(line.place, name, address, merged, frozenset(own), 1, line.certain)
        )

    def server_template(self, line: Line, proxy: Proxy) -> None:
        statement = line.statement
        prefix, wanted, address = (statement.word(n) for n in (1, 2, 3))
        low, dash, high = wanted.partition("-")
        try:
            first, last = (int(low), int(high)) if dash else (1, int(low))
        except ValueError:
            self._note(line, f"'server-template' left out: '{wanted}' is not a number of servers")
            return
        own = self._settings(statement, 4, SERVER, SERVER_FLAGS)
        merged = _merged(_handed_down(proxy), own)
        name = f"{prefix}{first}..{last}" if last > first else f"{prefix}{first}"
        proxy.servers.append(
            Server(line.place, name, address, merged, frozenset(own), last - first + 1)
        )

    def _settings(
        self, statement: Statement, first: int, table: Table, flags: frozenset[str]
    ) -> dict[str, Said[Words]]:
        """The settings of a line by keyword; a word that no table has is passed over."""
        found: dict[str, Said[Words]] = {}
        at = first
        while at < len(statement.words):
            word = statement.word(at)
            count = setting_length(statement, at, table, flags)
            written = statement.words[at : at + count]
            found[word] = Said(tuple(written[1:]), statement.place, " ".join(written))
            at += count
        return found


def setting_length(statement: Statement, at: int, table: Table, flags: frozenset[str]) -> int:
    """How many words the setting takes that starts at `at`; an unknown one takes itself."""
    word = statement.word(at)
    if word.startswith("set-proxy-v2-tlv-fmt("):
        return 2
    if word not in table or word in flags:
        return 1
    if word != "source":
        return 2
    count = 2
    while statement.word(at + count) in ("interface", "usesrc"):
        count += 2
    return count


def _merged(base: dict[str, Said[Words]], added: dict[str, Said[Words]]) -> dict[str, Said[Words]]:
    """`added` on top of `base`; a `no-x` takes an `x` away."""
    merged = dict(base)
    for name, said in added.items():
        merged.pop(name.removeprefix("no-") if name.startswith("no-") else f"no-{name}", None)
        merged.pop(_OPPOSITES.get(name, ""), None)
        merged[name] = said
    return merged


def _handed_down(proxy: Proxy) -> dict[str, Said[Words]]:
    """What `default-server` gives to servers. HAProxy (2.6) keeps its `tcp-ut` to itself."""
    return {word: said for word, said in proxy.default_server.items() if word != "tcp-ut"}


def _seconds(text: str) -> int:
    return taken(text, unit="s", result="s")


_READERS: dict[str, Callable[[_Builder, Line, Proxy], None]] = {
    "mode": _Builder.mode,
    "disabled": _Builder.able,
    "enabled": _Builder.able,
    "timeout": _Builder.timeout,
    "option": _Builder.option,
    "default_backend": _Builder.route,
    "use_backend": _Builder.route,
    "bind": _Builder.bind,
    "default-server": _Builder.default_server,
    "server": _Builder.server,
    "server-template": _Builder.server_template,
}
