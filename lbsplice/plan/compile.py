"""A configuration, the numbers of its parts and the weights of the moment become a plan.

Pure and quick: it runs again at every change of a server's state. What is expensive to
make (wheels, circles of consistent hashing) is kept by the functions that make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from lbsplice.config.model import AddressKind, Bind, Config, KeepAlive, Proxy, Server, Source
from lbsplice.errors import PlanError
from lbsplice.plan import hashing, sockaddr, wheel
from lbsplice.plan.leaving import Leaving
from lbsplice.plan.slots import Numbers, ServerKey
from lbsplice.plan.tables import (
    NO_SLOT,
    BackendRow,
    FrontendRow,
    KeepAliveRow,
    ListenerRow,
    Plan,
    PortRule,
    Redispatch,
    SlotRow,
)
from lbsplice.terms import Algorithm, HashMethod, LogLevel

Weight = Callable[[ServerKey], int]
"""The effective weight of a server now; 0: it may not receive new sessions."""

_IP_KINDS = (AddressKind.IPV4, AddressKind.IPV6)
_UNIX_KINDS = (AddressKind.UNIX, AddressKind.ABSTRACT)
_INTERFACE_BYTES = 15


def compile_plan(
    config: Config,
    numbers: Numbers,
    weight: Weight,
    *,
    generation: int,
    maxconn: int,
    leaving: Leaving | None = None,
) -> Plan:
    """The plan of a configuration. `maxconn` is the process's, in sessions.

    Disabled proxies are left out; a frontend whose backend is disabled has none. Servers
    that may not receive sessions keep their slots: those they have may go on. The same
    holds for what is leaving: it has its rows, and nothing leads there.

    Raises PlanError, with the place in the configuration, for what can not be a plan: a
    name that was not resolved, a weight out of range, too many points."""
    proxies = [proxy for proxy in config.proxies if not proxy.disabled]
    listeners: list[ListenerRow] = []
    frontends: list[FrontendRow] = []
    backends: list[BackendRow] = []
    slots: list[SlotRow] = []
    for proxy in proxies:
        if proxy.has_frontend:
            backend = config.backend_of(proxy)
            if backend is not None and backend.disabled:
                backend = None
            frontends.append(_frontend_row(proxy, backend, numbers))
            listeners.extend(_listener_rows(proxy, backend, numbers))
        if proxy.has_backend:
            weights = [_weight(proxy, server, weight) for server in proxy.servers]
            backends.append(_backend_row(proxy, weights, numbers))
            slots.extend(
                _slot_row(proxy, server, now, numbers)
                for server, now in zip(proxy.servers, weights, strict=True)
            )
    if leaving is not None:
        frontends += [_frontend_row(proxy, None, numbers) for proxy in leaving.frontends]
        backends += [_backend_row(proxy, (), numbers) for proxy in leaving.backends]
        slots += [
            _slot_row(proxy, server, 0, numbers)
            for proxy in leaving.servers
            for server in proxy.servers
        ]
    return Plan(
        generation=generation,
        maxconn=maxconn,
        listeners=tuple(listeners),
        frontends=tuple(frontends),
        backends=tuple(backends),
        slots=tuple(slots),
    )


# ---- frontends ----


def _sessions_are_logged(proxy: Proxy) -> bool:
    """Does a log target take the lines of sessions? They are `info`; with
    `option log-separate-errors` those of failed sessions are `err`."""
    level = LogLevel.ERR if proxy.log_separate_errors else LogLevel.INFO
    return any(log.max_level >= level for log in proxy.logs)


def _frontend_row(proxy: Proxy, backend: Proxy | None, numbers: Numbers) -> FrontendRow:
    """Who wants to hear of this frontend's sessions follows from its log lines:

    | option            | the line is written             | events           |
    |-------------------|---------------------------------|------------------|
    | no log            | never                           | none             |
    | tcplog            | at the end                      | end              |
    | tcplog, logasap   | at connect, else at the end     | connect and end  |
    | none of these     | at connect, else at the end     | connect and end  |

    Where the line is written at connect, the end must be told too: a session that never
    connected (refused, no server) has its only line then. The reader drops the end of a
    session that did connect."""
    logged = _sessions_are_logged(proxy)
    return FrontendRow(
        number=numbers.frontends[proxy.name],
        backend=NO_SLOT if backend is None else numbers.backends[backend.name],
        maxconn=proxy.maxconn or 0,
        timeout_client=proxy.timeouts.client or 0,
        timeout_client_fin=proxy.timeouts.client_fin or 0,
        want_end_event=logged,
        want_connect_event=logged and (not proxy.tcplog or proxy.logasap),
        nolinger=proxy.nolinger,
    )


def _listener_rows(proxy: Proxy, backend: Proxy | None, numbers: Numbers) -> list[ListenerRow]:
    """Sessions record the address they were accepted on, one system call each, only if
    something reads it: a server whose port follows the one the client connected to, or
    the default log line, which names it, where the listener's own address does not tell."""
    logs_it = _sessions_are_logged(proxy) and not proxy.tcplog
    connects_by_it = backend is not None and any(
        _port_rule(server)[0] is PortRule.OFFSET for server in backend.servers
    )
    return [
        ListenerRow(
            number=numbers.listeners[proxy.name, index],
            frontend=numbers.frontends[proxy.name],
            maxconn=bind.maxconn or 0,
            want_destination=bind.endpoint.kind not in _UNIX_KINDS
            and (connects_by_it or (logs_it and not _is_one_address(bind))),
        )
        for index, bind in enumerate(proxy.binds)
    ]


