"""The commands that look: `show stat`, `show info`, `show sess`, `show servers` and kin.

A listing is made piece by piece, as the client takes it; sessions are copied out of the
ledger a few at a time, between which all others have their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime

from lbsplice import statefile
from lbsplice.admin import info, named, sess, show_commands_process, stat, typed
from lbsplice.admin.commands import Answer, Command, Context
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.admin.stat_filter import parse_filter
from lbsplice.admin.view import BackendView, ServerView, View
from lbsplice.config.model import Config
from lbsplice.health.judge import CheckResult
from lbsplice.plan.slots import ServerKey
from lbsplice.report.sessionlog import MONTHS
from lbsplice.server_state import ServerState
from lbsplice.terms import HAPROXY_VERSION, AdminState, CheckStatus

_AT_ONCE = 256
"""Places of the ledger that are looked at in one turn: at most 2 ms."""


_PASSED = frozenset(
    {
        CheckStatus.L4_OK,
        CheckStatus.L6_OK,
        CheckStatus.L7_OK,
        CheckStatus.L7_OK_CONDITIONALLY,
        CheckStatus.PROC_OK,
    }
)


# ---- figures ----


_OF_RESOLVERS = (
    "# id,pid,sent,send_error,valid,update,cname,cname_error,any_err,nx,timeout,refused,other,"
    "invalid,too_big,truncated,outdated,\n"
)


_LINES = stat.Lines()


def _stat(context: Context, words: list[str], _payload: str | None) -> Answer:
    if words[:1] == ["domain"]:
        if words[1:2] == ["resolvers"]:
            return "[]\n" if "json" in words else "" if "typed" in words else _OF_RESOLVERS
        if words[1:2] != ["proxy"]:
            raise AdminError("Invalid statistics domain.")
        words = words[2:]
    view = context.control.view()
    wanted = parse_filter(words, view, legends=context.level >= Level.OPERATOR)
    flags = set(words[3:] if wanted.is_bound else words)
    if "json" in flags and not _last_is(words, "typed"):
        return stat.json(view, wanted)
    if "typed" in flags:
        return stat.typed(view, wanted, desc="desc" in flags)
    return _LINES.csv(view, wanted)


def _info(context: Context, words: list[str], _payload: str | None) -> str:
    view = context.control.view()
    fractions, desc = "float" in words, "desc" in words
    if "json" in words and not _last_is(words, "typed"):
        return info.json(view, fractions=fractions)
    if "typed" in words:
        return info.typed(view, fractions=fractions, desc=desc)
    return info.plain(view, fractions=fractions, desc=desc)


def _last_is(words: list[str], form: str) -> bool:
    """Of the two forms of output, the one that was asked for last counts."""
    return [each for each in words if each in ("json", "typed")][-1:] == [form]


def _schema(_context: Context, _words: list[str], _payload: str | None) -> str:
    return typed.schema() + "\n"


def _version(_context: Context, _words: list[str], _payload: str | None) -> str:
    return HAPROXY_VERSION + "\n"


# ---- sessions ----


def _sess(context: Context, words: list[str], _payload: str | None) -> Answer:
    view = context.control.view()
    wanted = sess.parse(words, view)
    if wanted.help:
        return sess.HELP
    if not wanted.serial:
        return _sessions(context, wanted, view)
    found = context.control.session(wanted.serial)
    if found is None:
        raise AdminError("Session not found.")
    return sess.detail(found, view, named.servers(view))


async def _sessions(context: Context, wanted: sess.Selection, view: View) -> AsyncIterator[str]:
    servers = named.servers(view) if wanted.everything else {}
    first: int | None = 0
    while first is not None:
        some, first = context.control.sessions(first, _AT_ONCE)
        yield "".join(
            sess.detail(each, view, servers) if wanted.everything else sess.line(each)
            for each in some
            if wanted.matches(each)
        )
        await asyncio.sleep(0)


# ---- servers and backends ----


def _backends(view: View, name: str | None) -> list[BackendView]:
    """All, or the one of a name. Raises AdminError."""
    if name is None:
        return [view.backends[each] for each in view.proxies if each in view.backends]
    try:
        return [named.backend(view, name)]
    except AdminError:
        raise AdminError("Can't find backend.") from None


def _servers_state(context: Context, words: list[str], _payload: str | None) -> Iterator[str]:
    backends = _backends(context.control.view(), words[0] if words else None)
    shown = {server.key: server for backend in backends for server in backend.servers}
    return _states(context.config, shown, time.monotonic())


def _states(config: Config, shown: Mapping[ServerKey, ServerView], now: float) -> Iterator[str]:
    """A server that is not shown yet is left out: a reload may be under way."""
    yield statefile.FIRST_LINES
    for proxy in config.proxies:
        for server in proxy.servers if proxy.has_backend else ():
            view = shown.get((proxy.name, server.name))
            if view is not None:
                yield statefile.line(proxy, server, _state(view, now, server.disabled), now)


def _state(server: ServerView, now: float, disabled: bool) -> ServerState:
    """What a state file tells of a server; `disabled` by the configuration."""
    last = None
    if server.check_status not in (CheckStatus.UNKNOWN, CheckStatus.INITIALIZING):
        last = CheckResult(server.check_status in _PASSED, server.check_status)
    return ServerState(
        admin=server.admin,
        health=server.health,
        rise=server.rise,
        fall=server.fall,
        checked=server.checked,
        config_weight=server.initial_weight,
        changed_at=now - server.last_change,
        last_check=last,
        run_weight=server.user_weight,
        config_disabled=server.admin is AdminState.MAINT and disabled,
    )


def _servers_conn(context: Context, words: list[str], _payload: str | None) -> Iterator[str]:
    view = context.control.view()
    return _connections(_backends(view, words[0] if words else None), view.process.threads)


def _connections(backends: list[BackendView], threads: int) -> Iterator[str]:
    """HAProxy's pools of idle server connections, which a TCP session has no use for."""
    yield (
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est "
        f"unsafe_nb safe_nb idle_lim idle_cur idle_per_thr[{threads}]\n"
    )
    for backend in backends:
        for server in backend.servers:
            host, _, port = server.address.rpartition(":")
            yield (
                f"{'/'.join(server.key)} {server.iid}/{server.sid} "
                f"{host.strip('[]') or '-'} {port or 0} - 5000 0 0 0 0 0 -1 0"
                f"{' 0' * threads}\n"
            )


