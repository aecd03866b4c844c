"""What the kernel knows about the TCP sockets of a network namespace, and ending one of them
whoever holds it (sock_diag(7)).

A `SocketWatch` sees the namespace that its thread was in when it was opened, for as long as it is
open, whichever namespace that thread moves to afterwards.

Not pyroute2's DiagSocket: it passes the kernel's refusals by, and takes 100 us for a socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from types import TracebackType

from lbsplice.errors import EnvironmentLacks
from lbsplice.kernel.tcpinfo import TcpInfo

STATES = (
    "UNKNOWN",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
)
_TIMERS = ("off", "on", "keepalive", "timewait", "probe")

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_SOCK_DESTROY = 21
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_INET_DIAG_INFO = 2
_WITH_TCP_INFO = 1 << (_INET_DIAG_INFO - 1)
_TYPE = 0x3FFF  # the bits of an attribute's type that are its number

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ASK = struct.Struct("=BBBxI")  # inet_diag_req_v2 up to its socket id
_MEANT = struct.Struct("=III")  # the end of inet_diag_sockid: interface, cookie in two halves
_IDENTITY = struct.Struct("!HH16s16s8x4x")  # inet_diag_sockid: two ports, two addresses, ...
_ANSWER = struct.Struct("=BBBB48sIIIII")  # inet_diag_msg
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_BUFFER = 1 << 18
_ANY_STATE = (1 << 32) - 1

Address = tuple[str, int]


@dataclass(frozen=True)
class TcpSocket:
    """One end of a TCP connection, as sock_diag describes it. Times are milliseconds."""

    local: Address
    peer: Address
    state: str
    timer: str
    """Which timer runs, in netstat's words: off, on (retransmission), keepalive, timewait, probe
    (the window probe, which the kernel also uses when a packet could not leave this machine)."""
    expires_ms: int
    retransmits: int
    probes: int
    send_queue: int
    """Bytes that the peer has not acknowledged, or that were not sent yet."""
    unsent: int = 0
    """Those of them that were not sent yet."""
    receive_queue: int = 0
    last_data_received_ms: int = 0
    last_data_sent_ms: int = 0
    last_ack_ms: int = 0
    inode: int = 0
    """What `/proc/PID/fd` names; 0 when no process holds it any more."""
    identity: bytes = b""
    """The kernel's own, cookie included: never that of a later socket. Starts with the family."""

    @property
    def unacknowledged(self) -> int:
        """Bytes that were sent and are not acknowledged."""
        return max(0, self.send_queue - self.unsent)

    def timer_text(self) -> str:
        """The timer as `netstat -o` shows it: kind (seconds left/retransmissions/probes)."""
        return timer_text(self.timer, self.expires_ms, self.retransmits, self.probes)


def timer_text(timer: str, expires_ms: int, retransmits: int, probes: int) -> str:
    """The last column of `netstat -o`: `keepalive (7199.90/0/0)`.

    >>> timer_text("keepalive", 7_199_900, 0, 0)
    'keepalive (7199.90/0/0)'
    """
    return f"{timer} ({expires_ms / 1000:.2f}/{retransmits}/{probes})"


class SocketWatch:
    """Asks sock_diag, again and again, about one network namespace.

    Raises EnvironmentLacks when the kernel lacks sock_diag."""

    def __init__(self) -> None:
        try:
            self._netlink = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
            )
        except OSError as error:
            raise EnvironmentLacks(
                f"the kernel's sock_diag can not be asked ({error.strerror}):"
                " CONFIG_INET_DIAG, or `modprobe tcp_diag`, would help"
            ) from error
        self._sequence = 0

    def __enter__(self) -> SocketWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._netlink.close()

    def established(self) -> list[TcpSocket]:
        """All IPv4 TCP sockets of the namespace that are in state ESTABLISHED."""
        return self.sockets(("ESTABLISHED",), families=(socket.AF_INET,))

    def sockets(
        self,
        states: Iterable[str],
        *,
        families: Iterable[int] = (socket.AF_INET, socket.AF_INET6),
        local_port: int = 0,
        peer_port: int = 0,
    ) -> list[TcpSocket]:
        """The TCP sockets in these states; a port that is not 0 is one that they must have.
        IPv4 inside IPv6 is shown as IPv4. Raises EnvironmentLacks."""
        wanted = sum(1 << STATES.index(state) for state in set(states))
        ports = struct.pack("!HH", local_port, peer_port).ljust(_IDENTITY.size, b"\0")
        found: list[TcpSocket] = []
        for family in families:
            ask = _ASK.pack(family, socket.IPPROTO_TCP, _WITH_TCP_INFO, wanted)
            self._send(_SOCK_DIAG_BY_FAMILY, _DUMP, ask + ports)
            try:
                found += map(_tcp_socket, self._answers())
            except OSError as error:
                raise _not_listed(error) from error
        return found

    def find(
        self,
        family: int,
        local: Address,
        peer: Address,
        *,
        cookie: int,
        interface: int = 0,
    ) -> TcpSocket | None:
        """The one connection between these two; None if it has ended, or if its SO_COOKIE is
        another one: then it is a later one. `interface` is the number of the one that it is
        bound to. Raises EnvironmentLacks."""
        both = struct.pack("!HH", local[1], peer[1])
        both += b"".join(socket.inet_pton(family, end[0]).ljust(16, b"\0") for end in (local, peer))
        both += _MEANT.pack(interface, cookie & 0xFFFFFFFF, cookie >> 32)
        ask = _ASK.pack(family, socket.IPPROTO_TCP, _WITH_TCP_INFO, _ANY_STATE)
        self._send(_SOCK_DIAG_BY_FAMILY, _ACK, ask + both)
        try:
            found = [_tcp_socket(answer) for answer in self._answers()]
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return None
            raise _not_listed(error) from error
        return found[0] if found else None

    def destroy(self, victim: TcpSocket) -> bool:
        """End a connection at once: its owner meets ECONNABORTED, its peer a reset. False if
        it has ended by itself. Raises EnvironmentLacks, with what would help."""
        family, identity = victim.identity[0], victim.identity[1:]
        ask = _ASK.pack(family, socket.IPPROTO_TCP, 0, 1 << STATES.index(victim.state))
        self._send(_SOCK_DESTROY, _ACK, ask + identity)
        try:
            for _ in self._answers():
                pass
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return False
            raise destroy_refused(error.errno or 0) from error
        return True

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        length = _HEADER.size + len(body)
        header = _HEADER.pack(length, kind, _REQUEST | flags, self._sequence, 0)
        self._netlink.send(header + body)

    def _answers(self) -> Iterator[bytes]:
        """The bodies that answer the request just sent. Raises OSError with the kernel's."""
        while True:
            data = self._netlink.recv(_BUFFER)
            start = 0
            while start < len(data):
                length, kind, _, sequence, _ = _HEADER.unpack_from(data, start)
                body = data[start + _HEADER.size : start + length]
                start += (length + 3) & ~3
                if sequence != self._sequence:
                    continue  # of a dump that was not read to its end
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    number = -_ERROR.unpack_from(body)[0] if len(body) >= _ERROR.size else 0
                    if number > 0:
                        raise OSError(number, os.strerror(number))
                    return
                yield body


