"""The columns of `show stat`: a column's place in the table is its position, which scripts
count on. Tags are those of lbsplice.admin.typed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Column(NamedTuple):
    """`tag` is `MGP:u32` and the like, `text` what `desc` tells."""

    name: str
    tag: str
    text: str


# fmt: off
COLUMNS: tuple[Column, ...] = (
    # ---- which row, and how busy ----
    Column("pxname", "KNS:str", "Name of the proxy"),
    Column("svname", "KNS:str", "FRONTEND, BACKEND, or the name of the server or listener"),
    Column("qcur", "MGP:u32", "Sessions that wait for a place now"),
    Column("qmax", "MMP:u32", "Most sessions that have waited at once"),
    Column("scur", "MGP:u32", "Sessions that are open now"),
    Column("smax", "MMP:u32", "Most sessions that were open at once"),
    Column("slim", "CLP:u32", "How many may be open (maxconn; fullconn of a backend)"),
    Column("stot", "MCP:u64", "Sessions in all"),
    Column("bin", "MCP:u64", "Bytes from clients"),
    Column("bout", "MCP:u64", "Bytes from servers"),
    Column("dreq", "MCP:u64", "Requests that a rule refused"),
    Column("dresp", "MCP:u64", "Responses that a rule refused"),
    Column("ereq", "MCP:u64", "Requests that were not valid"),
    Column("econ", "MCP:u64", "Sessions that could not be connected to a server"),
    Column("eresp", "MCP:u64", "Servers that ended a session in the middle of it"),
    Column("wretr", "MCP:u64", "Connection attempts that were made again"),
    Column("wredis", "MCP:u64", "Connection attempts that went to another server"),
    # ---- state ----
    Column("status", "SGP:str", "OPEN, PAUSED, FULL, STOP; UP, DOWN; the state of a server"),
    Column("weight", "MaP:u32", "Weight of a server; of all in use together, for a backend"),
    Column("act", "SGP:u32", "Active servers in use; 1 for a server that is no backup"),
    Column("bck", "SGP:u32", "Backup servers in use; 1 for a server that is one"),
    Column("chkfail", "MCP:u64", "Checks that failed"),
    Column("chkdown", "MCP:u64", "How often it went down"),
    Column("lastchg", "MAP:u32", "Seconds since its state changed"),
    Column("downtime", "MCP:u32", "Seconds down in all"),
    Column("qlimit", "CLS:u32", "How many sessions may wait (maxqueue)"),
    Column("pid", "KGP:u32", "Number of the process, always 1"),
    Column("iid", "KGS:u32", "Number of the proxy (its id)"),
    Column("sid", "KGS:u32", "Number of the server or listener in its proxy (its id)"),
    Column("throttle", "MaP:u32", "Percent of its weight that a server has, in slowstart"),
    Column("lbtot", "MCP:u64", "How often load balancing chose it"),
    Column("tracked", "CNS:str", "The server whose state this one follows"),
    Column("type", "CGS:u32", "0 frontend, 1 backend, 2 server, 3 listener"),
    Column("rate", "MRP:u32", "Sessions in the last second"),
    Column("rate_lim", "CLP:u32", "How many sessions a second may come (rate-limit sessions)"),
    Column("rate_max", "MMP:u32", "Most sessions in a second"),
    # ---- health checks ----
    Column("check_status", "MOP:str", "Result of the last check; after `* ` while one runs"),
    Column("check_code", "MGP:u32", "Status code that the server answered the last check with"),
    Column("check_duration", "MDP:u64", "Milliseconds that the last check took"),
    Column("hrsp_1xx", "MCP:u64", "HTTP responses with status 1xx"),
    Column("hrsp_2xx", "MCP:u64", "HTTP responses with status 2xx"),
    Column("hrsp_3xx", "MCP:u64", "HTTP responses with status 3xx"),
    Column("hrsp_4xx", "MCP:u64", "HTTP responses with status 4xx"),
    Column("hrsp_5xx", "MCP:u64", "HTTP responses with status 5xx"),
    Column("hrsp_other", "MCP:u64", "HTTP responses with any other status"),
    Column("hanafail", "MCP:u64", "Failures that `observe` took for failed checks"),
    Column("req_rate", "MRP:u32", "HTTP requests in the last second"),
    Column("req_rate_max", "MMP:u32", "Most HTTP requests in a second"),
    Column("req_tot", "MCP:u64", "HTTP requests in all"),
    Column("cli_abrt", "MCP:u64", "Sessions that the client broke off"),
    Column("srv_abrt", "MCP:u64", "Sessions that the server broke off"),
    Column("comp_in", "MCP:u64", "HTTP bytes given to compression"),
    Column("comp_out", "MCP:u64", "HTTP bytes that compression made of them"),
    Column("comp_byp", "MCP:u64", "HTTP bytes that compression left as they were"),
    Column("comp_rsp", "MCP:u64", "HTTP responses that were compressed"),
    Column("lastsess", "MAP:s32", "Seconds since the last session was given to it, -1 for never"),
    Column("last_chk", "MOP:str", "What the system or the server said in the last check"),
    Column("last_agt", "MOP:str", "What the agent said"),
    # ---- times, of the last 1,024 sessions ----
    Column("qtime", "MaP:u32", "Average milliseconds in the queue"),
    Column("ctime", "MaP:u32", "Average milliseconds to connect"),
    Column("rtime", "MaP:u32", "Average milliseconds to an HTTP response, 0 in TCP mode"),
    Column("ttime", "MaP:u32", "Average milliseconds that a session lasts"),
    Column("agent_status", "MOP:str", "Result of the last agent check"),
    Column("agent_code", "MGP:u32", "Status code of the last agent check"),
    Column("agent_duration", "MDP:u64", "Milliseconds that the last agent check took"),
    Column("check_desc", "MOP:str", "Result of the last check in words"),
    Column("agent_desc", "MOP:str", "Result of the last agent check in words"),
    Column("check_rise", "CGS:u32", "Checks to pass before a server is up (rise)"),
    Column("check_fall", "CGS:u32", "Checks to fail before a server is down (fall)"),
    Column("check_health", "CGS:u32", "Health from 0 to rise+fall-1; up from rise on"),
    Column("agent_rise", "CGS:u32", "Agent checks to pass before a server is up"),
    Column("agent_fall", "CGS:u32", "Agent checks to fail before a server is down"),
    Column("agent_health", "CGS:u32", "Health by the agent"),
    Column("addr", "CGS:str", "Address; for operators and administrators"),
    Column("cookie", "CNS:str", "Cookie of the server or backend"),
    Column("mode", "CGS:str", "tcp or http"),
    Column("algo", "CGS:str", "How a backend balances; for operators and administrators"),
    Column("conn_rate", "MRP:u32", "Connections in the last second"),
    Column("conn_rate_max", "MMP:u32", "Most connections in a second"),
    Column("conn_tot", "MCP:u64", "Connections in all"),
    Column("intercepted", "MCP:u64", "HTTP requests that were answered here"),
    Column("dcon", "MCP:u64", "Connections that a rule refused"),
    Column("dses", "MCP:u64", "Sessions that a rule refused"),
    Column("wrew", "MCP:u64", "HTTP headers that could not be rewritten"),
    Column("connect", "MCP:u64", "Connection attempts"),
    Column("reuse", "MCP:u64", "Server connections that were used again"),
    Column("cache_lookups", "MCP:u64", "HTTP requests looked up in a cache"),
    Column("cache_hits", "MCP:u64", "HTTP requests answered from a cache"),
    Column("srv_icur", "MGP:u32", "Idle server connections that are kept"),
    Column("src_ilim", "CLP:u32", "How many idle server connections may be kept"),
    Column("qtime_max", "MMP:u32", "Longest time in the queue in milliseconds"),
    Column("ctime_max", "MMP:u32", "Longest time to connect in milliseconds"),
    Column("rtime_max", "MMP:u32", "Longest time to an HTTP response in milliseconds"),
    Column("ttime_max", "MMP:u32", "Longest session in milliseconds"),
    Column("eint", "MCP:u64", "Sessions that ended by an error of our own"),
    Column("idle_conn_cur", "MGP:u32", "Idle server connections that may not be shared"),
    Column("safe_conn_cur", "MGP:u32", "Idle server connections that may be shared"),
    Column("used_conn_cur", "MGP:u32", "Shared server connections in use"),
    Column("need_conn_est", "MGP:u32", "Shared server connections that are likely to be needed"),
    Column("uweight", "MaP:u32", "Weight that the operator wants"),
    Column("agg_server_status", "MGP:u32", "Kept for the metrics"),
    Column("agg_server_check_status", "MGP:u32", "Kept for the metrics"),
    Column("agg_check_status", "MGP:u32", "Kept for the metrics"),
    # ---- since version 3 ----
    Column("srid", "CGS:u32", "How often the number of a server was given anew"),
    Column("sess_other", "MCP:u64", "Sessions that are not HTTP"),
    Column("h1sess", "MCP:u64", "HTTP/1 sessions"),
    Column("h2sess", "MCP:u64", "HTTP/2 sessions"),
    Column("h3sess", "MCP:u64", "HTTP/3 sessions"),
    Column("req_other", "MCP:u64", "Requests that are not HTTP"),
    Column("h1req", "MCP:u64", "HTTP/1 requests"),
    Column("h2req", "MCP:u64", "HTTP/2 requests"),
    Column("h3req", "MCP:u64", "HTTP/3 requests"),
    Column("proto", "SOP:str", "Protocol of a listener"),
    Column("priv_idle_cur", "MGP:u32", "Idle server connections that belong to one client"),
    Column("reqbin", "MCP:u64", "Bytes from clients"),
    Column("reqbout", "MCP:u64", "Bytes of clients that servers got"),
    Column("resbin", "MCP:u64", "Bytes from servers"),
    Column("resbout", "MCP:u64", "Bytes of servers that clients got"),
)
# fmt: on

POSITIONS: Mapping[str, int] = MappingProxyType(
    {column.name: position for position, column in enumerate(COLUMNS)}
)

HEADER = "# " + "".join(f"{column.name}," for column in COLUMNS) + "-,"
"""The first line of the CSV output. The `-` parts HAProxy's own columns from those that
modules add; we add none."""

BACKEND_TAGS: Mapping[str, str] = MappingProxyType(
    {"act": "MGP:u32", "bck": "MGP:u32", "rate_max": "MGP:u32"}
)
"""Where a backend's row differs: it counts its servers."""
