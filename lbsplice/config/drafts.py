"""A proxy while its lines are read: what it has of its own and what it has from its
defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lbsplice.config.model import (
    Balance,
    Bind,
    KeepAlive,
    Log,
    Place,
    ProxyKind,
    Source,
    StateFile,
    Timeouts,
)
from lbsplice.config.server import ServerDraft, ServerSettings


@dataclass
class Settings:
    """What `defaults` can set. Every value is immutable, so a copy is one level deep."""

    timeouts: Timeouts = field(default_factory=Timeouts)
    logs: tuple[Log | None, ...] = ()  # None: `log global`
    log_tag: str | None = None
    options: frozenset[str] = frozenset()
    switched_off: frozenset[str] = frozenset()
    client_keepalive: KeepAlive = field(default_factory=KeepAlive)
    server_keepalive: KeepAlive = field(default_factory=KeepAlive)
    maxconn: int | None = None
    backlog: int | None = None
    default_backend: tuple[str, Place] | None = None
    balance: Balance = field(default_factory=Balance)
    retries: int = 3
    redispatch: int = 0
    source: Source | None = None
    disabled: bool = False
    state_file: StateFile = StateFile.NONE
    server: ServerSettings = field(default_factory=ServerSettings)

    def copy(self) -> Settings:
        return replace(self)

    def option(self, name: str, *, default: bool = False) -> bool:
        """Whether an option is on; `default` holds where it was never mentioned."""
        return name in self.options or (default and name not in self.switched_off)

    def set_option(self, name: str, on: bool | None) -> None:
        """Switch an option; None forgets what was said of it."""
        self.options = self.options - {name} | ({name} if on else frozenset())
        self.switched_off = self.switched_off - {name} | ({name} if on is False else frozenset())


@dataclass
class ProxyDraft:
    """A frontend, backend, listen or defaults section (`kind` None). An anonymous
    defaults section has the name ""."""

    place: Place
    kind: ProxyKind | None
    name: str
    settings: Settings
    id: int | None = None
    description: str | None = None
    state_file_name: str | None = None
    binds: list[Bind] = field(default_factory=list)
    servers: list[ServerDraft] = field(default_factory=list)
    timeouts_seen: set[str] = field(default_factory=set)

    @property
    def section(self) -> str:
        return self.kind.value if self.kind else "defaults"

    @property
    def has_frontend(self) -> bool:
        return self.kind is not ProxyKind.BACKEND

    @property
    def has_backend(self) -> bool:
        return self.kind is not ProxyKind.FRONTEND

    @property
    def title(self) -> str:
        """HAProxy's words for it: a `listen` is "proxy"."""
        word = "proxy" if self.kind is ProxyKind.LISTEN else self.section
        return f"{word} '{self.name}'"
