"""Asks every checked server, at its own pace, and hands on what it learns.

One asyncio task a server. Nothing is decided here: the pace follows the state that the
roster holds, and what a result means is the roster's to say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from lbsplice.config.model import Check, Config, Proxy
from lbsplice.health import schedule
from lbsplice.health.judge import CheckResult
from lbsplice.health.probes import tcp
from lbsplice.health.target import Target, target_of
from lbsplice.plan.slots import ServerKey
from lbsplice.server_state import ServerState
from lbsplice.terms import AdminState

Probe = Callable[[Target, float], Awaitable[CheckResult]]
"""Asks one server, for so many seconds at most."""

SHORTEST_LIMIT_S = 0.5
"""What a check that was begun by another process, or before a reload, has at least."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One server that is checked."""

    key: ServerKey
    check: Check
    target: Target
    limit_s: float


def watched(config: Config, leaving: Iterable[Proxy] = ()) -> tuple[Watched, ...]:
    """All servers with `check` in backends that are not disabled, and of those backends
    whose server is leaving.

    Raises ConfigError for a server whose check has no address or port to go to."""
    live = (proxy for proxy in config.proxies if proxy.has_backend and not proxy.disabled)
    return tuple(
        Watched(
            key=(proxy.name, server.name),
            check=server.check,
            target=target_of(proxy, server),
            limit_s=schedule.connect_limit_ms(server.check, proxy.timeouts) / 1000,
        )
        for proxy in (*live, *leaving)
        for server in proxy.servers
        if server.check.enabled
    )


class Checker:
    """The health checks of the servers that are watched.

    `on_result` is called on the event loop with each result, `state_of` is asked for a
    server's state (`Roster.state`): its health sets the pace, and in maintenance or with
    its checks off it is left alone. `draw` gives the jitter's random numbers in 0..1.
    `spread_checks` is in percent.

    `due` says when servers are to be asked, in loop time; the others are asked for the
    first time spread over their interval. A time that is past is that of a check which
    was begun then and has no result: it is begun anew at once, with what is left of its
    time."""

    def __init__(
        self,
        servers: Iterable[Watched],
        on_result: Callable[[ServerKey, CheckResult], None],
        *,
        state_of: Callable[[ServerKey], ServerState],
        spread_checks: int = 0,
        probe: Probe = tcp.probe,
        draw: Callable[[], float] = random.random,
        due: Mapping[ServerKey, float] | None = None,
    ) -> None:
        self._servers = {each.key: each for each in servers}
        self._spread = spread_checks
        self._on_result = on_result
        self._state_of = state_of
        self._probe = probe
        self._draw = draw
        self._due = dict(due or {})
        self._asking: set[ServerKey] = set()
        self._worst_lag_s = 0.0
        self._watches: dict[ServerKey, asyncio.Task[None]] = {}
        self._broken: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def due(self) -> dict[ServerKey, float]:
        """When each server is asked next; of a check that is under way, when it began."""
        return dict(self._due)

    @property
    def asking(self) -> Set[ServerKey]:
        """The servers whose check is under way."""
        return self._asking

    def take_lag(self) -> float:
        """By how many seconds the latest of the checks that began since the last call was
        behind its time."""
        lag, self._worst_lag_s = self._worst_lag_s, 0.0
        return lag

    def start(self) -> asyncio.Task[None]:
        """Begin, on the running loop. The task ends only by stop() or by an error of ours,
        which the caller must watch for and let bring the program down."""
        assert self._task is None, "started twice"
        loop = asyncio.get_running_loop()
        self._broken = loop.create_future()
        self._task = loop.create_task(self._run(self._broken), name="checks")
        self._watch_all()
        return self._task

    def replace(
        self,
        servers: Iterable[Watched],
        spread_checks: int,
        due: Mapping[ServerKey, float] | None = None,
    ) -> None:
        """Watch these from now on. Who is watched in the same way already is not
        disturbed; `due` is for those who are not."""
        before, self._servers = self._servers, {each.key: each for each in servers}
        self._spread = spread_checks
        for key, old in before.items():
            if self._servers.get(key) != old:
                if key in self._watches:
                    self._watches.pop(key).cancel()
                if key not in self._servers:
                    self._due.pop(key, None)
        self._due |= {key: at for key, at in (due or {}).items() if key not in self._watches}
        if self._task is not None:
            self._watch_all()

    async def stop(self) -> None:
        """Give up what is under way; no result comes any more. It may be started again,
        and goes on where it was. Raises the error that ended the checks before, if one
        did."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise outcome

    async def _run(self, broken: asyncio.Future[None]) -> None:
        try:
            await broken
        finally:
            tasks = list(self._watches.values())
            self._watches.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _watch_all(self) -> None:
        """A task for each server that has none."""
        loop = asyncio.get_running_loop()
        new = [each for key, each in self._servers.items() if key not in self._watches]
        delays = schedule.first_delays_ms([each.check for each in new])
        for each, delay in zip(new, delays, strict=True):
            self._due.setdefault(each.key, loop.time() + delay / 1000)
            task = loop.create_task(self._watch(each), name="/".join(each.key))
            task.add_done_callback(self._watch_ended)
            self._watches[each.key] = task

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._broken is None or self._broken.done():
            return
        error = task.exception()
        assert error is not None, "a watch has no end"
        self._broken.set_exception(error)

    async def _watch(self, server: Watched) -> None:
        """`due` stays where it is until there is a result: whoever takes over then knows
        that a check was under way, and since when."""
        loop = asyncio.get_running_loop()
        key, limit_s = server.key, self._time_left(server)
        while True:
            await asyncio.sleep(max(0.0, self._due[key] - loop.time()))
            state = self._state_of(key)
            if state.admin is not AdminState.MAINT and not state.checks_off:
                self._worst_lag_s = max(self._worst_lag_s, loop.time() - self._due[key])
                self._on_result(key, await self._ask(server, limit_s))
            limit_s = server.limit_s
            interval = schedule.interval_ms(server.check, self._state_of(key).health)
            pause_ms = schedule.jittered_ms(interval, self._spread, self._draw())
            self._due[key] = loop.time() + pause_ms / 1000

    async def _ask(self, server: Watched, limit_s: float) -> CheckResult:
        self._asking.add(server.key)
        try:
            return await self._probe(server.target, limit_s)
        finally:
            self._asking.discard(server.key)

    def _time_left(self, server: Watched) -> float:
        late = max(0.0, asyncio.get_running_loop().time() - self._due[server.key])
        return max(server.limit_s - late, min(server.limit_s, SHORTEST_LIMIT_S))
