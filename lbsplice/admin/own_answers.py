"""What lbsplice's own commands answer (lbsplice.admin.own_commands): JSON, a value a line;
`explain` text as well.

The kernel is asked about a few sessions at a time, between which the checks and all others
have their turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import closing, suppress
from typing import Any

from lbsplice.admin.commands import Context
from lbsplice.admin.control import AdminError, Control
from lbsplice.admin.explain import Explanation, Question
from lbsplice.admin.explain import explain as explanation_of
from lbsplice.admin.explain_text import as_object, id_text, text
from lbsplice.admin.giving_up import System
from lbsplice.admin.objects import Kernel, session_object, status_object
from lbsplice.admin.session import SessionView
from lbsplice.admin.session_filter import Filter, parse_filter
from lbsplice.admin.view import ServerView
from lbsplice.errors import EnvironmentLacks
from lbsplice.kernel import sysctl
from lbsplice.kernel.legs import Legs
from lbsplice.plan.slots import ServerKey

_AT_ONCE = 32
"""So many places of the ledger are looked at in one turn: a few milliseconds."""

_UNKNOWN: Kernel = (None, None)


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


# ---- looking ----


def status(context: Context, words: list[str]) -> str:
    _only_json(words)
    return _line(status_object(context.control.view()))


def sessions(context: Context, words: list[str]) -> AsyncIterator[str]:
    return _listing(context.control, parse_filter(words))


async def _listing(control: Control, wanted: Filter) -> AsyncIterator[str]:
    found = 0
    first: int | None = 0
    with closing(Legs()) as legs:
        while first is not None:
            place = first
            some, first = control.sessions(place, _AT_ONCE)
            meant = [session for session in some if wanted.may_match(session)]
            pieces = []
            for session, kernel in _with_kernel(control, (place, first), meant, legs, wanted.quick):
                if wanted.matches(kernel):
                    pieces.append(_line(session_object(session, kernel)))
                    found += 1
                    if found == wanted.limit:
                        first = None
                        break
            if pieces:
                yield "".join(pieces)
            await asyncio.sleep(0)


def _with_kernel(
    control: Control,
    places: tuple[int, int | None],
    some: list[SessionView],
    legs: Legs,
    quick: bool,
) -> Iterable[tuple[SessionView, Kernel]]:
    """What the kernel knows of these sessions, which are at these places (from, until). The
    descriptors of one that has ended meanwhile may be another's by now: it is left out."""
    if quick or not some:
        return [(session, _UNKNOWN) for session in some]
    looked = [(session, _look(session, legs)) for session in some]
    still: set[tuple[int, tuple[int, int]]] = set()
    place: int | None = places[0]
    until = places[1]
    while place is not None and (until is None or place < until):
        now, place = control.sessions(place, _AT_ONCE)  # which may be fewer than before
        still.update((session.serial, _numbers(session)) for session in now)
    return [each for each in looked if (each[0].serial, _numbers(each[0])) in still]


def _look(session: SessionView, legs: Legs) -> Kernel:
    return legs.look(session.legs[0].fd), legs.look(session.legs[1].fd)


def _numbers(session: SessionView) -> tuple[int, int]:
    return session.legs[0].fd, session.legs[1].fd


def _one(control: Control, words: list[str]) -> tuple[SessionView, Kernel]:
    """The session that the first word names, and what the kernel knows of it."""
    serial = _serial(words)
    with closing(Legs()) as legs:
        session = control.session(serial)
        if session is None:
            raise _no_session(serial)
        kernel = _look(session, legs)
        after = control.session(serial)
    if after is None:
        raise _no_session(serial)
    return session, kernel if _numbers(after) == _numbers(session) else _UNKNOWN


def _no_session(serial: int) -> AdminError:
    return AdminError(f"No session {id_text(serial)} (any more).")


def _serial(words: list[str]) -> int:
    if not words:
        raise AdminError("Missing session's id (see 'lbsplice show sessions').")
    try:
        return int(words[0], 0)
    except ValueError:
        raise AdminError(f"'{words[0]}' is no session's id, such as 0x1f.") from None


def session(context: Context, words: list[str]) -> str:
    _only_json(words[1:])
    session, kernel = _one(context.control, words)
    return _line(_explained_object(context, session, kernel))


def explain(context: Context, words: list[str]) -> str:
    session, kernel = _one(context.control, words)
    if words[1:] == ["json"]:
        return _line(_explained_object(context, session, kernel))
    _only_json(words[1:])
    return text(_explained(context, session, kernel))


def _explained_object(context: Context, session: SessionView, kernel: Kernel) -> dict[str, Any]:
    found = _explained(context, session, kernel)
    return {**session_object(session, kernel), "explanation": as_object(found)}


def _explained(context: Context, session: SessionView, kernel: Kernel) -> Explanation:
    server = _server(context.control, session.server)
    return explanation_of(Question(session, kernel, server, context.config, _system()))


def _server(control: Control, key: ServerKey | None) -> ServerView | None:
    backend = None if key is None else control.view().backends.get(key[0])
    servers = () if backend is None else backend.servers
    return next((server for server in servers if server.key == key), None)


def _system() -> System:
    """The sysctls of our network; Linux's own where they are out of sight (a chroot)."""
    values = {}
    for name in ("retries2", "rto_max_ms"):
        with suppress(EnvironmentLacks, ValueError):
            value = sysctl.read(f"net.ipv4.tcp_{name}")
            if value is not None:
                values[name] = int(value)
    return System(**values)


def _only_json(words: list[str]) -> None:
    if words not in ([], ["json"]):
        raise AdminError(f"'{words[0]}' is not known here; 'json' is.")


# ---- changing ----


def kill_session(context: Context, words: list[str]) -> str:
    serial = _serial(words)
    _only_json(words[1:])
    if context.control.session(serial) is None:
        raise _no_session(serial)
    context.control.kill_session(serial, context.asker)
    return _line({"killed": 1})


def kill_server(context: Context, words: list[str]) -> str:
    backend, slash, name = words[0].partition("/") if words else ("", "", "")
    if not slash:
        raise AdminError("Missing server's name, as BACKEND/NAME.")
    _only_json(words[1:])
    return _line({"killed": context.control.kill_server_sessions((backend, name), context.asker)})
