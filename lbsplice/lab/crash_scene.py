"""The play of `lab crash`: a transfer, a session with a line now and then and one that is idle,
while the proxy's worker is killed again and again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from signal import Signals

from lbsplice.lab.scene import Proxy

TRANSFER = "transfer"
LINES = "lines"
"""The two names that the proxy listens under, and of the server behind each."""

SIGNALS = (Signals.SIGKILL, Signals.SIGSEGV, Signals.SIGABRT, Signals.SIGBUS)
_JITTER = 0.2


@dataclass(frozen=True)
class CrashSettings:
    """What the operator asked for. `size` bytes are sent, evenly over `seconds`, to a server that
    sends them back; meanwhile a worker is killed about every `every_s` seconds. `seed` decides the
    bytes, the moments and the signals. `seconds` is more than `every_s`."""

    proxy: Proxy = Proxy.LBSPLICE
    every_s: float = 1.0
    size: int = 512 << 20
    seconds: float = 10.0
    seed: int = 1

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds


@dataclass(frozen=True)
class Ports:
    """Where one name listens: the proxy for clients, the server for the proxy."""

    front: int
    server: int


@dataclass(frozen=True)
class Gap:
    """A time in which nothing arrived, in seconds after the start of the transfer."""

    since_s: float
    until_s: float

    @property
    def ms(self) -> float:
        return (self.until_s - self.since_s) * 1000


@dataclass(frozen=True)
class Kill:
    """One worker's end: when, in seconds after the start of the transfer, and who."""

    at_s: float
    pid: int
    signal: Signals


def planned(settings: CrashSettings) -> Iterator[tuple[float, Signals]]:
    """The moments of the kills, in seconds after the start of the transfer, without an end."""
    chance = random.Random(settings.seed)
    number = 1
    while True:
        jitter = chance.uniform(-_JITTER, _JITTER)
        yield (number + jitter) * settings.every_s, chance.choice(SIGNALS)
        number += 1


def longest_within(gaps: Sequence[Gap], since_s: float, until_s: float) -> float | None:
    """The longest of the gaps that end in a span of time or cover it, in milliseconds; None when
    there is none. One that has begun by a kill ends after it."""
    within = [
        gap.ms
        for gap in gaps
        if since_s < gap.until_s <= until_s or gap.since_s <= since_s < until_s < gap.until_s
    ]
    return max(within, default=None)


def configuration(ports: dict[str, Ports]) -> str:
    """The proxy's configuration: one listener and one server for each name, all on loopback."""
    lines = [
        "global",
        "    maxconn 4096",
        "    log stdout format raw local0",
        "",
        "defaults",
        "    mode tcp",
        "    log global",
        "    option tcplog",
        "    timeout connect 5s",
        "    timeout client 1h",
        "    timeout server 1h",
    ]
    for name, its in ports.items():
        lines += [
            "",
            f"listen {name}",
            f"    bind 127.0.0.1:{its.front}",
            f"    server {name} 127.0.0.1:{its.server} check inter 200",
        ]
    return "\n".join(lines) + "\n"
