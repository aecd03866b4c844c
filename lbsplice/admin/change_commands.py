"""The commands that change servers, in HAProxy's words. What they do is the Control's."""

from __future__ import annotations

import asyncio

from lbsplice.admin import change_commands_process, named
from lbsplice.admin.commands import Command, Context, Said
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.admin.view import ServerView
from lbsplice.errors import UnitError
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import AdminState, LogLevel
from lbsplice.units import parse_duration

_STATES = {state.value: state for state in AdminState}
_HEALTH = {"up": True, "stopping": None, "down": False}
_NO_AGENT = "agent checks are not enabled on this server."
_USAGE = (
    "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | "
    "fqdn | health | ssl | state | weight"
)
_LOOK_AGAIN_S = 0.05


def _server(context: Context, words: list[str]) -> ServerView:
    """The server that a command names first, as it is now."""
    return named.server(context.control.view(), named.split_key(words))


def _key(context: Context, words: list[str]) -> ServerKey:
    return named.server_key(context.control.view, words)


def _word(words: list[str], at: int) -> str:
    return words[at] if at < len(words) else ""


# ---- set server ----


def _set_server(context: Context, words: list[str], _payload: str | None) -> str | Said:
    key = _key(context, words)
    what, value = _word(words, 1), _word(words, 2)
    if what == "state" and value in _STATES:
        context.control.set_admin(key, _STATES[value], context.asker)
        return ""
    if what == "health" and value in _HEALTH:
        context.control.set_health(key, _HEALTH[value], context.asker)
        return ""
    if what == "weight":
        return _weigh(context, words, value)
    if what == "addr" and value:
        return _set_address(context, key, words[2:])
    _server(context, words)
    raise AdminError(_WRONG.get(what, _USAGE))


_WRONG = {
    "state": "'set server <srv> state' expects 'ready', 'drain' and 'maint'.",
    "health": "'set server <srv> health' expects 'up', 'stopping', or 'down'.",
    "addr": "set server <b>/<s> addr requires an address and optionally a port.",
    "agent": _NO_AGENT,
    "agent-addr": _NO_AGENT,
    "agent-port": _NO_AGENT,
    "agent-send": _NO_AGENT,
    "fqdn": "set server <b>/<s> fqdn failed because no resolution is configured.",
    "ssl": "'set server <srv> ssl' cannot be set.  default-server should define ssl settings",
}


def _set_address(context: Context, key: ServerKey, words: list[str]) -> Said:
    """`ADDRESS [port P]`; HAProxy passes over other words as well."""
    port = _word(words, 2) if _word(words, 1) == "port" else None
    said = context.control.set_address(key, words[0], port, context.asker)
    return Said(said, LogLevel.NOTICE)


# ---- weight ----


def _get_weight(context: Context, words: list[str], _payload: str | None) -> str:
    server = _server(context, words)
    return f"{server.user_weight} (initial {server.initial_weight})\n"


def _set_weight(context: Context, words: list[str], _payload: str | None) -> str:
    return _weigh(context, words, _word(words, 1))


def _weigh(context: Context, words: list[str], text: str) -> str:
    if not text:
        _server(context, words)
        raise AdminError("Require <weight> or <weight%>.")
    context.control.set_weight(_key(context, words), text, context.asker)
    return ""


# ---- enable, disable ----


