"""What is measured, the budget of each measurement, and how a verdict follows from values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from statistics import median


class Kind(Enum):
    """How a row is measured."""

    RATE = "rate"  # work done per CPU-second of the proxy
    MEMORY = "memory"  # of the proxy's own, for each idle session
    KILL = "kill"  # the first client told to the last, the server refusing
    SILENT = "silent"  # the server falling silent to the last client told
    SCRAPED = "scraped"  # work per CPU-second of relay threads: while scraped, to otherwise
    SHARE = "share"  # CPU time of all processes, of a second, while scraped without traffic


class Judged(Enum):
    """What the budget bounds."""

    RATIO_AT_LEAST = "ratio >="
    RATIO_AT_MOST = "ratio <="
    VALUE_AT_MOST = "value <="
    VALUE_AT_LEAST = "value >="


@dataclass(frozen=True)
class Row:
    """One line of the table. `work` and `sessions` are arguments of the load program;
    values are in `unit`: what the load counted, times `scale`."""

    name: str
    title: str
    unit: str
    kind: Kind
    work: str
    sessions: int
    judged: Judged
    budget: float
    scale: float = 1.0
    ours_alone: bool = False  # the other proxy has no threads of that kind

    def quick(self) -> Row:
        """The same row, small: it shows that measuring works, not how fast anything is."""
        return Row(**{**self.__dict__, "sessions": max(4, self.sessions // 20)})


@dataclass(frozen=True)
class Outcome:
    """The values of one row, a round each, and what they amount to. `ours` and `theirs`
    belong together by position: measured one right after the other."""

    row: Row
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios; None when only one proxy was measured."""
        if not self.ours or not self.theirs:
            return None
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(a / b if b else float("inf") for a, b in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the budget is met; None when that can not be said."""
        row = self.row
        if row.judged is Judged.VALUE_AT_MOST:
            return median(self.ours) <= row.budget if self.ours else None
        if row.judged is Judged.VALUE_AT_LEAST:
            return median(self.ours) >= row.budget if self.ours else None
        if self.ratio is None:
            return None
        if row.judged is Judged.RATIO_AT_LEAST:
            return self.ratio >= row.budget
        return self.ratio <= row.budget


ROWS = (
    Row(
        name="bulk-up",
        title="bulk, client to server",
        unit="Gbit/CPU-s",
        kind=Kind.RATE,
        work="up",
        sessions=4,
        judged=Judged.RATIO_AT_LEAST,
        budget=1.3,
        scale=8e-9,
    ),
    Row(
        name="bulk-down",
        title="bulk, server to client",
        unit="Gbit/CPU-s",
        kind=Kind.RATE,
        work="down",
        sessions=4,
        judged=Judged.RATIO_AT_LEAST,
        budget=1.3,
        scale=8e-9,
    ),
    Row(
        name="messages",
        title="64-byte messages, 16 sessions",
        unit="messages/CPU-s",
        kind=Kind.RATE,
        work="messages",
        sessions=16,
        judged=Judged.RATIO_AT_LEAST,
        budget=1.2,
    ),
    Row(
        name="sessions",
        title="sessions opened, used, closed",
        unit="sessions/CPU-s",
        kind=Kind.RATE,
        work="churn",
        sessions=64,
        judged=Judged.RATIO_AT_LEAST,
        budget=1.05,
    ),
    Row(
        name="memory",
        title="memory per idle session",
        unit="bytes",
        kind=Kind.MEMORY,
        work="hold",
        sessions=5000,
        judged=Judged.RATIO_AT_MOST,
        budget=0.08,
    ),
    Row(
        name="kill",
        title="4,000 sessions killed",
        unit="ms",
        kind=Kind.KILL,
        work="hold",
        sessions=4000,
        judged=Judged.VALUE_AT_MOST,
        budget=50,
    ),
    Row(
        name="scraped",
        title="messages per CPU-second of relay threads, scraped",
        unit="to unscraped",
        kind=Kind.SCRAPED,
        work="messages",
        sessions=16,
        judged=Judged.VALUE_AT_LEAST,
        budget=0.95,
        ours_alone=True,
    ),
    Row(
        name="scraping",
        title="show stat and /metrics of 1,000 servers, 10 a second",
        unit="cores",
        kind=Kind.SHARE,
        work="hold",
        sessions=16,
        judged=Judged.VALUE_AT_MOST,
        budget=0.25,
    ),
    Row(
        name="silent",
        title="silent death to last client told",
        unit="ms",
        kind=Kind.SILENT,
        work="hold",
        sessions=4000,
        judged=Judged.RATIO_AT_MOST,
        budget=1.0,
    ),
)
"""In the order of measuring: `silent` is last, for its firewall rules."""
