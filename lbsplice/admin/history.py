"""What happened since the service began, over the lives of its workers: kept as text in
the journal, so that a successor goes on with it.

Times are monotonic seconds unless a name says otherwise; they hold until the machine
starts anew."""

from __future__ import annotations

import json
from dataclasses import dataclass

from lbsplice.plain import PlainError, made, plain

MOST_TRANSITIONS = 200


@dataclass(frozen=True, slots=True)
class Passed:
    """A server's transition, with the sessions that ended by it."""

    number: int  # counted from the first one on
    at_unix: float
    backend: str
    server: str
    before: str
    after: str
    why: str
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Counting:
    """The end of a server's sessions is under way: `killed` stood at so much before."""

    transition: int
    slot: int
    killed: int
    until: float


@dataclass(frozen=True, slots=True)
class BackendPast:
    """When a backend had its last change between some servers and none, how often it had
    none left, and for how long."""

    name: str
    changed_at: float
    downs: int = 0
    down_since: float | None = None
    down_before: float = 0.0

    def downtime(self, now: float) -> float:
        """Seconds without a server in all."""
        return self.down_before + (0.0 if self.down_since is None else now - self.down_since)


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest rate of something (`kind` and its number in the tables)."""

    kind: str
    number: int
    per_second: int


@dataclass(frozen=True, slots=True)
class ChecksBase:
    """What a server's checks stood at when its counters were cleared."""

    slot: int
    failed: int
    downs: int


@dataclass(frozen=True, slots=True)
class History:
    """`began` is the start of the first worker. `crashes` are workers that died, and
    `adoptions` all that were succeeded, on purpose or not."""

    began: float = 0.0
    began_unix: float = 0.0
    boot_ms: int = 0  # from the start of the program to the first worker at work
    adoptions: int = 0
    crashes: int = 0
    dropped_logs: int = 0
    warnings: int = 0  # in the log, beside those of the start
    transitions: tuple[Passed, ...] = ()
    counting: tuple[Counting, ...] = ()
    backends: tuple[BackendPast, ...] = ()
    peaks: tuple[Peak, ...] = ()
    checks: tuple[ChecksBase, ...] = ()

    def to_text(self) -> str:
        """For the journal."""
        return json.dumps(plain(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> History | None:
        """None where nothing was written, or nothing that can be read."""
        try:
            return made(cls, json.loads(text)) if text else None
        except (PlainError, json.JSONDecodeError):
            return None
