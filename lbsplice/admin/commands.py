"""What a command of the command language is: its words, who may give it, what `help` says
of it and what carries it out. The tables of commands are elsewhere, one per subject."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from lbsplice.admin.control import Control
from lbsplice.admin.levels import Level
from lbsplice.config.model import Config
from lbsplice.terms import LogLevel


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence as an answer, in contrast to a listing: where the socket has a
    `severity-output`, it is told how severe it is."""

    text: str
    severity: LogLevel = LogLevel.INFO


@dataclass(slots=True)
class Client:
    """What a connection to a stats socket is set to, by its socket's line in the
    configuration and then by commands. `timeout_s` None: for ever."""

    severity_output: str = "none"  # none, number or string
    timeout_s: float | None = 10.0
    prompt: bool = False  # stays open, and says `> ` after each answer
    interactive: bool = False  # stays open
    timed: bool = False  # the prompt tells the uptime
    expose_listeners: bool = False  # may take the listening sockets
    expert: bool = False
    experimental: bool = False
    closing: bool = False  # after this answer
    send_descriptors: Callable[[list[int], bytes], Awaitable[None]] | None = None
    read_exactly: Callable[[int], Awaitable[bytes]] | None = None
    heard: Callable[[], Awaitable[None]] | None = None
    """Returns when the client has said anything or will say no more, however long that
    takes; what it said is dropped."""
    has_left: Callable[[], bool] = field(default=lambda: False)
    """Whether nobody reads the answer any more, as far as can be known without writing."""
    sockets: Callable[[], str] = field(default=lambda: "")
    """The listing of `show cli sockets`."""


@dataclass(slots=True)
class Context:
    """What a handler works with. `asker` is for the log: who gave the command."""

    control: Control
    config: Config
    level: Level
    asker: str
    client: Client = field(default_factory=Client)


Answer = str | Said | Iterator[str] | AsyncIterator[str]
Handler = Callable[[Context, list[str], str | None], Answer | Awaitable[Answer]]
"""Given the words after the command's own and the payload (None: there was none).

A listing that may be long is an iterator of pieces: the next one is asked for when the
client has taken the one before. An AdminError is told as an error; an empty answer is
the silent success."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that starts with `words`. One whose `help` is empty is not listed."""

    words: tuple[str, ...]
    level: Level
    help: str  # `show stat [desc|json]  : report counters ...` without the blanks before it
    handler: Handler
