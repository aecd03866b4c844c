"""How a service comes to its end: when its sessions are gone, when it has waited long
enough for that, or because something in it has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LOOK_AGAIN_S = 0.05
_LOOK_OFTEN_S = 0.005


class Ending:
    """On the event loop; `is_empty` says whether anything is left to wait for."""

    def __init__(self, is_empty: Callable[[], bool]) -> None:
        self._is_empty = is_empty
        self._reached = asyncio.Event()
        self._waiting: asyncio.Task[None] | None = None
        self.trouble: BaseException | None = None

    def when_empty(self, limit_s: float | None = None) -> None:
        """It ends as soon as it is empty, or after so many seconds. The order that came
        last holds."""
        if self._waiting is not None:
            self._waiting.remove_done_callback(self._waited)
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().create_task(self._wait_empty(limit_s))
        self._waiting.add_done_callback(self._waited)

    async def _wait_empty(self, limit_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        deadline = None if limit_s is None else loop.time() + limit_s
        while not self._is_empty():
            if deadline is not None and loop.time() >= deadline:
                break
            await asyncio.sleep(_LOOK_AGAIN_S if deadline is None else _LOOK_OFTEN_S)

    def _waited(self, task: asyncio.Task[None]) -> None:
        self.fail(None if task.cancelled() else task.exception())

    def fail(self, why: BaseException | None) -> None:
        """It ends now; the first trouble is the one that counts."""
        self.trouble = self.trouble or why
        self._reached.set()

    async def reached(self) -> None:
        """Return when it is time to stop everything."""
        await self._reached.wait()
