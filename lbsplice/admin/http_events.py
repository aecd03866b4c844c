"""Browsers that have the statistics page open, and what they are told: once everything,
then what has changed, as server-sent events. The view is taken once for all that look at
the same page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from aiohttp import web

from lbsplice.admin.http_live import Change, Live, scoped
from lbsplice.admin.view import View

FASTEST_S = 0.2
_BEHIND = 10  # changes that a browser may be late with before it is left; all share them
_PIECE = 65_536  # of what is sent, so that who does not read has no more of our memory
_PATIENCE_S = 10.0
_RETRY_MS = 1000

_Changes = asyncio.Queue[bytes | None]


@dataclass
class _Show:
    """What all that look at one page share."""

    live: Live = field(default_factory=Live)
    taken: float = 0.0  # when the view was, as Unix time
    whole: bytes | None = None  # the event with everything, once somebody has come for it
    guests: set[_Changes] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class Viewers:
    def __init__(self, view: Callable[[], View]) -> None:
        self._view = view
        self._shows: dict[tuple[str, tuple[str, ...], float], _Show] = {}

    async def serve(
        self,
        request: web.BaseRequest,
        page: str,
        scope: Sequence[str],
        every: float,
        headers: Mapping[str, str],
        token: str,
    ) -> web.StreamResponse:
        """Tell a browser of the changes, every so many seconds, until it leaves or can not
        keep up; it then comes back by itself."""
        response = web.StreamResponse(
            headers={**headers, "Content-Type": "text/event-stream; charset=utf-8"}
        )
        key = (page, tuple(scope), max(FASTEST_S, every))
        changes = _Changes(_BEHIND)
        show = self._join(key, changes)
        whole = _whole(show)  # what `changes` brings comes after it
        try:
            await response.prepare(request)
            await _send(response, f"retry: {_RETRY_MS}\n".encode() + _event("token", token))
            await _send(response, whole)
            del whole
            while (change := await changes.get()) is not None:
                await _send(response, change)
        except (ConnectionError, asyncio.TimeoutError):
            pass  # it has left
        finally:
            self._leave(key, show, changes)
        response.force_close()
        return response

    async def close(self) -> None:
        """Tell all to come back later."""
        for show in self._shows.values():
            for guest in show.guests:
                _push(guest, None)

    def _join(self, key: tuple[str, tuple[str, ...], float], changes: _Changes) -> _Show:
        show = self._shows.get(key)
        if show is None:
            show = self._shows[key] = _Show()
            _look(show, self._view(), key[1])
            show.task = asyncio.create_task(self._tell(key, show))
            show.task.add_done_callback(_raise_what_it_died_of)
        show.guests.add(changes)
        return show

    def _leave(
        self, key: tuple[str, tuple[str, ...], float], show: _Show, changes: _Changes
    ) -> None:
        show.guests.discard(changes)
        if not show.guests and self._shows.get(key) is show:
            del self._shows[key]
            if show.task is not None:
                show.task.cancel()

    async def _tell(self, key: tuple[str, tuple[str, ...], float], show: _Show) -> None:
        while True:
            await asyncio.sleep(key[2])
            event = _event("change", _look(show, self._view(), key[1]))
            for guest in show.guests:
                _push(guest, event)


def _look(show: _Show, view: View, scope: Sequence[str]) -> Change:
    """What has changed since the view before."""
    show.whole, show.taken = None, time.time()
    return show.live.change(scoped(view, scope), show.taken)


def _whole(show: _Show) -> bytes:
    if show.whole is None:
        show.whole = _event("whole", show.live.whole(show.taken))
    return show.whole


def _raise_what_it_died_of(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.result()


def _push(guest: _Changes, event: bytes | None) -> None:
    if guest.full():
        while not guest.empty():
            guest.get_nowait()
        event = None  # it can not keep up
    with suppress(asyncio.QueueFull):
        guest.put_nowait(event)


async def _send(response: web.StreamResponse, data: bytes) -> None:
    view = memoryview(data)
    for at in range(0, len(data), _PIECE):
        await asyncio.wait_for(response.write(view[at : at + _PIECE]), _PATIENCE_S)


def _event(name: str, value: Change | str) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
