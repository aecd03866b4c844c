"""Asks every checked server, at its own pace, and hands on what it learns.

One asyncio task a server. Nothing is decided here: the pace follows the state that the
roster holds, and what a result means is the roster's to say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lbsplice.config.model import Check, Config
from lbsplice.health import schedule
from lbsplice.health.judge import CheckResult
from lbsplice.health.probes import tcp
from lbsplice.health.target import Target, target_of
from lbsplice.plan.slots import ServerKey
from lbsplice.roster import ServerState
from lbsplice.terms import AdminState

Probe = Callable[[Target, float], Awaitable[CheckResult]]
"""Asks one server, for so many seconds at most."""


@dataclass(frozen=True, slots=True)
class _Watched:
    key: ServerKey
    check: Check
    target: Target
    limit_s: float


class Checker:
    """The health checks of all servers with `check` in backends that are not disabled.

    `on_result` is called on the event loop with each result, `state_of` is asked for a
    server's state (`Roster.state`): its health sets the pace, and in maintenance it is
    left alone. `draw` gives the jitter's random numbers in 0..1. `started_at` is the loop
    time that the spread of the first checks counts from; None means start().

    Raises ConfigError for a server whose check has no address or port to go to."""

    def __init__(
        self,
        config: Config,
        on_result: Callable[[ServerKey, CheckResult], None],
        *,
        state_of: Callable[[ServerKey], ServerState],
        probe: Probe = tcp.probe,
        draw: Callable[[], float] = random.random,
        started_at: float | None = None,
    ) -> None:
        self._watched = _watched(config)
        self._spread = config.global_.spread_checks
        self._on_result = on_result
        self._state_of = state_of
        self._probe = probe
        self._draw = draw
        self._started_at = started_at
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin, on the running loop. The task ends only by stop() or by an error of ours,
        which the caller must watch for and let bring the program down."""
        assert self._task is None, "started twice"
        self._task = asyncio.get_running_loop().create_task(self._run(), name="checks")
        return self._task

    async def stop(self) -> None:
        """Give up what is under way; no result comes any more. Raises the error that ended
        the checks before, if one did."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time() if self._started_at is None else self._started_at
        delays = schedule.first_delays_ms([each.check for each in self._watched])
        tasks = [
            loop.create_task(self._watch(each, start + delay / 1000), name="/".join(each.key))
            for each, delay in zip(self._watched, delays, strict=True)
        ]
        try:
            await asyncio.gather(*tasks)
            await asyncio.Event().wait()  # nothing to check is no reason to end
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, watched: _Watched, first_at: float) -> None:
        await asyncio.sleep(max(0.0, first_at - asyncio.get_running_loop().time()))
        while True:
            if self._state_of(watched.key).admin is not AdminState.MAINT:
                self._on_result(watched.key, await self._probe(watched.target, watched.limit_s))
            pause = schedule.interval_ms(watched.check, self._state_of(watched.key).health)
            await asyncio.sleep(schedule.jittered_ms(pause, self._spread, self._draw()) / 1000)


def _watched(config: Config) -> tuple[_Watched, ...]:
    return tuple(
        _Watched(
            key=(proxy.name, server.name),
            check=server.check,
            target=target_of(proxy, server),
            limit_s=schedule.connect_limit_ms(server.check, proxy.timeouts) / 1000,
        )
        for proxy in config.proxies
        if proxy.has_backend and not proxy.disabled
        for server in proxy.servers
        if server.check.enabled
    )
