"""The rows of the statistics pages: a page is a frontend, and as a `listen` a backend
without servers besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lbsplice.admin.view import BackendView, Flow, FrontendView, Rate, Times
from lbsplice.config.model import ProxyKind, StatsPage


class PageCounts(Protocol):
    """What whoever serves a page counts: connections, requests, what was sent."""

    @property
    def now(self) -> int: ...

    @property
    def max(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def requests(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Nothing:
    now: int = 0
    max: int = 0
    total: int = 0
    requests: int = 0
    bytes_out: int = 0


NO_COUNTS: PageCounts = _Nothing()
"""Of a page that nobody has asked for yet."""


def page_rows(
    pages: Sequence[StatsPage],
    counts: Sequence[PageCounts],
    rates: Sequence[tuple[int, int]],
    maxconn: int,
    accepting: bool,
    up_s: int,
) -> tuple[dict[str, FrontendView], dict[str, BackendView]]:
    """By name. Whatever is asked for is answered right there (`intercepted`), so that the
    backend gets no session, though HAProxy counts the bytes there as well."""
    frontends, backends = {}, {}
    for page, count, rate in zip(pages, counts, rates, strict=True):
        proxy = page.proxy
        if proxy.disabled:
            continue
        limit = proxy.maxconn or maxconn
        flow = Flow(count.now, count.max, count.total, limit)
        status = "OPEN" if accepting else "STOP"
        if accepting and count.now >= limit:
            status = "FULL"
        frontends[page.name] = FrontendView(
            name=page.name,
            iid=page.iid,
            status=status,
            sessions=flow,
            connections=flow,
            session_rate=Rate(*rate),
            connection_rate=Rate(*rate),
            bytes_out=count.bytes_out,
            intercepted=count.requests,
            mode="http",
        )
        if proxy.kind is ProxyKind.LISTEN:
            backends[page.name] = BackendView(
                name=page.name,
                iid=page.iid,
                status="UP",
                algorithm=proxy.balance.algorithm,
                sessions=Flow(limit=-(-limit // 10)),
                session_rate=Rate(),
                times=Times(),
                bytes_out=count.bytes_out,
                last_change=up_s,
                mode="http",
            )
    return frontends, backends
