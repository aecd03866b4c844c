"""The two ends of a session, as conversations.

    client.sends(b"ask").shuts_output()
    server.reads(b"ask").reads_end().sends(b"answer").closes()

Every step has a deadline and returns the peer; a step that does not come true is an
AssertionError that tells what came instead."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import termios
import time

from lbsplice.plan.sockaddr import AF_INET, AF_INET6, AF_UNIX
from tests.support.waiting import SOON_S

RESET_ON_CLOSE = struct.pack("=ii", 1, 0)
CHUNK = 1 << 18


class Peer:
    """One connected socket and what a test expects of it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(SOON_S)

    # ---- what it does ----

    def sends(self, data: bytes) -> Peer:
        self.socket.sendall(data)
        return self

    def sends_what_fits(self, quiet_s: float = 0.1) -> int:
        """Send zeros until nobody takes more for `quiet_s`; how many bytes were taken."""
        sent = 0
        self.socket.setblocking(False)
        while select.select([], [self.socket], [], quiet_s)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += self.socket.send(bytes(CHUNK))
        self.socket.settimeout(SOON_S)
        return sent

    def sends_until_reset(self) -> int:
        """Send zeros as long as nobody breaks that off with a reset; how many were taken."""
        sent = 0
        while True:
            try:
                sent += self.socket.send(bytes(CHUNK))
            except ConnectionResetError:
                return sent
            except BrokenPipeError:
                raise AssertionError("a clean end came where a reset was due") from None
            except TimeoutError:
                raise AssertionError(f"no reset came after {sent} bytes") from None

    def shuts_output(self) -> Peer:
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def closes(self) -> None:
        self.socket.close()

    def resets(self) -> None:
        """Close with a reset; what is still in the send queue is lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.close()

    # ---- what it sees ----

    def reads(self, data: bytes) -> Peer:
        """Exactly these bytes come next."""
        got = self.reads_count(len(data))
        assert got == data, f"read {got[:60]!r}... in place of {data[:60]!r}..."
        return self

    def reads_count(self, count: int) -> bytes:
        """That many bytes come next."""
        got = bytearray()
        while len(got) < count:
            piece = self._receive(count - len(got))
            assert piece, f"the end came after {len(got)} of {count} bytes"
            got += piece
        return bytes(got)

    def reads_end(self) -> Peer:
        """A clean end (FIN) comes next."""
        got = self._receive(1)
        assert not got, f"read {got!r} where the end was due"
        return self

    def reads_reset(self) -> None:
        """A reset comes next, and no byte before it."""
        try:
            got = self.socket.recv(CHUNK)
        except (ConnectionResetError, BrokenPipeError):
            return
        except TimeoutError:
            raise AssertionError("nothing came where a reset was due") from None
        raise AssertionError(f"read {got[:60]!r} ({len(got)} bytes) where a reset was due")

    def breaks(self) -> None:
        """A reset comes. For a peer that has seen the end: reading would only tell it of
        the end once more."""
        poll = select.poll()
        poll.register(self.socket, 0)
        events = poll.poll(SOON_S * 1000)
        assert events, "no reset came"
        assert events[0][1] & select.POLLERR, "both ends closed cleanly"

    def reads_until_reset(self) -> bytes:
        """What comes before a reset. A clean end is an AssertionError."""
        got = bytearray()
        while True:
            try:
                piece = self.socket.recv(CHUNK)
            except ConnectionResetError:
                return bytes(got)
            except TimeoutError:
                raise AssertionError(f"no reset came after {len(got)} bytes") from None
            assert piece, f"a clean end came after {len(got)} bytes where a reset was due"
            got += piece

    def sees_nothing(self, for_s: float = 0.05) -> Peer:
        """The connection stays open and silent for that long."""
        readable = select.select([self.socket], [], [], for_s)[0]
        assert not readable, f"something came: {self._peek()}"
        return self

    def _peek(self) -> str:
        try:
            return repr(self.socket.recv(60, socket.MSG_PEEK))
        except OSError as error:
            return repr(error)

    def _receive(self, room: int) -> bytes:
        try:
            return self.socket.recv(min(room, CHUNK))
        except TimeoutError:
            raise AssertionError(f"nothing came within {SOON_S} s") from None
        except ConnectionError as error:
            raise AssertionError(f"the connection broke: {error}") from None


def connected(
    address: str | tuple[str, int] | tuple[str, int, int, int], receive_buffer: int = 0
) -> Peer:
    """A client. `receive_buffer`: bytes, 0 for the system's."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    if not isinstance(address, str) and ":" in address[0]:
        family = socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(SOON_S)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return Peer(sock)


class Listener:
    """A server's listening socket. `address` is what the plan wants: a raw sockaddr."""

    def __init__(
        self,
        family: int = socket.AF_INET,
        path: str = "",
        backlog: int = 4096,
        receive_buffer: int = 0,
    ) -> None:
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        hosts = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}
        self.socket.bind(path or hosts[socket.AddressFamily(family)])
        self.socket.listen(backlog)
        self.socket.settimeout(SOON_S)
        self.address = raw_address(self.socket)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def accepts(self) -> Peer:
        try:
            return Peer(self.socket.accept()[0])
        except TimeoutError:
            raise AssertionError(f"no connection came within {SOON_S} s") from None

    def accepts_nobody(self, for_s: float = 0.05) -> Listener:
        assert not select.select([self.socket], [], [], for_s)[0], "a connection came"
        return self

    def accepts_all(self, until: float) -> int:
        """Accept and reset all that come before `until` (time.monotonic()); how many."""
        count = 0
        while (left := until - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                Peer(self.socket.accept()[0]).resets()
                count += 1
        return count

    def accepts_waiting(self) -> list[Peer]:
        """Everyone who waits in the backlog now."""
        peers = []
        while select.select([self.socket], [], [], 0)[0]:
            peers.append(Peer(self.socket.accept()[0]))
        return peers

    def closes(self) -> None:
        self.socket.close()


def raw_address(sock: socket.socket) -> bytes:
    """Where a socket is bound, as a raw `struct sockaddr`."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return struct.pack("=H", AF_UNIX) + str(name).encode() + b"\0"
    return ip_address(name[0], name[1])


def ip_address(host: str, port: int) -> bytes:
    """An IPv4 or IPv6 address as a raw `struct sockaddr`."""
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("=H", AF_INET6) + struct.pack("!HI", port, 0) + packed + bytes(4)
    return struct.pack("=H", AF_INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def unread_bytes(sock: socket.socket) -> int:
    """Bytes in the receive queue (FIONREAD)."""
    return _queued(sock, termios.FIONREAD)


def unsent_bytes(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged (SIOCOUTQ)."""
    return _queued(sock, termios.TIOCOUTQ)


def _queued(sock: socket.socket, which: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, which, bytes(4)))[0])
