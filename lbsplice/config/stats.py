"""`stats socket` of the `global` section: where the command line of a running lbsplice
listens (lbsplice/admin/stats_sockets.py)."""

from __future__ import annotations

from typing import Any

from lbsplice.config.address import STATS, parse_address
from lbsplice.config.bind import parse_mode
from lbsplice.config.keyword_tables import BIND
from lbsplice.config.keywords import Support, hint
from lbsplice.config.model import AddressKind, StatsSocket
from lbsplice.config.statement import Statement, integer_in
from lbsplice.errors import ConfigError

_LEVELS = ("user", "operator", "admin")
_SEVERITIES = ("none", "number", "string")
_FLAGS = ("transparent", "v4v6", "v6only", "defer-accept")


def parse_stats_socket(line: Statement) -> StatsSocket:
    """One `stats socket` line. Raises `ConfigError`."""
    text = line.word(2)
    if not text:
        raise ConfigError(
            "'stats socket' in global section expects an address or a path to a UNIX socket"
        )
    try:
        address = parse_address(text, STATS).endpoint
        if address.port is None and address.kind in (
            AddressKind.IPV4,
            AddressKind.IPV6,
            AddressKind.ANY,
            AddressKind.NAME,
        ):
            raise ConfigError(f"missing port specification in '{text}'")
        values = _settings(line)
    except ConfigError as error:
        raise ConfigError(f"'stats socket' : {error}") from None
    return StatsSocket(line.place, address, line.words[3:], **values)


def _settings(line: Statement) -> dict[str, Any]:
    values: dict[str, Any] = {}
    at = 3
    while at < len(line.words):
        word, value = line.word(at), line.word(at + 1)
        keyword = BIND.get(word)
        if keyword is None:
            raise ConfigError(f"unknown keyword '{word}'{hint(word, BIND)}.")
        if keyword.support is Support.REFUSED:
            raise ConfigError(keyword.told(f"stats socket ... {word}"))
        if word in _FLAGS:
            at += 1
            continue
        at += 2
        if word == "mode":
            try:
                values["mode"] = parse_mode(value)
            except ConfigError as error:
                raise ConfigError(f"'mode' : {error}") from None
        elif word == "level":
            if value not in _LEVELS:
                raise ConfigError(
                    f"'level' only supports 'user', 'operator', and 'admin' (got '{value}')"
                )
            values["level"] = value
        elif word == "expose-fd":
            if value != "listeners":
                raise ConfigError(f"'expose-fd' only supports 'listeners' (got '{value}')")
            values["expose_listeners"] = True
        elif word == "severity-output":
            if value not in _SEVERITIES:
                raise ConfigError(
                    "'severity-output' only supports 'none', 'number', and 'string' "
                    f"(got '{value}')"
                )
            values["severity_output"] = value
        elif not value:
            raise ConfigError(f"'{word}' : missing value")
        elif word in ("user", "group"):
            values[word] = value
        elif word in ("uid", "gid"):
            values[word] = integer_in(f"'{word}' : ", value, low=0, high=2**31 - 1)
        elif word == "backlog":
            values[word] = integer_in(f"'{word}' : ", value, low=1, high=2**31 - 1)
    return values
