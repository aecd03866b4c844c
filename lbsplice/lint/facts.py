"""What the formulae of `detect` need of a path, resolved: HAProxy's defaults and the
machine's sysctls are filled in, and every value knows where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.config.model import Check as CheckDefaults
from lbsplice.config.model import Place
from lbsplice.errors import UnitError
from lbsplice.lint.model import Model, Path, Proxy, Said, Server
from lbsplice.lint.times import taken
from lbsplice.lint.vocabulary import L7_CHECKS
from lbsplice.sysctl.tcp import connecting
from lbsplice.sysctl.values import Sysctls
from lbsplice.units import format_duration, parse_integer

_DEFAULTS = CheckDefaults()


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Keepalive of one leg while its option is on; times in seconds."""

    idle: int
    interval: int
    count: int
    place: Place
    from_sysctl: bool  # whether the idle time is the system's
    words: str


@dataclass(frozen=True, slots=True)
class Leg:
    """One side's socket. `user_timeout` is in milliseconds; a value of 0 is None."""

    keepalive: Keepalive | None
    user_timeout: Said[int] | None


@dataclass(frozen=True, slots=True)
class Checking:
    """The health checks that decide over a server; times in milliseconds."""

    inter: int
    fastinter: int
    fall: int
    connect_limit: int
    answer_limit: int | None  # None: the connect is the whole check
    spread: int  # percent
    place: Place
    words: str


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that the configuration is for."""

    sysctls: Sysctls

    @property
    def linear(self) -> int:
        return self.sysctls.number("net.ipv4.tcp_syn_linear_timeouts")

    @property
    def rto_max_ms(self) -> int:
        return self.sysctls.number("net.ipv4.tcp_rto_max_ms")

    @property
    def retries2(self) -> int:
        return self.sysctls.number("net.ipv4.tcp_retries2")

    @property
    def connect_ms(self) -> int:
        """When the kernel gives a connect up."""
        return connecting(
            self.sysctls.number("net.ipv4.tcp_syn_retries"), self.linear, self.rto_max_ms
        )


def client_leg(path: Path, host: Host) -> Leg:
    """The client's side. Of several `bind` lines the least patient one is not assumed: the
    longest tcp-ut counts, and none where one line has none."""
    found = [_time(bind.settings.get("tcp-ut")) for bind in path.frontend.binds]
    limits = [said for said in found if said]
    longest = max(limits, key=lambda said: said.value) if limits else None
    user_timeout = longest if len(limits) == len(found) else None
    return Leg(keepalive_of(path.frontend, "cli", host), user_timeout)


def server_leg(path: Path, host: Host) -> Leg:
    user_timeout = _time(path.server.settings.get("tcp-ut"))
    return Leg(keepalive_of(path.backend, "srv", host), user_timeout)


def keepalive_of(proxy: Proxy, side: str, host: Host) -> Keepalive | None:
    """Keepalive on the `cli` or `srv` side of a proxy; None where the option is off."""
    option = proxy.option(f"{side}tcpka")
    if option is None:
        return None

    def value(name: str, sysctl: str) -> int:
        said = proxy.numbers.get(f"{side}tcpka-{name}")
        return said.value if said and said.value > 0 else host.sysctls.number(sysctl)

    own = proxy.numbers.get(f"{side}tcpka-idle")
    return Keepalive(
        idle=value("idle", "net.ipv4.tcp_keepalive_time"),
        interval=max(1, value("intvl", "net.ipv4.tcp_keepalive_intvl")),
        count=value("cnt", "net.ipv4.tcp_keepalive_probes"),
        place=option.place,
        from_sysctl=own is None or own.value <= 0,
        words=f"option {option.statement.word(1)}",
    )


def checking(model: Model, backend: Proxy, server: Server) -> Checking | None:
    """The checks of a server, or of the one it tracks; None where nobody checks it."""
    found = model.tracked(backend, server)
    if found is None:
        return None
    backend, server = found
    if not server.has("check"):
        return None
    inter = duration(server, "inter", _DEFAULTS.inter)
    limit = backend.timeouts.get("check")
    connect = backend.timeouts.get("connect")
    connect_limit = min(connect.value, inter) if limit and connect else inter
    answer = (limit.value if limit else inter) if asks_for_answer(backend, server) else None
    spread = model.globals.numbers.get("spread-checks")
    fall = whole(server, "fall", _DEFAULTS.fall)
    fastinter = duration(server, "fastinter", inter)
    words = ["check", "inter", format_duration(inter), "fall", str(fall)]
    if fastinter != inter:
        words[3:3] = ["fastinter", format_duration(fastinter)]
    return Checking(
        inter=inter,
        fastinter=fastinter,
        fall=fall,
        connect_limit=connect_limit,
        answer_limit=answer,
        spread=spread.value if spread else 0,
        place=server.settings["check"].place,
        words=" ".join(words),
    )


def asks_for_answer(backend: Proxy, server: Server) -> bool:
    """Whether a check is more than a connect."""
    if any(backend.option(name) for name in L7_CHECKS) or server.has("check-ssl"):
        return True
    return backend.option("tcp-check") is not None and "tcp-check expect" in backend.words


def duration(server: Server, keyword: str, missing: int) -> int:
    """A time of a server in milliseconds; `missing` where it has none that can be read."""
    said = _time(server.settings.get(keyword))
    return said.value if said else missing


def whole(server: Server, keyword: str, missing: int) -> int:
    """A number of a server; `missing` where it has none that can be read."""
    try:
        return parse_integer(server.value(keyword))
    except UnitError:
        return missing


def _time(said: Said[tuple[str, ...]] | None) -> Said[int] | None:
    if said is None or not said.value:
        return None
    try:
        value = taken(said.value[0])
    except UnitError:
        return None
    return Said(value, said.place, said.words) if value else None
