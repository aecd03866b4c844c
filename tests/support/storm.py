"""Thousands of random sessions at once, both ends driven by one thread.

Every end draws a script: how much it says, in what pieces, how slowly it listens, and how
it leaves. What it says is a header with its number and then bytes that follow from the
number, so whoever reads it knows each byte that is due, and can tell

- that what arrives is a prefix of what was said, and all of it unless somebody reset;
- that a stream which was cut never ends in a clean end (FIN)."""

from __future__ import annotations

import heapq
import os
import random
import select
import socket
import struct
import time
from dataclasses import dataclass

from tests.support.dataplane import Rig
from tests.support.peers import RESET_ON_CLOSE

HEADER = struct.Struct("!Q")
LARGEST = 1_500_000
PATTERN = random.Random(20_480).randbytes(2 * LARGEST)
NEVER = 1 << 62


def seed_from_environment() -> int:
    """LBSPLICE_SEED, to repeat a run that failed; otherwise a fresh one."""
    return int(os.environ.get("LBSPLICE_SEED") or random.SystemRandom().randrange(1 << 32))


@dataclass(frozen=True)
class Script:
    """What one end does. Sizes are bytes; `reset_at` counts bytes sent, `reset_got` bytes
    received (NEVER: does not)."""

    size: int
    piece: int
    read_piece: int
    stalls: int  # so often it pauses after a read
    stall_s: float
    receive_buffer: int
    waits: bool  # shuts its output only after it saw the peer's end
    reset_at: int
    reset_got: int

    @classmethod
    def draw(cls, rng: random.Random, may_wait: bool) -> Script:
        largest = rng.choice([0, 1, 100, 5000, 5000, 100_000, 100_000, LARGEST])
        size = rng.randrange(largest + 1)
        slow = rng.random() < 0.2
        pieces = [4096, 65536, 1 << 20, *([1, 50] if size < 2000 else [700])]
        resets = rng.random()
        return cls(
            size=size,
            piece=rng.choice(pieces),
            read_piece=rng.choice([1, 512, 4096, 1 << 18]),
            stalls=rng.randrange(1, 10) if slow else 0,
            stall_s=rng.choice([0.001, 0.01, 0.05]),
            # Below the loopback's segment size every window update would cost a probe.
            receive_buffer=rng.choice([65536, 131072]) if slow else 0,
            waits=may_wait and rng.random() < 0.5,
            reset_at=rng.randrange(size + HEADER.size + 1) if resets < 0.12 else NEVER,
            reset_got=rng.randrange(largest + 1) if 0.12 <= resets < 0.24 else NEVER,
        )


class End:
    """One end of one session."""

    def __init__(self, number: int, sock: socket.socket, script: Script) -> None:
        self.number = number
        self.socket = sock
        self.script = script
        self.sent = 0
        self.got = 0
        self.header = b""
        self.peer: End | None = None
        self.shut = False  # its own FIN is sent
        self.reset = False  # it reset
        self.saw = ""  # "end" or "reset"
        self.broken = False  # writing failed: the reset was told there
        self.stalled = False
        self.stalls_left = script.stalls
        self.mask = 0
        if script.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, script.receive_buffer)
        sock.setblocking(False)

    @property
    def due(self) -> int:
        return HEADER.size + self.script.size

    @property
    def finished(self) -> bool:
        return self.reset or self.saw == "reset" or (self.shut and self.saw == "end")

    def says(self, start: int, stop: int) -> bytes:
        """Its bytes from `start` on, which is behind the header."""
        shift = self.number * 40_503 % LARGEST - HEADER.size
        return PATTERN[shift + start : shift + stop]

    def wants(self) -> int:
        mask = 0 if self.stalled or self.saw else select.EPOLLIN
        if not self.shut and not self.broken and (self.sent < self.due or self.may_shut()):
            mask |= select.EPOLLOUT
        return mask

    def may_shut(self) -> bool:
        return self.sent == self.due and (not self.script.waits or self.saw == "end")

    def write(self) -> None:
        if self.shut or self.broken:
            return
        stop = min(self.due, self.script.reset_at, self.sent + self.script.piece)
        data = (
            HEADER.pack(self.number)[self.sent :] + self.says(HEADER.size, stop)
            if self.sent < HEADER.size
            else self.says(self.sent, stop)
        )
        try:
            if self.sent < stop:
                self.sent += self.socket.send(data[: stop - self.sent])
            if self.sent >= self.script.reset_at:
                self.leave()
            elif self.may_shut():
                self.socket.shutdown(socket.SHUT_WR)
                self.shut = True
        except BlockingIOError:
            return
        except OSError:
            self.broken = True

    def leave(self) -> None:
        self.reset = True
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def read(self, storm: Storm) -> None:
        try:
            piece = self.socket.recv(self.script.read_piece if self.stalls_left else 1 << 18)
        except BlockingIOError:
            return
        except OSError:
            self.saw = "reset"
            return
        if not piece:
            self.saw = "reset" if self.broken else "end"
            return
        self.check(piece, storm)
        if self.got >= self.script.reset_got:
            self.leave()
        elif self.stalls_left:
            self.stalls_left -= 1
            storm.stall(self)

    def check(self, piece: bytes, storm: Storm) -> None:
        """The piece is what the peer says next."""
        if self.peer is None:
            want = HEADER.size - len(self.header)
            self.header += piece[:want]
            self.got += len(piece[:want])
            piece = piece[want:]
            if len(self.header) < HEADER.size:
                return
            number = HEADER.unpack(self.header)[0]
            assert number in storm.ends, f"a header was mangled: {self.header!r}"
            self.peer = storm.ends[number]
        assert self.peer.says(self.got, self.got + len(piece)) == piece, "bytes were changed"
        self.got += len(piece)
        assert self.got <= self.peer.sent, "more came than was sent"

    def judge(self) -> None:
        """What holds of a stream when both ends are finished."""
        peer = self.peer
        if self.saw == "end":
            assert peer is not None, "a clean end, and not even the header before it"
            assert self.got == peer.due, f"a clean end after {self.got} of {peer.due} bytes"
            assert peer.shut
        elif self.saw == "reset" and peer is not None:
            assert peer.reset or self.reset, "a reset that nobody sent"


