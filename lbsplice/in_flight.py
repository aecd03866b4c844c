"""A connection that a worker had accepted when it died, and had no time to note.

The ledger says from which listener a thread was accepting at that moment. Whatever the
dead table holds that no record names, and that has that listener's address, is its new
session's."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Mapping

from lbsplice.dataplane import ledger, vault

_BEYOND = 64
"""So far above the highest number of the ledger there may be such a socket."""


def rescue(
    memory: int,
    guardian: int,
    request: socket.socket,
    listeners: Callable[[], Mapping[int, socket.socket]],
) -> list[tuple[int, socket.socket]]:
    """Take such sockets from the vault, each with the number of its listener. Call after
    all else was taken: what has its number here is not looked for. `memory` is the ledger,
    `listeners` says which socket has which number; it is asked only if there is need."""
    found = []
    accepting = set(ledger.accepting(memory))
    wanted = {n: one for n, one in listeners().items() if n in accepting} if accepting else {}
    if wanted:
        highest = ledger.highest(memory)
        for number in range(3, highest + _BEYOND):
            if number <= highest and _is_open(number):
                continue
            with contextlib.suppress(OSError):
                taken = vault.take_one(guardian or None, request, number)
                one = None if taken is None else _accepted(taken, wanted)
                if one is not None:
                    found.append(one)
    return found


def _is_open(number: int) -> bool:
    try:
        os.get_inheritable(number)
    except OSError:
        return False
    return True


def _accepted(
    taken: int, listeners: Mapping[int, socket.socket]
) -> tuple[int, socket.socket] | None:
    """The descriptor as a session's socket, or None: it was something else, and is closed."""
    if not stat.S_ISSOCK(os.fstat(taken).st_mode):
        os.close(taken)
        return None
    one = socket.socket(fileno=taken)
    with contextlib.suppress(OSError):
        if one.type == socket.SOCK_STREAM and not _listens(one):
            for number, listener in listeners.items():
                if _is_of(one, listener):
                    return number, one
    one.close()
    return None


def _listens(one: socket.socket) -> bool:
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _is_of(one: socket.socket, listener: socket.socket) -> bool:
    """Has this socket the address that sockets accepted from the listener have?"""
    if one.family != listener.family:
        return False
    own, listening = one.getsockname(), listener.getsockname()
    if one.family == socket.AF_UNIX:
        return bool(own) and own == listening
    return own[1] == listening[1] and _host(listening[0]) in ("", _host(own[0]))


def _host(text: str) -> str:
    """An address to compare; "" stands for every one."""
    text = text.removeprefix("::ffff:")
    return "" if text in ("0.0.0.0", "::") else text
