"""How servers are chosen and named: L8, L12, L17, L18."""

from __future__ import annotations

from collections.abc import Iterator

from lbsplice.config.model import Place
from lbsplice.lint.facts import whole
from lbsplice.lint.finding import Edit, Finding, Severity, Subject, before, line_of
from lbsplice.lint.model import Proxy, Server
from lbsplice.lint.wording import listed, spoken

_HASHES = ("source", "hash", "uri", "url_param", "hdr", "rdp-cookie")
_FEW = 8


def _choosable(backend: Proxy) -> list[Server]:
    return [s for s in backend.servers if not s.has("backup") and not s.has("disabled")]


def _count(servers: list[Server]) -> int:
    return sum(server.count for server in servers)


def _algorithm(backend: Proxy) -> str:
    balance = backend.words.get("balance")
    return balance.word(1).partition("(")[0] if balance else ""


def _is_map(backend: Proxy) -> bool:
    """Whether the hash is a map, which every change of the servers rearranges."""
    kind = backend.words.get("hash-type")
    return _algorithm(backend) in _HASHES and (kind is None or kind.word(1) != "consistent")


def failed_connects(subject: Subject) -> Iterator[Finding]:
    """L8: a failed connect that is not tried elsewhere."""
    for backend in subject.model.backends():
        if not backend.is_tcp or _count(_choosable(backend)) < 2:
            continue
        retries = backend.numbers.get("retries")
        again = backend.option("redispatch")
        if retries and retries.value == 0:
            yield Finding(
                "L8",
                Severity.WARNING,
                retries.place,
                f"{backend.title}: with 'retries 0' a session whose first connect fails is ended, "
                "though other servers are there; 'option redispatch' changes nothing then",
                "write 'retries 3' with 'option redispatch'",
            )
        elif again is None:
            yield _no_redispatch(subject, backend)
        elif _algorithm(backend) in _HASHES:
            yield Finding(
                "L8",
                Severity.NOTE,
                again.place,
                f"{backend.title}: 'option redispatch' with 'balance {_algorithm(backend)}' hashes "
                "again on the last retry, which usually gives the same server until the checks "
                "have marked it down",
                "rely on quick checks here",
            )


def _no_redispatch(subject: Subject, backend: Proxy) -> Finding:
    found = subject.of_backend(backend)
    wait = found[0].connect_ms * found[0].attempts if found else None
    cost = f" ({spoken(wait)} in all)" if wait else ""
    option = backend.options.get("redispatch")
    return Finding(
        "L8",
        Severity.NOTE,
        option.place if option else backend.place,
        f"{backend.title} has no 'option redispatch': until the checks have marked a dead server "
        f"down, each session given to it tries only that one{cost} and fails",
        "add 'option redispatch'",
        _add_redispatch(backend) if option is None else (),
    )


def _add_redispatch(backend: Proxy) -> tuple[Edit, ...]:
    """Safe where no table or hash ties a client to a server: nothing of a session has
    reached anybody before its connect."""
    tied = any(line.statement.keyword in ("stick", "persist") for line in backend.lines)
    first = line_of(backend, backend.servers[0].place)
    if tied or _algorithm(backend) in _HASHES or first is None:
        return ()
    return before(first, "option redispatch")


def balancing(subject: Subject) -> Iterator[Finding]:
    """L12: an algorithm that differs between versions, or a map that moves everybody."""
    for backend in subject.model.backends():
        servers = _choosable(backend)
        if _count(servers) < 2:
            continue
        if "balance" not in backend.words:
            yield Finding(
                "L12",
                Severity.NOTE,
                backend.place,
                f"{backend.title} has no 'balance' line: HAProxy takes roundrobin up to version "
                "3.2 and random(2) in newer ones",
                "write 'balance leastconn' for long sessions, 'balance roundrobin' for short ones",
            )
        elif _is_map(backend) and _count(servers) <= _FEW and backend.is_tcp:
            balance = backend.words["balance"]
            yield Finding(
                "L12",
                Severity.NOTE,
                balance.place,
                f"{backend.title}: 'balance {_algorithm(backend)}' with the map-based hash moves "
                f"nearly all clients to other servers when one of {_count(servers)} goes or comes",
                "add 'hash-type consistent'",
            )


