"""The names of a configuration at start: hosts by the system's resolver, users and
groups by the system's accounts. After this a `Config` holds addresses only."""

from __future__ import annotations

import grp
import pwd
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from lbsplice.config.messages import Message, Report, Severity
from lbsplice.config.model import (
    AddressKind,
    Bind,
    Config,
    Endpoint,
    Global,
    Log,
    Place,
    Proxy,
    Server,
    Source,
)

_AT_ONCE = 16

Lookup = Callable[[str, int | None], Sequence[str]]
"""The addresses of a name, best first, of family 4, 6 or any; none if it has none."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """`config` without names, or None if one of them could not be resolved."""

    config: Config | None
    messages: tuple[Message, ...]


def system_lookup(name: str, family: int | None) -> Sequence[str]:
    """Ask getaddrinfo(3). May block for as long as the system's resolver does."""
    wanted = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[family]
    try:
        found = socket.getaddrinfo(name, None, wanted, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [str(entry[4][0]) for entry in found]


def resolve(config: Config, *, lookup: Lookup = system_lookup) -> Resolved:
    """Replace every name by an address; each name is asked for once, several at a time.

    What can not be resolved is told in HAProxy's words, all of it. Disabled proxies are
    left as they are."""
    wanted = sorted(
        {_question(endpoint) for endpoint in _endpoints(config)},
        key=lambda question: (question[0], question[1] or 0),
    )
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        answers = pool.map(lambda question: lookup(*question), wanted)
        pairs = zip(wanted, answers, strict=True)
        known = {question: answer[0] for question, answer in pairs if answer}
    return _Resolver(known).config(config)


_Question = tuple[str, int | None]


def _question(endpoint: Endpoint) -> _Question:
    return endpoint.host, endpoint.family


def _endpoints(config: Config) -> Iterable[Endpoint]:
    """Every endpoint of the configuration that is a name."""
    found: list[Endpoint | None] = [log.address for log in config.global_.logs]
    found += [stats.address for stats in config.global_.stats_sockets]
    for proxy in config.proxies:
        if proxy.disabled:
            continue
        found += [log.address for log in proxy.logs]
        found += [bind.endpoint for bind in proxy.binds]
        found += [proxy.source.address] if proxy.source else []
        for server in proxy.servers:
            found += [server.endpoint, server.check.address]
            found += [server.source.address] if server.source else []
    for page in config.pages:
        found += [] if page.proxy.disabled else [bind.endpoint for bind in page.proxy.binds]
    return [e for e in found if e is not None and e.kind is AddressKind.NAME]


class _Resolver:
    def __init__(self, known: Mapping[_Question, str]) -> None:
        self.known = known
        self.report = Report()
        self._told: set[tuple[str, Place]] = set()

    def config(self, config: Config) -> Resolved:
        global_ = self._global(config.global_)
        proxies = tuple(proxy if proxy.disabled else self._proxy(proxy) for proxy in config.proxies)
        pages = tuple(
            page if page.proxy.disabled else replace(page, proxy=self._proxy(page.proxy))
            for page in config.pages
        )
        messages = self.report.messages
        if any(m.severity is Severity.ALERT for m in messages):
            if any("could not resolve address" in m.text for m in messages):
                self.report.alert("Failed to initialize server(s) addr.")
            return Resolved(None, tuple(messages))
        return Resolved(
            replace(config, global_=global_, proxies=proxies, pages=pages), tuple(messages)
        )

    def _endpoint(self, endpoint: Endpoint, place: Place, trouble: str) -> Endpoint:
        if endpoint.kind is not AddressKind.NAME:
            return endpoint
        address = self.known.get(_question(endpoint))
        if address is None:
            if (trouble, place) not in self._told:
                self._told.add((trouble, place))
                self.report.alert(trouble, place)
            return endpoint
        kind = AddressKind.IPV6 if ":" in address else AddressKind.IPV4
        return replace(endpoint, kind=kind, host=address, family=None)

    def _global(self, value: Global) -> Global:
        for keyword, name in (("user", value.user), ("group", value.group)):
            if name is not None and not _has_account(keyword, name):
                self.report.alert(
                    f"cannot find {keyword} id for '{name}' (0:Success)", value.place_of(keyword)
                )
        return replace(
            value,
            logs=self._logs(value.logs),
            stats_sockets=tuple(
                replace(
                    stats,
                    address=self._endpoint(
                        stats.address, stats.place, _invalid("'stats socket' : ", stats.address)
                    ),
                )
                for stats in value.stats_sockets
            ),
        )

    def _logs(self, logs: tuple[Log, ...]) -> tuple[Log, ...]:
        return tuple(
            log
            if log.address is None
            else replace(
                log,
                address=self._endpoint(log.address, log.place, _invalid("log : ", log.address)),
            )
            for log in logs
        )

    def _proxy(self, proxy: Proxy) -> Proxy:
        return replace(
            proxy,
            logs=self._logs(proxy.logs),
            binds=tuple(self._bind(bind, proxy) for bind in proxy.binds),
            source=self._source(proxy.source, proxy.place, ""),
            servers=tuple(self._server(server, proxy) for server in proxy.servers),
        )

    def _bind(self, bind: Bind, proxy: Proxy) -> Bind:
        shown = f"'bind' in section '{proxy.kind.value}'"
        for keyword, name in (("user", bind.user), ("group", bind.group)):
            if name is not None and not _has_account(keyword, name):
                trouble = f"{shown} : '{keyword}' : unknown {keyword} name '{name}'"
                self.report.alert(trouble, bind.place)
        trouble = _invalid("'bind' : ", bind.endpoint)
        return replace(bind, endpoint=self._endpoint(bind.endpoint, bind.place, trouble))

    def _source(self, source: Source | None, place: Place, before: str) -> Source | None:
        if source is None:
            return None
        trouble = _invalid(f"{before}'source {source.address.host}' : ", source.address)
        return replace(source, address=self._endpoint(source.address, place, trouble))

    def _server(self, server: Server, proxy: Proxy) -> Server:
        shown = f"'server {proxy.name}/{server.name}' : "
        trouble = f"{shown}could not resolve address '{server.endpoint.host}'."
        check = server.check
        if check.address is not None:
            wrong = _invalid(f"{shown}'addr' : ", check.address)
            check = replace(check, address=self._endpoint(check.address, server.place, wrong))
        return replace(
            server,
            endpoint=self._endpoint(server.endpoint, server.place, trouble),
            check=check,
            source=self._source(server.source, server.place, shown),
        )


def _invalid(before: str, endpoint: Endpoint) -> str:
    shown = endpoint.host if endpoint.port is None else f"{endpoint.host}:{endpoint.port}"
    return f"{before}invalid address: '{endpoint.host}' in '{shown}'"


def _has_account(keyword: str, name: str) -> bool:
    try:
        if keyword == "user":
            pwd.getpwnam(name)
        else:
            grp.getgrnam(name)
    except (KeyError, UnicodeError):
        return False
    return True
