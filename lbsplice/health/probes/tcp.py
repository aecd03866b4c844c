"""The layer 4 check: connect, then close by reset.

The reset leaves no TIME_WAIT on either side. The last packet of the handshake is held
back, so that a server's application usually never sees the connection at all."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import struct

from lbsplice.health.judge import CheckResult
from lbsplice.health.target import Target
from lbsplice.terms import CheckStatus

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; the socket module has it from Python 3.12 on

_OUR_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)

_NAMED = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ENOMEM,
        errno.EBADF,
        errno.EFAULT,
        errno.EINVAL,
        errno.ENOTCONN,
        errno.ENOTSOCK,
        errno.ENOBUFS,
        errno.EPIPE,
    }
)

STALL_S = 0.05
"""A deadline noticed later than this was missed because we stood still."""


async def probe(target: Target, limit_s: float) -> CheckResult:
    """Ask one server, for `limit_s` seconds at most. Every outcome is a result; nothing
    is raised except for cancellation."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        sock = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        return _socket_error(error.errno, counts=error.errno not in _OUR_SHORTAGE)
    with sock:
        try:
            _prepare(sock, target)
        except OSError as error:
            text = f"Can't bind to source address ({os.strerror(error.errno or 0)})"
            return CheckResult(False, CheckStatus.L4_CONNECTION, _since(begun, loop), text)
        code = sock.connect_ex(target.address)
        if code not in (0, errno.EINPROGRESS):
            return _connect_refused_by_us(code, target, _since(begun, loop))
        if code and not await _answered(sock, limit_s, loop):
            return CheckResult(False, CheckStatus.L4_TIMEOUT, _since(begun, loop))
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            text = error_text(code)
            return CheckResult(False, CheckStatus.L4_CONNECTION, _since(begun, loop), text)
        return CheckResult(True, CheckStatus.L4_OK, _since(begun, loop))


def error_text(code: int) -> str:
    """What `info:` says of an errno."""
    if code in _NAMED:
        return f"{errno.errorcode[code]} returned by OS ({os.strerror(code)})"
    return f"General socket error ({os.strerror(code)})"


def _prepare(sock: socket.socket, target: Target) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    if target.is_unix:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    if target.interface is not None:
        name = target.interface.encode()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
    if target.source is not None:
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(target.source)


async def _answered(sock: socket.socket, limit_s: float, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the kernel has the connect's outcome within the limit.

    What counts is what the kernel knows, not when we came to look: the socket is asked
    once more at the deadline. Where we noticed the deadline late, because the loop or the
    whole machine stood still, the server gets as much time again, once."""
    deadline = loop.time() + limit_s
    if await _wait(sock, deadline, loop):
        return True
    now = loop.time()
    late = min(now - deadline, limit_s)
    return late >= STALL_S and await _wait(sock, now + late, loop)


async def _wait(sock: socket.socket, deadline: float, loop: asyncio.AbstractEventLoop) -> bool:
    done = loop.create_future()
    timer = loop.call_at(deadline, _wake, done)
    loop.add_writer(sock, _wake, done)
    try:
        await done
    finally:
        loop.remove_writer(sock)
        timer.cancel()
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _since(begun: float, loop: asyncio.AbstractEventLoop) -> int:
    return int((loop.time() - begun) * 1000)


def _socket_error(code: int | None, *, counts: bool, duration_ms: int | None = 0) -> CheckResult:
    text = error_text(code or 0)
    return CheckResult(False, CheckStatus.SOCKET_ERROR, duration_ms, text, counts=counts)


def _connect_refused_by_us(code: int, target: Target, duration_ms: int) -> CheckResult:
    """connect() failed at once. Over a network it means no way there; a unix socket has
    no network. Where all local ports are taken or memory is short, it is not the server."""
    shortage = code in _OUR_SHORTAGE or (
        code == errno.EADDRNOTAVAIL and _reachable_without_port(target)
    )
    if shortage or target.is_unix or code == errno.EADDRNOTAVAIL:
        return _socket_error(code, counts=not shortage, duration_ms=duration_ms)
    return CheckResult(False, CheckStatus.L4_CONNECTION, duration_ms, error_text(code))


def _reachable_without_port(target: Target) -> bool:
    """Whether a datagram socket could be connected there: then EADDRNOTAVAIL meant that
    no port was left, not that the machine has no address to come from."""
    with socket.socket(target.family, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex(target.address) == 0
