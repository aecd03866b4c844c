"""The worker process's own copies of the listening sockets, over its whole life."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lbsplice.listeners import Held
from lbsplice.plain import made, plain
from lbsplice.plan.slots import ListenerKey

Row = list[Any]
"""A socket of a Reload: its place among those of before (-1: it is the next of the
descriptors that come along), and what it is as a Held in JSON."""


def rows(before: Sequence[Held], after: Sequence[Held]) -> tuple[list[Row], list[int]]:
    """How the supervisor tells of its sockets after a reload, and the descriptors to send."""
    places = {held.descriptor: place for place, held in enumerate(before)}
    told = [[places.get(held.descriptor, -1), plain(held)] for held in after]
    return told, [held.descriptor for held in after if held.descriptor not in places]


class WorkerListeners:
    """Those in use, in the order of the configuration."""

    def __init__(self, held: Sequence[Held], sockets: dict[ListenerKey, socket.socket]) -> None:
        self.sockets = sockets
        self._held = tuple(held)

    def held(self) -> tuple[Held, ...]:
        """For another supervisor."""
        numbers = [one.fileno() for one in self.sockets.values()]
        pairs = zip(self._held, numbers, strict=True)
        return tuple(replace(held, descriptor=number) for held, number in pairs)

    def read(self, told: Sequence[Row], descriptors: Sequence[int]) -> WorkerListeners:
        """Those of a Reload. They are in use once the relay threads have the plan with
        them: go on with the answer then and close those that are in `gone` from there to
        here; after a refusal the other way round."""
        present = list(self.sockets.values())
        arrived = iter(descriptors)
        held = [made(Held, row[1]) for row in told]
        sockets = [
            present[place] if place >= 0 else socket.socket(fileno=next(arrived))
            for place, _ in told
        ]
        keys = [(each.frontend, each.index) for each in held]
        return WorkerListeners(held, dict(zip(keys, sockets, strict=True)))

    def gone(self, after: WorkerListeners) -> list[socket.socket]:
        """Sockets that are not in use any more."""
        staying = {id(one) for one in after.sockets.values()}
        return [one for one in self.sockets.values() if id(one) not in staying]

    def retire(self) -> None:
        """Listen no more, while relay threads may still know the descriptors: each number
        goes on to exist, for a socket that is nothing. A freed number could meet a new
        session's socket that a thread then takes for a listener."""
        with socket.socket() as nothing:
            for one in self.sockets.values():
                os.dup2(nothing.fileno(), one.fileno(), inheritable=False)
