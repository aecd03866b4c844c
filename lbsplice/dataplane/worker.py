"""The relay threads: started, commanded and joined from Python.

A thread is a `threading.Thread` on one C call that returns only when told to stop; cffi
releases the interpreter lock for its length."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable, Mapping

from lbsplice.dataplane import ledger
from lbsplice.dataplane.binding import ffi, lib
from lbsplice.dataplane.counters import Counters
from lbsplice.dataplane.events import EventReader
from lbsplice.dataplane.load import Rows
from lbsplice.errors import DataplaneBusy, DataplaneError, PlanError
from lbsplice.plan.tables import Plan
from lbsplice.terms import Cause


class Workers:
    """All relay threads with their ledger. Use `close` exactly once; it stops them.

    `pipe_bytes`: the wanted size of a pipe, 0 for the default; `max_pipes`: how many
    pipes all threads may have open together."""

    def __init__(self, sizes: ledger.Sizes, *, max_pipes: int, pipe_bytes: int = 0) -> None:
        self.sizes = sizes
        self._threads: list[threading.Thread] = []
        self._epolls: list[select.epoll] = []
        self.memfd = ledger.create(sizes)
        error = ffi.new("int *")
        self._plane = lib.lbs_plane_open(self.memfd, sizes.to_c(), pipe_bytes, max_pipes, error)
        if not self._plane:
            os.close(self.memfd)
            raise DataplaneError(f"the data plane did not open: {os.strerror(-error[0])}")
        self.counters = Counters(self._plane, sizes.threads)
        self.readers = [EventReader(self._plane, thread) for thread in range(sizes.threads)]
        self.event_fds: list[int] = []

    def start(self, on_return: Callable[[int, int], None] | None = None) -> None:
        """Start every thread. Their event descriptors are in `event_fds` then.
        `on_return(thread, errno)` is called on a thread when it ends."""
        for number in range(self.sizes.threads):
            epoll = select.epoll()
            self._epolls.append(epoll)
            self.event_fds.append(
                _checked(lib.lbs_worker_attach(self._plane, number, epoll.fileno()), "attach")
            )
        for number in range(self.sizes.threads):
            thread = threading.Thread(
                target=self._run, args=(number, on_return), name=f"relay-{number}"
            )
            thread.start()
            self._threads.append(thread)

    def _run(self, number: int, on_return: Callable[[int, int], None] | None) -> None:
        result = lib.lbs_worker_run(self._plane, number)
        if on_return is not None:
            on_return(number, -result)

    def publish(self, plan: Plan, descriptors: Mapping[int, int], maxaccept: int = 0) -> None:
        """Tell every thread to take this plan; `descriptors` has each listener's socket.
        PlanError if the plan contradicts itself."""
        rows = Rows(plan, descriptors, maxaccept)
        error = lib.lbs_publish(self._plane, rows.rows)
        if error == -errno.EINVAL:
            raise PlanError("a row of the plan refers to a number that is not there")
        _checked(error, "publish a plan")

    def kill_slot(self, slot: int, cause: Cause) -> None:
        """End the sessions of a server, in every thread. Publish first, kill second."""
        _checked(lib.lbs_command_kill_slot(self._plane, slot, ord(cause.value)), "kill")

    def kill_all(self, cause: Cause) -> None:
        _checked(lib.lbs_command_kill_all(self._plane, ord(cause.value)), "kill")

    def kill_session(self, serial: int, cause: Cause) -> None:
        _checked(lib.lbs_command_kill_session(self._plane, serial, ord(cause.value)), "kill")

    def sessions(self, thread: int) -> object:
        """The session records of a thread, as a C array of `sizes.sessions`."""
        return lib.lbs_sessions(self._plane, thread)

    def stop(self) -> None:
        """Stop the threads and join them. Sessions stay as they are."""
        if self._threads:
            _checked(lib.lbs_command_stop(self._plane), "stop")
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def close(self) -> None:
        """Stop, close what sessions are left, and give the memory back."""
        self.stop()
        lib.lbs_plane_close(self._plane)
        for epoll in self._epolls:
            epoll.close()
        os.close(self.memfd)


def _checked(result: int, what: str) -> int:
    if result == -errno.EAGAIN:
        raise DataplaneBusy(f"workers could not {what}: a mailbox is full")
    if result < 0:
        raise DataplaneError(f"workers could not {what}: {os.strerror(-result)}")
    return result
