"""Long answers: sent piece by piece, so that who does not read them costs little, and within
a time, so that they end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping

from aiohttp import HttpVersion11, web

PIECE = 262_144
PATIENCE_S = 10.0
"""With who reads nothing of a piece."""

WHOLE_S = 60.0
"""For an answer with its last byte."""


async def streamed(
    request: web.BaseRequest,
    headers: Mapping[str, str],
    parts: Iterable[bytes],
    length: int | None = None,
) -> web.StreamResponse:
    """Answer with the parts one after the other, `length` bytes in all if that is known. The
    parts may be made on the way: between two pieces others have their turn."""
    if request.method == "HEAD":
        return web.Response(headers=headers)
    response = web.StreamResponse(headers=headers)
    if length is not None:
        response.content_length = length
    elif request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await asyncio.wait_for(_send(response, parts), WHOLE_S)
    except (asyncio.TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()  # it would wait for the rest to be read
    return response


async def _send(response: web.StreamResponse, parts: Iterable[bytes]) -> None:
    for piece in _pieces(parts):
        await asyncio.wait_for(response.write(piece), PATIENCE_S)
        await asyncio.sleep(0)
    await response.write_eof()


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Small parts together, large ones cut."""
    kept: list[bytes] = []
    size = 0
    for part in parts:
        if size + len(part) > PIECE and kept:
            yield b"".join(kept)
            kept, size = [], 0
        if len(part) > PIECE:
            view = memoryview(part)
            yield from (view[at : at + PIECE] for at in range(0, len(part), PIECE))
        else:
            kept.append(part)
            size += len(part)
    if kept:
        yield b"".join(kept)
