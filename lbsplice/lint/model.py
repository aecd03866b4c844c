"""What matters of a configuration for the question of who notices a silent death, and
when: proxies with their defaults merged in, every value with the place that said it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lbsplice.config.model import Place, ProxyKind
from lbsplice.config.statement import Statement
from lbsplice.lint.reader import Line, Note

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said(Generic[T]):
    """A value, where it was said and in which words."""

    value: T
    place: Place
    words: str


@dataclass(frozen=True, slots=True)
class Option:
    """`option x` (or `no option x`) with what follows it."""

    on: bool
    statement: Statement

    @property
    def place(self) -> Place:
        return self.statement.place


Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    place: Place
    address: str
    settings: dict[str, Said[Words]]


@dataclass(frozen=True, slots=True)
class Server:
    """A server, or a template of `count` servers. Its settings have those of
    `default-server` merged in, by keyword."""

    place: Place
    name: str
    address: str
    settings: dict[str, Said[Words]]
    own: frozenset[str] = frozenset()  # settings of its own line
    count: int = 1
    certain: bool = True

    def has(self, keyword: str) -> bool:
        return keyword in self.settings

    def value(self, keyword: str) -> str:
        """The setting's first word, "" where it has none."""
        said = self.settings.get(keyword)
        return said.value[0] if said and said.value else ""

    @property
    def shuts_sessions(self) -> bool:
        return self.value("on-marked-down") == "shutdown-sessions"


@dataclass(frozen=True, slots=True)
class Route:
    """Where a frontend sends sessions: a backend's name, or None if that is decided
    session by session."""

    backend: str | None
    place: Place


@dataclass(slots=True)
class Proxy:
    """A proxy section, or a `defaults` section (`kind` None). Of its dicts, `lines`, `binds`
    and `servers` are its own; the others start as copies of its defaults'."""

    place: Place
    kind: ProxyKind | None
    name: str
    lines: list[Line] = field(default_factory=list)
    parents: tuple[Proxy, ...] = ()
    mode: str = "tcp"
    disabled: bool = False
    timeouts: dict[str, Said[int]] = field(default_factory=dict)
    options: dict[str, Option] = field(default_factory=dict)
    numbers: dict[str, Said[int]] = field(default_factory=dict)
    words: dict[str, Statement] = field(default_factory=dict)
    default_server: dict[str, Said[Words]] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    binds: list[Bind] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    @property
    def section(self) -> str:
        return self.kind.value if self.kind else "defaults"

    @property
    def title(self) -> str:
        return f"{self.section} {self.name}".rstrip()

    @property
    def has_frontend(self) -> bool:
        return self.kind in (ProxyKind.FRONTEND, ProxyKind.LISTEN)

    @property
    def has_backend(self) -> bool:
        return self.kind in (ProxyKind.BACKEND, ProxyKind.LISTEN)

    @property
    def is_tcp(self) -> bool:
        return self.mode == "tcp"

    def option(self, name: str) -> Option | None:
        """The option if it is on."""
        found = self.options.get(name)
        return found if found and found.on else None

    def heir(self, place: Place, kind: ProxyKind | None, name: str) -> Proxy:
        """A new section that has these defaults."""
        return Proxy(
            place,
            kind,
            name,
            parents=(*self.parents, self),
            mode=self.mode,
            disabled=self.disabled,
            timeouts=dict(self.timeouts),
            options=dict(self.options),
            numbers=dict(self.numbers),
            words=dict(self.words),
            default_server=dict(self.default_server),
            routes=list(self.routes),
        )


@dataclass(slots=True)
class Globals:
    """The `global` sections together."""

    place: Place | None = None
    lines: list[Line] = field(default_factory=list)
    numbers: dict[str, Said[int]] = field(default_factory=dict)
    times: dict[str, Said[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Path:
    """The way of a session: through a frontend to a server of a backend."""

    frontend: Proxy
    backend: Proxy
    server: Server

    @property
    def title(self) -> str:
        if self.frontend is self.backend:
            return self.backend.title
        return f"{self.frontend.title} -> {self.backend.title}"


@dataclass(slots=True)
class Model:
    globals: Globals = field(default_factory=Globals)
    defaults: list[Proxy] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)
    strays: tuple[Line, ...] = ()
    notes: list[Note] = field(default_factory=list)

    def active(self) -> Iterator[Proxy]:
        return (proxy for proxy in self.proxies if not proxy.disabled)

    def frontends(self) -> Iterator[Proxy]:
        return (proxy for proxy in self.active() if proxy.has_frontend)

    def backends(self) -> Iterator[Proxy]:
        return (proxy for proxy in self.active() if proxy.has_backend)

    def backend_named(self, name: str) -> Proxy | None:
        return next((p for p in self.backends() if p.name == name), None)

    def server_named(self, backend: str, name: str) -> tuple[Proxy, Server] | None:
        proxy = self.backend_named(backend)
        for server in proxy.servers if proxy else ():
            if server.name == name:
                assert proxy is not None
                return proxy, server
        return None

    def backends_of(self, frontend: Proxy) -> list[Proxy]:
        """The backends that a frontend names; where one is chosen session by session, all
        that nobody names."""
        found = {r.backend: r for r in frontend.routes}
        backends = [p for name in found if name and (p := self.backend_named(name))]
        if None in found:
            named = {r.backend for f in self.frontends() for r in f.routes}
            backends += [p for p in self.backends() if p.name not in named and not p.binds]
        if frontend.has_backend and (frontend.servers or not backends):
            backends.insert(0, frontend)
        return list({id(p): p for p in backends}.values())

    def paths(self) -> Iterator[Path]:
        """Every way a session can take; disabled servers are left out."""
        for frontend in self.frontends():
            for backend in self.backends_of(frontend):
                for server in backend.servers:
                    if not server.has("disabled"):
                        yield Path(frontend, backend, server)

    def tracked(self, backend: Proxy, server: Server) -> tuple[Proxy, Server] | None:
        """The server whose checks decide over this one: itself, or the end of its `track`
        chain. None if the chain is broken or a circle."""
        seen: set[int] = set()
        while server.has("track"):
            if id(server) in seen:
                return None
            seen.add(id(server))
            where, slash, name = server.value("track").rpartition("/")
            found = self.server_named(where if slash else backend.name, name)
            if found is None:
                return None
            backend, server = found
        return backend, server
