"""The vault: a process that shares the worker's descriptor table and outlives it, so that
sockets and pipes stay open when the worker dies; and the taking over of what it kept."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time

from lbsplice.dataplane import ledger
from lbsplice.dataplane.binding import lib
from lbsplice.errors import DataplaneError


def request_pair() -> tuple[socket.socket, socket.socket]:
    """(ours, the vault's): the socket to ask it on, and the one it is to be started with.
    As long as somebody has ours open, the vault lives until it is told to quit. Nobody but
    the worker may keep the other one: when ours reads the end, no process has the table
    any more."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def start_vault(request: socket.socket) -> int:
    """Clone the vault of this process's descriptor table; its pid. It is a child of this
    process's parent."""
    return _checked(lib.lbs_vault_start(request.fileno()), "the vault did not start")


def quit_vault(request: socket.socket) -> None:
    """Tell the vault at the other end to quit. No matter if it is gone."""
    lib.lbs_vault_quit(request.fileno())


def take_descriptors(ledger_fd: int, vault_pid: int | None, request: socket.socket | None) -> int:
    """Take all descriptors that a ledger names, at the same numbers; how many there were.

    From the vault, over `request`, or, where it does not answer, from its table if that is
    allowed (pidfd_getfd: not under Yama, nor without CAP_SYS_PTRACE). With neither, or where
    a descriptor is gone, its number is occupied, and adoption ends the session it belonged
    to. DataplaneError if nothing could be taken; none is kept then."""
    pidfd = -1 if vault_pid is None else _pidfd_above(vault_pid, ledger.highest(ledger_fd))
    try:
        return _checked(
            lib.lbs_descriptors_take(ledger_fd, pidfd, _number(request)),
            "the descriptors could not be taken over",
        )
    finally:
        if pidfd >= 0:
            os.close(pidfd)


def take_one(vault_pid: int | None, request: socket.socket | None, number: int) -> int | None:
    """A copy of one descriptor of the vault's table, at any number; None if it has none.
    From where: as take_descriptors."""
    pidfd = -1 if vault_pid is None else _pidfd_above(vault_pid, 2)
    try:
        found: int = lib.lbs_descriptor_take(pidfd, _number(request), number)
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    if found == -errno.EBADF:
        return None
    return _checked(found, f"descriptor {number} could not be taken over")


def wait_released(request: socket.socket, timeout_s: float) -> bool:
    """Wait until no process has the table any more that the vault at the other end shared:
    only then does closing a copy close. False if that took too long."""
    deadline = time.monotonic() + timeout_s
    try:
        while (left := deadline - time.monotonic()) > 0:
            request.settimeout(left)
            # What still comes was asked for by somebody who died; with no room for them
            # its descriptors are closed at once.
            if not request.recv(4096):
                return True
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return False


def _pidfd_above(pid: int, number: int) -> int:
    """A pidfd that is in the way of none of the numbers up to this one. -1 if there is no
    such process."""
    try:
        low = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    try:
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, number + 1)
    finally:
        os.close(low)


def _number(request: socket.socket | None) -> int:
    return -1 if request is None else request.fileno()


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise DataplaneError(f"{what}: {os.strerror(-result)}")
    return result
