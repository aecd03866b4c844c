"""What the operator meant: a configuration as values, defaults merged, units resolved.

Times are milliseconds, sizes are bytes, keepalive values are seconds; `None` means
"not set". Nothing here is a number of lbsplice's own (slots and the like): those are
made in `lbsplice.plan`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from lbsplice.terms import Algorithm, HashMethod, LogFormat, LogLevel


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the configuration something was said."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class AddressKind(Enum):
    ANY = "any"  # `:80`, `*:80`: all IPv4 addresses (or all of both, with v4v6)
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    UNIX = "unix"
    ABSTRACT = "abns"
    FD = "fd"  # an inherited descriptor; `host` is its number
    NAME = "name"  # to be resolved at start


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of the configuration.

    `host` is an IP address as text, a path, a name or a descriptor's number. `port` is
    None where none was given. With `relative` the port is an offset that is added to
    the port the client connected to (a server without a port: None, not relative; the
    client's port is used as it is)."""

    kind: AddressKind
    host: str
    port: int | None = None
    relative: bool = False
    family: int | None = None  # 4 or 6 where only such an address will do for a NAME


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """`option tcpka` and its kin for one side. Values count only while `enabled`;
    None leaves the system's value."""

    enabled: bool = False
    idle: int | None = None
    interval: int | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """`source`: the address that outgoing connections come from."""

    address: Endpoint
    port_low: int | None = None
    port_high: int | None = None
    interface: str | None = None


class LogTarget(Enum):
    UDP = "udp"
    UNIX = "unix"  # a datagram socket such as /dev/log
    STDOUT = "stdout"
    STDERR = "stderr"
    FD = "fd"


@dataclass(frozen=True, slots=True)
class Log:
    """One `log` line."""

    place: Place
    target: LogTarget
    address: Endpoint | None  # UDP, UNIX and FD
    facility: str
    max_level: LogLevel = LogLevel.DEBUG  # less severe lines are not sent
    min_level: LogLevel = LogLevel.EMERG  # more severe lines are sent as this
    format: LogFormat | None = None  # None: local, or rfc3164 with log-send-hostname
    length: int = 1024


@dataclass(frozen=True, slots=True)
class StatsSocket:
    """`stats socket`; `words` are what it says after its address."""

    place: Place
    address: Endpoint
    words: tuple[str, ...] = ()
    mode: int | None = None
    user: str | None = None
    uid: int | None = None
    group: str | None = None
    gid: int | None = None
    backlog: int | None = None
    level: str = "operator"
    severity_output: str = "none"  # none, number or string
    expose_listeners: bool = False  # hands over the listening sockets (`_getsocks`)


@dataclass(frozen=True, slots=True)
class Global:
    """The `global` section."""

    maxconn: int | None = None
    nbthread: int | None = None
    user: str | None = None
    group: str | None = None
    uid: int | None = None
    gid: int | None = None
    chroot: str | None = None
    daemon: bool = False
    master_worker: bool = False
    pidfile: str | None = None
    node: str | None = None
    description: str | None = None
    logs: tuple[Log, ...] = ()
    log_tag: str | None = None
    log_send_hostname: str | None = None  # "" means: the machine's own name
    stats_sockets: tuple[StatsSocket, ...] = ()
    stats_timeout: int | None = None
    stats_maxconn: int | None = None
    ulimit_n: int | None = None
    maxpipes: int | None = None
    pipesize: int | None = None
    maxaccept: int | None = None
    spread_checks: int = 0  # percent
    hard_stop_after: int | None = None
    debug: bool = False
    quiet: bool = False
    set_dumpable: bool = False
    server_state_base: str | None = None
    server_state_file: str | None = None
    zero_warning: bool = False
    places: tuple[tuple[str, Place], ...] = ()  # of user, group, uid and gid

    def place_of(self, keyword: str) -> Place | None:
        """Where `user`, `group`, `uid` or `gid` was said."""
        return dict(self.places).get(keyword)


@dataclass(frozen=True, slots=True)
class Bind:
    """One listening address (lists and port ranges are already spread out)."""

    place: Place
    endpoint: Endpoint
    name: str | None = None
    id: int | None = None
    maxconn: int | None = None
    backlog: int | None = None
    interface: str | None = None
    mss: int | None = None
    tcp_ut: int | None = None
    v4v6: bool = False
    v6only: bool = False
    transparent: bool = False
    defer_accept: bool = False
    mode: int | None = None
    user: str | None = None
    uid: int | None = None
    group: str | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """The health check of one server; times in ms."""

    enabled: bool = False
    inter: int = 2000
    fastinter: int | None = None
    downinter: int | None = None
    rise: int = 2
    fall: int = 3
    port: int | None = None
    address: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """One `server` line, `default-server` merged in."""

    place: Place
    name: str
    id: int  # given, or the first free number from 1 in its backend
    endpoint: Endpoint
    check: Check = field(default_factory=Check)
    weight: int = 1
    backup: bool = False
    disabled: bool = False
    shutdown_sessions_on_marked_down: bool = False
    tcp_ut: int | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    algorithm: Algorithm = Algorithm.ROUNDROBIN
    draws: int = 2  # of random
    hash_method: HashMethod = HashMethod.MAP_BASED
    hash_function: str = "sdbm"  # of hash-type; `source` uses none of them on IPv4 addresses
    avalanche: bool = False


class StateFile(Enum):
    """`load-server-state-from-file`: where a backend's states come from at a start."""

    NONE = "none"
    GLOBAL = "global"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class SavedServer:
    """What a state file says of one server (version 1 of `show servers state`); the numbers
    are HAProxy's, lbsplice/statefile.py knows them."""

    backend: str
    name: str
    op_state: int
    admin_state: int
    user_weight: int
    initial_weight: int
    since_s: int  # since the last change, when the file was written
    check_status: int
    check_result: int
    check_health: int


