"""Keepalive that does not do what it was meant for: L2, L3, L4."""

from __future__ import annotations

from collections.abc import Iterator

from lbsplice.config.model import Place
from lbsplice.lint.facts import Keepalive, client_leg, server_leg
from lbsplice.lint.finding import Finding, Severity, Subject, before, line_of
from lbsplice.lint.model import Path, Proxy, Said
from lbsplice.lint.wording import spoken
from lbsplice.sysctl import tcp

_SIDES = {"cli": "client", "srv": "server"}
_VALUES = ("idle", "intvl", "cnt")


def values_without_option(subject: Subject) -> Iterator[Finding]:
    """L2: values for a keepalive that is off."""
    for side, who in _SIDES.items():
        users: dict[Place, list[tuple[Proxy, bool]]] = {}
        for proxy in subject.model.active():
            if not (proxy.has_frontend if side == "cli" else proxy.has_backend):
                continue
            first = _first_value(proxy, side)
            if first:
                is_on = proxy.option(f"{side}tcpka") is not None
                users.setdefault(first.place, []).append((proxy, is_on))
        for place, proxies in users.items():
            if any(is_on for _, is_on in proxies):
                continue
            proxy = proxies[0][0]
            line = line_of(proxy, place)
            written = " and ".join(
                f"'{said.words}'" for said in _values(proxy, side) if said.place.file == place.file
            )
            yield Finding(
                "L2",
                Severity.WARNING,
                place,
                f"{written} {'have' if ' and ' in written else 'has'} no effect: keepalive is off "
                f"on the {who} side until 'option {side}tcpka' is there",
                f"add 'option {side}tcpka'",
                before(line, f"option {side}tcpka") if line else (),
            )


def _values(proxy: Proxy, side: str) -> list[Said[int]]:
    return [s for name in _VALUES if (s := proxy.numbers.get(f"{side}tcpka-{name}"))]


def _first_value(proxy: Proxy, side: str) -> Said[int] | None:
    return min(_values(proxy, side), key=lambda said: said.place.line, default=None)


def keepalive_too_late(subject: Subject) -> Iterator[Finding]:
    """L3: the idle timeout is first, or the system's two hours are in force."""
    told: set[tuple[Place, str]] = set()
    for detection in subject.detections:
        for side, leg in (
            ("cli", client_leg(detection.path, subject.host)),
            ("srv", server_leg(detection.path, subject.host)),
        ):
            alive = leg.keepalive
            if alive is None or not detection.path.backend.is_tcp or (alive.place, side) in told:
                continue
            limit = _idle_timeout(detection.path, side)
            user_timeout = leg.user_timeout.value if leg.user_timeout else None
            dead = tcp.keepalive(alive.idle, alive.interval, alive.count, user_timeout).worst_ms
            finding = _too_late(alive, dead, limit, _SIDES[side], side)
            if finding:
                told.add((alive.place, side))
                yield finding


def _idle_timeout(path: Path, side: str) -> Said[int] | None:
    """The timeout that ends an idle session whose `cli` or `srv` side is dead."""
    tunnel = path.backend.timeouts.get("tunnel")
    if tunnel:
        return tunnel
    if side == "cli":
        return path.frontend.timeouts.get("client")
    return path.backend.timeouts.get("server")


def _too_late(
    alive: Keepalive, dead_ms: int, limit: Said[int] | None, who: str, side: str
) -> Finding | None:
    numbers = (
        f"the first probe goes after {spoken(1000 * alive.idle)} of silence, and a dead {who} is "
        f"given up after {spoken(dead_ms)}"
    )
    if limit and dead_ms >= limit.value:
        first = "never sent" if 1000 * alive.idle >= limit.value else "too late"
        return Finding(
            "L3",
            Severity.WARNING,
            alive.place,
            f"'{alive.words}' on the {who} side: {numbers}, but '{limit.words}' ends an idle "
            f"session after {spoken(limit.value)} already, so the probes are {first}; they do "
            f"not feed that timeout either: HAProxy never sees them",
            _sooner(limit.value, side),
        )
    if alive.from_sysctl and alive.idle >= 7200:
        return Finding(
            "L3",
            Severity.WARNING,
            alive.place,
            f"'{alive.words}' on the {who} side uses the system's times: {numbers}",
            _sooner(None, side),
        )
    return None


def _sooner(limit_ms: int | None, side: str) -> str:
    if limit_ms is not None and limit_ms < 8_000:
        return "raise the timeout; keepalive can not be quicker than that"
    idle = 30 if limit_ms is None else min(30, limit_ms // 4000)
    interval = max(1, idle // 3)
    return (
        f"set '{side}tcpka-idle {idle}s', '{side}tcpka-intvl {interval}s' and "
        f"'{side}tcpka-cnt 3': a dead peer is found within {idle + 3 * interval} s"
    )


def user_timeout_wins(subject: Subject) -> Iterator[Finding]:
    """L4: with TCP_USER_TIMEOUT the number of probes does not count."""
    told: set[Place] = set()
    for detection in subject.detections:
        for side, owner, leg in (
            ("cli", detection.path.frontend, client_leg(detection.path, subject.host)),
            ("srv", detection.path.backend, server_leg(detection.path, subject.host)),
        ):
            count = owner.numbers.get(f"{side}tcpka-cnt")
            limit, alive = leg.user_timeout, leg.keepalive
            if not (count and limit and alive) or limit.place in told:
                continue
            told.add(limit.place)
            by_count = tcp.keepalive(alive.idle, alive.interval, alive.count).worst_ms
            in_force = tcp.keepalive(alive.idle, alive.interval, alive.count, limit.value).worst_ms
            yield Finding(
                "L4",
                Severity.NOTE,
                limit.place,
                f"'{limit.words}' takes the place of '{count.words}': an idle session whose "
                f"{_SIDES[side]} is dead is given up after {spoken(in_force)}, not "
                f"{spoken(by_count)}; and a live {_SIDES[side]} that does not read for "
                f"{spoken(limit.value)} is given up as well",
                f"remove '{count.words}', or 'tcp-ut' if slow readers must be spared",
            )
