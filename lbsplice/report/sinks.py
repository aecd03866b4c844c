"""Where log lines go: datagram sockets and descriptors that never make anybody wait.

A line that can not be taken at once is dropped and counted; nothing is kept for later
but the rest of a line that was taken in part. Nothing here raises while it sends."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
import time
from typing import Protocol

from lbsplice.config.model import AddressKind, Endpoint, Log, LogTarget
from lbsplice.errors import EnvironmentLacks
from lbsplice.plan.sockaddr import abstract_name

SYSLOG_PORT = 514
RETRY_SECONDS = 0.01
"""While nobody reads a unix socket's path, it is tried again at most this often."""

_LOST = frozenset(
    {errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.EDESTADDRREQ}
)

SinkKey = tuple[LogTarget, Endpoint | None]
"""Targets with equal keys share a sink."""


class Sink(Protocol):
    """One target. `sent` and `dropped` count lines."""

    sent: int
    dropped: int

    def send(self, line: bytes) -> None:
        """Send one line, its end included, or drop and count it. Never blocks or raises."""

    def close(self) -> None: ...

    def fileno(self) -> int:
        """The descriptor it holds, or -1."""


class UdpSink:
    """Syslog over UDP. `address` is what sendto wants."""

    def __init__(self, family: int, address: tuple[str, int]) -> None:
        self.sent = 0
        self.dropped = 0
        self._address = address
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, line: bytes) -> None:
        try:
            self._socket.sendto(line, self._address)
        except OSError:
            self.dropped += 1
        else:
            self.sent += 1

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()


class UnixSink:
    """A unix datagram socket such as /dev/log. It is connected at once if somebody reads
    it, so that it is still reached after a chroot; when the reader is gone, it is
    connected again as soon as there is a new one."""

    def __init__(self, path: str) -> None:
        self.sent = 0
        self.dropped = 0
        self._path = path
        self._retry_at = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._connected = False
        self._connect()

    def send(self, line: bytes) -> None:
        for _ in range(2):  # the second time to a reader that has replaced the first
            if not self._connected and not self._connect():
                break
            try:
                self._socket.send(line)
            except OSError as why:
                if why.errno not in _LOST:
                    break  # its queue is full, or the line is too long
                self._connected = False
            else:
                self.sent += 1
                return
        self.dropped += 1

    def _connect(self) -> bool:
        now = time.monotonic()
        if now < self._retry_at:
            return False
        try:
            self._socket.connect(self._path)
        except OSError:
            self._retry_at = now + RETRY_SECONDS
            return False
        self._connected = True
        return True

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()


class DescriptorSink:
    """stdout, stderr or an inherited descriptor. It holds a descriptor of its own, and
    leaves the one it was made from as it is: a pipe that others share must not become
    non-blocking for them. When its reader is gone it is silent for good."""

    def __init__(self, fd: int) -> None:
        self.sent = 0
        self.dropped = 0
        self._rest = b""
        self._fd = -1
        self._socket: socket.socket | None = None
        self._poll: select.poll | None = None
        try:
            self._open(fd)
        except OSError:  # started with that descriptor closed, as HAProxy may be
            self.close()

    def _open(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):  # systemd's journal
            self._socket = socket.socket(fileno=os.dup(fd))
            return
        if stat.S_ISREG(mode):
            self._fd = os.dup(fd)
            return
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._fd = os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # no /proc, or somebody else's terminal
            self._fd = os.dup(fd)
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    def send(self, line: bytes) -> None:
        if self.fileno() < 0:
            self.dropped += 1
            return
        try:
            if self._rest:
                self._rest = self._rest[self._write(self._rest) :]
            if self._rest:
                self.dropped += 1
                return
            self._rest = line[self._write(line) :]
        except BlockingIOError:
            self.dropped += 1
        except OSError as why:
            self.dropped += 1
            if why.errno in (errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.EIO):
                self.close()
        else:
            self.sent += 1

    def _write(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        if self._poll is not None:
            if not self._poll.poll(0):
                raise BlockingIOError(errno.EAGAIN, "full")
            # What poll calls writable has room for this much without waiting.
            data = data[: select.PIPE_BUF]
        return os.write(self._fd, data)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # EIO of a terminal that hung up
                os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        return self._fd if self._socket is None else self._socket.fileno()


def sink_key(log: Log) -> SinkKey:
    return log.target, log.address


def open_sink(key: SinkKey) -> Sink:
    """Open a target. A reader that is missing is no error. Raises EnvironmentLacks when a
    socket can not be made, ValueError for an address that no log line can have."""
    try:
        return _open_sink(*key)
    except OSError as why:
        where = key[1].host if key[1] else key[0].value
        raise EnvironmentLacks(f"log : can not open a socket to {where}: {why.strerror}") from why


def _open_sink(target: LogTarget, address: Endpoint | None) -> Sink:
    if target is LogTarget.STDOUT:
        return DescriptorSink(1)
    if target is LogTarget.STDERR:
        return DescriptorSink(2)
    if address is None:
        raise ValueError(f"a log target of kind {target.value} needs an address")
    if target is LogTarget.FD:
        return DescriptorSink(int(address.host))
    if target is LogTarget.UNIX:
        abstract = address.kind is AddressKind.ABSTRACT
        return UnixSink(os.fsdecode(abstract_name(address.host)) if abstract else address.host)
    port = address.port or SYSLOG_PORT
    if address.kind is AddressKind.IPV6:
        return UdpSink(socket.AF_INET6, (address.host, port))
    if address.kind is AddressKind.IPV4:
        return UdpSink(socket.AF_INET, (address.host, port))
    raise ValueError(f"a log target's address is not resolved: {address.host}")
