"""Following HAProxy's servers, and ending the sessions of those that are down: the missing
`on-marked-down shutdown-sessions`, from outside.

Of its current worker and of each that a reload made an old one while we watched, a line is
held: their sessions have both legs. Lines of older ones go through the master, if it is known."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lbsplice.errors import EnvironmentLacks
from lbsplice.kernel.sockdiag import SocketWatch
from lbsplice.stuck.downs import Downs, Pace
from lbsplice.stuck.find import Finder, Worker
from lbsplice.stuck.line import HeldLine, LineLost, MasterLine
from lbsplice.stuck.owners import describe, network_of, our_network
from lbsplice.stuck.selection import is_loopback_address
from lbsplice.stuck.session import Stuck
from lbsplice.stuck.statements import (
    ServerState,
    WorkerInfo,
    read_info,
    read_servers,
    read_workers,
)

_HAPROXY = "haproxy"


@dataclass(frozen=True)
class Orders:
    """What a watch is told."""

    stats_socket: str
    master_socket: str | None = None
    for_s: float = 0.0
    backend: str | None = None
    server: str | None = None
    per_second: float = 200.0
    poll_s: float = 1.0
    include_loopback: bool = False
    dry_run: bool = False


class Watch:
    """Follows one HAProxy through its reloads and restarts. Raises EnvironmentLacks when
    HAProxy does not let itself be asked, or the kernel does not let its sockets be ended."""

    def __init__(
        self,
        orders: Orders,
        sockets: SocketWatch,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._orders = orders
        self._sockets = sockets
        self._finder = Finder(sockets, include_loopback=orders.include_loopback)
        self._log = log
        self._clock = clock
        self._downs = Downs(orders.for_s, orders.backend, orders.server)
        self._pace = Pace(orders.per_second)
        self._current: Worker | None = None
        self._old: list[Worker] = []
        self._lost = False
        self._pending: deque[tuple[ServerState, Stuck]] = deque()
        self._known: set[bytes] = set()
        self._ended: dict[tuple[str, str], int] = {}

    def run(self, stop: threading.Event, on_ready: Callable[[], None] = lambda: None) -> None:
        """Until `stop` is set. `on_ready` is called after the first look."""
        try:
            next_poll = self._clock()
            ready = False
            while not stop.is_set():
                if self._clock() >= next_poll:
                    self.poll()
                    next_poll = max(next_poll + self._orders.poll_s, self._clock())
                    if not ready:
                        ready = True
                        on_ready()
                self._end_some()
                now = self._clock()
                waits = [next_poll - now]
                if self._pending:
                    waits.append(self._pace.wait_s(now))
                stop.wait(max(0.0, min(waits)))
        finally:
            self._close()

    def poll(self) -> None:
        """One look at HAProxy; what is to be ended is noted."""
        servers = self._states()
        self._look_after_old()
        if servers is None:
            return
        now = self._clock()
        for change in self._downs.see(servers, now):
            self._tell(change.server, change.down)
        if not self._downs.due(now):
            self._known.clear()
            return
        workers = self._workers()
        for server in self._downs.due(now):
            for stuck in self._finder.of_server(server, workers, self._known):
                self._known.add(stuck.leg.identity)
                self._pending.append((server, stuck))

    def _states(self) -> list[ServerState] | None:
        """What the current worker says of its servers; None while HAProxy is away."""
        try:
            if self._current is not None and _info(self._current).stopping:
                self._log.info("HAProxy's worker %d is an old one now", self._current.pid)
                self._old.append(self._current)
                self._current = None
            if self._current is None:
                self._current = self._opened()
            return read_servers(self._current.line.ask("show servers state"))
        except LineLost as error:
            if self._current is not None:
                self._current.line.close()
                self._current = None
            if not self._lost:
                self._log.warning("HAProxy does not answer (%s); waiting for it", error)
                self._lost = True
            return None

    def _opened(self) -> Worker:
        line = HeldLine(self._orders.stats_socket)
        try:
            info = _info(Worker(0, line))
            if info.stopping:
                raise LineLost(f"the successor of worker {info.pid} does not answer yet")
            _check_network(info.pid)
        except BaseException:
            line.close()
            raise
        self._log.info("following HAProxy's worker %d on %s", info.pid, self._orders.stats_socket)
        self._lost = False
        return Worker(info.pid, line)

    def _look_after_old(self) -> None:
        """An old worker ends after its last session: our line is none of them."""
        for worker in list(self._old):
            try:
                if _info(worker).sessions:
                    continue
            except LineLost:
                pass
            worker.line.close()
            self._old.remove(worker)
            self._log.info("HAProxy's old worker %d has no session any more", worker.pid)

    def _workers(self) -> list[Worker]:
        """All workers that can be asked."""
        workers = [*self._old, *([self._current] if self._current else [])]
        if self._orders.master_socket is not None:
            asked = {worker.pid for worker in workers}
            try:
                pids = read_workers(MasterLine(self._orders.master_socket).ask("show proc"))
            except LineLost as error:
                self._log.warning("HAProxy's master does not answer (%s)", error)
                pids = []
            workers += [
                Worker(pid, MasterLine(self._orders.master_socket, pid))
                for pid in pids
                if pid not in asked
            ]
        return workers

    def _tell(self, server: ServerState, down: bool) -> None:
        name = "/".join(server.name)
        if not down:
            ended = self._ended.pop(server.name, 0)
            self._log.info("server %s is not down any more; %d sessions ended", name, ended)
            return
        self._log.warning("server %s (%s:%d) is DOWN", name, server.address, server.port)
        if not self._orders.include_loopback and is_loopback_address(server.address):
            self._log.warning(
                "server %s is on loopback: its sessions are left alone (--include-loopback)", name
            )

    def _end_some(self) -> None:
        """End what may be ended by now. A server that has come back keeps what is left."""
        while self._pending and not self._pace.wait_s(self._clock()):
            server, stuck = self._pending.popleft()
            if not self._downs.is_down(server.name):
                self._known.discard(stuck.leg.identity)
                continue
            name = "/".join(server.name)
            if self._orders.dry_run:
                self._log.info("would end a session of %s: %s", name, stuck.text())
                continue
            if not stuck.end(self._sockets):
                continue
            self._pace.went(self._clock())
            self._ended[server.name] = self._ended.get(server.name, 0) + 1
            how = "" if stuck.client_leg else " (server's leg only: HAProxy tells the client)"
            self._log.info("ended a session of %s%s: %s", name, how, stuck.text())

    def _close(self) -> None:
        for worker in [*self._old, *([self._current] if self._current else [])]:
            worker.line.close()


def _info(worker: Worker) -> WorkerInfo:
    info = read_info(worker.line.ask("show info"))
    if info is None:
        raise EnvironmentLacks("the socket given with --haproxy is no stats socket of HAProxy's")
    return info


def _check_network(pid: int) -> None:
    """Raise EnvironmentLacks when HAProxy's sockets are out of our sight."""
    process = describe(pid)
    if process is None or not process.name.startswith(_HAPROXY):
        return  # a pid of a container's
    if network_of(pid) not in (None, our_network()):
        raise EnvironmentLacks(
            f"HAProxy (pid {pid}) is in another network namespace:"
            f" `nsenter -t {pid} -n lbsplice rescue ...` would help"
        )