def _show_backend(context: Context, _words: list[str], _payload: str | None) -> str:
    names = [backend.name for backend in _backends(context.control.view(), None)]
    return "".join(f"{each}\n" for each in ("# name", *names))


def _errors(context: Context, words: list[str], _payload: str | None) -> str:
    """Invalid HTTP messages, of which there are none."""
    if words:
        named.proxy_id(context.control.view(), words[0])
    at = datetime.now()
    date = f"{at.day:02d}/{MONTHS[at.month - 1]}/{at.year:04d}:{at:%H:%M:%S}"
    return f"Total events captured on [{date}.{at.microsecond // 1000:03d}] : 0\n"


COMMANDS: tuple[Command, ...] = (
    Command(
        ("show", "stat"),
        Level.USER,
        "show stat [desc|json|no-maint|typed|up]* : the figures of each proxy and server",
        _stat,
    ),
    Command(
        ("show", "info"),
        Level.USER,
        "show info [desc|json|typed|float]* : the figures of the process",
        _info,
    ),
    Command(
        ("show", "sess"),
        Level.OPERATOR,
        "show sess [<id> | all | help] [<filter>]* : the open sessions, or all about one",
        _sess,
    ),
    Command(
        ("show", "servers", "state"),
        Level.USER,
        "show servers state [<backend>] : the servers' states, for a server-state-file",
        _servers_state,
    ),
    Command(
        ("show", "servers", "conn"),
        Level.USER,
        "show servers conn [<backend>] : idle connections to the servers",
        _servers_conn,
    ),
    Command(
        ("show", "backend"),
        Level.USER,
        "show backend : the names of the backends",
        _show_backend,
    ),
    Command(
        ("show", "errors"),
        Level.OPERATOR,
        "show errors [<px>] [request|response] : invalid HTTP messages (there are none)",
        _errors,
    ),
    Command(
        ("show", "version"),
        Level.USER,
        "show version : the version of HAProxy that is followed",
        _version,
    ),
    Command(
        ("show", "schema", "json"),
        Level.USER,
        "show schema json : the schema of the answers in JSON",
        _schema,
    ),
    *show_commands_process.COMMANDS,
)