def _not_listed(error: OSError) -> EnvironmentLacks:
    return EnvironmentLacks(
        f"the kernel does not list its TCP sockets ({error.strerror}):"
        " CONFIG_INET_TCP_DIAG, or `modprobe tcp_diag`, would help"
    )


def destroy_refused(number: int) -> EnvironmentLacks:
    """Why the kernel does not end a socket, and what would help."""
    helps = {
        errno.EPERM: "the right is missing: run as root; in a container, --cap-add NET_ADMIN",
        errno.EOPNOTSUPP: "the kernel was built without it: one with"
        " CONFIG_INET_DIAG_DESTROY=y (Linux 4.9 or later) would help",
        errno.EINVAL: "the kernel does not know it: Linux 4.9 or later, with"
        " CONFIG_INET_DIAG_DESTROY=y, would help",
    }
    why = helps.get(number, os.strerror(number))
    return EnvironmentLacks(f"sockets can not be destroyed (SOCK_DESTROY): {why}")


def check_destroy(watch: SocketWatch) -> None:
    """Try SOCK_DESTROY on a connection of our own. Raises EnvironmentLacks."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        client = stack.enter_context(socket.socket())
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            client.connect(listener.getsockname())
        except OSError as error:
            raise EnvironmentLacks(
                f"SOCK_DESTROY can not be tried on 127.0.0.1 ({error.strerror}):"
                " is the loopback interface up?"
            ) from error
        local = client.getsockname()
        mine = watch.sockets(("ESTABLISHED",), families=(socket.AF_INET,), local_port=local[1])
        for seen in mine:
            if seen.local == local:
                watch.destroy(seen)
                return
    raise EnvironmentLacks("sock_diag does not show our own sockets: a security policy hides them")


def _tcp_socket(answer: bytes) -> TcpSocket:
    family, state, timer, _, identity, expires, received, queued, _, inode = _ANSWER.unpack_from(
        answer
    )
    local_port, peer_port, local, peer = _IDENTITY.unpack(identity)
    info = TcpInfo(_attribute(answer, _INET_DIAG_INFO))
    return TcpSocket(
        local=(_address(family, local), local_port),
        peer=(_address(family, peer), peer_port),
        state=STATES[state],
        timer=_TIMERS[timer] if timer < len(_TIMERS) else f"unkn-{timer}",
        expires_ms=expires,
        retransmits=info.get("retransmits") or 0,
        probes=info.get("probes") or 0,
        send_queue=queued,
        unsent=info.get("notsent_bytes") or 0,
        receive_queue=received,
        last_data_received_ms=info.get("last_data_recv") or 0,
        last_data_sent_ms=info.get("last_data_sent") or 0,
        last_ack_ms=info.get("last_ack_recv") or 0,
        inode=inode,
        identity=bytes((family,)) + identity,
    )


def _attribute(answer: bytes, wanted: int) -> bytes:
    start = _ANSWER.size
    while start + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, start)
        if kind & _TYPE == wanted:
            return answer[start + _ATTRIBUTE.size : start + length]
        start += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return b""


def _address(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, raw[:4])
    mapped = IPv6Address(raw).ipv4_mapped
    return str(mapped) if mapped is not None else socket.inet_ntop(socket.AF_INET6, raw)
