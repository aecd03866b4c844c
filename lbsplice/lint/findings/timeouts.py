"""Timeouts that are missing, differ or have no unit: L5, L14."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lbsplice.config.model import Place
from lbsplice.config.statement import Statement
from lbsplice.errors import UnitError
from lbsplice.lint.finding import Edit, EditKind, Finding, Severity, Subject
from lbsplice.lint.model import Path, Proxy
from lbsplice.lint.reader import Line
from lbsplice.lint.times import first_part
from lbsplice.lint.vocabulary import FIRST_SETTING, SECONDS, SERVER_TIMES
from lbsplice.lint.wording import listed, spoken
from lbsplice.units import parse_duration

_NEEDED = ("client", "connect", "server")
_SMALL = 100
"""A number of milliseconds below this was probably meant as seconds."""
_SMALL_INTER = 10
"""The same for the time between checks, which may well be short."""
_LARGE_S = 7200
"""A keepalive time above this was probably meant as milliseconds."""


def timeouts_together(subject: Subject) -> Iterator[Finding]:
    """L5: missing timeouts, unequal ones, and a tunnel that hides both."""
    for proxy in subject.model.active():
        yield from _missing(proxy)
    told: set[tuple[Place, ...]] = set()
    for detection in subject.detections:
        finding = _compared(detection.path)
        if finding and (finding.place,) not in told:
            told.add((finding.place,))
            yield finding


def _missing(proxy: Proxy) -> Iterator[Finding]:
    lacks = []
    if proxy.has_frontend and proxy.binds and "client" not in proxy.timeouts:
        lacks.append("client")
    if proxy.has_backend and proxy.servers:
        lacks += [name for name in ("connect", "server") if name not in proxy.timeouts]
        if proxy.is_tcp and "tunnel" in proxy.timeouts and "server" in lacks:
            lacks.remove("server")
    if lacks:
        yield Finding(
            "L5",
            Severity.WARNING,
            proxy.place,
            f"{proxy.title} has no {listed([f'timeout {name}' for name in lacks])}: "
            + ("it waits" if len(lacks) == 1 else "they wait")
            + " for ever",
            f"set {listed([f'timeout {name}' for name in _NEEDED if name in lacks])}",
        )


def _compared(path: Path) -> Finding | None:
    if not path.backend.is_tcp or not path.frontend.is_tcp:
        return None
    client = path.frontend.timeouts.get("client")
    server = path.backend.timeouts.get("server")
    tunnel = path.backend.timeouts.get("tunnel")
    if tunnel:
        hidden = [said for said in (client, server) if said and said.value != tunnel.value]
        if not hidden:
            return None
        return Finding(
            "L5",
            Severity.NOTE,
            tunnel.place,
            f"'{tunnel.words}' takes the place of {listed([f'{s.words!r}' for s in hidden])} as "
            f"soon as a session is connected: it may be idle for {spoken(tunnel.value)}",
            "write the same value in all of them, or leave 'timeout tunnel' out in mode tcp",
        )
    if client is None or server is None or client.value == server.value:
        return None
    shorter, longer = sorted((client, server), key=lambda said: said.value)
    side = "client" if shorter is client else "server"
    other = "server" if side == "client" else "client"
    return Finding(
        "L5",
        Severity.NOTE,
        shorter.place,
        f"'{shorter.words}' and '{longer.words}' differ ({path.title}): after "
        f"{spoken(shorter.value)} of silence only one direction is closed; the {side} may be "
        f"left until it closes itself, or until {spoken(longer.value)} have passed on the "
        f"{other} side",
        "give both the same value",
    )


def times_and_units(subject: Subject) -> Iterator[Finding]:
    """L14: a number without a unit, above all one that was meant in another."""
    for line in subject.model.globals.lines:
        if line.certain and line.statement.keyword in ("hard-stop-after", "grace"):
            yield from _of_line(line)
    for proxy in (*subject.model.defaults, *subject.model.proxies):
        for line in proxy.lines:
            if line.certain:
                yield from _of_line(line)


@dataclass(frozen=True, slots=True)
class _Bare:
    """A time written as a number alone, which is taken for one in `unit`."""

    keyword: str
    number: int
    unit: str

    @property
    def written(self) -> str:
        return f"{self.keyword} {self.number}"

    @property
    def is_doubtful(self) -> bool:
        """Whether its size tells that another unit was meant."""
        if self.unit == "s":
            return self.number > _LARGE_S
        return self.number < (_SMALL_INTER if self.keyword.endswith("inter") else _SMALL)


def _of_line(line: Line) -> Iterator[Finding]:
    written = list(_times(line.statement))
    for keyword, value, unit in written:
        yield from _unreadable(line, keyword, value, unit)
    found = [bare for each in written if (bare := _bare(*each)) is not None]
    if any(bare.is_doubtful for bare in found):
        yield from (_doubtful(line, bare) for bare in found if bare.is_doubtful)
    elif found:
        shown = listed([f"'{bare.written}'" for bare in found])
        units = [f"{bare.written}{bare.unit}" for bare in found]
        yield Finding(
            "L14",
            Severity.NOTE,
            line.place,
            f"{shown} {'has' if len(found) == 1 else 'have'} no unit; "
            f"{_NAMES[found[0].unit]} are meant",
            f"write {listed([repr(unit) for unit in units])}",
            _with_units(line, found),
        )


def _unreadable(line: Line, keyword: str, value: str, unit: str) -> Iterator[Finding]:
    """A time that HAProxy reads half, or not at all."""
    try:
        parse_duration(value, unit)
    except UnitError as error:
        part = first_part(value)
        if part:
            severity = Severity.WARNING
            message = (
                f"of '{keyword} {value}' HAProxy (2.6) takes only '{part}', with a "
                "warning; newer versions may refuse it"
            )
        else:
            severity = Severity.ERROR
            written = f"{keyword} {value}".rstrip()
            message = f"HAProxy does not start with '{written}': {error}"
        yield Finding(
            "L14",
            severity,
            line.place,
            message,
            "write one number and one unit (ms, s, m, h, d), no more than 24 days",
        )


def _times(statement: Statement) -> Iterator[tuple[str, str, str]]:
    """The times of a line: keyword, value, and the unit of a number without one."""
    keyword = statement.keyword
    if keyword in ("hard-stop-after", "grace"):
        yield keyword, statement.word(1), "ms"
    elif keyword == "timeout":
        yield f"timeout {statement.word(1)}", statement.word(2), "ms"
    elif keyword in SECONDS:
        yield keyword, statement.word(1), "s"
    elif keyword in FIRST_SETTING:
        first = FIRST_SETTING[keyword]
        words = statement.words
        for word, value in zip(words[first:], words[first + 1 :], strict=False):
            if word in SERVER_TIMES:
                yield word, value, "ms"


def _bare(keyword: str, value: str, unit: str) -> _Bare | None:
    if not re.fullmatch(r"(0|[1-9][0-9]{0,17})", value) or value == "0":
        return None
    return _Bare(keyword, int(value), unit)


def _doubtful(line: Line, bare: _Bare) -> Finding:
    if bare.unit == "ms":
        what = f"is {bare.number} milliseconds: a number without a unit is not seconds here"
        meant = f"{bare.written}s"
    else:
        what = (
            f"is {spoken(1000 * bare.number)}: a number without a unit is seconds here, not "
            "milliseconds"
        )
        meant = f"{bare.written}ms"
    return Finding(
        "L14", Severity.WARNING, line.place, f"'{bare.written}' {what}", f"if so meant: '{meant}'"
    )


_NAMES = {"ms": "milliseconds", "s": "seconds"}


def _with_units(line: Line, found: list[_Bare]) -> tuple[Edit, ...]:
    """The line with the units written, if the words stand there as they are read."""
    text = line.text
    for bare in found:
        words = r"\s+".join(map(re.escape, bare.written.split()))
        pattern = re.compile(rf"((?:^|\s){words})(?=\s|#|$)")
        if len(pattern.findall(text)) != 1:
            return ()
        text = pattern.sub(rf"\g<1>{bare.unit}", text)
    return (Edit(EditKind.REPLACE, line.place, text),)
