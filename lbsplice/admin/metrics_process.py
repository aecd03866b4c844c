"""The metrics of the process: HAProxy's, and those of lbsplice alone."""

from __future__ import annotations

from lbsplice.admin.metrics_kind import Metric, always, family, none, seconds

_TLS = (
    "max_ssl_connections",
    "current_ssl_connections",
    "ssl_connections_total",
    "current_ssl_rate",
    "limit_ssl_rate",
    "max_ssl_rate",
    "current_frontend_ssl_key_rate",
    "max_frontend_ssl_key_rate",
    "frontend_ssl_reuse",
    "current_backend_ssl_key_rate",
    "max_backend_ssl_key_rate",
    "ssl_cache_lookups_total",
    "ssl_cache_misses_total",
)
_COMPRESSION = (
    "http_comp_bytes_in_total",
    "http_comp_bytes_out_total",
    "limit_http_comp",
    "current_zlib_memory",
    "max_zlib_memory",
)

PROCESS: list[Metric] = family(
    "haproxy_process_",
    {
        "nbthread": ("Relay threads", "threads"),
        "nbproc": ("Processes that relay; always 1", "", always(1)),
        "relative_process_id": ("Number of this process; always 1", "", always(1)),
        "uptime_seconds": ("Since the start", "uptime_s", int),
        "start_time_seconds": ("When it was started, as Unix time", "started", int),
        "max_fds": ("Most descriptors that may be open", "ulimit_n"),
        "max_sockets": ("Most sockets that may be open", "max_sockets"),
        "max_connections": ("Most sessions there may be", "maxconn"),
        "hard_max_connections": ("What that limit can be raised to", "hard_maxconn"),
        "current_connections": ("Sessions at this moment", "sessions.now"),
        "connections_total": ("Sessions since the start", "sessions.total"),
        "requests_total": ("Sessions since the start", "sessions.total"),
        "max_pipes": ("Most pipes there may be", "max_pipes"),
        "pipes_used_total": ("Pipes with bytes in them", "pipes_used"),
        "pipes_free_total": ("Pipes that are kept for use", "pipes_free"),
        "current_connection_rate": ("Connections in a second", "connection_rate.now"),
        "limit_connection_rate": (
            "Most connections in a second (0: no limit)",
            "connection_rate.limit",
        ),
        "max_connection_rate": (
            "Most connections there were in a second",
            "connection_rate.max",
        ),
        "current_session_rate": ("Sessions begun in a second", "session_rate.now"),
        "limit_session_rate": (
            "Most sessions to begin in a second (0: no limit)",
            "session_rate.limit",
        ),
        "max_session_rate": (
            "Most sessions that began in a second",
            "session_rate.max",
        ),
        "current_tasks": none("Tasks"),
        "current_run_queue": none("Tasks that wait to run"),
        "idle_time_percent": ("Time that relay threads waited", "idle_percent"),
        "stopping": ("1 while the last sessions are waited for", "stopping", int),
        "jobs": ("Sessions and listeners", "jobs"),
        "unstoppable_jobs": none("Jobs that hold up a stop"),
        "listeners": ("Listening sockets", "listeners"),
        "active_peers": none("Peers"),
        "connected_peers": none("Peers with a connection"),
        "dropped_logs_total": ("Log lines that were lost", "dropped_logs"),
        "busy_polling_enabled": none("Busy polling"),
        "failed_resolutions": none("Names that were not found"),
        "failed_resolutions_total": none("Names that were not found"),
        "recv_logs_total": none("Log lines received"),
        "max_memory_bytes": none("Most memory there may be (0: no limit)"),
        "pool_allocated_bytes": none("Memory in pools"),
        "pool_used_bytes": none("Memory of pools in use"),
        "pool_failures_total": none("Times that a pool had no memory"),
        **{name: none("About TLS") for name in _TLS},
        **{name: none("About compression") for name in _COMPRESSION},
        "bytes_out_total": ("Bytes sent to clients and servers", "bytes_out"),
        "spliced_bytes_out_total": ("Those sent without a copy", "spliced_bytes"),
        "bytes_out_rate": ("Bytes sent in a second", "bytes_out_rate"),
    },
)

OWN: list[Metric] = family(
    "lbsplice_",
    {
        "kill_latency_seconds": (
            "From the last mark-down to the last of its sessions ended",
            "kill_latency_ms",
            seconds,
        ),
        "adoptions_total": ("Times that a worker took over from another", "adoptions"),
        "crashes_total": ("Workers that died", "crashes"),
        "events_dropped_total": (
            "Events of relay threads that were lost; counters are not affected",
            "events_dropped",
        ),
        "check_lag_seconds": (
            "How late the checks run",
            "check_lag_ms",
            seconds,
        ),
        "stalled_sessions": (
            "Sessions whose peer acknowledges nothing any more",
            "stalled",
        ),
    },
)
