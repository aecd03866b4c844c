"""`server` and `default-server` lines, and `source`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lbsplice.config.address import CHECK, SERVER, SERVER_SOURCE, SOURCE, Accept, parse_address
from lbsplice.config.bind import parse_id, parse_tcp_ut
from lbsplice.config.keyword_tables import SERVER as SERVER_KEYWORDS
from lbsplice.config.messages import Report
from lbsplice.config.model import AddressKind, Check, Endpoint, Place, Server, Source
from lbsplice.config.statement import Statement, integer_in, known
from lbsplice.errors import ConfigError, UnitError
from lbsplice.units import Fault, QuantityError, parse_duration, parse_integer

MAX_WEIGHT = 256
_NEED_ADDRESS = "'server' expects <name> and <addr>[:<port>] as arguments."


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a `default-server` line can set and a `server` line starts from."""

    check: Check = field(default_factory=Check)
    weight: int = 1
    backup: bool = False
    disabled: bool = False
    shutdown_sessions: bool = False
    tcp_ut: int | None = None
    source: Source | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class ServerDraft:
    """A server whose id may still have to be given."""

    place: Place
    name: str
    endpoint: Endpoint
    settings: ServerSettings

    def finish(self, number: int) -> Server:
        s = self.settings
        return Server(
            place=self.place,
            name=self.name,
            id=number,
            endpoint=self.endpoint,
            check=s.check,
            weight=s.weight,
            backup=s.backup,
            disabled=s.disabled,
            shutdown_sessions_on_marked_down=s.shutdown_sessions,
            tcp_ut=s.tcp_ut,
            source=s.source,
        )


def parse_default_server(
    line: Statement, settings: ServerSettings, report: Report
) -> ServerSettings:
    """`settings` with the changes of one line. Raises `ConfigError`."""
    for word in line.arguments:
        if word == "id":
            raise ConfigError("'id' option is not accepted in default-server sections")
    return _Reader(line, 1, "default-server", settings, report).read()


def parse_server(
    line: Statement, backend: str, settings: ServerSettings, report: Report
) -> ServerDraft:
    """One server; `settings` are the defaults in force here. Raises `ConfigError`."""
    name, address = line.word(1), line.word(2)
    if not name or not address:
        raise ConfigError(_NEED_ADDRESS)
    for c in name:
        if not (c.isascii() and (c.isalnum() or c in ".:_-")):
            raise ConfigError(f"character '{c}' is not permitted in server name '{name}'.")
    shown = f"'server {backend}/{name}'"
    try:
        endpoint = parse_address(address, SERVER).endpoint
        if endpoint.kind is AddressKind.ANY or endpoint.host in ("0.0.0.0", "::"):
            raise ConfigError(
                f"'{address}' means the address that the client connected to, which is not "
                "supported by lbsplice: not yet."
            )
    except ConfigError as error:
        raise ConfigError(f"{shown} : {error}") from None
    if endpoint.port == 0 and not endpoint.relative:
        endpoint = replace(endpoint, port=None)
    final = _Reader(line, 3, shown, settings, report).read()
    return ServerDraft(line.place, name, endpoint, final)


