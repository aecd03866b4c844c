"""lbsplice's own commands of the command language: what `lbsplice status`, `sessions`,
`explain`, `kill` and `top` are made of."""

from __future__ import annotations

from collections.abc import Callable

from lbsplice.admin import own_answers
from lbsplice.admin.commands import Answer, Command, Context, Handler
from lbsplice.admin.levels import Level


def _by(answer: Callable[[Context, list[str]], Answer]) -> Handler:
    """A handler for a command that takes no payload."""
    return lambda context, words, _payload: answer(context, words)


COMMANDS: tuple[Command, ...] = (
    Command(
        ("lbsplice", "show", "status"),
        Level.USER,
        "lbsplice show status [json]             : lbsplice: all servers, and what happened",
        _by(own_answers.status),
    ),
    Command(
        ("lbsplice", "show", "sessions"),
        Level.OPERATOR,
        "lbsplice show sessions [filters]        : lbsplice: open sessions, with the kernel's view",
        _by(own_answers.sessions),
    ),
    Command(
        ("lbsplice", "show", "session"),
        Level.OPERATOR,
        "lbsplice show session <id> [json]       : lbsplice: one session, explained",
        _by(own_answers.session),
    ),
    Command(
        ("lbsplice", "explain"),
        Level.OPERATOR,
        "lbsplice explain <id> [json]            : lbsplice: why it is open, and when it ends",
        _by(own_answers.explain),
    ),
    Command(
        ("lbsplice", "kill", "session"),
        Level.ADMIN,
        "lbsplice kill session <id>              : lbsplice: end a session",
        _by(own_answers.kill_session),
    ),
    Command(
        ("lbsplice", "kill", "server"),
        Level.ADMIN,
        "lbsplice kill server <b>/<s>            : lbsplice: end all sessions of a server",
        _by(own_answers.kill_server),
    ),
)
