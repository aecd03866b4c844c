"""What `show proc` tells of a supervisor and its family: HAProxy's master and workers, and
the vault that stands behind the worker in office."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from lbsplice import process
from lbsplice.family import Family


@dataclass(slots=True)
class Reloads:
    """Reloads and upgrades so far, and how many of them the worker in office has seen."""

    done: int = 0
    failed: int = 0
    _worker: int = 0
    _before: int = 0

    def note(self, error: str | None) -> None:
        """One has ended, with that for a reason why nothing has changed."""
        self.done += error is None
        self.failed += error is not None

    def seen(self, pid: int) -> None:
        """This worker is at work from now on."""
        if pid != self._worker:
            self._worker, self._before = pid, self.done

    def of(self, pid: int) -> int:
        return self.done - self._before if pid == self._worker else 0


def processes(family: Family, reloads: Reloads) -> dict[str, Any]:
    """What a worker is told. A worker's `reloads` are those that it has lived through;
    `old_workers` are on their way out."""
    office, coming = family.office, family.coming
    workers = [_one(worker.pid) for worker in (coming,) if worker is not None and worker.alive]
    if office is not None and office.alive:
        old = [{**_one(office.pid), "reloads": reloads.of(office.pid)}]
        workers, old = (workers, old) if coming is not None else (old, [])
    else:
        old = []
    return {
        "supervisor": {**_one(os.getpid()), "reloads": reloads.done, "failed": reloads.failed},
        "workers": workers,
        "old_workers": old,
        "vaults": [_one(office.vault)] if office is not None and office.vault else [],
    }


def _one(pid: int) -> dict[str, Any]:
    return {"pid": pid, "uptime_s": process.age_s(pid), "reloads": 0}
