"""The ledger's memory: a memfd that the workers write and Python reads.

A successor process can map the same memfd; nothing in it is a pointer."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, fields

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.errors import DataplaneError

VERSION: int = lib.LBS_LAYOUT_VERSION
"""The layout that this program writes and adopts; older ones it can convert."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the shared tables are, for the life of a ledger (native/api.h)."""

    threads: int
    sessions: int  # per thread
    pipes: int  # per thread
    listeners: int = 1024
    frontends: int = 1024
    backends: int = 1024
    slots: int = 4096
    events: int = 8192  # per thread, a power of two

    def to_c(self) -> object:
        row = ffi.new("lbs_sizes *")
        for field in fields(self):
            setattr(row, field.name, getattr(self, field.name))
        return row


@dataclass(frozen=True, slots=True)
class Crash:
    """A fault of a worker's own, as it noted it in its ledger when it died."""

    signal: int
    code: int  # si_code
    thread: int | None  # None: not a relay thread
    pid: int
    session: int | None  # the record that the thread worked on
    crashes: int  # in a row, at that session's door


def create(sizes: Sizes) -> int:
    """A memfd of the right length; the caller closes it. DataplaneError if a size is
    out of range or memory is short."""
    length = lib.lbs_ledger_bytes(sizes.to_c())
    if not length:
        raise DataplaneError(f"a table of the ledger has an impossible size: {sizes}")
    fd = os.memfd_create("lbsplice-ledger", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, length)
    except OSError as error:
        os.close(fd)
        raise DataplaneError(
            f"no memory for a ledger of {length} bytes: {error.strerror}; lower maxconn"
        ) from error
    return fd


def read(fd: int) -> tuple[int, Sizes]:
    """A ledger's layout version, which may be another than ours, and its sizes."""
    version = ffi.new("uint32_t *")
    sizes = ffi.new("lbs_sizes *")
    if lib.lbs_ledger_read(fd, version, sizes) < 0:
        raise DataplaneError("what was to be a ledger is none")
    return version[0], Sizes(*(getattr(sizes, field.name) for field in fields(Sizes)))


def highest(fd: int) -> int:
    """The highest descriptor number that a ledger names, or -1. Before they are taken over,
    no number from 3 up to it may be in use."""
    return int(lib.lbs_ledger_highest(fd))


def convert(from_fd: int, sizes: Sizes) -> int:
    """A new ledger of these sizes, and of our layout, with all that a parked worker's one
    says; the caller closes it. The descriptors to take over are those that the new one
    names. DataplaneError if the layout is unknown or the sizes are too small; the old
    ledger is not touched."""
    version, had = read(from_fd)
    into = create(sizes)
    error = lib.lbs_ledger_convert(from_fd, into, sizes.to_c())
    if not error:
        return into
    os.close(into)
    if error == -errno.EPROTO:
        raise DataplaneError(
            f"the ledger has layout version {version}; this program writes version {VERSION} "
            "and can not convert the other"
        )
    if error == -errno.ENOSPC:
        raise DataplaneError(f"what is in use of {had} does not fit into {sizes}")
    raise DataplaneError(f"the ledger could not be converted: {os.strerror(-error)}")


def crash(fd: int) -> Crash | None:
    """The fault that a dead worker noted; None if it was killed from outside. Read it
    before the ledger is adopted."""
    row = ffi.new("lbs_crash *")
    if lib.lbs_crash_read(fd, row) != 1:
        return None
    return Crash(
        row.signal, row.code, _known(row.thread), row.pid, _known(row.session), row.crashes
    )


def accepting(fd: int) -> tuple[int, ...]:
    """The listeners that a dead worker's threads were accepting from: a connected socket
    that the ledger does not name may be a client's (Workers.begin)."""
    room = read(fd)[1].threads
    found = ffi.new("uint32_t[]", room)
    return tuple(found[0 : lib.lbs_accepting(fd, found, room)])


def _known(number: int) -> int | None:
    return None if number == lib.LBS_NONE else number
