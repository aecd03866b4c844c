"""One thing after the other, on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def after(before: asyncio.Task[None] | None, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that does this once `before`, if there is one, has ended; it fails if that did."""

    async def both() -> None:
        if before is not None:
            await before
        await what

    return asyncio.create_task(both())
