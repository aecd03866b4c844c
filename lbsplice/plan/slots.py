"""Which number each listener, frontend, backend and server has in the tables.

What stays in the configuration keeps its number across reloads. The number of something
that was removed is not given again in the next generation, so that a worker that still
uses the older plan can not mix the two up; after that the lowest free number is taken."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

from lbsplice.config.model import Config

ListenerKey = tuple[str, int]
"""The frontend's name and the index in its `binds`."""

ServerKey = tuple[str, str]
"""The backend's name and the server's."""

K = TypeVar("K", bound=Hashable)


def _none() -> Mapping[K, int]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Numbers:
    """The numbers of one generation, and the way back from a number to its key."""

    listeners: Mapping[ListenerKey, int] = field(default_factory=_none)
    frontends: Mapping[str, int] = field(default_factory=_none)
    backends: Mapping[str, int] = field(default_factory=_none)
    slots: Mapping[ServerKey, int] = field(default_factory=_none)

    @cached_property
    def listener_keys(self) -> Mapping[int, ListenerKey]:
        return _reversed(self.listeners)

    @cached_property
    def frontend_names(self) -> Mapping[int, str]:
        return _reversed(self.frontends)

    @cached_property
    def backend_names(self) -> Mapping[int, str]:
        return _reversed(self.backends)

    @cached_property
    def slot_keys(self) -> Mapping[int, ServerKey]:
        return _reversed(self.slots)


def assign(
    config: Config, previous: Numbers | None = None, *, taken: Numbers | None = None
) -> Numbers:
    """Number everything in a configuration, disabled proxies too.

    `previous` are the numbers of the generation before. `taken` are numbers that nothing
    new may get, because something else may still have sessions under them: a kill would
    meet the wrong ones."""
    before = previous or Numbers()
    taken = taken or Numbers()
    frontends = [proxy for proxy in config.proxies if proxy.has_frontend]
    backends = [proxy for proxy in config.proxies if proxy.has_backend]
    return Numbers(
        listeners=_numbered(
            ((proxy.name, index) for proxy in frontends for index in range(len(proxy.binds))),
            before.listeners,
            taken.listeners.values(),
        ),
        frontends=_numbered(
            (proxy.name for proxy in frontends), before.frontends, taken.frontends.values()
        ),
        backends=_numbered(
            (proxy.name for proxy in backends), before.backends, taken.backends.values()
        ),
        slots=_numbered(
            ((proxy.name, server.name) for proxy in backends for server in proxy.servers),
            before.slots,
            taken.slots.values(),
        ),
    )


def _numbered(
    keys: Iterable[K], before: Mapping[K, int], taken: Collection[int] = ()
) -> Mapping[K, int]:
    used = {*before.values(), *taken}
    candidate = 0
    numbers: dict[K, int] = {}
    for key in keys:
        if key in before:
            numbers[key] = before[key]
            continue
        if key in numbers:
            continue
        while candidate in used:
            candidate += 1
        numbers[key] = candidate
        candidate += 1
    return MappingProxyType(numbers)


def _reversed(numbers: Mapping[K, int]) -> Mapping[int, K]:
    return MappingProxyType({number: key for key, number in numbers.items()})
