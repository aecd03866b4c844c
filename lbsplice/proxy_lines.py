"""Lines about whole proxies: what SIGHUP asks for, that they have stopped, or pause."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lbsplice.config.model import Proxy
from lbsplice.dataplane.counters import Counters
from lbsplice.plan.inventory import Inventory
from lbsplice.report.healthlog import Busy, proxy_dump, server_dump
from lbsplice.report.record import Record
from lbsplice.roster import Roster
from lbsplice.tallies import Tallies

NamedLine = tuple[str, str]
"""A proxy's name and what is said of it."""


class ProxyLines:
    """The lines about the proxies of an inventory."""

    def __init__(self, inventory: Inventory, counters: Counters, tallies: Tallies) -> None:
        self._inventory = inventory
        self._counters = counters
        self._tallies = tallies

    def dump(self, roster: Roster) -> Iterator[NamedLine]:
        """Every server's and every proxy's state."""
        for proxy in self._live():
            yield proxy.name, f"SIGHUP received, dumping servers states for proxy {proxy.name}."
            for key in [(proxy.name, server.name) for server in proxy.servers]:
                slot = self._inventory.numbers.slots[key]
                now = self._counters.slot_sessions(slot).now
                busy = Busy(now, self._tallies.slot(slot).sessions)
                yield proxy.name, server_dump(key, roster.state(key).is_up, busy)
            usable = roster.usable(proxy.name) if proxy.servers else None
            yield proxy.name, proxy_dump(proxy.name, usable, *self._halves(proxy))

    def stopped(self) -> Iterator[NamedLine]:
        """That each proxy accepts no more."""
        for proxy in self._live():
            front, back = self._halves(proxy)
            yield (
                proxy.name,
                f"Proxy {proxy.name} stopped (cumulated conns: FE: {front.total}, "
                f"BE: {back.total}).",
            )

    def paused(self, told: Record) -> NamedLine:
        """That the machine lacks what a new session needs."""
        name, _ = self._inventory.numbers.listener_keys.get(told.listener, ("?", 0))
        return name, (
            f"Proxy {name} can not accept connections for the moment: "
            f"{os.strerror(told.number)}. They wait in the backlog. "
            "Please check 'ulimit-n' and 'maxconn'."
        )

    def _live(self) -> Iterator[Proxy]:
        return (proxy for proxy in self._inventory.config.proxies if not proxy.disabled)

    def _halves(self, proxy: Proxy) -> tuple[Busy, Busy]:
        """The sessions of a proxy as a frontend and as a backend. As in HAProxy, a frontend
        without a backend is its own."""
        numbers, counters, tallies = self._inventory.numbers, self._counters, self._tallies
        front = back = Busy()
        if (number := numbers.frontends.get(proxy.name)) is not None and proxy.has_frontend:
            now = counters.frontend_sessions(number).now
            front = Busy(now, tallies.frontend(number).sessions)
        if (number := numbers.backends.get(proxy.name)) is not None and proxy.has_backend:
            now = counters.backend_sessions(number).now
            back = Busy(now, tallies.backend(number).sessions)
        elif proxy.has_frontend and self._inventory.config.backend_of(proxy) is None:
            back = front
        return front, back
