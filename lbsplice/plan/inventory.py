"""Everything that has a number: what is configured, and what is leaving.

A reload makes a new inventory of the one in force. What stays keeps its number, and a
server is the same only as long as its address is: under another one it is new, and the
old one leaves. So two inventories agree on a server exactly where they agree on a slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbsplice.config.model import AddressKind, Bind, Config, Endpoint, Global, Proxy
from lbsplice.plan.leaving import (
    Leaving,
    as_backend,
    as_frontend,
    as_server,
    configured_name,
    live_backends,
    live_frontends,
    live_servers,
    server_key,
)
from lbsplice.plan.slots import ListenerKey, Numbers, ServerKey, assign

_Address = tuple[ServerKey, Endpoint]
_BindAddress = tuple[AddressKind, str, int | None, str | None]


@dataclass(frozen=True)
class Inventory:
    """`numbers` has what is leaving, too: its servers under their leaving names."""

    config: Config
    numbers: Numbers
    leaving: Leaving = field(default_factory=Leaving)

    @classmethod
    def first(cls, config: Config) -> Inventory:
        """Of a configuration that nothing was before."""
        return cls(config, assign(config))

    @classmethod
    def empty(cls) -> Inventory:
        """What was before the first."""
        return cls(Config(Global(), ()), Numbers())

    def after(self, config: Config) -> Inventory:
        """What it becomes by a reload. All that the configuration has no more is leaving,
        whether it has sessions or not: a relay thread may still send it one."""
        numbers = assign(config, self._kept(config), taken=self.numbers)
        leaving = Leaving(
            frontends=tuple(
                as_frontend(proxy)
                for name, proxy in _by_name(self.leaving.frontends, live_frontends(self.config))
                if name not in live_frontends(config)
            ),
            backends=tuple(
                as_backend(proxy)
                for name, proxy in _by_name(self.leaving.backends, live_backends(self.config))
                if name not in live_backends(config)
            ),
            servers=self._servers_left(config, numbers),
        )
        return Inventory(config, self._with(numbers, leaving), leaving)

    def without(self, gone: Leaving) -> Inventory:
        """What it becomes when the last session of something that was leaving has ended.
        A backend stays for as long as servers of it do."""
        servers = tuple(p for p in self.leaving.servers if p not in gone.servers)
        needed = {proxy.name for proxy in servers}
        leaving = Leaving(
            frontends=tuple(p for p in self.leaving.frontends if p not in gone.frontends),
            backends=tuple(
                p for p in self.leaving.backends if p not in gone.backends or p.name in needed
            ),
            servers=servers,
        )
        if leaving == self.leaving:
            return self
        numbers = assign(self.config, self.numbers)
        return Inventory(self.config, self._with(numbers, leaving), leaving)

    def same_servers(self, before: Inventory) -> Mapping[ServerKey, ServerKey]:
        """The key that each server of this inventory had in the one before, if it was
        there."""
        keys = before.numbers.slot_keys
        return {key: keys[slot] for key, slot in self.numbers.slots.items() if slot in keys}

    def _kept(self, config: Config) -> Numbers:
        """The numbers that parts of `config` have already."""
        proxies = {proxy.name for proxy in config.proxies}
        known = self._addresses()
        slots = {}
        for proxy in config.proxies:
            for server in proxy.servers if proxy.has_backend else ():
                key = (proxy.name, server.name)
                if (slot := known.get((key, server.endpoint))) is not None:
                    slots[key] = slot
        return Numbers(
            self._listeners_kept(config),
            {name: n for name, n in self.numbers.frontends.items() if name in proxies},
            {name: n for name, n in self.numbers.backends.items() if name in proxies},
            slots,
        )

    def _addresses(self) -> dict[_Address, int]:
        """The slot of each server under its configured name and its address."""
        found: dict[_Address, int] = {}
        leaving = [(proxy, proxy.servers[0]) for proxy in self.leaving.servers]
        every = [(p, s) for p in self.config.proxies if p.has_backend for s in p.servers]
        for proxy, server in (*leaving, *every):
            key = (proxy.name, configured_name(server.name))
            found[key, server.endpoint] = self.numbers.slots[proxy.name, server.name]
        return found

    def _listeners_kept(self, config: Config) -> dict[ListenerKey, int]:
        """A listener is the same where its frontend's name and its address are."""
        free: dict[tuple[str, _BindAddress], list[int]] = {}
        for proxy in self.config.proxies:
            for index, bind in enumerate(proxy.binds if proxy.has_frontend else ()):
                number = self.numbers.listeners[proxy.name, index]
                free.setdefault((proxy.name, _bind_address(bind)), []).append(number)
        kept = {}
        for proxy in config.proxies:
            for index, bind in enumerate(proxy.binds if proxy.has_frontend else ()):
                if numbers := free.get((proxy.name, _bind_address(bind))):
                    kept[proxy.name, index] = numbers.pop(0)
        return kept

    def _servers_left(self, config: Config, numbers: Numbers) -> tuple[Proxy, ...]:
        staying = {numbers.slots[proxy.name, server.name] for proxy, server in live_servers(config)}
        still = [
            p for p in self.leaving.servers if self.numbers.slots[server_key(p)] not in staying
        ]
        gone = [
            as_server(proxy, server, slot)
            for proxy, server in live_servers(self.config)
            if (slot := self.numbers.slots[proxy.name, server.name]) not in staying
        ]
        return (*still, *gone)

    def _with(self, numbers: Numbers, leaving: Leaving) -> Numbers:
        """`numbers` of a configuration, and what is leaving with the numbers it has here."""
        slots = {}
        for proxy in leaving.servers:
            backend, name = key = server_key(proxy)
            here = key if key in self.numbers.slots else (backend, configured_name(name))
            slots[key] = self.numbers.slots[here]
        listeners = {
            (proxy.name, index): self.numbers.listeners[proxy.name, index]
            for proxy in leaving.frontends
            for index in range(len(proxy.binds))
        }
        frontends = {p.name: self.numbers.frontends[p.name] for p in leaving.frontends}
        backends = {p.name: self.numbers.backends[p.name] for p in leaving.backends}
        return Numbers(
            {**listeners, **numbers.listeners},
            {**frontends, **numbers.frontends},
            {**backends, **numbers.backends},
            {**numbers.slots, **slots},
        )


def _by_name(
    leaving: tuple[Proxy, ...], live: Mapping[str, Proxy]
) -> tuple[tuple[str, Proxy], ...]:
    return tuple({**{proxy.name: proxy for proxy in leaving}, **live}.items())


def _bind_address(bind: Bind) -> _BindAddress:
    return bind.endpoint.kind, bind.endpoint.host, bind.endpoint.port, bind.interface
