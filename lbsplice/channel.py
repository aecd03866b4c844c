"""The road between the supervisor and a worker process: messages in order, with
descriptors. Neither side ever waits for the other: what the kernel does not take at once
is kept and sent when it does."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence

from lbsplice.descriptors import close, receive
from lbsplice.protocol import Message, decode, encode

_HEAD = struct.Struct("!III")  # bytes of JSON, bytes beside it, descriptors
_AT_ONCE = 200  # descriptors a system call; the kernel takes 253
_ROOM = 1 << 16


class Channel:
    """One end. `closed` is true once the other end is gone and all that it said is read."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.closed = False
        self._deaf = False  # the other end reads no more
        self._outgoing: deque[tuple[memoryview, list[int]]] = deque()
        self._incoming = bytearray()
        self._descriptors: deque[int] = deque()

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        one, other = socket.socketpair()
        return cls(one), cls(other)

    def fileno(self) -> int:
        return self.socket.fileno()

    # ---- sending ----

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send or keep for later. The descriptors stay the caller's, who may close them
        at once. To an end that is gone nothing is sent."""
        if self._deaf:
            return
        text, beside = encode(message)
        frame = memoryview(_HEAD.pack(len(text), len(beside), len(descriptors)) + text + beside)
        while len(descriptors) > _AT_ONCE:
            # Descriptors need at least a byte to ride on.
            self._keep(frame[:1], descriptors[:_AT_ONCE])
            frame, descriptors = frame[1:], descriptors[_AT_ONCE:]
        self._keep(frame, descriptors)
        self.flush()

    def _keep(self, piece: memoryview, descriptors: Sequence[int]) -> None:
        self._outgoing.append((piece, [os.dup(each) for each in descriptors]))

    @property
    def wants_write(self) -> bool:
        """Call `flush` when the socket can be written to."""
        return bool(self._outgoing)

    @property
    def is_quiet(self) -> bool:
        """Nothing is under way that another owner of the socket would not find there."""
        return not (self._outgoing or self._incoming or self._descriptors)

    def flush(self) -> None:
        while self._outgoing:
            piece, descriptors = self._outgoing[0]
            try:
                sent = self._sendmsg(piece, descriptors)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._drop()
                return
            close(descriptors)
            descriptors.clear()
            if sent == len(piece):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (piece[sent:], [])

    def _sendmsg(self, piece: memoryview, descriptors: list[int]) -> int:
        if not descriptors:
            return self.socket.send(piece, socket.MSG_NOSIGNAL)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        return self.socket.sendmsg([piece], [rights], socket.MSG_NOSIGNAL)

    # ---- receiving ----

    def receive(self) -> list[tuple[Message, list[int]]]:
        """All messages that have come, each with its descriptors, which are the caller's
        from now on. Sets `closed` at the end."""
        while not self.closed:
            try:
                data, descriptors = receive(self.socket, _ROOM)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data, descriptors = b"", []
            self._descriptors += descriptors
            self._incoming += data
            if not data:
                self.closed = True
                self._drop()
        found = []
        while (one := self._take()) is not None:
            message, descriptors = one
            if message is None:
                close(descriptors)
            else:
                found.append((message, descriptors))
        return found

    def _take(self) -> tuple[Message | None, list[int]] | None:
        if len(self._incoming) < _HEAD.size:
            return None
        text, beside, count = _HEAD.unpack_from(self._incoming)
        end = _HEAD.size + text + beside
        if len(self._incoming) < end:
            return None
        body = bytes(self._incoming[_HEAD.size : end])
        del self._incoming[:end]
        descriptors = [self._descriptors.popleft() for _ in range(count)]
        return decode(body[:text], body[text:]), descriptors

    # ---- the end ----

    def _drop(self) -> None:
        self._deaf = True
        while self._outgoing:
            close(self._outgoing.popleft()[1])

    def close(self) -> None:
        """Close this end, and the descriptors that nobody has asked for."""
        self.closed = True
        self._drop()
        close(self._descriptors)
        self._descriptors.clear()
        self.socket.close()
