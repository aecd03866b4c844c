"""What a stats socket is known by. lbsplice/listeners.py opens them, beside all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lbsplice.config.model import AddressKind, Endpoint, StatsSocket


@dataclass(frozen=True, slots=True, order=True)
class StatsKey:
    """The address of a stats socket as `show cli sockets` writes it."""

    address: str

    @classmethod
    def of(cls, stats: StatsSocket) -> StatsKey:
        return cls(_written(stats.address))


def _written(endpoint: Endpoint) -> str:
    if endpoint.kind is AddressKind.UNIX:
        return f"unix@{Path(endpoint.host).absolute()}"
    if endpoint.kind is AddressKind.ABSTRACT:
        return f"abns@{endpoint.host}"
    if endpoint.kind is AddressKind.FD:
        return f"fd@{endpoint.host}"
    if endpoint.kind is AddressKind.IPV6:
        return f"ipv6@[{endpoint.host}]:{endpoint.port}"
    host = "0.0.0.0" if endpoint.kind is AddressKind.ANY else endpoint.host
    return f"ipv4@{host}:{endpoint.port}"
