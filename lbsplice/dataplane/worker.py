"""The relay threads: started, commanded and joined from Python.

A thread is a `threading.Thread` on one C call that returns only when told to stop; cffi
releases the interpreter lock for its length."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from lbsplice.dataplane import ledger
from lbsplice.dataplane.binding import ffi, lib
from lbsplice.dataplane.busy import Busy
from lbsplice.dataplane.counters import Counters
from lbsplice.dataplane.events import EventReader
from lbsplice.dataplane.load import Rows
from lbsplice.dataplane.tables import Tables
from lbsplice.errors import DataplaneBusy, DataplaneError, PlanError
from lbsplice.plan.tables import Plan
from lbsplice.terms import Cause


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found in another process's ledger."""

    sessions: int  # that go on
    connecting: int  # of these: that have no server yet
    pipes: int  # with bytes in them
    resets: int  # sessions that end: their descriptors were gone, or see poisoned
    poisoned: int  # of these: worked on in three crashes in a row
    bytes: int  # in the pipes


class Workers:
    """All relay threads with their ledger. Use `close` exactly once; it stops them.

    `pipe_bytes`: the wanted size of a pipe, 0 for the default; `max_pipes`: how many
    pipes all threads may have open together. `memfd`: the ledger's, which stays the
    caller's; without one a new one is made. `adopt`: it is another process's, with the
    descriptors it names at their numbers in this process (vault.take_descriptors): its
    sessions go on as soon as the threads are started, those that need a plan when one is
    published."""

    def __init__(
        self,
        sizes: ledger.Sizes,
        *,
        max_pipes: int,
        pipe_bytes: int = 0,
        memfd: int | None = None,
        adopt: bool = False,
    ) -> None:
        self.sizes = sizes
        self._threads: list[threading.Thread] = []
        self._epolls: list[select.epoll] = []
        self._busy: dict[int, Busy] = {}
        self._on_return: Callable[[int, int], None] | None = None
        self._owns_memfd = memfd is None
        self.memfd = ledger.create(sizes) if memfd is None else memfd
        self.adoption: Adoption | None = None
        try:
            self._plane = (
                self._adopt(pipe_bytes, max_pipes) if adopt else self._open(pipe_bytes, max_pipes)
            )
        except DataplaneError:
            if self._owns_memfd:
                os.close(self.memfd)
            raise
        self.counters = Counters(self._plane, sizes.threads)
        self.tables = Tables(self._plane, sizes)
        self.readers = [EventReader(self._plane, thread) for thread in range(sizes.threads)]
        self.event_fds: list[int] = []

    def _open(self, pipe_bytes: int, max_pipes: int) -> object:
        error = ffi.new("int *")
        plane = lib.lbs_plane_open(self.memfd, self.sizes.to_c(), pipe_bytes, max_pipes, error)
        if not plane:
            raise DataplaneError(f"the data plane did not open: {os.strerror(-error[0])}")
        return plane

    def _adopt(self, pipe_bytes: int, max_pipes: int) -> object:
        version, found = ledger.read(self.memfd)
        if version != ledger.VERSION or found != self.sizes:
            raise DataplaneError(
                f"the ledger is of version {version} and {found}; it would have to be "
                f"converted to version {ledger.VERSION} and {self.sizes}"
            )
        error = ffi.new("int *")
        told = ffi.new("lbs_adoption *")
        plane = lib.lbs_plane_adopt(self.memfd, pipe_bytes, max_pipes, told, error)
        if not plane:
            raise DataplaneError(f"the ledger was not adopted: {os.strerror(-error[0])}")
        self.adoption = Adoption(*(getattr(told, field.name) for field in fields(Adoption)))
        return plane

    def watch_crashes(self) -> None:
        """From now on a fault of this process is noted in the ledger before it dies of it
        (ledger.crash). Once per process, before `start`."""
        _checked(lib.lbs_crash_watch(self._plane), "watch for faults")

    def begin(self, thread: int, listener: int, fd: int) -> bool:
        """Before `start`: a socket that the worker before had accepted from this listener,
        and not noted as a session (ledger.accepting). It is begun when there is a plan, and
        no longer the caller's. False: some session had it already, close it."""
        error = lib.lbs_plane_begin(self._plane, thread, listener, fd)
        if error == -errno.EINVAL:
            return False
        _checked(error, "begin a session")
        return True

    def start(self, on_return: Callable[[int, int], None] | None = None) -> None:
        """Start every thread. Their event descriptors are in `event_fds` then.
        `on_return(thread, errno)` is called on a thread when it ends."""
        for number in range(self.sizes.threads):
            epoll = select.epoll()
            self._epolls.append(epoll)
            self.event_fds.append(
                _checked(lib.lbs_worker_attach(self._plane, number, epoll.fileno()), "attach")
            )
        self._on_return = on_return
        self.carry_on()

    def carry_on(self) -> None:
        """Let the threads run again after `park`: they go on where they stopped."""
        for number in range(self.sizes.threads):
            thread = threading.Thread(
                target=self._run, args=(number, self._on_return), name=f"relay-{number}"
            )
            thread.start()
            self._threads.append(thread)

    def _run(self, number: int, on_return: Callable[[int, int], None] | None) -> None:
        self._busy[number] = Busy.of_this_thread()
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

    def busy_percent(self, thread: int) -> int:
        """The share of the time that a thread works, since somebody last asked but over a
        second at least; 0 if it does not run."""
        busy = self._busy.get(thread)
        return busy.percent() if busy else 0

    def sessions(self, thread: int) -> object:
        """The session records of a thread, as a C array of `sizes.sessions`."""
        return lib.lbs_sessions(self._plane, thread)

    def sessions_used(self, thread: int) -> int:
        """Records of a thread from here on were never used."""
        return int(lib.lbs_sessions_high(self._plane, thread))

    def stop(self) -> None:
        """Stop the threads and join them. Sessions stay as they are."""
        if self._threads:
            _checked(lib.lbs_command_stop(self._plane), "stop")
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    park = stop
    """What a successor needs before it adopts; `carry_on` if it does not."""

    def close(self) -> None:
        """Stop, close what sessions are left, and give the memory back."""
        self.stop()
        lib.lbs_plane_close(self._plane)
        for epoll in self._epolls:
            epoll.close()
        if self._owns_memfd:
            os.close(self.memfd)


def _checked(result: int, what: str) -> int:
    if result == -errno.EAGAIN:
        raise DataplaneBusy(f"workers could not {what}: a mailbox is full")
    if result < 0:
        raise DataplaneError(f"workers could not {what}: {os.strerror(-result)}")
    return result
