"""What an operator calls servers, backends and sessions: looked up in a running process, and
completed by a shell from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from lbsplice.admin.spans import span_text
from lbsplice.cli.client import Lbsplice, Refused, Where
from lbsplice.errors import LbspliceError

_FEW = 8
_MOST_COMPLETED = 10_000


def servers_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    """All servers, in the order of the file."""
    return [server for backend in status["backends"] for server in backend["servers"]]


def name_of_server(server: dict[str, Any]) -> str:
    return f"{server['backend']}/{server['name']}"


def _names(status: dict[str, Any]) -> list[str]:
    return [name_of_server(server) for server in servers_of(status)]


def resolve(status: dict[str, Any], name: str) -> str:
    """`backend/server` from that, or from a server's name alone where one backend only has
    it. Raises Refused."""
    names = _names(status)
    if name in names:
        return name
    found = [each for each in names if each.partition("/")[2] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"several backends have a server '{name}': {_some(found)}")
    of_backend = [each for each in names if each.partition("/")[0] == name]
    if of_backend:
        raise Refused(f"'{name}' is a backend; its servers are: {_some(of_backend)}")
    raise unknown("server", name, names)


def unknown(what: str, name: str, names: Sequence[str]) -> Refused:
    """There is no such thing: with those that may be meant, or some of those that there are."""
    ends = {each.partition("/")[2]: each for each in reversed(names)}
    near = [*get_close_matches(name, names), *map(ends.get, get_close_matches(name, ends))]
    if near:
        meant = list(dict.fromkeys(filter(None, near)))
        return Refused(f"no {what} '{name}'; close to it: {_some(meant)}")
    return Refused(f"no {what} '{name}'; there are: {_some(names)}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW]) or 'none'}{more}"


# ---- sessions ----


Ids = TypeVar("Ids", str, tuple[str, ...])


def session_ids(context: click.Context, parameter: click.Parameter, value: Ids) -> Ids:
    """The callback of an argument of one session's id or several, as `lbsplice sessions`
    shows them."""
    for each in (value,) if isinstance(value, str) else value:
        try:
            int(each, 0)
        except ValueError:
            raise click.BadParameter(
                f"'{each}' is no session's id, such as 0x1f", context, parameter
            ) from None
    return value


def _sessions(there: Lbsplice) -> list[dict[str, Any]]:
    words = ("lbsplice", "show", "sessions", "json", "quick", "limit", str(_MOST_COMPLETED))
    return there.objects(*words)


def _described(session: dict[str, Any]) -> str:
    server = f"{session['backend'] or '-'}/{session['server'] or '<NOSRV>'}"
    return f"{session['client']} -> {server}  open {span_text(session['age_ms'])}"


# ---- for the shell ----


def complete_session(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The open sessions of the running process, each with who it is."""
    return [
        CompletionItem(session["id"], help=_described(session))
        for session in _from(context, _sessions)
        if session["id"].startswith(incomplete)
    ]


def complete_server(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """The servers of the running process."""
    return _matching(_names(_status(context)), incomplete)


def complete_backend(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    return _matching(_backends(_status(context)), incomplete)


def complete_either(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Backends, and servers once a backend is chosen or nothing else fits."""
    status = _status(context)
    backends = _matching(_backends(status), incomplete)
    servers = _matching(_names(status), incomplete)
    return servers if "/" in incomplete else [*backends, *servers]


def _backends(status: dict[str, Any]) -> list[str]:
    return [backend["name"] for backend in status["backends"]]


def _matching(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _status(context: click.Context) -> dict[str, Any]:
    (status,) = _from(context, lambda there: [there.status()]) or [{"backends": []}]
    return status


def _from(
    context: click.Context, ask: Callable[[Lbsplice], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """What the process says that the line so far means; nothing where none answers."""
    given = context.params
    where = Where(given.get("socket_"), tuple(given.get("files") or ()), given.get("pid"))
    try:
        return ask(where.find())
    except LbspliceError:
        return []
