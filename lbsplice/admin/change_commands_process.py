"""The commands that change frontends, sessions, limits and the process, in HAProxy's words,
and those that hand over the listening sockets or talk to the supervisor."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lbsplice.admin import named
from lbsplice.admin.commands import Command, Context
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.admin.state_text import leading_number
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import HAPROXY_VERSION

_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,18})")
_RATES = (
    "'set rate-limit' only supports :\n"
    "   - 'connections global' to set the per-process maximum connection rate\n"
    "   - 'sessions global' to set the per-process maximum session rate\n"
)
_AT_ONCE = 252
"""Descriptors in one message: HAProxy takes no more."""
_COUNT = struct.Struct("=i")


def _word(words: list[str], at: int) -> str:
    return words[at] if at < len(words) else ""


def _number(text: str, missing: str) -> int:
    """As HAProxy reads one: what does not begin as a number is refused here, not taken
    for 0 (there it would switch a limit off); what follows it is passed over."""
    found = _NUMBER.match(text)
    if found is None:
        raise AdminError(missing)
    return int(found[1])


# ---- frontends ----


def _frontend(context: Context, words: list[str]) -> str:
    """The name of the frontend that a command names first."""
    if not _word(words, 0):
        raise AdminError("A frontend name is expected.")
    return named.frontend_name(context.control.view, words[0])


def _server(context: Context, words: list[str]) -> ServerKey:
    return named.server_key(context.control.view, words)


def _enable(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.set_frontend(_frontend(context, words), True, context.asker)
    return ""


def _disable(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.set_frontend(_frontend(context, words), False, context.asker)
    return ""


def _shutdown_frontend(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.shutdown_frontend(_frontend(context, words), context.asker)
    return ""


def _maxconn_frontend(context: Context, words: list[str], _payload: str | None) -> str:
    name = named.frontend(context.control.view(), _frontend(context, words)).name
    number = _number(_word(words, 1), "Integer value expected.")
    if number < 0:
        raise AdminError("Value out of range.")
    context.control.set_frontend_maxconn(name, number, context.asker)
    return ""


def _maxconn_server(context: Context, words: list[str], _payload: str | None) -> str:
    key = named.server(context.control.view(), named.split_key(words)).key
    text = _word(words, 1)
    if not text:
        raise AdminError("Require <maxconn>.")
    number = _number(text, "maxconn string empty or preceded by garbage")
    if number < 0:
        raise AdminError("Value out of range.")
    context.control.set_server_maxconn(key, number, context.asker)
    return ""


# ---- the process ----


def _maxconn_global(context: Context, words: list[str], _payload: str | None) -> str:
    number = _number(_word(words, 0), "Expects an integer value.")
    if number < 0:
        raise AdminError("Value out of range.")
    context.control.set_maxconn(number, context.asker)
    return ""


def _rate_limit(context: Context, words: list[str], _payload: str | None) -> str:
    if _word(words, 0) not in ("connections", "sessions") or _word(words, 1) != "global":
        raise AdminError(_RATES)
    number = _number(_word(words, 2), "Expects an integer value.")
    if number < 0:
        raise AdminError("Value out of range.")
    context.control.set_rate_limit(words[0], number, context.asker)
    return ""


def _clear_counters(context: Context, words: list[str], _payload: str | None) -> str:
    what = _word(words, 0)
    if what in ("all", "server") and context.level < Level.ADMIN:
        raise AdminError("Permission denied")
    if what == "server":
        context.control.clear_counters(True, _server(context, words[1:]))
    else:
        context.control.clear_counters(what == "all")
    context.control.note(f"counters were cleared by {context.asker}")
    return ""


# ---- sessions ----


def _shutdown_session(context: Context, words: list[str], _payload: str | None) -> str:
    """The number that `show sess` begins a line with; 0x before it makes it hexadecimal, and
    the colon may stay at its end."""
    serial = leading_number(_word(words, 0))
    if serial <= 0:
        raise AdminError("Session pointer expected (use 'show sess').")
    context.control.kill_session(serial, context.asker)
    return ""


def _shutdown_sessions(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.kill_server_sessions(_server(context, words), context.asker)
    return ""


# ---- listening sockets ----


async def _getsocks(context: Context, _words: list[str], _payload: str | None) -> str:
    """How many there are, then messages of up to _AT_ONCE, each but the last acknowledged
    by the number that arrived. Who may have them is what `expose-fd listeners` says, not the
    level; without it the connection just ends."""
    client = context.client
    client.closing = True
    if not client.expose_listeners:
        return ""
    assert client.send_descriptors is not None
    assert client.read_exactly is not None
    context.control.note(f"the listening sockets are handed to {context.asker}")
    # copies, so that a reload in the middle changes nothing
    listening = context.control.listening()
    copies = [os.dup(descriptor) for _, descriptor in listening]
    described = [_described(interface) for interface, _ in listening]
    try:
        await client.send_descriptors([], _COUNT.pack(len(copies)))
        for start in range(0, len(copies), _AT_ONCE):
            some = copies[start : start + _AT_ONCE]
            data = b"".join(described[start : start + _AT_ONCE])
            await client.send_descriptors(some, data)
            if start + _AT_ONCE < len(copies):
                arrived = _COUNT.unpack(await client.read_exactly(_COUNT.size))[0]
                if arrived != len(some):
                    break
    finally:
        for each in copies:
            os.close(each)
    return ""


def _described(interface: str) -> bytes:
    """No network namespace, the interface it is bound to, no options."""
    name = interface.encode()
    return b"\0" + bytes([len(name)]) + name + _COUNT.pack(0)


# ---- the supervisor ----


async def _reload(context: Context, _words: list[str], _payload: str | None) -> str:
    context.control.note(f"a reload was asked for by {context.asker}")
    told = await context.control.ask_supervisor({"request": "reload"})
    error = told.get("error")
    lines = [str(each) for each in told.get("messages", ())]
    if error is not None:
        lines.append(str(error))
    return "\n".join([f"Success={int(error is None)}", "--", *lines]) + "\n"


async def _show_proc(context: Context, _words: list[str], _payload: str | None) -> str:
    told = await context.control.ask_supervisor({"request": "proc"})
    if told.get("error") is not None:
        raise AdminError(str(told["error"]))
    return processes(told)


def processes(told: Mapping[str, Any]) -> str:
    """`show proc` from what lbsplice.kinship.processes told. Among HAProxy's programs stand
    the vaults, which it has not."""
    master = told["supervisor"]
    reloads = f"{master['reloads']} [failed: {master['failed']}]"
    lines = [
        _columns("#<PID>", "<type>", "<reloads>", "<uptime>", "<version>"),
        _columns(master["pid"], "master", reloads, _uptime(master["uptime_s"])),
        "# workers",
        *_processes(told["workers"], "worker"),
    ]
    if told.get("old_workers"):
        lines += ["# old workers", *_processes(told["old_workers"], "worker")]
    lines += ["# programs", *_processes(told.get("vaults", ()), "vault")]
    return "\n".join(lines) + "\n"


def _processes(some: Iterable[Mapping[str, Any]], kind: str) -> Iterator[str]:
    for each in some:
        yield _columns(each["pid"], kind, each["reloads"], _uptime(each["uptime_s"]))


def _columns(
    pid: object, kind: str, reloads: object, uptime: str, version: str = HAPROXY_VERSION
) -> str:
    return f"{pid!s:<15} {kind:<15} {reloads!s:<15} {uptime:<15} {version:<15}"


def _uptime(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}d{hour:02}h{minute:02}m{second:02}s"


COMMANDS: tuple[Command, ...] = (
    Command(
        ("enable", "frontend"),
        Level.ADMIN,
        "enable frontend <frontend> : accept again",
        _enable,
    ),
    Command(
        ("disable", "frontend"),
        Level.ADMIN,
        "disable frontend <frontend> : accept nobody until it is enabled",
        _disable,
    ),
    Command(
        ("shutdown", "frontend"),
        Level.ADMIN,
        "shutdown frontend <frontend> : accept nobody until the next reload",
        _shutdown_frontend,
    ),
    Command(
        ("set", "maxconn", "frontend"),
        Level.ADMIN,
        "set maxconn frontend <frontend> <value> : how many sessions it may have",
        _maxconn_frontend,
    ),
    Command(
        ("set", "maxconn", "server"),
        Level.ADMIN,
        "set maxconn server <bk>/<srv> : how many sessions it may have (0 only)",
        _maxconn_server,
    ),
    Command(
        ("set", "maxconn", "global"),
        Level.ADMIN,
        "set maxconn global <value> : how many sessions there may be in all",
        _maxconn_global,
    ),
    Command(
        ("set", "rate-limit"),
        Level.ADMIN,
        "set rate-limit <setting> <value> : connections or sessions a second (0 only)",
        _rate_limit,
    ),
    Command(
        ("clear", "counters"),
        Level.OPERATOR,
        "clear counters [all|server <bk>/<srv>] : forget the highest values, or all counts",
        _clear_counters,
    ),
    Command(
        ("shutdown", "session"),
        Level.ADMIN,
        "shutdown session [id] : end the session of this number",
        _shutdown_session,
    ),
    Command(
        ("shutdown", "sessions", "server"),
        Level.ADMIN,
        "shutdown sessions server <bk>/<srv> : end all sessions of a server",
        _shutdown_sessions,
    ),
    Command(("_getsocks",), Level.USER, "", _getsocks),
    Command(("reload",), Level.ADMIN, "reload : read the configuration again", _reload),
    Command(("show", "proc"), Level.USER, "show proc : supervisor, workers and vaults", _show_proc),
)