class Storm:
    """`sessions` through the rig, `at_once` at a time. `client_waits`: whether it is the
    clients or the servers that may wait for the other's end before they shut theirs."""

    def __init__(
        self, rig: Rig, seed: int, sessions: int, at_once: int, client_waits: bool = False
    ) -> None:
        self.rig = rig
        self.rng = random.Random(seed)
        self.to_start = sessions
        self.at_once = at_once
        self.client_waits = client_waits
        self.ends: dict[int, End] = {}
        self._active: dict[int, End] = {}  # by descriptor
        self._clients = 0
        self._stalls: list[tuple[float, int]] = []
        self._epoll = select.epoll()
        self._listening = {server.socket.fileno(): server.socket for server in rig.servers}

    def run(self, within_s: float) -> None:
        """AssertionError if a byte is wrong, an end is, or a session hangs."""
        deadline = time.monotonic() + within_s
        for fd, sock in self._listening.items():
            sock.setblocking(False)
            self._epoll.register(fd, select.EPOLLIN)
        try:
            self._start()
            while self._active or self.to_start:
                now = time.monotonic()
                assert now < deadline, f"stuck: {[vars(e) for e in self._active.values()][:4]}"
                self._resume(now)
                pause = self._stalls[0][0] - now if self._stalls else 0.2
                for fd, events in self._epoll.poll(max(0.0, min(pause, 0.2))):
                    self._event(fd, events)
                self._start()
            for end in self.ends.values():
                end.judge()
        finally:
            self._epoll.close()
            for end in self._active.values():
                end.socket.close()

    def stall(self, end: End) -> None:
        end.stalled = True
        heapq.heappush(self._stalls, (time.monotonic() + end.script.stall_s, end.number))

    def _resume(self, now: float) -> None:
        while self._stalls and self._stalls[0][0] <= now:
            end = self.ends[heapq.heappop(self._stalls)[1]]
            end.stalled = False
            if not end.finished:
                self._update(end)

    def _start(self) -> None:
        while self._clients < self.at_once and self.to_start:
            self.to_start -= 1
            self._clients += 1
            self._add(socket.create_connection(self.rig.address), client=True)

    def _add(self, sock: socket.socket, client: bool) -> None:
        number = 2 * len(self.ends) + client
        end = End(number, sock, Script.draw(self.rng, client == self.client_waits))
        self.ends[number] = end
        self._active[sock.fileno()] = end
        end.mask = end.wants()
        self._epoll.register(sock.fileno(), end.mask)

    def _event(self, fd: int, events: int) -> None:
        if fd in self._listening:
            try:
                self._add(self._listening[fd].accept()[0], client=False)
            except OSError:
                return
            return
        end = self._active.get(fd)
        if end is None:
            return
        if events & (select.EPOLLOUT | select.EPOLLERR):
            end.write()
        if events & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP) and not end.reset:
            end.read(self)
        self._update(end)

    def _update(self, end: End) -> None:
        if end.finished:
            del self._active[end.socket.fileno()]
            end.socket.close()
            self._clients -= end.number & 1
            return
        mask = end.wants()
        if mask != end.mask:
            end.mask = mask
            self._epoll.modify(end.socket.fileno(), mask)
