"""What the supervisor and its worker process say to each other, over lbsplice/channel.py.

A message is a frozen dataclass of plain values. It travels as JSON by its name and the
names of its fields: unknown messages are passed over, unknown fields left out and missing
ones get their defaults, because an upgrade lets an old worker talk to a new supervisor.
A field of bytes travels beside the JSON, at most one a message; only the worker ever
unpickles such bytes, never the supervisor, which has more rights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, TypeAlias

# ---- supervisor to worker ----


@dataclass(frozen=True, slots=True)
class Reload:
    """Go on with another configuration: `configuration` is a pickled (Config, Limits).
    `sockets` has every listening socket, as lbsplice/worker_listeners.py reads it; those
    that are new come along."""

    configuration: bytes = b""
    sockets: list[list[Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Stop:
    """End: `hard` at once, else after the last session."""

    hard: bool = False
    cause: str = "K"


@dataclass(frozen=True, slots=True)
class Dump:
    """Write every server's state to the log."""


@dataclass(frozen=True, slots=True)
class Park:
    """Stand still for a successor."""


@dataclass(frozen=True, slots=True)
class CarryOn:
    """The successor did not come."""


@dataclass(frozen=True, slots=True)
class TakeOver:
    """To a successor: the one before stands still or is dead; take its descriptors."""


@dataclass(frozen=True, slots=True)
class Quit:
    """Be gone, at once: a successor has everything."""


@dataclass(frozen=True, slots=True)
class NewVault:
    """The vault is dead; make another one, on the socket that comes along."""


@dataclass(frozen=True, slots=True)
class Ping:
    number: int = 0


@dataclass(frozen=True, slots=True)
class Pid:
    """Another supervisor is here: this is the pid to be shown."""

    pid: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """To the Ask of this number."""

    number: int = 0
    reply: dict[str, Any] = field(default_factory=dict)


# ---- worker to supervisor ----


@dataclass(frozen=True, slots=True)
class Committed:
    """Everything is taken: from here on this worker's vault counts. A new ledger comes
    along if the old one was converted."""

    vault: int = 0


@dataclass(frozen=True, slots=True)
class Vault:
    """The pid of a vault that was asked for by NewVault."""

    pid: int = 0


@dataclass(frozen=True, slots=True)
class Adopted:
    """Sessions are relayed again."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Sessions are accepted, checks run."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """`error`: why nothing has changed. `needs_room`: larger tables would help."""

    error: str | None = None
    needs_room: bool = False


@dataclass(frozen=True, slots=True)
class Parked:
    """Nothing changes any more in ledger and journal."""


@dataclass(frozen=True, slots=True)
class Pong:
    number: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The last word. `error` is for the operator; None: it ended as it was told to."""

    error: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request of somebody that talks to the worker, for the supervisor to carry out."""

    number: int = 0
    request: dict[str, Any] = field(default_factory=dict)


ToWorker: TypeAlias = (
    Reload | Stop | Dump | Park | CarryOn | TakeOver | Quit | NewVault | Ping | Pid | Answer
)
ToSupervisor: TypeAlias = (
    Committed | Vault | Adopted | Ready | Reloaded | Parked | Pong | Ended | Ask
)
Message: TypeAlias = ToWorker | ToSupervisor

_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(Reload, Stop, Dump, Park, CarryOn, TakeOver, Quit, NewVault, Ping, Pid, Answer),
        *(Committed, Vault, Adopted, Ready, Reloaded, Parked, Pong, Ended, Ask),
    )
}


def encode(message: Message) -> tuple[bytes, bytes]:
    """Its JSON, and what travels beside it."""
    values: dict[str, Any] = {"kind": type(message).__name__}
    beside = b""
    for each in fields(message):
        value = getattr(message, each.name)
        if isinstance(value, bytes):
            beside = value
        else:
            values[each.name] = value
    return json.dumps(values).encode(), beside


def decode(text: bytes, beside: bytes) -> Message | None:
    """The message; None if this program does not know it, or if it is none: what a worker
    says is not trusted to be well said."""
    try:
        values = json.loads(text)
        kind = _KINDS[values["kind"]]
    except (ValueError, KeyError, TypeError):
        return None
    likeness = kind()
    arguments: dict[str, Any] = {}
    for each in fields(kind):
        usual = getattr(likeness, each.name)
        if isinstance(usual, bytes):
            arguments[each.name] = beside
        elif each.name in values:
            arguments[each.name] = value = values[each.name]
            if type(value) not in ((str, NoneType) if usual is None else (type(usual),)):
                return None
    return kind(**arguments)
