"""What the two ends of a session do. The first bytes of a client name the kind and a
number; both ends know the rest from that."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("!4sII")  # the magic, the kind, the session's number
MAGIC = b"tort"

UNTIL_TOLD = -1


class Kind(IntEnum):
    STREAM = 0  # both ends send as fast as they are allowed, until told
    SLOW = 1  # the same, and both read slowly: the pipes are full
    ECHO = 2  # a message, its answer, the next message
    IDLE = 3  # nothing, until told: one byte and its answer
    CLIENT_SHUT = 4  # the client has sent its end; the server sends until told
    SERVER_SHUT = 5
    ASK = 6  # short: a request and its answer
    ASK_SHUT = 7  # the same, and the request ends with the client's end
    BREAK = 8  # short: the client resets when it has read enough


LASTING = tuple(kind for kind in Kind if kind < Kind.ASK)
SHORT = tuple(kind for kind in Kind if kind >= Kind.ASK)


@dataclass(frozen=True, slots=True)
class Script:
    """What one end does."""

    sends: int  # bytes in all, or UNTIL_TOLD
    piece: int = 65536  # at most so many at a time
    send_every_s: float = 0.0
    read_piece: int = 1 << 18
    read_every_s: float = 0.0
    window: int = 0  # sends only while so many of its bytes are unanswered; 0: no matter
    answers: bool = False  # sends as many bytes as it has read
    after: int = 0  # sends nothing before it has read so many
    after_end: bool = False  # sends nothing before it has read the other's end
    when_told: bool = False  # sends nothing before it is told to finish
    holds: bool = False  # sends its end only after it has read the other's
    breaks_at: int = 0  # resets when it has read so many
    broken: bool = False  # the other one resets


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast lasting sessions are. The same at both ends."""

    bytes_per_s: int = 4_000_000  # of a stream, each way
    slow_bytes_per_s: int = 200_000
    echo_every_s: float = 0.02


def scripts(kind: Kind, number: int, pace: Pace) -> tuple[Script, Script]:
    """The client's and the server's."""
    rng = random.Random(number * 9 + kind)
    size = rng.choice((1 << 12, 1 << 14, 1 << 16, 1 << 18))
    every = size / pace.bytes_per_s
    flow = Script(UNTIL_TOLD, size, every)
    if kind is Kind.STREAM:
        return flow, flow
    if kind is Kind.SLOW:
        slow = Script(
            UNTIL_TOLD, 1 << 18, read_piece=8192, read_every_s=8192 / pace.slow_bytes_per_s
        )
        return slow, slow
    if kind is Kind.ECHO:
        message = rng.randrange(1, 4096)
        client = Script(UNTIL_TOLD, message, pace.echo_every_s, window=message)
        return client, Script(UNTIL_TOLD, answers=True, holds=True)
    if kind is Kind.IDLE:
        return Script(1, when_told=True), Script(UNTIL_TOLD, answers=True, holds=True)
    if kind in (Kind.CLIENT_SHUT, Kind.SERVER_SHUT):
        shut = Script(rng.randrange(100_000))
        other = Script(UNTIL_TOLD, size, every, after_end=True)
        return (shut, other) if kind is Kind.CLIENT_SHUT else (other, shut)
    asks, answers = rng.choice((1, 60, 4000, 60_000)), rng.choice((1, 500, 20_000, 200_000))
    if kind is Kind.BREAK:
        client = Script(asks, breaks_at=rng.randrange(1, answers + 1), holds=True)
        return client, Script(answers, after=asks, broken=True, holds=True)
    return (
        Script(asks, holds=kind is Kind.ASK),
        Script(answers, after=asks, after_end=kind is Kind.ASK_SHUT),
    )
