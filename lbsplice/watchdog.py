"""systemd's watchdog, fed by the control plane of the worker: a sign of life is passed on
only when the worker process gave one. One that hangs is killed, and succeeded."""

from __future__ import annotations

import time

from lbsplice.family import Family
from lbsplice.notify import Notifier
from lbsplice.protocol import Ping, Pong
from lbsplice.reactor import Reactor
from lbsplice.worker import Worker

_ROUNDS = 5
"""So often within systemd's patience the worker is asked; it may miss two rounds."""


class Watchdog:
    """Does nothing unless the notifier says that a sign of life is wanted."""

    def __init__(self, reactor: Reactor, notifier: Notifier) -> None:
        self._reactor = reactor
        self._notifier = notifier
        self._family: Family | None = None
        self._asked: Worker | None = None
        self._since = 0.0  # it has not answered
        self._number = 0

    def start(self, family: Family) -> None:
        self._family = family
        if self._notifier.watchdog_s is not None:
            self._round()

    def _round(self) -> None:
        family, patience_s = self._family, self._notifier.watchdog_s
        assert family is not None
        assert patience_s is not None
        self._reactor.after(patience_s / _ROUNDS, self._round)
        worker = family.office
        if worker is None or not worker.alive or not worker.ready:
            return
        now = time.monotonic()
        if worker is not self._asked or not self._since:
            self._asked, self._since = worker, now
        elif now - self._since > 2 * patience_s / _ROUNDS:
            self._since = 0.0
            worker.kill()
            return
        self._number += 1
        family.tell(Ping(self._number))

    def heard(self, pong: Pong) -> None:
        self._since = 0.0
        self._notifier.alive()
