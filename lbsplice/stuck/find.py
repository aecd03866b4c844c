"""From legs to sessions: who holds them, and which client's leg belongs to each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lbsplice.kernel.sockdiag import SocketWatch, TcpSocket
from lbsplice.stuck.line import Line, LineLost
from lbsplice.stuck.owners import Owner, describe, listens, owners_of, sockets_of
from lbsplice.stuck.pairing import Pair, pairs
from lbsplice.stuck.selection import CONNECTED, Selection, is_loopback
from lbsplice.stuck.session import Stuck
from lbsplice.stuck.statements import ServerName, ServerState, read_loads, read_sessions

_TCP_MODE = "tcp"
_HAPROXY = "haproxy"


@dataclass(frozen=True)
class Worker:
    """A worker of HAProxy that can be asked. `pid`: what it says of itself, which in a
    container means nothing here."""

    pid: int
    line: Line


class Finder:
    """Finds sessions in the network namespace of `watch`."""

    def __init__(self, watch: SocketWatch, *, include_loopback: bool = False) -> None:
        self._watch = watch
        self._include_loopback = include_loopback

    def selected(
        self, selection: Selection, own: set[int], workers: Iterable[Worker] = ()
    ) -> list[Stuck]:
        """All that a selection matches, with both legs where one of `workers` tells them."""
        ports = [end.port or 0 if end else 0 for end in (selection.src, selection.dst)]
        seen = self._watch.sockets(selection.states, local_port=ports[0], peer_port=ports[1])
        legs = [leg for leg in seen if selection.matches(leg, own)]
        owners = owners_of({leg.inode for leg in legs})
        legs_of = self._pairs(workers, legs, owners, None)
        return [self._stuck(leg, owners, legs_of.get(leg.identity)) for leg in legs]

    def of_server(
        self, server: ServerState, workers: Sequence[Worker], known: set[bytes]
    ) -> list[Stuck]:
        """The sessions of one server of HAProxy: those that its workers tell of, and those of
        old workers that can not be asked. `known`: legs that are not wanted again.

        Health checks and connections that are not yet established are none."""
        seen = self._watch.sockets(CONNECTED, peer_port=server.port)
        legs = [
            leg
            for leg in seen
            if leg.peer[0] == server.address
            and leg.identity not in known
            and (self._include_loopback or not is_loopback(leg))
        ]
        if not legs:
            return []
        owners = owners_of({leg.inode for leg in legs})
        legs_of = self._pairs(workers, legs, owners, server.name)
        unasked = self._unasked(owners, {worker.pid for worker in workers})
        found = []
        for leg in legs:
            if leg.identity in legs_of:
                found.append(self._stuck(leg, owners, legs_of[leg.identity]))
            elif server.port and any(each.pid in unasked for each in owners.get(leg.inode, ())):
                found.append(Stuck(leg, None, tuple(owners[leg.inode]), server.name))
        return found

    def _stuck(
        self, leg: TcpSocket, owners: dict[int, list[Owner]], pair: Pair[TcpSocket] | None
    ) -> Stuck:
        holders = tuple(owners.get(leg.inode, ()))
        if pair is None:
            return Stuck(leg, None, holders)
        client = pair.client_leg
        if client and not self._include_loopback and is_loopback(client):
            client = None
        return Stuck(leg, client, holders, pair.server)

    def _pairs(
        self,
        workers: Iterable[Worker],
        legs: Iterable[TcpSocket],
        owners: dict[int, list[Owner]],
        only: ServerName | None,
    ) -> dict[bytes, Pair[TcpSocket]]:
        """The sessions that workers tell of, by the identity of the server's leg."""
        wanted = {leg.identity for leg in legs}
        holders = {each.pid for found in owners.values() for each in found}
        asked = list(workers)
        if not (wanted and asked):
            return {}
        sockets = {each.inode: each for each in self._watch.sockets(CONNECTED) if each.inode}
        tables = {
            pid: {fd: sockets[inode] for fd, inode in sockets_of(pid).items() if inode in sockets}
            for pid in holders
        }
        found: dict[bytes, Pair[TcpSocket]] = {}
        for worker in asked:
            for pair in self._told(worker, tables, only):
                if pair.server_leg.identity in wanted:
                    found[pair.server_leg.identity] = pair
        return found

    def _told(
        self,
        worker: Worker,
        tables: dict[int, dict[int, TcpSocket]],
        only: ServerName | None,
    ) -> list[Pair[TcpSocket]]:
        """What one worker tells, as sockets. In HTTP the client's connection is left to
        HAProxy, which answers there that the server is gone."""
        try:
            loads = read_loads(worker.line.ask("show stat"))
            if only is not None and (only not in loads or not loads[only].sessions):
                return []
            sessions = read_sessions(worker.line.ask("show sess"))
        except LineLost:
            return []  # it has just ended, and its sessions with it
        certain = worker.pid in tables
        found: list[Pair[TcpSocket]] = []
        for pid in (worker.pid,) if certain else tables:
            for pair in pairs(sessions, tables[pid], certain=certain):
                if only not in (None, pair.server):
                    continue
                load = loads.get(pair.server)
                if load is None or load.mode != _TCP_MODE:
                    pair = Pair(pair.server, None, pair.server_leg)
                found.append(pair)
        return found

    def _unasked(self, owners: dict[int, list[Owner]], asked: set[int]) -> set[int]:
        """The old workers among the owners that can not be asked: HAProxy by name, and
        listening no more. One that listens is another HAProxy, with checks of its own."""
        names = {_HAPROXY} | {each.name for each in map(describe, asked) if each}
        candidates = {
            each.pid
            for found in owners.values()
            for each in found
            if each.name in names and each.pid not in asked
        }
        if not candidates:
            return set()
        listening = {each.inode for each in self._watch.sockets(("LISTEN",))}
        return {pid for pid in candidates if not listens(pid, listening)}
