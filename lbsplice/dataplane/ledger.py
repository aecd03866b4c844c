"""The ledger's memory: a memfd that the workers write and Python reads.

A successor process can map the same memfd; nothing in it is a pointer."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.errors import DataplaneError


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
