"""`bind` lines: addresses with their lists and ranges, and the settings after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lbsplice.config.address import BIND, Accept, Address, parse_address
from lbsplice.config.keyword_tables import BIND as BIND_KEYWORDS
from lbsplice.config.messages import Report
from lbsplice.config.model import Bind, Endpoint
from lbsplice.config.statement import Statement, integer_in, known
from lbsplice.errors import ConfigError, UnitError
from lbsplice.units import parse_duration, parse_integer

MAX_LISTENERS = 65535
"""Listening addresses of one section (a line may ask for one a port)."""

_EXPECTS = "'bind' expects {<path>|[addr1]:port1[-end1]}{,[addr]:port[-end]}... as arguments."
_Values = dict[str, Any]


def parse_bind(
    line: Statement, section: str, report: Report, room: int = MAX_LISTENERS
) -> tuple[Bind, ...]:
    """The listening addresses of one line, in order. Raises `ConfigError`, also if there
    are more than `room`."""
    if not line.word(1):
        raise ConfigError(_EXPECTS)
    try:
        addresses = _read_list(line.word(1), BIND, room)
    except ConfigError as error:
        raise ConfigError(f"'bind' : {error}") from None
    shown = f"'bind {line.word(1)}' in section '{section}'"
    values = _settings(line, shown, report)
    if values.get("id") is not None and sum(map(_count, addresses)) > 1:
        raise ConfigError(f"{shown} : 'id' can only be used with a single socket")
    return tuple(Bind(line.place, e, **values) for address in addresses for e in _spread(address))


def parse_addresses(text: str, accept: Accept) -> list[Endpoint]:
    """A comma-separated list, each range spread out. Raises `ConfigError`."""
    addresses = _read_list(text, accept, MAX_LISTENERS)
    return [endpoint for address in addresses for endpoint in _spread(address)]


def _read_list(text: str, accept: Accept, room: int) -> list[Address]:
    addresses = [parse_address(part, accept) for part in text.split(",")]
    if sum(map(_count, addresses)) > room:
        raise ConfigError(f"more than {MAX_LISTENERS} addresses in one section")
    return addresses


def _count(address: Address) -> int:
    if address.endpoint.port is None or address.last_port is None:
        return 1
    return address.last_port - address.endpoint.port + 1


def _spread(address: Address) -> list[Endpoint]:
    e = address.endpoint
    if e.port is None or _count(address) == 1:
        return [e]
    ports = range(e.port, e.port + _count(address))
    return [Endpoint(e.kind, e.host, port, e.relative, e.family) for port in ports]


def _settings(line: Statement, shown: str, report: Report) -> _Values:
    values: _Values = {}
    at = 2
    while at < len(line.words):
        word = line.word(at)
        is_used = known(
            BIND_KEYWORDS,
            word,
            f"bind ... {word}",
            f"{shown}: unknown keyword '{word}'",
            report,
            line.place,
        )
        if not is_used:
            at += 2  # every ignored setting has one value
            continue
        if word in _FLAGS:
            values[_FLAGS[word]] = True
            at += 1
            continue
        try:
            _READERS[word](values, word, line.word(at + 1))
        except ConfigError as error:
            raise ConfigError(f"{shown} : '{word}' : {error}") from None
        at += 2
    return values


def _positive(values: _Values, word: str, text: str) -> None:
    if not text:
        raise ConfigError("missing value")
    value = _integer(text)
    if value < 0 or (value == 0 and word == "backlog"):
        raise ConfigError(f"invalid value {value}, must be > 0")
    values[word] = value or None


def _integer(text: str) -> int:
    try:
        value = parse_integer(text)
    except UnitError as error:
        raise ConfigError(str(error)) from None
    if abs(value) > 2**31 - 1:
        raise ConfigError(f"{value} is too large")
    return value


def parse_id(text: str) -> int:
    """`id` of a listener or a server. Raises `ConfigError`."""
    if not text:
        raise ConfigError("expects an integer argument")
    try:
        value = parse_integer(text)
    except UnitError:
        raise ConfigError(f"expects an integer argument, found '{text}'") from None
    if value <= 0:
        raise ConfigError("custom id has to be > 0")
    return integer_in("", text, low=1, high=2**31 - 1)


def parse_tcp_ut(text: str) -> int | None:
    """`tcp-ut`: ms, None for 0. Raises `ConfigError`."""
    if not text:
        raise ConfigError("missing TCP User Timeout value")
    try:
        return parse_duration(text) or None
    except UnitError:
        raise ConfigError("expects a positive delay in milliseconds") from None


def parse_mode(text: str) -> int:
    """Access rights of a unix socket. Raises `ConfigError`."""
    if not text or len(text) > 5 or set(text) - set("01234567") or int(text, 8) > 0o7777:
        raise ConfigError(f"missing or invalid mode '{text}' (octal integer expected)")
    return int(text, 8)


def _id(values: _Values, word: str, text: str) -> None:
    values[word] = parse_id(text)


def _tcp_ut(values: _Values, word: str, text: str) -> None:
    values["tcp_ut"] = parse_tcp_ut(text)


def _mode(values: _Values, word: str, text: str) -> None:
    values[word] = parse_mode(text)


def _mss(values: _Values, word: str, text: str) -> None:
    if not text:
        raise ConfigError("missing MSS value")
    value = _integer(text)
    if not 1 <= abs(value) <= 65535:
        raise ConfigError("expects an MSS with and absolute value between 1 and 65535")
    values[word] = value


def _text(values: _Values, word: str, text: str) -> None:
    missing = {"name": "name", "interface": "interface name"}
    if not text:
        raise ConfigError(f"missing {missing.get(word, f'{word} name')}")
    if word == "interface" and len(text.encode("utf-8", "surrogateescape")) > 15:
        raise ConfigError(f"interface name '{text}' is too long (15 bytes at most)")
    values[word] = text


def _number(values: _Values, word: str, text: str) -> None:
    if not text:
        raise ConfigError("missing value")
    values[word] = integer_in("", text, low=0, high=2**32 - 2)


_FLAGS = {
    "v4v6": "v4v6",
    "v6only": "v6only",
    "transparent": "transparent",
    "defer-accept": "defer_accept",
}
_READERS: dict[str, Callable[[_Values, str, str], None]] = {
    "maxconn": _positive,
    "backlog": _positive,
    "id": _id,
    "name": _text,
    "interface": _text,
    "user": _text,
    "group": _text,
    "uid": _number,
    "gid": _number,
    "mss": _mss,
    "tcp-ut": _tcp_ut,
    "mode": _mode,
}
