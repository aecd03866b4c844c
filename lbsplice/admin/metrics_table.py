"""Which metrics there are, and where each has its value: HAProxy's exporter names, and our
own under `lbsplice_`. docs/metrics.md lists the same; a test holds the two equal."""

from __future__ import annotations

from lbsplice.admin.metrics_kind import NAN, Metric, Source, always, family, limit, none, seconds
from lbsplice.admin.metrics_process import OWN, PROCESS
from lbsplice.terms import CheckStatus

FRONTEND_STATES = ("DOWN", "UP")
BACKEND_STATES = ("DOWN", "UP")
SERVER_STATES = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")
LISTENER_STATES = ("WAITING", "OPEN", "FULL")
CHECK_STATES = (
    "HANA",
    *(s.value for s in CheckStatus if s not in (CheckStatus.UNKNOWN, CheckStatus.INITIALIZING)),
)


def server_state(word: str) -> str:
    """The exporter's word for the word of a server's status."""
    first = word.partition(" ")[0]
    return first if first in SERVER_STATES else "UP"  # `no check`


_SESSIONS: dict[str, Source] = {
    "current_sessions": ("Sessions at this moment", "sessions.now"),
    "max_sessions": ("Most sessions there were at once", "sessions.max"),
    "limit_sessions": ("Most sessions there may be (0: no limit)", "sessions.limit"),
    "sessions_total": ("Sessions since the start", "sessions.total"),
}
_BYTES: dict[str, Source] = {
    "bytes_in_total": ("Bytes that came from clients", "bytes_in"),
    "bytes_out_total": ("Bytes that went to clients", "bytes_out"),
}
_DENIED: dict[str, Source] = {
    "requests_denied_total": none("Requests denied by a rule"),
    "responses_denied_total": none("Responses denied by a rule"),
}
_REWRITING: dict[str, Source] = {
    "failed_header_rewriting_total": none("Headers that could not be rewritten"),
}
_FRONT_ERRORS: dict[str, Source] = {
    "request_errors_total": none("Requests that could not be read"),
}
_INTERNAL: dict[str, Source] = {
    "internal_errors_total": ("Sessions ended by an error of our own", "internal_errors"),
}
_DENIED_EARLY: dict[str, Source] = {
    "denied_connections_total": (
        "Connections refused by a rule on connections",
        "denied_connections",
    ),
    "denied_sessions_total": ("Sessions refused by a rule", "denied_sessions"),
}
_RELAYED: dict[str, Source] = {
    "connection_attempts_total": ("Attempts to connect to a server", "connects"),
    "connection_errors_total": ("Attempts to connect that failed", "connect_errors"),
    "response_errors_total": ("Sessions that the server ended amiss", "response_errors"),
    "retry_warnings_total": ("Attempts to connect that were repeated", "retries"),
    "redispatch_warnings_total": (
        "Sessions that went to another server than the chosen one",
        "redispatches",
    ),
    "client_aborts_total": ("Sessions that the client aborted", "client_aborts"),
    "server_aborts_total": ("Sessions that the server aborted", "server_aborts"),
    "loadbalanced_total": ("Times that balancing chose it", "chosen"),
}
_QUEUE: dict[str, Source] = {
    "current_queue": none("Sessions that wait for a server"),
    "max_queue": none("Most sessions that waited for a server"),
}
_WEIGHT: dict[str, Source] = {
    "weight": ("Weight in force; of a backend, the sum of those up", "weight"),
    "uweight": ("Weight as wished for", "user_weight"),
    "check_up_down_total": ("Changes from up to down", "downs"),
    "check_last_change_seconds": ("Since the last change of state", "last_change"),
    "downtime_seconds_total": ("Time spent down", "downtime"),
}
_TIMES: dict[str, Source] = {
    "last_session_seconds": (
        "Since a session was last given to it (-1: never)",
        "last_session",
    ),
    "queue_time_average_seconds": (
        "Time in the queue, average of the last 1024 sessions",
        "times.queue",
        seconds,
    ),
    "connect_time_average_seconds": (
        "Time to connect, average of the last 1024 sessions",
        "times.connect",
        seconds,
    ),
    "response_time_average_seconds": none("Time to respond"),
    "total_time_average_seconds": (
        "Length of sessions, average of the last 1024",
        "times.total",
        seconds,
    ),
    "max_queue_time_seconds": (
        "Longest time in the queue",
        "times.queue_max",
        seconds,
    ),
    "max_connect_time_seconds": (
        "Longest time to connect",
        "times.connect_max",
        seconds,
    ),
    "max_response_time_seconds": none("Longest time to respond"),
    "max_total_time_seconds": ("Longest session", "times.total_max", seconds),
}

FRONTEND: list[Metric] = [
    *family("haproxy_frontend_", _SESSIONS | _BYTES | _DENIED | _FRONT_ERRORS | _REWRITING),
    Metric(
        "haproxy_frontend_status",
        "State: 1 for the one it is in",
        "status",
        lambda status: "DOWN" if status == "STOP" else "UP",
        FRONTEND_STATES,
    ),
    *family(
        "haproxy_frontend_",
        {
            "limit_session_rate": (
                "Most sessions to begin in a second (0: no limit)",
                "session_rate.limit",
            ),
            "max_session_rate": (
                "Most sessions that began in a second",
                "session_rate.max",
            ),
            "connections_rate_max": (
                "Most connections there were in a second",
                "connection_rate.max",
            ),
            "connections_total": ("Connections since the start", "connections.total"),
            "intercepted_requests_total": (
                "Requests that lbsplice answered itself",
                "intercepted",
            ),
            **_DENIED_EARLY,
            **_INTERNAL,
        },
    ),
]

