"""lbsplice at one moment, as values: what `show stat`, `show info`, the metrics, the
statistics page and the live views are made of. Nobody below here asks a worker.

Names and meanings are HAProxy's (management guide, `show stat` and `show info`). Counts
are since the start of the process or `clear counters`; durations are seconds unless a
name says otherwise; a limit of 0 means none."""

from __future__ import annotations

from dataclasses import dataclass, field

from lbsplice.plan.slots import ServerKey
from lbsplice.terms import AdminState, Algorithm, CheckStatus


@dataclass(frozen=True, slots=True)
class Flow:
    """How many, now, at most and in all; `limit` is what the configuration allows."""

    now: int = 0
    max: int = 0
    total: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """Per second: over the last second, and the highest there was."""

    now: int = 0
    max: int = 0
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Times:
    """Averages over the last 1,024 sessions, and the longest there was; milliseconds."""

    queue: int = 0
    connect: int = 0
    total: int = 0
    queue_max: int = 0
    connect_max: int = 0
    total_max: int = 0


@dataclass(frozen=True, slots=True)
class FrontendView:
    """A frontend. `status` is OPEN, FULL, PAUSED or STOP."""

    name: str
    iid: int
    status: str
    sessions: Flow
    connections: Flow
    session_rate: Rate
    connection_rate: Rate
    bytes_in: int = 0
    bytes_out: int = 0
    denied_connections: int = 0
    denied_sessions: int = 0
    intercepted: int = 0
    internal_errors: int = 0
    mode: str = "tcp"


@dataclass(frozen=True, slots=True)
class ServerView:
    """A server. `status` has the score (`UP 1/2`); `iid` is its backend's."""

    key: ServerKey
    iid: int
    sid: int
    address: str  # as `host:port`; empty for a unix socket
    status: str
    word: str  # the status without the score
    admin: AdminState
    checked: bool
    is_up: bool
    backup: bool
    weight: int  # in force
    user_weight: int  # wished for
    initial_weight: int
    health: int
    rise: int
    fall: int
    sessions: Flow
    session_rate: Rate
    times: Times
    bytes_in: int = 0
    bytes_out: int = 0
    connects: int = 0
    chosen: int = 0  # by load balancing (lbtot)
    connect_errors: int = 0
    response_errors: int = 0
    retries: int = 0
    redispatches: int = 0
    client_aborts: int = 0
    server_aborts: int = 0
    killed: int = 0
    internal_errors: int = 0
    failed_checks: int = 0
    downs: int = 0
    downtime: int = 0
    last_change: int = 0
    last_session: int = -1  # -1: there was none
    check_status: CheckStatus = CheckStatus.UNKNOWN
    check_code: int = 0
    check_duration_ms: int = -1  # -1: no check has ended yet
    check_text: str = ""  # `Layer4 check passed`, with the failure's details
    checking: bool = False  # a check is under way (`* L4OK`)
    mode: str = "tcp"


@dataclass(frozen=True, slots=True)
class BackendView:
    """A backend. `status` is UP or DOWN; `servers` in the order of the file."""

    name: str
    iid: int
    status: str
    algorithm: Algorithm
    sessions: Flow
    session_rate: Rate
    times: Times
    servers: tuple[ServerView, ...] = ()
    weight: int = 0
    user_weight: int = 0
    active: int = 0
    backups: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    connects: int = 0
    chosen: int = 0
    connect_errors: int = 0
    response_errors: int = 0
    retries: int = 0
    redispatches: int = 0
    client_aborts: int = 0
    server_aborts: int = 0
    killed: int = 0
    internal_errors: int = 0
    downs: int = 0
    downtime: int = 0
    last_change: int = 0
    last_session: int = -1
    mode: str = "tcp"


@dataclass(frozen=True, slots=True)
class ListenerView:
    """One `bind`, where `option socket-stats` is set. `status` is OPEN or FULL, also of a
    frontend that is paused."""

    frontend: str
    iid: int
    lid: int
    name: str
    address: str
    status: str
    sessions: Flow
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Transition:
    """A server's change of state, newest last in View.transitions. `at` is Unix time in
    seconds; `ended` are the sessions that were reset by it."""

    at: float
    key: ServerKey
    before: str
    after: str
    why: str
    ended: int = 0


@dataclass(frozen=True, slots=True)
class ProcessView:
    """The process as a whole. Times of `started` are Unix seconds."""

    pid: int
    uptime_s: float
    started: float
    threads: int
    node: str
    description: str
    ulimit_n: int
    max_sockets: int
    maxconn: int
    hard_maxconn: int
    sessions: Flow
    session_rate: Rate
    connection_rate: Rate
    max_pipes: int
    pipes_used: int
    pipes_free: int
    bytes_out: int
    spliced_bytes: int
    bytes_out_rate: int
    stopping: bool
    jobs: int
    listeners: int
    dropped_logs: int
    idle_percent: int
    warnings: int = 0
    maxconn_reached: int = 0
    boot_ms: int = 0  # from the start of the program to the first that could be accepted
    # lbsplice's own
    adoptions: int = 0
    crashes: int = 0
    events_dropped: int = 0
    check_lag_ms: int = 0
    stalled: int = 0
    kills: dict[str, int] = field(default_factory=dict)  # sessions ended, by cause letter
    kill_latency_ms: int = 0  # of the last mark-down: order to the last thread's answer


@dataclass(frozen=True, slots=True)
class ThreadView:
    """What one relay thread has done since it began (lbsplice.dataplane.counters.Workers)."""

    accepted: int = 0
    ended: int = 0
    events_dropped: int = 0
    events_unwanted: int = 0
    spliced_bytes: int = 0
    pipes_open: int = 0
    pipe_waits: int = 0
    accept_pauses: int = 0
    batches: int = 0
    pipes_free: int = 0
    maxconn_reached: int = 0
    killed_down: int = 0
    killed_up: int = 0
    killed_order: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one moment. The order of `proxies` is the file's; a `listen` is in
    both `frontends` and `backends`."""

    process: ProcessView
    proxies: tuple[str, ...]
    frontends: dict[str, FrontendView]
    backends: dict[str, BackendView]
    listeners: tuple[ListenerView, ...] = ()
    transitions: tuple[Transition, ...] = ()
    threads: tuple[ThreadView, ...] = ()
    startup_logs: tuple[str, ...] = ()  # what was told at the start