def slowstart_in_vain(subject: Subject) -> Iterator[Finding]:
    """L17: a slow start that has no weight to raise."""
    for backend in subject.model.backends():
        for server in backend.servers:
            said = server.settings.get("slowstart")
            if said is None:
                continue
            if whole(server, "weight", 1) == 0:
                why = "its weight is 0, so it gets no sessions"
            elif _algorithm(backend) == "static-rr" or _is_map(backend):
                why = f"'balance {_algorithm(backend)}' takes weights only at the start"
            else:
                continue
            yield Finding(
                "L17",
                Severity.WARNING,
                server.place,
                f"server {server.name} of {backend.title}: '{said.words}' does nothing: {why}",
                "remove it, or use a dynamic algorithm (leastconn, roundrobin, hash-type "
                "consistent)",
            )


def names_and_ids(subject: Subject) -> Iterator[Finding]:
    """L18: what has one name twice, tracks itself, or can never be chosen first."""
    yield from _proxy_names(subject)
    for backend in subject.model.backends():
        yield from _twice(backend)
        yield from _tracking(subject, backend)
        usable = [s for s in backend.servers if not s.has("disabled")]
        if usable and all(server.has("backup") for server in usable):
            yield Finding(
                "L18",
                Severity.WARNING,
                usable[0].place,
                f"{backend.title} has only backup servers: the first of them gets everything "
                "unless 'option allbackups' is set",
                "remove 'backup' from the servers that should share the load",
            )


def _proxy_names(subject: Subject) -> Iterator[Finding]:
    for side in ("frontend", "backend"):
        seen: dict[str, Proxy] = {}
        for proxy in subject.model.proxies:
            if not (proxy.has_frontend if side == "frontend" else proxy.has_backend):
                continue
            first = seen.setdefault(proxy.name, proxy)
            if first is not proxy and first.place != proxy.place:
                yield Finding(
                    "L18",
                    Severity.ERROR,
                    proxy.place,
                    f"{proxy.title} has the same name as {first.title} at {first.place}",
                    "give each a name of its own",
                )


def _twice(backend: Proxy) -> Iterator[Finding]:
    names: dict[str, Place] = {}
    ids: dict[str, Server] = {}
    for server in backend.servers:
        if not server.certain:
            continue
        if names.setdefault(server.name, server.place) != server.place:
            yield Finding(
                "L18",
                Severity.ERROR,
                server.place,
                f"{backend.title} has a second server named {server.name} "
                f"(the first is at {names[server.name]})",
                "give each a name of its own",
            )
        number = server.value("id")
        if number and ids.setdefault(number, server) is not server:
            yield Finding(
                "L18",
                Severity.ERROR,
                server.place,
                f"server {server.name} has the same id {number} as {ids[number].name}",
                "give each an id of its own",
            )


def _tracking(subject: Subject, backend: Proxy) -> Iterator[Finding]:
    for server in backend.servers:
        if not server.has("track") or not server.certain:
            continue
        followed = server.value("track")
        end = subject.model.tracked(backend, server)
        if end is None:
            yield Finding(
                "L18",
                Severity.ERROR,
                server.place,
                f"server {server.name} tracks {followed}, which is a circle or does not exist",
                "track a server that has 'check'",
            )
        elif not (end[1].has("check") or end[1].has("agent-check")):
            yield Finding(
                "L18",
                Severity.ERROR,
                server.place,
                f"server {server.name} tracks {followed}, which nobody checks",
                f"add 'check' to server {listed([end[1].name])}",
            )
