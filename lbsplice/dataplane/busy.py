"""How busy a thread is: the share of the time in which it had a processor.

Read from the thread's own CPU clock: exact to the nanosecond, one system call, from any
thread. (/proc/self/task/TID/stat counts hundredths of a second and takes three.)"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PERIOD_NS = 1_000_000_000
"""A share is one of at least this long."""


class Busy:
    """A thread's share since the last time that somebody asked, a second ago or more. Who
    asks sooner is told what the one before was told."""

    def __init__(self, cpu_ns: Callable[[], int], now_ns: Callable[[], int]) -> None:
        self._cpu_ns = cpu_ns
        self._now_ns = now_ns
        self._cpu, self._now = cpu_ns(), now_ns()
        self._percent = 0

    @classmethod
    def of_this_thread(cls) -> Busy:
        """For the thread that calls. Others may ask as long as it lives, and after."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        return cls(lambda: time.clock_gettime_ns(clock), time.monotonic_ns)

    def percent(self) -> int:
        """0 for a thread that has ended."""
        try:
            cpu = self._cpu_ns()
        except OSError:
            return 0
        now = self._now_ns()
        if now - self._now >= PERIOD_NS:
            share = 100 * (cpu - self._cpu) / (now - self._now)
            self._percent = max(0, min(100, round(share)))
            self._cpu, self._now = cpu, now
        return self._percent
