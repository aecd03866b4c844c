"""Which two sockets are one session of a proxy.

The kernel does not know; HAProxy does: `show sess` names both descriptors, /proc the sockets
behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from lbsplice.stuck.selection import Connection
from lbsplice.stuck.statements import ServerName, SessionLine

Socket = TypeVar("Socket", bound=Connection)


@dataclass(frozen=True)
class Pair(Generic[Socket]):
    """The legs of a session through a proxy. A client that is no TCP connection of its own (a
    unix socket, one HTTP/2 connection for several sessions) has none."""

    server: ServerName
    client_leg: Socket | None
    server_leg: Socket


def pairs(
    sessions: Iterable[SessionLine], sockets: Mapping[int, Socket], *, certain: bool
) -> list[Pair[Socket]]:
    """The legs of these sessions. `sockets`: the connections of one process, by descriptor.
    Unless it is `certain` to be the process that told of the sessions, the client's address
    must be the one that it told."""
    lines = list(sessions)
    carried = Counter(line.client_fd for line in lines)
    found = []
    for line in lines:
        client, server = sockets.get(line.client_fd), sockets.get(line.server_fd)
        if server is None or not (certain or (client and client.peer == line.client)):
            continue
        alone = carried[line.client_fd] == 1
        found.append(Pair(line.server, client if alone else None, server))
    return found
