"""What the log says of one session: HAProxy's `option tcplog` line and its default line.

The tcplog line is written when a session ends, or with `option logasap` when it has
connected (what is not final then has a `+` in front). The default line is written when a
session has connected. A session that never connected has its one line at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from lbsplice.config.model import AddressKind, Bind, Config, Proxy
from lbsplice.plan.leaving import Leaving, configured_name
from lbsplice.plan.slots import Numbers
from lbsplice.report.record import SESSION_CONNECTED, SESSION_ENDED, Record
from lbsplice.terms import Cause, LogLevel, Phase

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

LATEST_SECOND = 253_370_764_800
"""The beginning of the year 9999: `datetime` ends there."""

_LETTERS = ["?"] * 256
for _word in (*Cause, *Phase):
    _LETTERS[ord(_word.value)] = _word.value
_NONE = ord(Cause.NONE.value)
_NO_ERROR = frozenset({_NONE, ord(Cause.LOCAL.value)})
_CONTROLS = {code: f"#{code:02X}" for code in (*range(32), 127, *range(128, 160), 0x2028, 0x2029)}


class Line(NamedTuple):
    """A finished line, without its end; `frontend` is the number of whose it is."""

    frontend: int
    level: LogLevel
    text: str


class _Frontend:
    """What the lines of one frontend have in common."""

    __slots__ = (
        "asap",
        "errors_apart",
        "name",
        "no_normal",
        "no_null",
        "no_server",
        "proxy",
        "suffix",
        "tcplog",
    )

    def __init__(self, proxy: Proxy, backend: str) -> None:
        self.proxy = proxy
        self.name = one_line(proxy.name)
        self.tcplog = proxy.tcplog
        self.asap = proxy.logasap
        self.no_null = proxy.dontlognull
        self.no_normal = proxy.dontlog_normal
        self.errors_apart = proxy.log_separate_errors
        self.suffix = f" ({self.name}/TCP)"
        # Without a backend HAProxy writes the frontend's name there.
        self.no_server = f"{one_line(backend)}/<NOSRV>"


class SessionLog:
    """Turns records into lines, for one configuration and what is `leaving` besides:
    sessions that began under an older one may still end.

    `previous` is the log of the configuration before. Names of listeners that are gone
    are taken from there."""

    def __init__(
        self,
        config: Config,
        numbers: Numbers,
        previous: SessionLog | None = None,
        *,
        leaving: Leaving | None = None,
    ) -> None:
        self._frontends: dict[int, _Frontend] = {}
        self._listeners: dict[int, tuple[str, str]] = {}  # unix:<id>, address
        if previous is not None:
            self._listeners.update(previous._listeners)
        self._backends: dict[int, str] = {}  # backend/<NOSRV>
        self._servers: dict[int, str] = {}  # backend/server
        for proxy in config.proxies:
            if proxy.has_frontend:
                self._add_frontend(proxy, config.backend_of(proxy), numbers)
            if proxy.has_backend:
                self._add_backend(proxy, numbers)
        for proxy in leaving.frontends if leaving else ():
            self._add_frontend(proxy, None, numbers)
        for proxy in (*leaving.backends, *leaving.servers) if leaving else ():
            self._add_backend(proxy, numbers)

    def _add_frontend(self, proxy: Proxy, backend: Proxy | None, numbers: Numbers) -> None:
        number = numbers.frontends[proxy.name]
        self._frontends.pop(number, None)
        if proxy.logs:
            name = proxy.default_backend or proxy.name if backend is None else backend.name
            self._frontends[number] = _Frontend(proxy, name)
        ids = listener_ids(proxy.binds)
        for (index, bind), id_ in zip(enumerate(proxy.binds), ids, strict=True):
            listener = numbers.listeners[proxy.name, index]
            self._listeners[listener] = (f"unix:{id_}", bound(bind))

    def _add_backend(self, proxy: Proxy, numbers: Numbers) -> None:
        name = one_line(proxy.name)
        self._backends[numbers.backends[proxy.name]] = f"{name}/<NOSRV>"
        for server in proxy.servers:
            slot = numbers.slots[proxy.name, server.name]
            self._servers[slot] = f"{name}/{one_line(configured_name(server.name))}"

    @property
    def frontends(self) -> dict[int, Proxy]:
        """The frontends whose sessions are logged, by number."""
        return {number: each.proxy for number, each in self._frontends.items()}

    def lines(self, records: Iterable[Record]) -> Iterator[Line]:
        """The lines of many records, in their order."""
        for record in records:
            line = self.line(record)
            if line is not None:
                yield line

    def line(self, record: Record) -> Line | None:
        """The line of one record, or None if it has none: its frontend does not want one,
        its session has its line already or gets it later."""
        frontend = self._frontends.get(record.frontend)
        if frontend is None:
            return None
        if not frontend.tcplog:
            if _is_first_word(record):
                return Line(record.frontend, LogLevel.INFO, self._default(record, frontend))
            return None
        error = bool(
            record.redispatched
            or record.cause not in _NO_ERROR
            or (record.retries and record.cause == _NONE)
        )
        if frontend.asap:
            if not _is_first_word(record) and not (
                # The normal line was withheld at connect; it is an error only now.
                frontend.no_normal
                and record.kind == SESSION_ENDED
                and not (record.redispatched or record.retries)
            ):
                return None
        elif record.kind != SESSION_ENDED:
            return None
        if frontend.no_normal and not error:
            return None
        # HAProxy looks at the client's bytes alone; a session that only a server's
        # greeting went through is not null here.
        if (
            frontend.no_null
            and record.kind == SESSION_ENDED
            and not (record.bytes_from_client or record.bytes_from_server)
        ):
            return None
        level = LogLevel.ERR if error and frontend.errors_apart else LogLevel.INFO
        return Line(record.frontend, level, self._tcplog(record, frontend))

    def _tcplog(self, record: Record, frontend: _Frontend) -> str:
        (
            _kind,
            cause,
            phase,
            _thread,
            family,
            _destination_family,
            redispatched,
            _reserved,
            port,
            _destination_port,
            retries,
            _number,
            _count,
            _serial,
            wall_ms,
            queue_ms,
            connect_ms,
            total_ms,
            _bytes_from_client,
            bytes_from_server,
            listener,
            _frontend,
            backend,
            slot,
            process_sessions,
            frontend_sessions,
            backend_sessions,
            slot_sessions,
            ip,
            _destination_ip,
        ) = record
        second, ms = divmod(wall_ms, 1000)
        server = self._servers.get(slot) or self._backends.get(backend) or frontend.no_server
        plus = "+" if frontend.asap else ""
        return (
            f"{self._client(family, ip, port, listener)} [{_accept_date(second)}{ms:03d}] "
            f"{frontend.name} {server} {queue_ms}/{connect_ms}/{plus}{total_ms} "
            f"{plus}{bytes_from_server} {_LETTERS[cause & 255]}{_LETTERS[phase & 255]} "
            f"{process_sessions}/{frontend_sessions}/{backend_sessions}/{slot_sessions}/"
            f"{'+' if redispatched else ''}{retries} 0/0"
        )

    def _client(self, family: int, ip: bytes, port: int, listener: int) -> str:
        if family == AF_INET:
            return f"{ip[0]}.{ip[1]}.{ip[2]}.{ip[3]}:{port}"
        if family == AF_INET6:
            return f"{ipv6_text(ip)}:{port}"
        return self._listeners.get(listener, ("unix:0", ""))[0]

    def _default(self, record: Record, frontend: _Frontend) -> str:
        client = self._client(
            record.client_family, record.client_ip, record.client_port, record.listener
        )
        if record.client_family not in (AF_INET, AF_INET6):
            return f"Connect to {client}{frontend.suffix}"
        if record.destination_family in (AF_INET, AF_INET6):
            destination = self._client(
                record.destination_family, record.destination_ip, record.destination_port, 0
            )
        else:
            destination = self._listeners.get(record.listener, ("", "?:0"))[1]
        return f"Connect from {client} to {destination}{frontend.suffix}"


def one_line(text: str) -> str:
    """`text` with its line ends cut off and other control characters as `#XX`."""
    if text.isprintable():
        return text
    return text.rstrip("\r\n").translate(_CONTROLS)


def _is_first_word(record: Record) -> bool:
    """Is this what a line written at connect is made of? A session that did not connect
    has only its end."""
    if record.kind == SESSION_CONNECTED:
        return True
    return record.kind == SESSION_ENDED and record.connect_ms < 0


@lru_cache(maxsize=8192)
def _accept_date(second: int) -> str:
    """`06/Feb/2009:12:12:51.` in local time, for the milliseconds to follow."""
    at = datetime.fromtimestamp(min(second, LATEST_SECOND))
    return (
        f"{at.day:02d}/{MONTHS[at.month - 1]}/{at.year:04d}:"
        f"{at.hour:02d}:{at.minute:02d}:{at.second:02d}."
    )


@lru_cache(maxsize=4096)
def ipv6_text(ip: bytes) -> str:
    """As inet_ntop(3) writes it: addresses that hold an IPv4 one end in dots."""
    address = IPv6Address(ip)
    number = int(address)
    high, low = number >> 32, number & 0xFFFFFFFF
    if high == 0xFFFF or (high == 0 and low >= 0x10000):
        dotted = ".".join(str(byte) for byte in ip[12:])
        return f"::ffff:{dotted}" if high else f"::{dotted}"
    return address.compressed


def listener_ids(binds: tuple[Bind, ...]) -> list[int]:
    """Every listener's id: the one given, else the first that is free, from 1."""
    taken = {bind.id for bind in binds if bind.id is not None}
    free = 1
    ids = []
    for bind in binds:
        if bind.id is not None:
            ids.append(bind.id)
            continue
        while free in taken:
            free += 1
        ids.append(free)
        free += 1
    return ids


def bound(bind: Bind) -> str:
    """The address of a listener, where its sessions do not record theirs."""
    endpoint = bind.endpoint
    host = "0.0.0.0" if endpoint.kind is AddressKind.ANY else one_line(endpoint.host)
    return f"{host}:{endpoint.port or 0}"
