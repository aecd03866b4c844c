"""Sessions whose data nobody acknowledges: looked for a few at a time, so that a look at
all of them costs the event loop nothing that can be noticed.

The predicate is that of FEATURES C.4, as `lbsplice rescue` has it: data is queued, was sent
again or probed for, and nothing comes back. The descriptors belong to the relay threads and
may be closed and given to others at any moment: what was seen counts only if the record
still says so afterwards."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
from typing import Any

from lbsplice.admin.kernel_leg import STALLED_ACK_MS
from lbsplice.dataplane.binding import lib
from lbsplice.dataplane.worker import Workers
from lbsplice.kernel.tcpinfo import SIZE, TcpInfo

LOOKS = 256
"""Records looked at in one step."""

_INT = struct.Struct("=i")
_NOTHING = bytes(_INT.size)


class StalledSessions:
    """How many there are, as of the last complete round."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._thread = 0
        self._index = 0
        self._found = 0
        self.count = 0

    def step(self) -> None:
        """Look at some more records."""
        room = LOOKS
        while room > 0:
            table: Any = self._workers.sessions(self._thread)
            used = self._workers.sessions_used(self._thread)
            until = min(used, self._index + room)
            for index in range(self._index, until):
                self._found += is_stalled(table[index])
            room -= max(1, until - self._index)
            self._index = until
            if self._index >= used and self._next_thread():
                return

    def _next_thread(self) -> bool:
        """Go on with the next one. Is the round complete with that?"""
        self._index = 0
        self._thread += 1
        if self._thread < self._workers.sizes.threads:
            return False
        self._thread = 0
        self.count, self._found = self._found, 0
        return True


def is_stalled(record: Any) -> bool:
    """Does either leg of this record, which a relay thread may be changing, stand still?"""
    if record.state not in (lib.LBS_ESTABLISHED, lib.LBS_RESETTING):
        return False
    serial = record.serial
    legs = record.legs
    seen = any(
        leg.fd >= 0 and not leg.ready & lib.LBS_LEG_UNIX and leg_is_stalled(leg.fd)
        for leg in (legs[0], legs[1])
    )
    return seen and record.serial == serial and record.state != lib.LBS_FREE


def leg_is_stalled(fd: int) -> bool:
    """Of one TCP socket; a number that is nothing or something else by now is not."""
    try:
        if not _INT.unpack(fcntl.ioctl(fd, termios.TIOCOUTQ, _NOTHING))[0]:
            return False
        info = _tcp_info(fd)
    except OSError as why:
        if why.errno in (errno.EBADF, errno.ENOTSOCK, errno.EINVAL, errno.ENOTTY, errno.ENOTCONN):
            return False
        if why.errno in (errno.EOPNOTSUPP, errno.ENOPROTOOPT):
            return False
        raise
    sent_again = (info.get("retransmits") or 0) > 0 or (info.get("probes") or 0) > 0
    return sent_again and (info.get("last_ack_recv") or 0) > STALLED_ACK_MS


def _tcp_info(fd: int) -> TcpInfo:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
    try:
        return TcpInfo(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
    finally:
        sock.detach()  # it is not ours
