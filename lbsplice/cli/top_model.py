"""What `lbsplice top` shows, and what a key does to it: no terminal and no clock here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbsplice.cli.names import name_of_server, servers_of

HISTORY = 60
"""So many looks back go the sparklines."""

KEYS = (
    ("up down", "select a server"),
    ("d r m", "drain, ready, maint"),
    ("K", "end all its sessions"),
    ("s S", "sort by the next column; the other way round"),
    ("/", "filter by name or status"),
    ("p", "pause"),
    ("?", "these keys"),
    ("q", "quit"),
)


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator wants of a server, to be carried out."""

    server: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A server at this look. Rates are per second, None before the second look."""

    name: str
    status: str
    up: bool
    admin: str
    weight: int
    sessions: int
    most: int
    session_rate: int
    bytes_in_rate: float | None
    bytes_out_rate: float | None
    killed: int
    check: str
    since: int
    history: tuple[float, ...]


SORTS = {
    "name": lambda row: row.name,
    "status": lambda row: (row.up, row.status),
    "sessions": lambda row: -row.sessions,
    "rate": lambda row: -row.session_rate,
    "traffic": lambda row: -((row.bytes_in_rate or 0.0) + (row.bytes_out_rate or 0.0)),
    "changed": lambda row: row.since,
}
"""By what the rows can be sorted; `file` is the order of the configuration."""

_ORDERS = {"d": "drain", "r": "ready", "m": "maint"}
_BACKSPACE = frozenset(("backspace", "\x7f", "\b"))


@dataclass
class Model:
    """Everything on the screen. `look` takes in a status, `key` a key."""

    status: dict[str, Any] | None = None
    selected: str | None = None
    sort: str = "file"
    backwards: bool = False
    filter: str = ""
    filtering: bool = False
    confirming: Order | None = None
    paused: bool = False
    help: bool = False
    message: str = ""
    trouble: str = ""
    quit: bool = False
    _seen: dict[str, tuple[float, int, int]] = field(default_factory=dict)
    _rates: dict[str, tuple[float, float]] = field(default_factory=dict)
    _history: dict[str, deque[float]] = field(default_factory=dict)

    # ---- a look ----

    def look(self, status: dict[str, Any], now: float) -> None:
        """Take in what the process says; `now` is monotonic seconds."""
        self.trouble = ""
        if self.paused:
            return
        self.status = status
        seen: dict[str, tuple[float, int, int]] = {}
        rates: dict[str, tuple[float, float]] = {}
        for server in servers_of(status):
            name = name_of_server(server)
            seen[name] = (now, server["bytes_in"], server["bytes_out"])
            rate = _rate(self._seen.get(name), seen[name])
            if rate is not None:
                rates[name] = rate
                self._history.setdefault(name, deque(maxlen=HISTORY)).append(sum(rate))
        self._seen, self._rates = seen, rates
        for gone in self._history.keys() - seen.keys():
            del self._history[gone]
        names = [row.name for row in self.rows()]
        if self.selected not in names:
            self.selected = names[0] if names else None

    def fails(self, why: str) -> None:
        """Nobody has answered; what was seen last stays."""
        self.trouble = why

    def rows(self) -> list[Row]:
        """What is shown, in its order."""
        if self.status is None:
            return []
        rows = [row for row in self._all() if self._shows(row)]
        if self.sort != "file":
            rows.sort(key=SORTS[self.sort])
        return rows[::-1] if self.backwards else rows

    def _all(self) -> Iterator[Row]:
        assert self.status is not None
        for server in servers_of(self.status):
            name = name_of_server(server)
            rate = self._rates.get(name)
            yield Row(
                name=name,
                status=server["status"],
                up=server["up"],
                admin=server["admin"],
                weight=server["weight"],
                sessions=server["sessions"]["now"],
                most=server["sessions"]["max"],
                session_rate=server["session_rate"]["now"],
                bytes_in_rate=None if rate is None else rate[0],
                bytes_out_rate=None if rate is None else rate[1],
                killed=server["killed"],
                check=server["check"]["status"] if server["checked"] else "",
                since=server["last_change"],
                history=tuple(self._history.get(name, ())),
            )

    def _shows(self, row: Row) -> bool:
        sought = self.filter.lower()
        return sought in row.name.lower() or sought in row.status.lower()

    # ---- a key ----

    def key(self, key: str) -> Order | None:
        """What a key asks for beyond a change of the screen; an order is given once."""
        self.message = ""
        if self.filtering:
            self._type(key)
            return None
        if self.confirming is not None:
            order, self.confirming = self.confirming, None
            if key == "y":
                return order
            self.message = "nothing was done"
            return None
        if self.help:
            self.help = False
            return None
        return self._command(key)

    def _command(self, key: str) -> Order | None:
        if key in ("q", "escape", "\x03"):
            self.quit = True
        elif key in ("down", "j"):
            self._move(1)
        elif key in ("up", "k"):
            self._move(-1)
        elif key == "s":
            names = ("file", *SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "S":
            self.backwards = not self.backwards
        elif key == "/":
            self.filtering = True
        elif key == "p":
            self.paused = not self.paused
        elif key == "?":
            self.help = True
        elif key in _ORDERS and self.selected is not None:
            return self._ordered(self.selected, _ORDERS[key])
        elif key == "K" and self.selected is not None:
            self.confirming = Order(self.selected, ("lbsplice", "kill", "server", self.selected))
        return None

    def _ordered(self, name: str, state: str) -> Order | None:
        """Maintenance may end sessions: it is asked for twice."""
        order = Order(name, ("set", "server", name, "state", state))
        if state == "maint":
            self.confirming = order
            return None
        return order

    def _type(self, key: str) -> None:
        if key == "enter":
            self.filtering = False
        elif key == "escape":
            self.filtering, self.filter = False, ""
        elif key in _BACKSPACE:
            self.filter = self.filter[:-1]
        elif len(key) == 1 and key.isprintable():
            self.filter += key
        names = [row.name for row in self.rows()]
        if self.selected not in names:
            self.selected = names[0] if names else None

    def _move(self, by: int) -> None:
        names = [row.name for row in self.rows()]
        if not names:
            return
        at = names.index(self.selected) if self.selected in names else 0
        self.selected = names[max(0, min(len(names) - 1, at + by))]


def _rate(
    before: tuple[float, int, int] | None, after: tuple[float, int, int]
) -> tuple[float, float] | None:
    """Bytes per second both ways; None where there is nothing to compare with, or where the
    counters were cleared meanwhile."""
    if before is None or after[0] <= before[0]:
        return None
    span = after[0] - before[0]
    rate = ((after[1] - before[1]) / span, (after[2] - before[2]) / span)
    return None if min(rate) < 0 else rate


_BARS = " ▁▂▃▄▅▆▇█"


def sparkline(values: tuple[float, ...], width: int) -> str:
    """The last `width` values as bars, relative to the highest of them; what is not zero is
    seen.

    >>> sparkline((0, 1, 4, 8), 6)
    '   ▁▄█'
    """
    some = values[-width:] if width > 0 else ()
    most = max(some, default=0.0)
    if not most:
        return " " * width
    top = len(_BARS) - 1
    bars = (_BARS[max(1, int(value / most * top))] if value > 0 else " " for value in some)
    return "".join(bars).rjust(width)


def fitted(name: str, width: int) -> str:
    """`backend/server` within so many characters: of a server's name the end says most.

    >>> fitted("postgresql-primary/node-of-the-east-2", 20)
    'postgresq…/…e-east-2'
    """
    if len(name) <= width:
        return name
    backend, _, server = name.partition("/")
    half = (width - 1) // 2
    room = min(len(server), max(half, width - 1 - len(backend)))
    if len(server) > room:
        server = "…" + server[len(server) - room + 1 :]
    room = width - 1 - len(server)
    if len(backend) > room:
        backend = backend[: max(0, room - 1)] + "…"
    return f"{backend}/{server}"


def transitions_of(status: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The last changes of state, the newest first."""
    return list(reversed(status["transitions"][-count:])) if count > 0 else []
