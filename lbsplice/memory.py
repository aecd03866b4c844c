"""What the control plane has to remember across the death of its process: the content of
the journal, as values.

Readers of another release find what they know: unknown keys are passed over, missing ones
have their defaults. What can not be read at all is as if it had not been written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lbsplice.config.model import Config, Global, Proxy
from lbsplice.edits import Edits
from lbsplice.kill_orders import KillOrder, SessionOrder
from lbsplice.plain import PlainError, made, plain
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.leaving import Leaving
from lbsplice.plan.slots import Numbers, ServerKey
from lbsplice.server_state import ServerState
from lbsplice.terms import Cause

VERSION = 1
"""Raised when a reader of the version before could not make sense of it."""


@dataclass(frozen=True, slots=True)
class _Server:
    """A server's state and when it is asked next."""

    backend: str
    name: str
    state: ServerState
    due: float | None = None


@dataclass(frozen=True, slots=True)
class _Numbered:
    """An inventory in plain types."""

    proxies: tuple[Proxy, ...] = ()
    leaving: Leaving = field(default_factory=Leaving)
    listeners: tuple[tuple[str, int, int], ...] = ()
    frontends: tuple[tuple[str, int], ...] = ()
    backends: tuple[tuple[str, int], ...] = ()
    slots: tuple[tuple[str, str, int], ...] = ()


Base = tuple[int, tuple[int, ...]]
"""A number, and what its counters stood at when it was given to who has it now."""


@dataclass(frozen=True, slots=True)
class Bases:
    """The counters of numbers that somebody else had before, or that were cleared; `kills`
    are those of the process, by cause."""

    frontends: tuple[Base, ...] = ()
    backends: tuple[Base, ...] = ()
    slots: tuple[Base, ...] = ()
    listeners: tuple[Base, ...] = ()
    kills: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """`inventory` is the text of `inventory_text`. `ending` is set while all sessions are
    being ended. Times are monotonic seconds: they hold until the machine starts anew."""

    inventory: str
    generation: int = 0
    accepting: bool = True
    ending: Cause | None = None
    states: Mapping[ServerKey, ServerState] = field(default_factory=dict)
    due: Mapping[ServerKey, float] = field(default_factory=dict)
    kills: tuple[KillOrder, ...] = ()
    sessions: tuple[SessionOrder, ...] = ()
    bases: Bases = field(default_factory=Bases)
    history: str = ""  # the text of lbsplice.admin.history
    edits: Edits = field(default_factory=Edits)

    def to_json(self) -> dict[str, object]:
        """The object for the journal."""
        return {
            "version": VERSION,
            "inventory": self.inventory,
            "generation": self.generation,
            "accepting": self.accepting,
            "ending": plain(self.ending),
            "servers": [
                plain(_Server(*key, state, self.due.get(key))) for key, state in self.states.items()
            ],
            "kills": plain(self.kills),
            "sessions": plain(self.sessions),
            "bases": plain(self.bases),
            "history": self.history,
            "edits": plain(self.edits),
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Memory:
        """What such an object says. Raises PlainError if it is of a later version or not
        one of ours; a server or an order that can not be read is left out."""
        if made(int, state.get("version")) > VERSION:
            raise PlainError(f"the journal is of version {state['version']}, later than {VERSION}")
        servers = _each(_Server, state.get("servers"))
        return cls(
            inventory=made(str, state.get("inventory", "{}")),
            generation=made(int, state.get("generation", 0)),
            accepting=made(bool, state.get("accepting", True)),
            ending=made(Cause, state["ending"]) if state.get("ending") else None,
            states={(each.backend, each.name): each.state for each in servers},
            due={(s.backend, s.name): s.due for s in servers if s.due is not None},
            kills=_each(KillOrder, state.get("kills")),
            sessions=_each(SessionOrder, state.get("sessions")),
            bases=made(Bases, state.get("bases", {})),
            history=made(str, state.get("history", "")),
            edits=made(Edits, state.get("edits", {})),
        )


class Texts:
    """Makes the journal's text of one Memory after the other. With a thousand servers that
    takes a while, and is done often: what is the same object as the last time is not made
    again."""

    def __init__(self) -> None:
        self._servers: dict[ServerKey, tuple[ServerState, str]] = {}
        self._values: dict[str, tuple[object, str]] = {}

    def of(self, memory: Memory) -> str:
        """What `memory.to_json` says."""
        before, self._servers = self._servers, {}
        servers = []
        for key, state in memory.states.items():
            known = before.get(key)
            if known is None or known[0] is not state:
                known = (state, _dumped(plain(_Server(*key, state)))[:-1])
            self._servers[key] = known
            due = memory.due.get(key)
            servers.append(known[1] + ("}" if due is None else f',"due":{due!r}}}'))
        small = _dumped(replace(memory, inventory="", states={}, due={}, history="").to_json())
        rest = [
            f'"inventory":{self._text("inventory", memory.inventory)}',
            f'"history":{self._text("history", memory.history)}',
            f'"servers":[{",".join(servers)}]',
        ]
        return f"{small[:-1]},{','.join(rest)}}}"  # of two keys that are the same the last counts

    def _text(self, name: str, value: object) -> str:
        known = self._values.get(name)
        if known is None or known[0] is not value:
            known = self._values[name] = (value, _dumped(value))
        return known[1]


def _dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _each(kind: type[Any], items: Any) -> tuple[Any, ...]:
    found = []
    for item in items if isinstance(items, list) else ():
        try:
            found.append(made(kind, item))
        except PlainError:
            continue  # written by a release that knows more than this one
    return tuple(found)


def inventory_text(inventory: Inventory) -> str:
    """An inventory as text. It changes at a reload only, so it is written once."""
    numbers = inventory.numbers
    return json.dumps(
        plain(
            _Numbered(
                inventory.config.proxies,
                inventory.leaving,
                tuple((*key, n) for key, n in numbers.listeners.items()),
                tuple(numbers.frontends.items()),
                tuple(numbers.backends.items()),
                tuple((*key, n) for key, n in numbers.slots.items()),
            )
        ),
        separators=(",", ":"),
    )


def inventory_of(text: str) -> Inventory:
    """The inventory of such a text, without its `global` section. Raises PlainError."""
    try:
        found = made(_Numbered, json.loads(text))
    except json.JSONDecodeError as error:
        raise PlainError(f"the journal's inventory can not be read: {error}") from None
    return Inventory(
        Config(Global(), found.proxies),
        Numbers(
            {(name, index): n for name, index, n in found.listeners},
            dict(found.frontends),
            dict(found.backends),
            {(backend, name): n for backend, name, n in found.slots},
        ),
        found.leaving,
    )
