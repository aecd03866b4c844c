"""The worker of a running lbsplice, killed again and again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from tests.support.program import WORKER, family
from tests.support.waiting import wait_until

SUCCEEDED_WITHIN_S = 20.0


def worker_of(supervisor: int) -> int | None:
    """The pid of the worker that a supervisor has now; None between two of them."""
    return next((pid for pid, name in family(supervisor).items() if name == WORKER), None)


class Kills(threading.Thread):
    """Kills the worker every so often, from its start until `stops`. `pids` are those that
    were killed."""

    def __init__(self, supervisor: int, every_s: float) -> None:
        super().__init__(name="kills", daemon=True)
        self.pids: list[int] = []
        self._supervisor = supervisor
        self._every_s = every_s
        self._stopped = threading.Event()
        self._trouble: BaseException | None = None

    @property
    def count(self) -> int:
        self._complain()
        return len(self.pids)

    def run(self) -> None:
        try:
            while not self._stopped.wait(self._every_s):
                pid = wait_until(self._next, "there is a worker again", SUCCEEDED_WITHIN_S)
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    self.pids.append(pid)
        except BaseException as trouble:
            self._trouble = trouble

    def stops(self) -> None:
        """Kill no more, and wait until the last one has a successor. AssertionError when a
        worker had none."""
        self._stopped.set()
        self.join()
        self._complain()
        wait_until(self._next, "the last worker has a successor", SUCCEEDED_WITHIN_S)

    def _next(self) -> int | None:
        """A worker that was not killed yet."""
        pid = worker_of(self._supervisor)
        return None if pid in self.pids else pid

    def _complain(self) -> None:
        if self._trouble is not None:
            raise AssertionError(f"no more kills: {self._trouble}") from self._trouble


@contextlib.contextmanager
def killing(supervisor: int, every_s: float = 1.0) -> Iterator[Kills]:
    """The worker of this supervisor is killed with SIGKILL every `every_s` seconds, for as
    long as the block lasts."""
    kills = Kills(supervisor, every_s)
    kills.start()
    try:
        yield kills
    finally:
        kills.stops()
