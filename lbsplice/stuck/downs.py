"""Which servers have been down long enough, and how many sessions may be ended now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lbsplice.stuck.statements import ServerName, ServerState


@dataclass(frozen=True)
class Change:
    """A server went down, or is down no more."""

    server: ServerState
    down: bool


class Downs:
    """Remembers since when each server is down. `only_backend`, `only_server`: those of other
    names are not looked at."""

    def __init__(
        self, for_s: float, only_backend: str | None = None, only_server: str | None = None
    ) -> None:
        self._for_s = for_s
        self._only = (only_backend, only_server)
        self._since: dict[ServerName, float] = {}
        self._states: dict[ServerName, ServerState] = {}

    def see(self, servers: Iterable[ServerState], now: float) -> list[Change]:
        """Take in what HAProxy says at `now`; what has changed. A server that is down when
        it is first seen counts from when HAProxy says it went down."""
        found = {server.name: server for server in servers if self._wanted(server.name)}
        changes = []
        for name, server in found.items():
            if server.down and name not in self._since:
                self._since[name] = now - server.since_s
                changes.append(Change(server, down=True))
        for name in list(self._since):
            present = found.get(name)
            if present is None or not present.down:
                del self._since[name]
                changes.append(Change(present or self._states[name], down=False))
        self._states = found
        return changes

    def due(self, now: float) -> list[ServerState]:
        """The servers that have been down for the given time."""
        return [
            self._states[name] for name, since in self._since.items() if now - since >= self._for_s
        ]

    def is_down(self, name: ServerName) -> bool:
        return name in self._since

    def _wanted(self, name: ServerName) -> bool:
        return all(only in (None, part) for only, part in zip(self._only, name, strict=True))


class Pace:
    """So many a second, evenly: after a pause no burst makes up for it."""

    def __init__(self, per_second: float) -> None:
        self._step = 1 / per_second
        self._next: float | None = None

    def wait_s(self, now: float) -> float:
        """How long until the next one may go; 0 for now."""
        return 0.0 if self._next is None else max(0.0, self._next - now)

    def went(self, now: float) -> None:
        """One has gone."""
        due = now if self._next is None else max(self._next, now - self._step)
        self._next = due + self._step
