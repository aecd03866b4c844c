"""What a stream says: at every offset bytes that follow from the stream's number and the
offset alone, so that a lost, doubled or foreign byte is found where it is."""

from __future__ import annotations

import random

PERIOD = 1_048_583  # a prime: no pipe, buffer or segment is a multiple of it
STRIDE = 104_729  # between the streams' beginnings
LONGEST = 1 << 19

_BYTES = random.Random(20).randbytes(PERIOD)
_BYTES += _BYTES[:LONGEST]


def piece(stream: int, offset: int, length: int) -> bytes:
    """What this stream says from `offset` on; at most LONGEST bytes."""
    start = (stream * STRIDE + offset) % PERIOD
    return _BYTES[start : start + min(length, LONGEST)]


def difference(stream: int, offset: int, got: bytes) -> str | None:
    """None if that is what the stream says there, else what is wrong, in words."""
    wanted = piece(stream, offset, len(got))
    if got == wanted:
        return None
    first = next(at for at, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b)
    rest = got[first : first + 64]
    found = _BYTES.find(rest) if len(rest) == 64 else -1
    moved = ""
    if found >= 0:
        by = (found - (stream * STRIDE + offset + first)) % PERIOD
        by -= PERIOD if by > PERIOD // 2 else 0
        moved = f"; what came is {abs(by)} bytes {'on' if by > 0 else 'back'} in the stream"
    return f"byte {offset + first} is wrong{moved}"