LISTENER: list[Metric] = [
    *family("haproxy_listener_", _SESSIONS | _BYTES | _DENIED | _FRONT_ERRORS | _REWRITING),
    Metric(
        "haproxy_listener_status",
        "State: 1 for the one it is in",
        "status",
        lambda status: status if status in LISTENER_STATES else "WAITING",
        LISTENER_STATES,
    ),
    *family(
        "haproxy_listener_",
        {name: none(text) for name, (text, *_) in _DENIED_EARLY.items()}
        | {"internal_errors_total": none("Sessions ended by an error of ours")},
    ),
]

_REUSE: dict[str, Source] = {
    "connection_reuses_total": none("Connections used for a further session"),
}
_BOTH = (
    _QUEUE
    | _SESSIONS
    | _BYTES
    | _DENIED
    | _REWRITING
    | _RELAYED
    | _REUSE
    | _WEIGHT
    | _TIMES
    | _INTERNAL
)

BACKEND: list[Metric] = [
    *family("haproxy_backend_", _BOTH),
    Metric(
        "haproxy_backend_status",
        "State: 1 for the one it is in",
        "status",
        None,
        BACKEND_STATES,
    ),
    *family(
        "haproxy_backend_",
        {
            "max_session_rate": (
                "Most sessions that began in a second",
                "session_rate.max",
            ),
            "active_servers": ("Servers up that are not backups", "active"),
            "backup_servers": ("Backup servers up", "backups"),
        },
    ),
]
"""Beside haproxy_backend_agg_server_status and agg_check_status, which count servers."""

SERVER: list[Metric] = [
    *family("haproxy_server_", {k: v for k, v in _BOTH.items() if k != "limit_sessions"}),
    Metric(
        "haproxy_server_status",
        "State: 1 for the one it is in",
        "word",
        server_state,
        SERVER_STATES,
    ),
    *family(
        "haproxy_server_",
        {
            "max_session_rate": (
                "Most sessions that began in a second",
                "session_rate.max",
            ),
            "active": ("1 if it is no backup", "backup", lambda backup: int(not backup)),
            "backup": ("1 if it is a backup", "backup", int),
            "current_throttle": ("Share of a slow start, percent; never here", "", always(NAN)),
            "queue_limit": ("Most sessions that may wait; there is no limit", "", always(NAN)),
            "used_connections_current": ("Connections in use", "sessions.now"),
            "idle_connections_current": none("Connections kept for later"),
            "idle_connections_limit": ("Most connections kept for later", "", always(NAN)),
            "safe_idle_connections_current": none("Connections kept that are safe to use"),
            "unsafe_idle_connections_current": none("Connections kept that may fail"),
            "need_connections_current": ("Connections wanted", "sessions.now"),
            "limit_sessions": (
                "Most sessions there may be (NaN: no limit)",
                "sessions.limit",
                limit,
            ),
        },
    ),
]

CHECK: list[Metric] = [
    Metric(
        "haproxy_server_check_status",
        "Result of the last check: 1 for the one it had",
        "check_status",
        lambda status: status.value,
        CHECK_STATES,
    ),
    *family(
        "haproxy_server_",
        {
            "check_code": ("Code that the last check was answered with", "check_code"),
            "check_duration_seconds": (
                "How long the last check took",
                "check_duration_ms",
                seconds,
            ),
            "check_failures_total": ("Checks that failed", "failed_checks"),
        },
    ),
]
"""Of servers that are checked."""

OWN_SERVER: list[Metric] = family(
    "lbsplice_server_",
    {"killed_sessions_total": ("Sessions that were ended with the server", "killed")},
)

COUNTED: tuple[tuple[str, str, str], ...] = (
    ("haproxy_process_build_info", "gauge", "HAProxy's version whose behaviour is followed"),
    ("haproxy_process_node", "gauge", "Name of the machine, as a label"),
    ("haproxy_process_description", "gauge", "Text of `description`, as a label"),
    ("haproxy_backend_agg_server_status", "gauge", "Servers in each state"),
    (
        "haproxy_backend_agg_server_check_status",
        "gauge",
        "Servers in each state, by the name it had before",
    ),
    ("haproxy_backend_agg_check_status", "gauge", "Servers by the result of their last check"),
    ("lbsplice_build_info", "gauge", "Version of lbsplice"),
    ("lbsplice_sessions_killed_total", "counter", "Sessions that were ended, by cause"),
)
"""Families with labels of their own."""


def all_names() -> list[str]:
    """Every family's name."""
    tables = (PROCESS, FRONTEND, LISTENER, BACKEND, SERVER, CHECK, OWN, OWN_SERVER)
    return [m.name for table in tables for m in table] + [name for name, _, _ in COUNTED]
