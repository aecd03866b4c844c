"""What the kernel knows of sockets of this very process, by their descriptors.

The descriptors belong to relay threads. They are looked at and never copied: a copy would
keep a connection from ending that its thread closes meanwhile."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import termios
from contextlib import suppress

from lbsplice.admin.kernel_leg import KeepAliveInForce, KernelLeg
from lbsplice.errors import EnvironmentLacks
from lbsplice.kernel.sockdiag import STATES, SocketWatch
from lbsplice.kernel.tcpinfo import SIZE, TcpInfo

_SIOCINQ = termios.FIONREAD
_SIOCOUTQ = termios.TIOCOUTQ
_SO_COOKIE = 57
_SO_BINDTOIFINDEX = 62
_COOKIE = struct.Struct("=Q")
_INT = struct.Struct("=i")


class Legs:
    """Looks at legs, again and again. Without sock_diag it does so as well, but the timer
    that runs is not known then."""

    def __init__(self) -> None:
        self._watch: SocketWatch | None = None
        with suppress(EnvironmentLacks):
            self._watch = SocketWatch()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def look(self, fd: int) -> KernelLeg | None:
        """The socket of this number; None if that is no TCP socket (any more). The number
        may have been given to another session meanwhile: look at its record again."""
        if fd < 0:
            return None
        try:
            sock = socket.socket(fileno=fd)
        except OSError:
            return None
        try:
            if sock.family not in (socket.AF_INET, socket.AF_INET6):
                return None
            return self._leg(sock)
        except OSError:
            return None
        finally:
            sock.detach()

    def _leg(self, sock: socket.socket) -> KernelLeg:
        info = TcpInfo(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, SIZE))
        local, peer = sock.getsockname()[:2], _peer(sock)

        def told(name: str) -> int:
            return info.get(name) or 0

        timer, expires = self._timer(sock, local, peer)
        state = told("state")
        return KernelLeg(
            local=_text(local),
            peer="" if peer is None else _text(peer),
            state=STATES[state] if state < len(STATES) else STATES[0],
            timer=timer,
            expires_ms=expires,
            retransmits=told("retransmits"),
            probes=told("probes"),
            backoff=told("backoff"),
            rto_ms=told("rto") // 1000,
            send_queue=_bytes(sock, _SIOCOUTQ),
            unsent=told("notsent_bytes"),
            receive_queue=_bytes(sock, _SIOCINQ),
            last_data_received_ms=told("last_data_recv"),
            last_data_sent_ms=told("last_data_sent"),
            last_ack_ms=told("last_ack_recv"),
            rtt_us=told("rtt"),
            total_retransmits=told("total_retrans"),
            keepalive=_keepalive(sock),
            user_timeout_ms=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )

    def _timer(
        self, sock: socket.socket, local: tuple[str, int], peer: tuple[str, int] | None
    ) -> tuple[str | None, int]:
        if self._watch is None or peer is None:
            return None, 0
        cookie = _COOKIE.unpack(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, _COOKIE.size))[0]
        interface = 0
        with suppress(OSError):  # before Linux 5.0
            interface = sock.getsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX)
        try:
            seen = self._watch.find(sock.family, local, peer, cookie=cookie, interface=interface)
        except EnvironmentLacks:
            self.close()  # it will not be there the next time either
            return None, 0
        return (None, 0) if seen is None else (seen.timer, seen.expires_ms)


def _peer(sock: socket.socket) -> tuple[str, int] | None:
    try:
        return sock.getpeername()[:2]  # type: ignore[no-any-return]
    except OSError as why:
        if why.errno == errno.ENOTCONN:  # a connect is under way, or the peer has reset it
            return None
        raise


def _keepalive(sock: socket.socket) -> KeepAliveInForce | None:
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        return None
    tcp = socket.IPPROTO_TCP
    return KeepAliveInForce(
        idle=sock.getsockopt(tcp, socket.TCP_KEEPIDLE),
        interval=sock.getsockopt(tcp, socket.TCP_KEEPINTVL),
        count=sock.getsockopt(tcp, socket.TCP_KEEPCNT),
    )


def _bytes(sock: socket.socket, request: int) -> int:
    found: int = _INT.unpack(fcntl.ioctl(sock.fileno(), request, bytes(_INT.size)))[0]
    return found


def _text(address: tuple[str, int]) -> str:
    host, port = address
    if host.startswith("::ffff:") and "." in host:
        host = host[len("::ffff:") :]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
