"""`log`, in `global` and in proxies."""

from __future__ import annotations

from dataclasses import replace

from lbsplice.config.address import LOG, parse_address
from lbsplice.config.model import AddressKind, Endpoint, Log, LogTarget
from lbsplice.config.statement import Statement, integer_in
from lbsplice.errors import ConfigError
from lbsplice.terms import FACILITIES, LogFormat, LogLevel

SYSLOG_PORT = 514
LEVELS = {level.name.lower(): level for level in LogLevel}


def parse_log(line: Statement, *, in_global: bool) -> Log | None:
    """One `log` line; None for `log global`. Raises `ConfigError`."""
    where = line.word(1)
    if where == "global" and not line.word(2) and not in_global:
        return None
    if not where or not line.word(2):
        if in_global and where == "global":
            raise ConfigError("log : 'global' is not supported for a global syslog server")
        otherwise = "" if in_global else "or global"
        raise ConfigError(f"log : expects <address> and <facility> {otherwise} as arguments")
    if where == "global":
        raise ConfigError(f"log : unknown log facility '{line.word(2)}'")
    at, length, log_format = _settings(line)
    facility = line.word(at)
    if facility not in FACILITIES:
        raise ConfigError(f"log : unknown log facility '{facility}'")
    max_level = _level(line.word(at + 1), LogLevel.DEBUG)
    min_level = _level(line.word(at + 2), LogLevel.EMERG)
    if line.word(at + 3):
        raise ConfigError(f"log : cannot handle unexpected argument '{line.word(at + 3)}'")
    target, address = _target(where)
    return Log(
        place=line.place,
        target=target,
        address=address,
        facility=facility,
        max_level=max_level,
        min_level=min_level,
        format=log_format,
        length=length,
    )


def _settings(line: Statement) -> tuple[int, int, LogFormat | None]:
    """What stands between the address and the facility, and where that one is."""
    at, length, log_format = 2, 1024, None
    while True:
        word, value = line.word(at), line.word(at + 1)
        if word == "len":
            length = _length(value)
        elif word == "format":
            try:
                log_format = LogFormat(value)
            except ValueError:
                raise ConfigError(f"log : unknown log format '{value}'") from None
        elif word in ("sample", "profile"):
            raise ConfigError(f"'log ... {word}' is not supported by lbsplice: not yet.")
        else:
            return at, length, log_format
        at += 2


def _length(text: str) -> int:
    try:
        return integer_in("", text, low=80, high=65535)
    except ConfigError:
        raise ConfigError(
            f"log : invalid log length '{text}', must be between 80 and 65535"
        ) from None


def _level(word: str, absent: LogLevel) -> LogLevel:
    if not word:
        return absent
    if word not in LEVELS:
        raise ConfigError(f"log : unknown optional log level '{word}'")
    return LEVELS[word]


def _target(text: str) -> tuple[LogTarget, Endpoint | None]:
    if text == "stdout":
        return LogTarget.STDOUT, None
    if text == "stderr":
        return LogTarget.STDERR, None
    try:
        endpoint = parse_address(text, LOG).endpoint
    except ConfigError as error:
        raise ConfigError(f"log : {error}") from None
    if endpoint.kind is AddressKind.FD:
        return LogTarget.FD, endpoint
    if endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT):
        return LogTarget.UNIX, endpoint
    if endpoint.kind is AddressKind.ANY:
        raise ConfigError(f"log : invalid address: '' in '{text}'")
    if text.startswith(("tcp@", "tcp4@", "tcp6@", "stream+")):
        raise ConfigError(f"log : logging over TCP is not supported by lbsplice yet in '{text}'")
    port = endpoint.port or SYSLOG_PORT
    return LogTarget.UDP, replace(endpoint, port=port)
