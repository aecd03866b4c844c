"""What relay threads tell, put where it belongs: sessions into the log, answers to the
orders that they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lbsplice.admin.transitions import Chronicle
from lbsplice.proxy_lines import ProxyLines
from lbsplice.report import record
from lbsplice.report.hub import Hub
from lbsplice.report.record import Record
from lbsplice.road import Road
from lbsplice.terms import LogLevel


class Hearing:
    """`lines` makes the lines about proxies as they are now; `changed` is called when
    something has to be remembered."""

    def __init__(
        self,
        hub: Hub,
        road: Road,
        chronicle: Chronicle,
        lines: Callable[[], ProxyLines],
        changed: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._road = road
        self._chronicle = chronicle
        self._lines = lines
        self._changed = changed

    def __call__(self, records: Iterable[Record]) -> None:
        """Each record is done with when the next one is asked for."""
        self._hub.sessions(self._sessions(records))

    def _sessions(self, records: Iterable[Record]) -> Iterator[Record]:
        first = True
        for one in records:
            if one.kind == record.SESSION_ENDED or one.kind == record.SESSION_CONNECTED:
                if first:
                    self._road.tell_lines()  # why they ended stands before their ends
                    first = False
                yield one
            elif one.kind == record.ACCEPT_PAUSED:
                name, line = self._lines().paused(one)
                self._hub.proxy_line(name, LogLevel.EMERG, line)
            elif one.kind == record.KILLED and self._road.kills.answered(one.number, one.thread):
                self._chronicle.obeyed(self._road.kills.obeyed_last.at)
                self._changed()
