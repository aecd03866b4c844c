"""A proxy while its lines are read: what it has of its own and what it has from its
defaults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lbsplice.config.model import (
    Balance,
    Bind,
    KeepAlive,
    Log,
    PageAction,
    PageCondition,
    PageRule,
    PageTerm,
    Place,
    ProxyKind,
    Source,
    StateFile,
    Timeouts,
)
from lbsplice.config.server import ServerDraft, ServerSettings


@dataclass(frozen=True)
class StatsSettings:
    """What `stats ...` lines say; StatsPage tells what they mean."""

    uri: str = "/haproxy?stats"
    refresh: int | None = None
    realm: str = "HAProxy Statistics"
    accounts: tuple[tuple[str, str], ...] = ()
    admin: tuple[PageCondition, ...] = ()
    scope: tuple[str, ...] = ()
    hide_version: bool = False
    show_legends: bool = False
    show_desc: str | None = None
    show_node: str | None = None


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
    http: Place | None = None  # where `mode http` stands
    stats: StatsSettings | None = None

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
    said: list[tuple[str, Place]] = field(default_factory=list)  # the keywords of its lines
    rules: list[PageRule] = field(default_factory=list)
    acls: dict[str, PageTerm] = field(default_factory=dict)
    monitor_uri: str | None = None
    refused: list[tuple[str, Place]] = field(default_factory=list)  # unless it is a page
    faults: list[tuple[str, Place]] = field(default_factory=list)  # of a page

    def only_in_page(self, refusal: str, place: Place) -> None:
        """A line that a statistics page alone can have; other sections are refused with it."""
        self.refused.append((refusal, place))

    def wrong_in_page(self, fault: str, place: Place) -> None:
        """Such a line can not be read."""
        self.faults.append((fault, place))

    @property
    def is_page(self) -> bool:
        """A statistics page, or metrics, in place of a proxy."""
        serves = any(rule.action is PageAction.METRICS for rule in self.rules)
        served = self.settings.stats is not None or serves
        return self.settings.http is not None and served and self.has_frontend

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
