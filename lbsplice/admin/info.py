"""What `show info` answers: HAProxy's keys in HAProxy's order, then our own.

A figure's place in the table is its position. Those that only TLS, HTTP or HAProxy's own
machinery has are 0, so that tools which count on the key find it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lbsplice import __version__
from lbsplice.admin.typed import Value, described, field_json
from lbsplice.admin.view import ProcessView, View
from lbsplice.report.sessionlog import one_line
from lbsplice.terms import HAPROXY_VERSION

_CUT = re.compile(": +")

RELEASE_DATE = "2025/05/28"
"""Of the version of HAProxy that is followed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the figures are taken from."""

    process: ProcessView
    fractions: bool = False  # `float`: seconds with their fractions


class Key(NamedTuple):
    name: str
    tag: str
    text: str
    value: Callable[[Figures], Value]


def _none(_: Figures) -> Value:
    return 0


def _uptime(figures: Figures) -> str:
    seconds = int(figures.process.uptime_s)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    return f"{days}d {hours}h{minutes:02d}m{seconds % 60:02d}s"


def _seconds(figures: Figures, seconds: float) -> Value:
    return f"{seconds:.6f}" if figures.fractions else int(seconds)


def _kills(figures: Figures) -> str:
    return " ".join(f"{cause}={count}" for cause, count in sorted(figures.process.kills.items()))


# fmt: off
KEYS: tuple[Key, ...] = (
    Key("Name", "POS:str", "The product", lambda f: "HAProxy"),
    Key("Version", "POS:str", "The version of HAProxy that is followed",
        lambda f: HAPROXY_VERSION),
    Key("Release_date", "POS:str", "The date of that version", lambda f: RELEASE_DATE),
    Key("Nbthread", "CGS:u32", "Relay threads (nbthread)", lambda f: f.process.threads),
    Key("Nbproc", "CGS:u32", "Processes that relay, always 1", lambda f: 1),
    Key("Process_num", "KGP:u32", "Number of the process, always 1", lambda f: 1),
    Key("Pid", "SGP:u32", "Process id of the supervisor, which stays the same",
        lambda f: f.process.pid),
    Key("Uptime", "MDP:str", "Time since the start", _uptime),
    Key("Uptime_sec", "MDP:u32", "Seconds since the start",
        lambda f: _seconds(f, f.process.uptime_s)),
    Key("Memmax_MB", "CLP:u32", "Limit of memory in MB, 0 for none", _none),
    Key("PoolAlloc_MB", "MGP:u32", "Not used here", _none),
    Key("PoolUsed_MB", "MGP:u32", "Not used here", _none),
    Key("PoolFailed", "MCP:u32", "Not used here", _none),
    Key("Ulimit-n", "CLP:u32", "Limit of open descriptors", lambda f: f.process.ulimit_n),
    Key("Maxsock", "CLP:u32", "Limit of open sockets", lambda f: f.process.max_sockets),
    Key("Maxconn", "CLP:u32", "Limit of open sessions", lambda f: f.process.maxconn),
    Key("Hard_maxconn", "CLP:u32", "The most that Maxconn can be set to",
        lambda f: f.process.hard_maxconn),
    Key("CurrConns", "MGP:u32", "Sessions that are open now", lambda f: f.process.sessions.now),
    Key("CumConns", "MCP:u32", "Connections in all", lambda f: f.process.sessions.total),
    Key("CumReq", "MCP:u32", "Sessions in all", lambda f: f.process.sessions.total),
    Key("MaxSslConns", "MMP:u32", "TLS: none", _none),
    Key("CurrSslConns", "MGP:u32", "TLS: none", _none),
    Key("CumSslConns", "MCP:u32", "TLS: none", _none),
    Key("Maxpipes", "CLP:u32", "Limit of pipes", lambda f: f.process.max_pipes),
    Key("PipesUsed", "MGP:u32", "Pipes that hold bytes", lambda f: f.process.pipes_used),
    Key("PipesFree", "MGP:u32", "Pipes that wait for bytes", lambda f: f.process.pipes_free),
    Key("ConnRate", "MRP:u32", "Connections in the last second",
        lambda f: f.process.connection_rate.now),
    Key("ConnRateLimit", "CLP:u32", "Limit of ConnRate, 0 for none",
        lambda f: f.process.connection_rate.limit),
    Key("MaxConnRate", "MMP:u32", "Most connections in a second",
        lambda f: f.process.connection_rate.max),
    Key("SessRate", "MRP:u32", "Sessions in the last second",
        lambda f: f.process.session_rate.now),
    Key("SessRateLimit", "CLP:u32", "Limit of SessRate, 0 for none",
        lambda f: f.process.session_rate.limit),
    Key("MaxSessRate", "MRP:u32", "Most sessions in a second",
        lambda f: f.process.session_rate.max),
    Key("SslRate", "MRP:u32", "TLS: none", _none),
    Key("SslRateLimit", "CLP:u32", "TLS: none", _none),
    Key("MaxSslRate", "MMP:u32", "TLS: none", _none),
    Key("SslFrontendKeyRate", "MGP:u32", "TLS: none", _none),
    Key("SslFrontendMaxKeyRate", "MMP:u32", "TLS: none", _none),
    Key("SslFrontendSessionReuse_pct", "MGP:u32", "TLS: none", _none),
    Key("SslBackendKeyRate", "MRP:u32", "TLS: none", _none),
    Key("SslBackendMaxKeyRate", "MMP:u32", "TLS: none", _none),
    Key("SslCacheLookups", "MCP:u32", "TLS: none", _none),
    Key("SslCacheMisses", "MCP:u32", "TLS: none", _none),
    Key("CompressBpsIn", "MRP:u32", "HTTP compression: none", _none),
    Key("CompressBpsOut", "MRP:u32", "HTTP compression: none", _none),
    Key("CompressBpsRateLim", "CLP:u32", "HTTP compression: none", _none),
    Key("ZlibMemUsage", "MGP:u32", "HTTP compression: none", _none),
    Key("MaxZlibMemUsage", "CLP:u32", "HTTP compression: none", _none),
    Key("Tasks", "MGP:u32", "Sessions, checks and listeners at work",
        lambda f: f.process.jobs),
    Key("Run_queue", "MGP:u32", "Not used here", _none),
    Key("Idle_pct", "MaP:u32", "Percent of the last second that the relay threads waited",
        lambda f: f.process.idle_percent),
    Key("node", "COS:str", "Name of the node (node)", lambda f: one_line(f.process.node)),
    Key("description", "COS:str", "What the node is (description)",
        lambda f: one_line(f.process.description)),
    Key("Stopping", "MGP:u32", "1 while it stops", lambda f: int(f.process.stopping)),
    Key("Jobs", "MGP:u32", "Sessions and listeners", lambda f: f.process.jobs),
    Key("Unstoppable Jobs", "MGP:u32", "Not used here", _none),
    Key("Listeners", "MGP:u32", "Listening sockets", lambda f: f.process.listeners),
    Key("ActivePeers", "MGP:u32", "Peers: none", _none),
    Key("ConnectedPeers", "MGP:u32", "Peers: none", _none),
    Key("DroppedLogs", "MGP:u32", "Log lines that could not be sent",
        lambda f: f.process.dropped_logs),
    Key("BusyPolling", "MGP:u32", "Not used here", _none),
    Key("FailedResolutions", "MGP:u32", "Names are resolved at start: none", _none),
    Key("TotalBytesOut", "MGP:u64", "Bytes delivered to either side",
        lambda f: f.process.bytes_out),
    Key("TotalSplicedBytesOut", "MGP:u64", "Those that went through a pipe",
        lambda f: f.process.spliced_bytes),
    Key("BytesOutRate", "MRP:u64", "Bytes delivered in the last second",
        lambda f: f.process.bytes_out_rate),
    Key("DebugCommandsIssued", "MGP:u32", "Not used here", _none),
    Key("CumRecvLogs", "MCP:u32", "Log forwarding: none", _none),
    Key("Build info", "POS:str", "The version of HAProxy that is followed",
        lambda f: HAPROXY_VERSION),
    Key("Memmax_bytes", "CLP:u32", "Limit of memory in bytes, 0 for none", _none),
    Key("PoolAlloc_bytes", "MGP:u64", "Not used here", _none),
    Key("PoolUsed_bytes", "MGP:u64", "Not used here", _none),
    Key("Start_time_sec", "MDP:u32", "Time of the start, in seconds since 1970",
        lambda f: _seconds(f, f.process.started)),
    Key("Tainted", "SGP:str", "Not used here", lambda f: "0"),
    Key("TotalWarnings", "MCP:u32", "Warnings about the configuration",
        lambda f: f.process.warnings),
    Key("MaxconnReached", "MCP:u32", "How often Maxconn was reached",
        lambda f: f.process.maxconn_reached),
    Key("BootTime_ms", "MDP:u32", "Milliseconds from the start to the first session that "
        "could be accepted", lambda f: f.process.boot_ms),
    Key("Niced_tasks", "MGP:u32", "Not used here", _none),
    Key("CurrStreams", "MGP:u64", "Sessions that are open now", lambda f: f.process.sessions.now),
    Key("CumStreams", "MCP:u64", "Sessions in all", lambda f: f.process.sessions.total),
    Key("BlockedTrafficWarnings", "MCP:u32", "Not used here", _none),
    Key("PatternsAdded", "MCP:u64", "Maps and pattern files: none", _none),
    Key("PatternsFreed", "MCP:u64", "Maps and pattern files: none", _none),
    Key("NbThreadGroups", "CGS:u32", "Groups of threads, always 1", lambda f: 1),
    # ---- lbsplice's own ----
    Key("lbsplice_version", "POS:str", "The version of lbsplice", lambda f: __version__),
    Key("lbsplice_adoptions", "MCP:u32", "How often a worker took over from another",
        lambda f: f.process.adoptions),
    Key("lbsplice_crashes", "MCP:u32", "How often because that one had died",
        lambda f: f.process.crashes),
    Key("lbsplice_events_dropped", "MCP:u64", "Events of the relay that found no room",
        lambda f: f.process.events_dropped),
    Key("lbsplice_check_lag_ms", "MGP:u32", "How late health checks start",
        lambda f: f.process.check_lag_ms),
    Key("lbsplice_stalled", "MGP:u32", "Sessions with a peer that acknowledges nothing",
        lambda f: f.process.stalled),
    Key("lbsplice_kills", "MOP:str", "Sessions ended by us, by the log's letter", _kills),
    Key("lbsplice_kill_latency_ms", "MDP:u32", "From the last order to end sessions to the "
        "last thread's answer", lambda f: f.process.kill_latency_ms),
)
# fmt: on


def plain(view: View, *, fractions: bool = False, desc: bool = False) -> str:
    """`Name: HAProxy` and so on, a line each."""
    figures = Figures(view.process, fractions)
    return "".join(
        f"{key.name}: {_cut_once(key.value(figures), key.text if desc else None)}\n" for key in KEYS
    )


def _cut_once(value: Value, text: str | None) -> str:
    """What stands after `Name: `. Clients cut a line at every `: `, so there is no other."""
    return _CUT.sub(":", f"{value}{'' if text is None else described(text)}")


def typed(view: View, *, fractions: bool = False, desc: bool = False) -> str:
    """`6.Pid.1:SGP:u32:4321` and so on, a line each."""
    figures = Figures(view.process, fractions)
    return "".join(
        f"{position}.{key.name}.1:{_tag(key, fractions)}:{key.value(figures)}"
        f"{described(key.text) if desc else ''}\n"
        for position, key in enumerate(KEYS)
    )


def json(view: View, *, fractions: bool = False) -> str:
    """A list of figures."""
    return "[" + ",".join(_json_items(Figures(view.process, fractions))) + "]\n"


def _json_items(figures: Figures) -> Iterator[str]:
    for position, key in enumerate(KEYS):
        value = key.value(figures)
        tag = _tag(key, figures.fractions)
        if tag.endswith("flt"):
            value = float(value)
        yield f"{{{field_json(position, key.name, tag, value)}}}"


_WITH_FRACTIONS = frozenset(
    {
        "Uptime_sec",
        "Start_time_sec",
        "ConnRate",
        "SessRate",
        "SslRate",
        "SslFrontendKeyRate",
        "SslFrontendSessionReuse_pct",
        "SslBackendKeyRate",
        "CompressBpsIn",
        "CompressBpsOut",
    }
)


def _tag(key: Key, fractions: bool) -> str:
    """Some figures are of another type when they have fractions, and gauges become rates."""
    if not fractions or key.name not in _WITH_FRACTIONS:
        return key.tag
    return key.tag.replace("MGP", "MRP").replace("u32", "flt")