class _Reader:
    """Reads the settings of one line, word by word."""

    def __init__(
        self, line: Statement, first: int, shown: str, settings: ServerSettings, report: Report
    ) -> None:
        self.line = line
        self.at = first
        self.shown = shown
        self.value = settings
        self.report = report

    def read(self) -> ServerSettings:
        while self.at < len(self.line.words):
            word = self.line.word(self.at)
            unknown = f"{self.shown} : unknown keyword '{word}'"
            known(
                SERVER_KEYWORDS, word, f"server ... {word}", unknown, self.report, self.line.place
            )
            self.at += 1
            try:
                _READERS[word](self, word)
            except ConfigError as error:
                raise ConfigError(f"{self.shown} : {error}") from None
        return self.value

    def take(self) -> str:
        """The next word, "" at the end of the line."""
        word = self.line.word(self.at)
        self.at += 1
        return word

    def checking(self, **values: object) -> None:
        self.value = replace(self.value, check=replace(self.value.check, **values))  # type: ignore[arg-type]

    def flag(self, word: str) -> None:
        if word in ("check", "no-check"):
            self.checking(enabled=word == "check")
        elif word in ("backup", "no-backup"):
            self.value = replace(self.value, backup=word == "backup")
        else:
            self.value = replace(self.value, disabled=word == "disabled")

    def delay(self, word: str) -> None:
        """`inter`, `fastinter` and `downinter`."""
        text = self.take()
        try:
            value = parse_duration(text)
        except QuantityError as error:
            if error.fault is Fault.EMPTY:
                raise ConfigError(f"'{word}' expects a delay as argument.") from None
            if error.fault is Fault.OVERFLOW:
                raise ConfigError(
                    f"timer overflow in argument <{text}> to <{word}>, "
                    "maximum value is 2147483647 ms (~24.8 days)."
                ) from None
            raise ConfigError(
                f"unexpected character '{error.character}' in '{word}' argument."
            ) from None
        if value == 0:
            raise ConfigError(f"invalid value 0 for argument '{word}'.")
        self.checking(**{word: value})

    def count(self, word: str) -> None:
        """`rise` and `fall`."""
        text = self.take()
        if not text:
            raise ConfigError(f"'{word}' expects an integer argument.")
        try:
            value = parse_integer(text)
        except UnitError as error:
            raise ConfigError(f"'{word}' : {error}.") from None
        if value <= 0:
            raise ConfigError(f"'{word}' has to be > 0.")
        self.checking(**{word: integer_in(f"'{word}' : ", text, low=1, high=2**30, after=".")})

    def port(self, word: str) -> None:
        text = self.take()
        if not text:
            raise ConfigError("'port' expects a port number as argument.")
        port = integer_in("'port' : ", text, low=0, high=65535, after=".", name="port")
        self.checking(port=port or None)

    def addr(self, word: str) -> None:
        text = self.take()
        if not text:
            raise ConfigError("'addr' expects <ipv4|ipv6> as argument.")
        try:
            address = parse_address(text, CHECK).endpoint
        except ConfigError as error:
            raise ConfigError(f"'addr' : {error}.") from None
        port = self.value.check.port if address.port is None else address.port
        self.checking(address=replace(address, port=None), port=port)

    def weight(self, word: str) -> None:
        text = self.take()
        if not text:
            raise ConfigError("'weight' expects an integer argument.")
        weight = integer_in("", text, low=0, high=MAX_WEIGHT, after=".", name="weight")
        self.value = replace(self.value, weight=weight)

    def on_marked_down(self, word: str) -> None:
        text = self.take()
        if text != "shutdown-sessions":
            raise ConfigError(f"'on-marked-down' expects 'shutdown-sessions' but got '{text}'.")
        self.value = replace(self.value, shutdown_sessions=True)

    def tcp_ut(self, word: str) -> None:
        try:
            self.value = replace(self.value, tcp_ut=parse_tcp_ut(self.take()))
        except ConfigError as error:
            raise ConfigError(f"'tcp-ut' : {error}.") from None

    def id(self, word: str) -> None:
        try:
            self.value = replace(self.value, id=parse_id(self.take()))
        except ConfigError as error:
            raise ConfigError(f"'id' : {error}.") from None

    def source(self, word: str) -> None:
        if not self.line.word(self.at):
            raise ConfigError(
                "'source' expects <addr>[:<port>[-<port>]], and optionally 'usesrc' <addr>, "
                "and 'interface' <name> as argument."
            )
        parsed = parse_source(self.line.words[self.at :], SERVER_SOURCE)
        self.at += parsed.words
        self.value = replace(self.value, source=parsed.source)


class ParsedSource(NamedTuple):
    source: Source
    words: int  # how many words it took


def parse_source(words: tuple[str, ...], accept: Accept = SOURCE) -> ParsedSource:
    """`<addr>[:<port>[-<port>]] [interface <name>]`, as far as the words belong to it.
    Raises `ConfigError`."""
    try:
        address = parse_address(words[0], accept)
    except ConfigError as error:
        raise ConfigError(f"'source {words[0]}' : {error}") from None
    endpoint = address.endpoint
    if endpoint.relative:
        raise ConfigError(f"'source {words[0]}' : port offset not permitted here in '{words[0]}'")
    low = endpoint.port or None
    high = address.last_port if low else None
    interface, at = None, 1
    while at < len(words) and words[at] in ("interface", "usesrc"):
        if words[at] == "usesrc":
            raise ConfigError("'source ... usesrc' is not supported by lbsplice: not yet.")
        if at + 1 >= len(words) or not words[at + 1]:
            raise ConfigError("'source' : missing interface name.")
        interface = words[at + 1]
        if len(interface.encode("utf-8", "surrogateescape")) > 15:
            raise ConfigError(f"'source' : interface name '{interface}' is too long.")
        at += 2
    return ParsedSource(Source(replace(endpoint, port=None), low, high, interface), at)


_READERS: dict[str, Callable[[_Reader, str], None]] = {
    "check": _Reader.flag,
    "no-check": _Reader.flag,
    "backup": _Reader.flag,
    "no-backup": _Reader.flag,
    "disabled": _Reader.flag,
    "enabled": _Reader.flag,
    "inter": _Reader.delay,
    "fastinter": _Reader.delay,
    "downinter": _Reader.delay,
    "rise": _Reader.count,
    "fall": _Reader.count,
    "port": _Reader.port,
    "addr": _Reader.addr,
    "weight": _Reader.weight,
    "on-marked-down": _Reader.on_marked_down,
    "tcp-ut": _Reader.tcp_ut,
    "id": _Reader.id,
    "source": _Reader.source,
}