class ProxyKind(Enum):
    FRONTEND = "frontend"
    BACKEND = "backend"
    LISTEN = "listen"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Every timeout in ms; None is "not set"."""

    connect: int | None = None
    client: int | None = None
    server: int | None = None
    tunnel: int | None = None
    client_fin: int | None = None
    server_fin: int | None = None
    check: int | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """A frontend, a backend or both (`listen`). Words that only one side uses have
    their default on the other."""

    place: Place
    kind: ProxyKind
    name: str
    id: int  # given, or by order of declaration from 2
    description: str | None = None
    disabled: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    logs: tuple[Log, ...] = ()  # `log global` is already replaced by the global ones
    log_tag: str | None = None
    tcplog: bool = False
    dontlognull: bool = False
    dontlog_normal: bool = False
    logasap: bool = False
    log_separate_errors: bool = False
    log_health_checks: bool = False
    nolinger: bool = False
    socket_stats: bool = False
    # frontend
    binds: tuple[Bind, ...] = ()
    default_backend: str | None = None
    maxconn: int | None = None
    backlog: int | None = None
    client_keepalive: KeepAlive = field(default_factory=KeepAlive)
    smart_accept: bool = False
    # backend
    servers: tuple[Server, ...] = ()
    balance: Balance = field(default_factory=Balance)
    allbackups: bool = False
    retries: int = 3
    redispatch: int = 0  # 0 never, -1 the last retry, n every n-th
    abortonclose: bool = False
    server_keepalive: KeepAlive = field(default_factory=KeepAlive)
    smart_connect: bool = False
    source: Source | None = None
    state_file: StateFile = StateFile.NONE
    state_file_name: str | None = None  # of LOCAL; None: the backend's name

    @property
    def has_frontend(self) -> bool:
        return self.kind is not ProxyKind.BACKEND

    @property
    def has_backend(self) -> bool:
        return self.kind is not ProxyKind.FRONTEND


class PageTest(Enum):
    """What a condition of a statistics page can ask, in HAProxy's words."""

    TRUE = "TRUE"
    FALSE = "FALSE"
    LOCALHOST = "LOCALHOST"
    SRC = "src"
    PATH = "path"
    PATH_BEG = "path_beg"


@dataclass(frozen=True, slots=True)
class PageTerm:
    """`[!] TEST [VALUE]...`: true if any of the values fits."""

    test: PageTest
    values: tuple[str, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True)
class PageCondition:
    """`if TERM...`: all of them, or all of one of `others`, which `or` parts; `unless` negates
    the whole. Without terms: always."""

    terms: tuple[PageTerm, ...] = ()
    negated: bool = False
    others: tuple[tuple[PageTerm, ...], ...] = ()


class PageAction(Enum):
    """What a rule of a statistics page does with a request, in HAProxy's words."""

    METRICS = "use-service"
    DENY = "deny"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class PageRule:
    """`http-request ACTION if CONDITION`. `status` is for DENY."""

    action: PageAction
    condition: PageCondition = PageCondition()
    status: int = 403


@dataclass(frozen=True, slots=True)
class StatsPage:
    """A `listen` or `frontend` with `mode http`: the statistics page and the metrics. `proxy`
    is the section as a frontend; `position` counts proxies and pages of the file from 0."""

    proxy: Proxy
    position: int
    uri: str | None = None  # what addresses of the page begin with; None: no page
    refresh: int | None = None  # ms
    realm: str = "HAProxy Statistics"
    accounts: tuple[tuple[str, str], ...] = ()  # user, password; none: open to all
    admin: tuple[PageCondition, ...] = ()  # the first that holds lets states be changed
    scope: tuple[str, ...] = ()  # the proxies to show; none: all
    hide_version: bool = False
    show_legends: bool = False
    show_desc: str | None = None
    show_node: str | None = None
    rules: tuple[PageRule, ...] = ()  # the first that holds; where none does, the page
    monitor_uri: str | None = None  # what is always answered with 200

    @property
    def name(self) -> str:
        return self.proxy.name

    @property
    def iid(self) -> int:
        """Its number among proxies and pages, as `show stat` has it."""
        return self.proxy.id


@dataclass(frozen=True, slots=True)
class Config:
    """`saved` was read from state files, at a start. `pages` are no proxies: the plan, the
    roster and the log do not know them."""

    global_: Global
    proxies: tuple[Proxy, ...]
    saved: tuple[SavedServer, ...] = ()
    pages: tuple[StatsPage, ...] = ()

    @property
    def sections(self) -> tuple[Proxy | StatsPage, ...]:
        """Proxies and pages in the order of the file."""
        ordered: list[Proxy | StatsPage] = list(self.proxies)
        for page in self.pages:
            ordered.insert(page.position, page)
        return tuple(ordered)

    @property
    def listening(self) -> tuple[Proxy, ...]:
        """All that has listening addresses: frontends, and pages as frontends."""
        every = (each.proxy if isinstance(each, StatsPage) else each for each in self.sections)
        return tuple(proxy for proxy in every if proxy.has_frontend)

    def backend_of(self, frontend: Proxy) -> Proxy | None:
        """The proxy that serves a frontend's sessions, or None if it names none."""
        if frontend.default_backend is None:
            return frontend if frontend.has_backend else None
        for proxy in self.proxies:
            if proxy.has_backend and proxy.name == frontend.default_backend:
                return proxy
        return None
