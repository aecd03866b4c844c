"""What can be seen of a running control plane: the View of the moment, its sessions, its
listening sockets. Nothing is asked of a relay thread; what is read is shared memory."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from lbsplice import process
from lbsplice.admin.building import (
    Columns,
    Moment,
    RatePair,
    ServerRows,
    backend_row,
    frontend_row,
    listener_row,
)
from lbsplice.admin.layout import Layout
from lbsplice.admin.meters import PERIOD_S, Rates
from lbsplice.admin.page_rows import NO_COUNTS, PageCounts, page_rows
from lbsplice.admin.session import SessionView
from lbsplice.admin.sessions_copy import Names, SessionCopies
from lbsplice.admin.stalled import StalledSessions
from lbsplice.admin.view import (
    BackendView,
    Flow,
    FrontendView,
    ListenerView,
    ProcessView,
    Rate,
    ThreadView,
    View,
)
from lbsplice.dataplane.counters import Workers as WorkerTotals
from lbsplice.dataplane.tables import Counted, Sums, Tables
from lbsplice.in_force import InForce
from lbsplice.limits import fixed_descriptors
from lbsplice.orchestrator import Orchestrator
from lbsplice.service import Share

V = TypeVar("V")

FRESH_S = 0.05
"""A view is made anew after so long at the earliest, unless an order was given."""

_STALL_SECONDS = 0.25
_LAG_SECONDS = 10
"""The check lag that is shown is the worst of so many seconds."""


class Looking:
    """The looking half of lbsplice.admin.control.Control. On the event loop only; between
    `start` and `close` it keeps the rates. After the plane has stopped it shows what it
    showed last. `page_counts` is what the statistics pages count of themselves, by name:
    whoever serves them puts it there."""

    def __init__(self, plane: Orchestrator, share: Share) -> None:
        self._plane = plane
        self._share = share
        self._startup_warnings = sum(map(_is_warning, share.startup_logs))
        self.page_counts: Mapping[str, PageCounts] = MappingProxyType({})
        self._tables: Tables = plane.workers.tables
        self._rates = Rates(plane.chronicle.peaks, plane.chronicle.peaked)
        self._rows = ServerRows()
        self._copies = SessionCopies(plane.workers)
        self._stalled = StalledSessions(plane.workers)
        self._lags: deque[float] = deque([0.0], _LAG_SECONDS)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._view: View | None = None
        self._built_at = 0.0
        self._orders = -1
        self._learn(plane.force)
        self._rates.tick(time.monotonic(), self._counted())

    # ---- by the clock ----

    def start(self) -> None:
        """Begin to measure, on the running loop."""
        self._plane.chronicle.booted(time.monotonic() - process.STARTED_S)
        self._again("tick", PERIOD_S, self._tick)
        self._look_for_stalled()

    def close(self) -> None:
        """Measure no more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _tick(self) -> None:
        self._again("tick", PERIOD_S, self._tick)
        if self._plane.closed:
            return
        self._take_in()
        self._rates.tick(time.monotonic(), self._counted())
        self._lags.append(self._plane.checker.take_lag())
        self._note_the_log()

    def _look_for_stalled(self) -> None:
        self._again("stalled", _STALL_SECONDS, self._look_for_stalled)
        if not self._plane.closed:
            self._stalled.step()

    def _again(self, what: str, seconds: float, do: Callable[[], None]) -> None:
        self._timers[what] = asyncio.get_running_loop().call_later(seconds, do)

    def _counted(self) -> dict[str, list[int]]:
        tables, extent = self._tables, self._layout.extent
        return {
            "frontend": [row.sessions for row in tables.frontends(extent.frontends)],
            "backend": [row.sessions for row in tables.backends(extent.backends)],
            "server": [row.sessions for row in tables.slots(extent.slots)],
            "process": _process_counts(self._plane.workers.counters.workers()),
            "page": [each.total for each in self._page_counts()],
        }

    def _note_the_log(self) -> None:
        self._plane.chronicle.dropped(self._plane.hub.dropped)
        self._plane.chronicle.warned(self._plane.hub.warnings)

    # ---- the configuration ----

    def _take_in(self) -> None:
        if self._plane.force is not self._force:
            self._learn(self._plane.force)

    def _learn(self, force: InForce) -> None:
        self._force = force
        self._layout = Layout.of(force.inventory, force.maxconn)
        self._names = Names.of(force.inventory)
        self._rows.forget()
        numbers = force.inventory.numbers
        self._plane.chronicle.keep(frozenset(numbers.backends), frozenset(numbers.slots.values()))

    # ---- the view ----

    def view(self) -> View:
        """Everything as it is now; at most FRESH_S old, and never older than an order."""
        now, plane = time.monotonic(), self._plane
        fresh = now - self._built_at < FRESH_S and self._orders == plane.chronicle.orders
        if self._view is not None and (plane.closed or (fresh and plane.force is self._force)):
            return self._view
        self._take_in()
        self._orders = plane.chronicle.orders
        self._built_at = now
        self._view = self._build(Moment(now, int(time.time())))
        return self._view

    def changed(self) -> None:
        """Something was changed that is no order to the workers: the next view is new."""
        self._built_at = float("-inf")

    def _build(self, moment: Moment) -> View:
        plane, layout = self._plane, self._layout
        plane.chronicle.settle(plane.killed)
        frontends, backends = self._pages(moment)
        raw = self._tables.counted(layout.extent)
        known = plane.tallies.above(raw)
        return View(
            frontends=_ordered(layout.order, self._frontends(raw, known, moment), frontends),
            backends=_ordered(layout.order, self._backends(raw, known, moment), backends),
            listeners=self._listeners(known),
            process=self._process(moment),
            proxies=layout.order,
            transitions=plane.chronicle.transitions,
            threads=tuple(ThreadView(*each) for each in plane.workers.counters.by_thread()),
            startup_logs=self._share.startup_logs,
        )

    def _rate(self, kind: str, sums: Sequence[Sums], now: float) -> Sequence[RatePair]:
        return self._rates.read(now, kind, [row.sessions for row in sums])

    def _frontends(self, raw: Counted, known: Counted, moment: Moment) -> dict[str, FrontendView]:
        columns = Columns(
            known.frontends,
            (),
            self._tables.frontend_gauges(self._layout.extent.frontends),
            self._rate("frontend", raw.frontends, moment.now),
        )
        accepting, edits = self._plane.accepting, self._plane.force.edits
        rows = {}
        for place in self._layout.frontends:
            edit = edits.frontend(place.name)
            rows[place.name] = frontend_row(place, columns, edit, accepting)
        return rows

    def _listeners(self, known: Counted) -> tuple[ListenerView, ...]:
        gauges = self._tables.listener_gauges(self._layout.extent.listeners)
        return tuple(
            listener_row(place, known.listeners[place.number], gauges[place.number])
            for place in self._layout.listeners
        )

    def _backends(self, raw: Counted, known: Counted, moment: Moment) -> dict[str, BackendView]:
        plane, tables, layout = self._plane, self._tables, self._layout
        extent = layout.extent
        columns = Columns(
            known.backends,
            tables.backend_times(extent.backends),
            tables.backend_gauges(extent.backends),
            self._rate("backend", raw.backends, moment.now),
        )
        of_servers = Columns(
            known.slots,
            tables.slot_times(extent.slots),
            tables.slot_gauges(extent.slots),
            self._rate("server", raw.slots, moment.now),
        )
        states, chronicle = plane.roster.states, plane.chronicle
        asking, bases = plane.checker.asking, chronicle.checks
        return {
            place.name: backend_row(
                place,
                self._rows.rows(place, states, of_servers, asking, bases, moment),
                columns,
                chronicle.backend(place.name),
                moment,
            )
            for place in layout.backends
        }

    def _pages(self, moment: Moment) -> tuple[dict[str, FrontendView], dict[str, BackendView]]:
        pages, maxconn = self._plane.config.pages, self._plane.force.maxconn
        if not pages:
            return {}, {}
        counts = self._page_counts()
        rates = self._rates.read(moment.now, "page", [each.total for each in counts])
        up_s = int(moment.now - self._plane.chronicle.began)
        return page_rows(pages, counts, rates, maxconn, self._plane.accepting, up_s)

    def _page_counts(self) -> list[PageCounts]:
        return [self.page_counts.get(each.name, NO_COUNTS) for each in self._plane.config.pages]

    def _process(self, moment: Moment) -> ProcessView:
        plane, share = self._plane, self._share
        counters, chronicle = plane.workers.counters, plane.chronicle
        global_, threads = plane.config.global_, plane.workers.sizes.threads
        totals, gauge = counters.workers(), counters.process_sessions()
        accepted, bytes_out = self._rates.read(moment.now, "process", _process_counts(totals))
        self._note_the_log()
        maxconn, most = plane.force.maxconn, plane.force.limit
        fixed = fixed_descriptors(plane.config, threads)
        listeners = len(plane.force.sockets) if plane.accepting else 0
        busy = [plane.workers.busy_percent(thread) for thread in range(threads)]
        return ProcessView(
            pid=plane.hub.pid,
            uptime_s=moment.now - chronicle.began,
            started=chronicle.began_unix,
            threads=threads,
            node=global_.node or os.uname().nodename,
            description=global_.description or "",
            ulimit_n=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            max_sockets=fixed + 2 * most + 2 * share.max_pipes,
            maxconn=maxconn,
            hard_maxconn=most,
            sessions=Flow(gauge.now, gauge.max, totals.accepted, maxconn),
            session_rate=Rate(*accepted),
            connection_rate=Rate(*accepted),
            max_pipes=share.max_pipes,
            pipes_used=max(0, totals.pipes_open - totals.pipes_free),
            pipes_free=totals.pipes_free,
            bytes_out=totals.spliced_bytes,
            spliced_bytes=totals.spliced_bytes,
            bytes_out_rate=bytes_out[0],
            stopping=not plane.accepting,
            jobs=gauge.now + listeners,
            listeners=listeners,
            dropped_logs=chronicle.dropped_logs,
            warnings=self._startup_warnings + chronicle.warnings,
            idle_percent=100 - sum(busy) // max(1, len(busy)),
            maxconn_reached=totals.maxconn_reached,
            boot_ms=chronicle.boot_ms,
            adoptions=chronicle.adoptions,
            crashes=chronicle.crashes,
            events_dropped=totals.events_dropped,
            check_lag_ms=round(max(self._lags) * 1000),
            stalled=self._stalled.count,
            kills=plane.tallies.kills(),
            kill_latency_ms=round(chronicle.kill_latency_s * 1000),
        )

    # ---- sessions and sockets ----

    def sessions(self, first: int, room: int) -> tuple[list[SessionView], int | None]:
        """The open sessions among up to `room` places from place `first` on, and where to
        go on (None: that was all)."""
        if self._plane.closed:
            return [], None
        self._take_in()
        return self._copies.some(self._names, first, room)

    def session(self, serial: int) -> SessionView | None:
        """The open session of this number."""
        if self._plane.closed:
            return None
        self._take_in()
        return self._copies.one(self._names, serial)

    def listening(self) -> Sequence[tuple[str, int]]:
        """Each listening socket's interface, which is all of a name that `_getsocks` tells
        (lbsplice/getsocks.py), and its descriptor."""
        binds = {
            (proxy.name, index): bind.interface or ""
            for proxy in self._plane.config.listening
            for index, bind in enumerate(proxy.binds)
        }
        return [
            (binds.get(key, ""), sock.fileno()) for key, sock in self._plane.force.sockets.items()
        ]


def _process_counts(totals: WorkerTotals) -> list[int]:
    return [totals.accepted, totals.spliced_bytes]


def _is_warning(line: str) -> bool:
    return line.startswith("[WARNING]")


def _ordered(order: Sequence[str], rows: dict[str, V], pages: Mapping[str, V]) -> dict[str, V]:
    if not pages:
        return rows
    every = {**rows, **pages}
    return {name: every[name] for name in order if name in every}