def _is_one_address(bind: Bind) -> bool:
    """Do all sessions of this listener come in at the address it is bound to? Not at a
    wildcard, not at a transparent one; an inherited descriptor's is not known here."""
    if bind.endpoint.kind not in _IP_KINDS or bind.transparent:
        return False
    return not ip_address(bind.endpoint.host).is_unspecified


# ---- backends ----


def _weight(proxy: Proxy, server: Server, weight: Weight) -> int:
    now = weight((proxy.name, server.name))
    if not 0 <= now <= wheel.MAX_WEIGHT:
        raise PlanError(
            f"{server.place}: server '{proxy.name}/{server.name}': "
            f"weight {now} is out of range (0..{wheel.MAX_WEIGHT})"
        )
    return now


@dataclass(frozen=True, slots=True)
class _Candidate:
    server: Server
    slot: int
    weight: int


def _candidates(proxy: Proxy, weights: Sequence[int], numbers: Numbers) -> list[_Candidate]:
    """The servers that may be chosen while no state changes, and among them those that
    are not usable now (weight 0). Backups stand in only when no active server is usable:
    the first usable one by order, or all with `option allbackups`."""
    every = [
        _Candidate(server, numbers.slots[proxy.name, server.name], weight)
        for server, weight in zip(proxy.servers, weights, strict=True)
    ]
    active = [one for one in every if not one.server.backup]
    if any(one.weight for one in active):
        return active
    backups = [one for one in every if one.server.backup]
    if proxy.allbackups:
        return backups
    return [one for one in backups if one.weight][:1]


def _backend_row(proxy: Proxy, weights: Sequence[int], numbers: Numbers) -> BackendRow:
    candidates = _candidates(proxy, weights, numbers)
    usable = [one for one in candidates if one.weight]
    algorithm = proxy.balance.algorithm
    if algorithm is Algorithm.FIRST:
        usable.sort(key=lambda one: one.server.id)
    redispatch, interval = _redispatch(proxy)
    return BackendRow(
        number=numbers.backends[proxy.name],
        algorithm=algorithm,
        usable=tuple(one.slot for one in usable),
        wheel=_wheel(algorithm, usable),
        points=_points(proxy, candidates),
        avalanche=proxy.balance.avalanche,
        draws=proxy.balance.draws,
        retries=proxy.retries,
        redispatch=redispatch,
        redispatch_interval=interval,
        redispatch_first_failure=_redispatches_first_failure(proxy, usable),
        timeout_connect=proxy.timeouts.connect or 0,
        timeout_server=proxy.timeouts.server or 0,
        timeout_server_fin=proxy.timeouts.server_fin or 0,
        timeout_tunnel=proxy.timeouts.tunnel or 0,
        abortonclose=proxy.abortonclose,
        nolinger=proxy.nolinger,
        smart_connect=proxy.smart_connect,
    )


def _wheel(algorithm: Algorithm, usable: Sequence[_Candidate]) -> tuple[int, ...]:
    """Consistent hashing has a wheel too: for clients without an IP address."""
    weights = tuple(one.weight for one in usable)
    if algorithm in (Algorithm.SOURCE, Algorithm.STATIC_RR):
        order = wheel.hash_map(weights)
    else:
        order = wheel.spread(weights)
    return tuple(usable[index].slot for index in order)


def _points(proxy: Proxy, candidates: Sequence[_Candidate]) -> tuple[hashing.Point, ...]:
    """The circle is made of all candidates, those that are down with their configured
    weight, so that it is made once and a transition only leaves servers out."""
    balance = proxy.balance
    if balance.algorithm is not Algorithm.SOURCE or (
        balance.hash_method is not HashMethod.CONSISTENT
    ):
        return ()
    try:
        circle = hashing.circle(
            tuple((one.server.id, one.weight or one.server.weight, one.slot) for one in candidates)
        )
    except PlanError as error:
        raise PlanError(f"{proxy.place}: backend '{proxy.name}': {error}") from None
    return circle.of([one.slot for one in candidates if one.weight])


