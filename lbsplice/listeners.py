"""The listening sockets of a configuration: made for every `bind` and every `stats socket`,
taken over from another program, or kept over a reload."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbsplice.config.model import AddressKind, Bind, Config, Endpoint, Proxy, ProxyKind
from lbsplice.receivers import (
    DEFAULT_BACKLOG,
    Address,
    Receiver,
    Refused,
    adjust,
    backlog_of,
    is_at,
    make,
    shared,
)
from lbsplice.receivers import take as take_over
from lbsplice.socket_options import with_reason

Key = tuple[str, int]
"""(frontend name, index in its `binds`)"""

STATS_SOCKETS = "#stats"
"""What stands for the frontend's name in the key of a `stats socket`; no proxy may have it.
The index is that in `Global.stats_sockets`."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with one `bind`; a warning when it listens all the same."""

    text: str
    fatal: bool = True
    busy: bool = False  # somebody else listens there


@dataclass(frozen=True, slots=True)
class Held:
    """One listening socket as another process of ours gets to know it."""

    frontend: str
    index: int
    descriptor: int
    address: Address
    path: str | None = None
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Offered:
    """A socket of another program, by the name it is known by there (unix sockets are
    renamed after they were bound)."""

    socket: socket.socket
    name: str | None = None


class Listeners:
    """The sockets of a configuration. `troubles` with a fatal one among them: do not start."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []
        self._receivers: dict[Key, Receiver] = {}

    @property
    def sockets(self) -> dict[Key, socket.socket]:
        """By (frontend, index), in the order of the configuration."""
        return {key: receiver.socket for key, receiver in self._receivers.items()}

    @property
    def failed(self) -> bool:
        return any(trouble.fatal for trouble in self.troubles)

    @property
    def busy(self) -> bool:
        """Nothing but addresses that others listen on is in the way."""
        fatal = [trouble for trouble in self.troubles if trouble.fatal]
        return bool(fatal) and all(trouble.busy for trouble in fatal)

    def held(self) -> tuple[Held, ...]:
        """For another process, in the order of `sockets`."""
        return tuple(
            Held(*key, each.socket.fileno(), each.address, each.path, each.inode)
            for key, each in self._receivers.items()
        )

    @classmethod
    def of(cls, held: Sequence[Held]) -> Listeners:
        """Those of another process; their descriptors are ours from now on."""
        listeners = cls()
        for each in held:
            sock = socket.socket(fileno=each.descriptor)
            listeners._receivers[(each.frontend, each.index)] = Receiver(
                sock, each.address, each.path, each.inode
            )
        return listeners

    def retire(self) -> None:
        """Listen no more, while workers may still know the descriptors: each number goes
        on to exist, for a socket that is nothing, until `close`. A freed number could
        meet a new session's socket that a worker then takes for a listener.

        Inherited sockets stay open till the end: their owner may want to go on with them,
        and what connects meanwhile waits for it."""
        with socket.socket() as nothing:
            for receiver in self._receivers.values():
                if not receiver.inherited:
                    os.dup2(nothing.fileno(), receiver.socket.fileno(), inheritable=False)
        self._remove_paths()

    def close(self) -> None:
        """Close all sockets and remove the paths of unix sockets that are still ours."""
        self._remove_paths()
        self.forget()

    def forget(self) -> None:
        """Close our copies only: another process goes on to listen."""
        for receiver in self._receivers.values():
            receiver.socket.close()
        self._receivers.clear()

    def _remove_paths(self) -> None:
        for receiver in self._receivers.values():
            receiver.remove_path()


def open_listeners(
    config: Config, maxconn: int, offered: Sequence[Offered] = (), *, beside: bool = False
) -> Listeners:
    """Bind and listen for every `bind` of every enabled proxy. `maxconn` is the process's,
    the last resort for a backlog. All troubles are collected; nothing is raised.

    Sockets that are `offered` stay the caller's; where one is bound as a `bind` wants it, a
    copy of it is used. With `beside`, addresses may be shared with whoever allows it."""
    listeners = Listeners()
    left = list(offered)
    for proxy, index, bind in _binds(config):
        found = next((each for each in left if is_at(each.socket, bind, each.name)), None)
        if found is not None:
            left.remove(found)
            more = sum(is_at(each.socket, bind, each.name) for each in left)
            if more:
                text = f"the old process has {more} more sockets there (shards); connections "
                text += "that wait in them are reset when it stops"
                listeners.troubles.append(Trouble(_tell(proxy, bind, text), fatal=False))
        _open_one(listeners, proxy, index, bind, maxconn, offered=found, beside=beside)
    return listeners


def reopen(config: Config, previous: Listeners, maxconn: int) -> Listeners:
    """For a reload: the same socket, with the new options, wherever `previous` has one of
    that address, under whatever name; new ones for the rest, and for a path that somebody
    has removed.

    When it `failed`, it has no sockets, and nothing has changed. Otherwise use `previous`
    no more: close what `retired` returns once nobody accepts from it."""
    listeners = Listeners()
    left: dict[Address, list[Receiver]] = {}
    lost = [each for each in previous._receivers.values() if _is_lost(each)]
    for receiver in previous._receivers.values():
        if receiver not in lost:
            left.setdefault(receiver.address, []).append(receiver)
    kept: list[tuple[Receiver, Proxy, Bind]] = []
    missing: list[tuple[Proxy, int, Bind]] = []
    places: dict[Key, Receiver | None] = {}
    for proxy, index, bind in _binds(config):
        same = left.get(address) if (address := _address_of(bind)) is not None else None
        if same:
            kept.append((same.pop(0), proxy, bind))
            places[(proxy.name, index)] = kept[-1][0]
        else:
            missing.append((proxy, index, bind))
            places[(proxy.name, index)] = None
    leaving = [receiver for some in (*left.values(), lost) for receiver in some]
    for proxy, index, bind in missing:
        _open_one(listeners, proxy, index, bind, maxconn, leaving=leaving)
    if listeners.failed:
        listeners.close()
        return listeners
    for receiver, proxy, bind in kept:
        notes: list[str] = []
        adjust(receiver, proxy, bind, backlog_of(proxy, bind, maxconn), notes)
        listeners.troubles += [Trouble(_tell(proxy, bind, note), fatal=False) for note in notes]
    opened = listeners._receivers
    listeners._receivers = {key: receiver or opened[key] for key, receiver in places.items()}
    return listeners


def _is_lost(receiver: Receiver) -> bool:
    """Can nobody reach it any more, because its path was removed?"""
    return receiver.path is not None and not os.path.lexists(receiver.path)


def retired(previous: Listeners, current: Listeners) -> Listeners:
    """Those of `previous` that `current` does not go on with (after a reload that was
    refused later on: the new ones, with the two the other way round)."""
    listeners = Listeners()
    staying = {id(receiver.socket) for receiver in current._receivers.values()}
    for key, receiver in previous._receivers.items():
        if id(receiver.socket) not in staying:
            listeners._receivers[key] = receiver
    return listeners


def _binds(config: Config) -> Iterator[tuple[Proxy, int, Bind]]:
    for proxy in config.listening:
        if not proxy.disabled:
            for index, bind in enumerate(proxy.binds):
                yield proxy, index, bind
    for index, each in enumerate(config.global_.stats_sockets):
        # Whoever asks while a worker is succeeded shall wait, not be refused.
        proxy = Proxy(each.place, ProxyKind.FRONTEND, STATS_SOCKETS, 0, backlog=DEFAULT_BACKLOG)
        bind = Bind(
            each.place,
            each.address,
            backlog=each.backlog,
            mode=each.mode,
            user=each.user,
            uid=each.uid,
            group=each.group,
            gid=each.gid,
        )
        yield proxy, index, bind


def _open_one(
    listeners: Listeners,
    proxy: Proxy,
    index: int,
    bind: Bind,
    maxconn: int,
    *,
    offered: Offered | None = None,
    beside: bool = False,
    leaving: Sequence[Receiver] = (),
) -> None:
    backlog = backlog_of(proxy, bind, maxconn)
    notes: list[str] = []
    try:
        if offered is not None:
            receiver = take_over(offered.socket, proxy, bind, backlog, notes)
        else:
            receiver = _make(proxy, bind, backlog, notes, beside, leaving)
    except Refused as refused:
        busy = isinstance(refused.why, OSError) and refused.why.errno == errno.EADDRINUSE
        text = _tell(proxy, bind, refused.step, refused.why)
        listeners.troubles.append(Trouble(text, busy=busy))
    else:
        listeners._receivers[(proxy.name, index)] = receiver
    listeners.troubles += [Trouble(_tell(proxy, bind, note), fatal=False) for note in notes]


def _make(
    proxy: Proxy,
    bind: Bind,
    backlog: int,
    notes: list[str],
    beside: bool,
    leaving: Sequence[Receiver],
) -> Receiver:
    try:
        return make(proxy, bind, backlog, notes, beside=beside)
    except Refused as refused:
        near = [each for each in leaving if each.port == bind.endpoint.port]
        busy = isinstance(refused.why, OSError) and refused.why.errno == errno.EADDRINUSE
        if not near or not busy:
            raise
    # one of ours that is about to go is in the way: `bind :80` after `bind 127.0.0.1:80`
    notes.clear()
    with shared(near):
        return make(proxy, bind, backlog, notes, beside=True)


def _address_of(bind: Bind) -> Address | None:
    try:
        return Address.of(bind)
    except Refused:
        return None  # `make` tells


# ---- words ----


def _tell(proxy: Proxy, bind: Bind, step: str, why: OSError | str | None = None) -> str:
    place = f"[{bind.place.file}:{bind.place.line}]"
    unix = bind.endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT)
    address = f"[{show(bind.endpoint)}]" if unix else f"for [{show(bind.endpoint)}]"
    tried = with_reason(step, why)
    name = "GLOBAL" if proxy.name == STATS_SOCKETS else proxy.name
    return f"Binding {place} for proxy {name}: {tried} {address}{_help(bind, why)}"


def _help(bind: Bind, why: OSError | str | None) -> str:
    """What would help, on the same line."""
    number = why.errno if isinstance(why, OSError) else None
    port = bind.endpoint.port or 0
    if number == errno.EADDRINUSE and port:
        return f"; another program listens there, `ss -ltnp 'sport = :{port}'` shows which"
    if number == errno.EADDRINUSE:
        return "; another program listens there"
    if number == errno.EACCES and 0 < port < 1024:
        return "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if number == errno.EBADF and bind.endpoint.kind is AddressKind.FD:
        return "; nobody handed it to us (a systemd .socket unit hands over fd@3 and on)"
    if number == errno.EPERM and bind.transparent:
        return "; `transparent` needs root or CAP_NET_ADMIN"
    if number == errno.EADDRNOTAVAIL:
        return "; no interface has this address (`transparent` or ip_nonlocal_bind allows it)"
    return ""


def show(endpoint: Endpoint) -> str:
    """An address as HAProxy's messages write it: `127.0.0.1:80`, `:::80`, a path."""
    if endpoint.kind is AddressKind.UNIX:
        return endpoint.host
    if endpoint.kind is AddressKind.ABSTRACT:
        return f"abns@{endpoint.host}"
    if endpoint.kind is AddressKind.FD:
        return f"fd@{endpoint.host}"
    host = "0.0.0.0" if endpoint.kind is AddressKind.ANY else endpoint.host
    return f"{host}:{endpoint.port or 0}"