def _enable_server(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.set_admin(_key(context, words), AdminState.READY, context.asker)
    return ""


def _disable_server(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.set_admin(_key(context, words), AdminState.MAINT, context.asker)
    return ""


def _enable_health(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.set_checks(_key(context, words), True, context.asker)
    return ""


def _disable_health(context: Context, words: list[str], _payload: str | None) -> str:
    context.control.set_checks(_key(context, words), False, context.asker)
    return ""


def _enable_agent(context: Context, words: list[str], _payload: str | None) -> str:
    _server(context, words)
    raise AdminError("Agent was not configured on this server, cannot enable.")


def _disable_agent(context: Context, words: list[str], _payload: str | None) -> str:
    _server(context, words)
    return ""


# ---- servers that come and go ----


def _add_server(context: Context, words: list[str], _payload: str | None) -> Said:
    backend, name = named.split_key(words)
    if backend.startswith("#"):
        backend = named.backend(context.control.view(), backend).name
    return Said(context.control.add_server((backend, name), words[1:], context.asker))


def _del_server(context: Context, words: list[str], _payload: str | None) -> Said:
    return Said(context.control.del_server(_key(context, words), context.asker))


_WAIT_USAGE = """\
Usage: wait {-h|<duration>} [condition [args...]]
  <duration>  the longest time to wait, in milliseconds or with a unit of its own: us, ms, s,
              m, h, d
  condition   what to wait for; without one, the whole duration:
    srv-removable <backend>/<server>   until `del server` would take that server away
"""


async def _wait(context: Context, words: list[str], _payload: str | None) -> Said:
    """The server, and whether the client is still there, are looked at every
    _LOOK_AGAIN_S: one that has left keeps nobody else out."""
    if _word(words, 0) in ("", "-h"):
        return Said(_WAIT_USAGE, LogLevel.INFO if words else LogLevel.ERR)
    try:
        delay_s = parse_duration(words[0], "ms", "ms") / 1000
    except UnitError:
        raise AdminError("Invalid duration.") from None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + delay_s
    removable = _removable(context, words[1:]) if len(words) > 1 else None
    while removable is None or not context.control.is_removable(removable):
        left = deadline - loop.time()
        if left <= 0 and removable is not None:
            raise AdminError("Wait delay expired.")
        if left <= 0 or context.client.has_left():
            break
        await asyncio.sleep(min(_LOOK_AGAIN_S, left))
    return Said("Done.")


def _removable(context: Context, condition: list[str]) -> ServerKey:
    """The server of the one condition that there is."""
    if condition[0] != "srv-removable":
        raise AdminError(f"Unknown condition '{condition[0]}'.\n{_WAIT_USAGE}")
    if len(condition) < 2:
        raise AdminError("Missing server name (<backend>/<server>).")
    return _server(context, condition[1:]).key


COMMANDS: tuple[Command, ...] = (
    Command(
        ("set", "server"),
        Level.ADMIN,
        "set server <bk>/<srv> [opts] : its state, health, weight or address",
        _set_server,
    ),
    Command(
        ("get", "weight"),
        Level.USER,
        "get weight <bk>/<srv> : the weight now, and the one in the file",
        _get_weight,
    ),
    Command(
        ("set", "weight"),
        Level.ADMIN,
        "set weight <bk>/<srv>  (DEPRECATED) : better `set server ... weight`",
        _set_weight,
    ),
    Command(
        ("enable", "server"),
        Level.ADMIN,
        "enable server  (DEPRECATED) : end maintenance; better `set server ... state ready`",
        _enable_server,
    ),
    Command(
        ("disable", "server"),
        Level.ADMIN,
        "disable server (DEPRECATED) : maintenance; better `set server ... state maint`",
        _disable_server,
    ),
    Command(
        ("enable", "health"),
        Level.ADMIN,
        "enable health : begin a server's health checks again",
        _enable_health,
    ),
    Command(
        ("disable", "health"),
        Level.ADMIN,
        "disable health : stop a server's health checks",
        _disable_health,
    ),
    Command(
        ("enable", "agent"),
        Level.ADMIN,
        "enable agent : begin agent checks (there are none)",
        _enable_agent,
    ),
    Command(
        ("disable", "agent"),
        Level.ADMIN,
        "disable agent : stop agent checks (there are none)",
        _disable_agent,
    ),
    Command(
        ("add", "server"),
        Level.ADMIN,
        "add server <bk>/<srv> : put a new server into a backend",
        _add_server,
    ),
    Command(
        ("del", "server"),
        Level.ADMIN,
        "del server <bk>/<srv> : take a server in maintenance away",
        _del_server,
    ),
    Command(
        ("wait",),
        Level.USER,
        "wait {-h|<delay>} cond [args...] : wait the time or until a condition holds (-h: usage)",
        _wait,
    ),
    *change_commands_process.COMMANDS,
)
