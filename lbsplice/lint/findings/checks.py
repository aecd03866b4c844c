"""Health checks that kill too soon, or that do nothing: L6, L7, L15."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lbsplice.config.model import Place
from lbsplice.lint.facts import Checking, asks_for_answer, checking
from lbsplice.lint.finding import Finding, Severity, Subject
from lbsplice.lint.model import Proxy, Server
from lbsplice.lint.wording import listed, spoken

_SYN_AGAIN_MS = 1000
_NEEDS_CHECK = ("on-marked-down", "observe", "slowstart", "on-error")


def quick_checks(subject: Subject) -> Iterator[Finding]:
    """L6: one lost packet, or one slow answer, takes a server's sessions with it."""
    for backend in subject.model.backends():
        same: dict[str, list[tuple[Server, Finding]]] = {}
        for server in backend.servers:
            checks = checking(subject.model, backend, server)
            for finding in _of_checks(subject, backend, server, checks) if checks else ():
                same.setdefault(finding.message, []).append((server, finding))
        for group in same.values():
            names = listed([server.name for server, _ in group])
            first = group[0][1]
            word = "server" if len(group) == 1 else "servers"
            yield replace(first, message=f"{word} {names} of {backend.title}: {first.message}")


def _of_checks(
    subject: Subject, backend: Proxy, server: Server, checks: Checking
) -> Iterator[Finding]:
    if checks.connect_limit < 3 * subject.rtt_ms:
        yield Finding(
            "L6",
            Severity.WARNING,
            server.place,
            f"a check may take {spoken(checks.connect_limit)}, which is "
            f"less than three round trips of {subject.rtt_ms:g} ms",
            "raise 'inter'",
        )
    if server.shuts_sessions and checks.fall == 1:
        yield Finding(
            "L6",
            Severity.WARNING,
            server.place,
            f"'fall 1' with 'on-marked-down shutdown-sessions': one failed "
            f"check (a lost packet, {spoken(checks.connect_limit)} without an answer) ends all "
            "of its sessions, dead or not",
            "write 'fall 3'; a shorter 'fastinter' keeps the detection quick",
        )
    elif server.shuts_sessions and checks.fall * checks.connect_limit < _SYN_AGAIN_MS:
        yield Finding(
            "L6",
            Severity.NOTE,
            server.place,
            f"a check is given up after {spoken(checks.connect_limit)}, but "
            f"a lost SYN is sent again only after 1 s: {checks.fall} lost packets in a row end "
            "all sessions",
            "set 'inter' above 1s, with a shorter 'fastinter'",
        )
    if checks.answer_limit is not None and "check" not in backend.timeouts:
        yield Finding(
            "L6",
            Severity.NOTE,
            server.place,
            f"without 'timeout check' the connect and the answer together "
            f"must be done within 'inter' ({spoken(checks.inter)})",
            f"set 'timeout check' in {backend.title}",
        )


def words_without_effect(subject: Subject) -> Iterator[Finding]:
    """L7: settings that need something else to do anything."""
    for backend in subject.model.backends():
        yield from _unchecked(subject, backend)
        yield from _marked_up(backend)
        yield from _kept_back(backend)
        httpchk = backend.option("httpchk")
        if httpchk and backend.is_tcp and "http-check expect" not in backend.words:
            yield Finding(
                "L7",
                Severity.NOTE,
                httpchk.place,
                f"{backend.title}: 'option httpchk' without 'http-check expect' takes every "
                "answer of 200 to 399 for good, redirects included",
                "add 'http-check expect status 200', or what the service answers",
            )


def _unchecked(subject: Subject, backend: Proxy) -> Iterator[Finding]:
    told: set[Place] = set()
    for server in backend.servers:
        if not server.certain or server.has("agent-check"):
            continue
        if checking(subject.model, backend, server) is not None or server.has("track"):
            continue
        for word in _NEEDS_CHECK:
            said = server.settings.get(word)
            if said is None or said.place in told:
                continue
            others = [s for s in backend.servers if s.settings.get(word) is said]
            if any(s.has("check") or s.has("track") for s in others):
                if word not in server.own and not server.shuts_sessions:
                    continue
                if word not in server.own:
                    others = [server]
            told.add(said.place)
            yield Finding(
                "L7",
                Severity.WARNING,
                said.place if word not in server.own else server.place,
                f"'{said.words}' does nothing for {listed([s.name for s in others])} of "
                f"{backend.title}: without 'check' nobody marks the server down",
                "add 'check' to the server line",
            )


def _kept_back(backend: Proxy) -> Iterator[Finding]:
    """`default-server tcp-ut`, which servers do not get."""
    said = backend.default_server.get("tcp-ut")
    servers = [server for server in backend.servers if not server.has("tcp-ut")]
    if said and servers:
        yield Finding(
            "L7",
            Severity.WARNING,
            said.place,
            f"'{said.words}' of 'default-server' does nothing for "
            f"{listed([server.name for server in servers])} of {backend.title}: HAProxy (2.6) "
            "does not hand it down",
            f"write '{said.words}' on each server line",
        )


def _marked_up(backend: Proxy) -> Iterator[Finding]:
    has_backup = any(server.has("backup") for server in backend.servers)
    for server in backend.servers:
        said = server.settings.get("on-marked-up")
        if said is None or "on-marked-up" not in server.own:
            continue
        if server.has("backup"):
            why = "it acts only when a server that is no backup comes up"
        elif not has_backup:
            why = f"{backend.title} has no backup server whose sessions it could end"
        else:
            continue
        yield Finding(
            "L7",
            Severity.WARNING,
            server.place,
            f"server {server.name}: '{said.words}' does nothing: {why}",
            "remove it",
        )


def checks_without_proxy_header(subject: Subject) -> Iterator[Finding]:
    """L15: sessions start with a PROXY header, the checks to another port do not."""
    for backend in subject.model.backends():
        for server in backend.servers:
            sends = [w for w in server.settings if w.startswith("send-proxy")]
            elsewhere = server.settings.get("port") or server.settings.get("addr")
            if not (sends and elsewhere and server.has("check")):
                continue
            if server.has("check-send-proxy"):
                continue
            asked = "answers" if asks_for_answer(backend, server) else "accepts"
            yield Finding(
                "L15",
                Severity.NOTE,
                server.place,
                f"server {server.name}: sessions begin with a PROXY header ('{sends[0]}'), checks "
                f"to '{elsewhere.words}' do not: if the service there expects one, the check "
                f"fails or {asked} something else than sessions get",
                "add 'check-send-proxy' if that port expects the header",
            )
