"""The commands that are about the conversation itself."""

from __future__ import annotations

from lbsplice.admin.commands import Command, Context, Said
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.errors import UnitError
from lbsplice.units import parse_duration

_PROMPT_HELP = """\
Usage: prompt [help | n | i | p | timed]*
Changes the interactive mode:
  help   this text
  n      not interactive: one line of commands per connection
  i      interactive, without a prompt
  p      interactive, with a prompt
  timed  with or without the time since the start in the prompt
Without an argument: from n to p, and back to n.
"""


def _prompt(context: Context, words: list[str], _payload: str | None) -> str:
    client = context.client
    for word in words:
        if word == "help":
            return _PROMPT_HELP
        if word == "timed":
            client.timed = not client.timed
            client.interactive = client.prompt = True
        elif word in ("n", "i", "p"):
            client.interactive = word != "n"
            client.prompt = word == "p"
        else:
            raise AdminError(_PROMPT_HELP)
    if not words:
        client.prompt = client.interactive = not client.prompt
    return ""


def _quit(context: Context, _words: list[str], _payload: str | None) -> str:
    context.client.closing = True
    return ""


def _echo(_context: Context, words: list[str], _payload: str | None) -> Said:
    return Said(" ".join(words) + "\n")


def _operator(context: Context, _words: list[str], _payload: str | None) -> str:
    context.level = Level.OPERATOR
    return ""


def _user(context: Context, _words: list[str], _payload: str | None) -> str:
    context.level = Level.USER
    return ""


def _show_level(context: Context, _words: list[str], _payload: str | None) -> Said:
    return Said(context.level.word)


def _show_sockets(context: Context, _words: list[str], _payload: str | None) -> str:
    return context.client.sockets()


def _set_timeout(context: Context, words: list[str], _payload: str | None) -> str:
    if words[:1] != ["cli"]:
        raise AdminError("'set timeout' only supports 'cli'.")
    if len(words) < 2:
        raise AdminError("Expects an integer value.")
    try:
        milliseconds = parse_duration(words[1], "s", "ms")
    except UnitError:
        milliseconds = 0
    if milliseconds < 1:
        raise AdminError("Invalid timeout value.")
    context.client.timeout_s = milliseconds / 1000
    return ""


def _set_severity(context: Context, words: list[str], _payload: str | None) -> str:
    if words[:1] not in (["none"], ["number"], ["string"]):
        raise AdminError("one of 'none', 'number', 'string' is a required argument")
    context.client.severity_output = words[0]
    return ""


def _expert(context: Context, words: list[str], _payload: str | None) -> str | Said:
    if not words:
        return Said(f"expert-mode is {'ON' if context.client.expert else 'OFF'}")
    context.client.expert = words[0] == "on"
    return ""


def _experimental(context: Context, words: list[str], _payload: str | None) -> str | Said:
    if not words:
        return Said(f"experimental-mode is {'ON' if context.client.experimental else 'OFF'}")
    context.client.experimental = words[0] == "on"
    return ""


COMMANDS: tuple[Command, ...] = (
    Command(("prompt",), Level.USER, "", _prompt),
    Command(("quit",), Level.USER, "", _quit),
    Command(("echo",), Level.USER, "echo <text> : say it again", _echo),
    Command(
        ("operator",),
        Level.OPERATOR,
        "operator : be an operator from now on",
        _operator,
    ),
    Command(("user",), Level.USER, "user : be a user from now on", _user),
    Command(
        ("show", "cli", "level"),
        Level.USER,
        "show cli level : what this connection may do",
        _show_level,
    ),
    Command(
        ("show", "cli", "sockets"),
        Level.USER,
        "show cli sockets : the stats sockets and their levels",
        _show_sockets,
    ),
    Command(
        ("set", "timeout"),
        Level.USER,
        "set timeout [cli] <delay> : how long this connection may say nothing",
        _set_timeout,
    ),
    Command(
        ("set", "severity-output"),
        Level.USER,
        "set severity-output [none|number|string] : whether sentences tell how severe they are",
        _set_severity,
    ),
    Command(("expert-mode",), Level.ADMIN, "", _expert),
    Command(("experimental-mode",), Level.ADMIN, "", _experimental),
)