def _redispatch(proxy: Proxy) -> tuple[Redispatch, int]:
    """`option redispatch [n]`: -1 is the last retry, n each n-th one, -n the n-th before
    the end (the last is the first before the end) and its multiples."""
    if proxy.redispatch == 0:
        return Redispatch.NEVER, 0
    if proxy.redispatch == -1:
        return Redispatch.LAST, 0
    if proxy.redispatch > 0:
        return Redispatch.INTERVAL, proxy.redispatch
    return Redispatch.INTERVAL, max(1, proxy.retries + 1 + proxy.redispatch)


def _redispatches_first_failure(proxy: Proxy, usable: Sequence[_Candidate]) -> bool:
    """Does the first failed attempt go to another server at once, without a pause?

    Measured with HAProxy 2.6 (a server that refuses beside one or two good ones,
    `retries 2`; `tests/scenario/test_haproxy_balance.py` measures it again):

    | balance                                       | without        | with `option redispatch` |
    |                                               | the option     | (any n)                  |
    |-----------------------------------------------|----------------|--------------------------|
    | roundrobin static-rr leastconn first random   | same server,   | another one at once, `+1`|
    |                                               | 1 s pauses, SC |                          |
    | source, map-based                             | the same       | pauses, and at the n-th  |
    |                                               |                | retry the same server: SC|
    | source, consistent                            | the same       | pauses, and at the n-th  |
    |                                               |                | retry another one        |
    | any, one usable active server and backups     | the same       | the same: never a backup |
    | any, only backups usable (allbackups)         | the same       | the same                 |
    """
    if not proxy.redispatch or proxy.balance.algorithm is Algorithm.SOURCE:
        return False
    return len(usable) > 1 and not usable[0].server.backup


# ---- servers ----


def _port_rule(server: Server) -> tuple[PortRule, int]:
    endpoint = server.endpoint
    if endpoint.kind not in (*_IP_KINDS, AddressKind.NAME):
        return PortRule.FIXED, 0
    if endpoint.port is None:
        return PortRule.OFFSET, 0
    if endpoint.relative:
        return PortRule.OFFSET, endpoint.port
    return PortRule.FIXED, 0


def _slot_row(proxy: Proxy, server: Server, weight: int, numbers: Numbers) -> SlotRow:
    try:
        address = _server_address(server)
        source_address, low, high, interface = b"", 0, 0, ""
        source = server.source or proxy.source
        if source is not None and sockaddr.family(address) != sockaddr.AF_UNIX:
            source_address, low, high = _source(source, sockaddr.family(address))
            interface = source.interface or ""
    except PlanError as error:
        raise PlanError(f"{server.place}: server '{proxy.name}/{server.name}': {error}") from None
    port_rule, port_offset = _port_rule(server)
    return SlotRow(
        number=numbers.slots[proxy.name, server.name],
        backend=numbers.backends[proxy.name],
        address=address,
        port_rule=port_rule,
        port_offset=port_offset,
        weight=weight,
        tcp_ut=server.tcp_ut or 0,
        keepalive=_keepalive(proxy.server_keepalive),
        source=source_address,
        source_port_low=low,
        source_port_high=high,
        source_interface=interface,
    )


def _server_address(server: Server) -> bytes:
    raw = sockaddr.sockaddr(server.endpoint)
    if sockaddr.is_any(raw):
        raise PlanError(
            "no address to connect to: connecting where the client wanted to go "
            "(a server at 0.0.0.0 or *) is not supported"
        )
    return raw


def _source(source: Source, family: int) -> tuple[bytes, int, int]:
    """The address to connect from, and its lowest and highest port (0, 0: any)."""
    low = source.port_low or source.address.port or 0
    high = source.port_high or low
    if source.interface is not None and len(source.interface.encode()) > _INTERFACE_BYTES:
        raise PlanError(f"'{source.interface}' is too long for an interface's name")
    raw = sockaddr.sockaddr(source.address)
    if sockaddr.is_any(raw):
        # Without a port only the interface counts, if there is one.
        return sockaddr.any_address(family) if low else b"", low, high
    if sockaddr.family(raw) != family:
        raise PlanError(
            f"source '{source.address.host}' is of another address family than the server"
        )
    return sockaddr.with_port_zero(raw), low, high


def _keepalive(keepalive: KeepAlive) -> KeepAliveRow:
    """The values count only while the option is on."""
    if not keepalive.enabled:
        return KeepAliveRow()
    return KeepAliveRow(
        enabled=True,
        idle=keepalive.idle or 0,
        interval=keepalive.interval or 0,
        count=keepalive.count or 0,
    )
