"""The processes of the proxy of `lab crash`: which one is the worker, and who is left at the
end."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from lbsplice.lab.processes import Child
from lbsplice.lab.scene import Proxy

_WORKER = "lbsplice-worker"


class Workers:
    """Finds the workers of a proxy that was started as this child, and remembers everybody it
    saw."""

    def __init__(self, proxy: Proxy, child: Child) -> None:
        self._proxy = proxy
        self._child = child
        self._seen: dict[int, psutil.Process] = {}
        self._killed: set[int] = set()

    def kill_next(self, number: int) -> int | None:
        """Send a signal to the worker of now; its pid. None when there is none but such as were
        killed before."""
        for process in self.look():
            if process.pid not in self._killed and self._is_worker(process):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                self._killed.add(process.pid)
                return int(process.pid)
        return None

    def look(self) -> list[psutil.Process]:
        """The processes that the child has begotten."""
        try:
            found: list[psutil.Process] = psutil.Process(self._child.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self._seen.update({process.pid: process for process in found})
        return found

    def left(self, within_s: float) -> int:
        """How many are there still after so long."""
        deadline = time.monotonic() + within_s
        while (left := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(left)

    def sweep(self) -> None:
        """End those that are left."""
        for process in self._alive():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _is_worker(self, process: psutil.Process) -> bool:
        """HAProxy's master has one child, lbsplice's supervisor a vault as well."""
        with suppress(psutil.NoSuchProcess):
            named = self._proxy is Proxy.HAPROXY or process.name() == _WORKER
            return named and _alive(process)
        return False

    def _alive(self) -> list[psutil.Process]:
        return [process for process in self._seen.values() if _alive(process)]


def _alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
