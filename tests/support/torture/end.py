"""One end of a session: sends by its script, reads by its script, checks every byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

from tests.support.torture import pattern
from tests.support.torture.script import UNTIL_TOLD, Kind, Script

RESET_ON_CLOSE = struct.pack("=ii", 1, 0)
TURN = 4  # system calls of a kind before others have theirs


class Trouble(Exception):
    """What must not be: a wrong byte, an end that nobody sent."""


class End:
    """A connected, non-blocking socket at work. `client` says which end of session
    `number` it is; `early` is what it has to send before the script begins."""

    def __init__(
        self,
        sock: socket.socket,
        kind: Kind,
        number: int,
        client: bool,
        scripts: tuple[Script, Script],
        now: float,
        early: bytes = b"",
    ) -> None:
        self.socket = sock
        self.kind = kind
        self.number = number
        self.client = client
        self.script, self.other = scripts if client else scripts[::-1]
        self.early = early
        self.began = now
        self.sent = 0
        self.received = 0
        self.shut = False  # our end is sent
        self.ended = False  # the other's end was read
        self.over = False  # by a reset that the script wants
        self.told = False
        self.send_at = self.read_at = now
        self.mask = 0  # what epoll waits for
        self.wake: float | None = None  # when its pause is looked at
        self._says = 2 * number + client
        self._hears = 2 * number + (not client)

    def __str__(self) -> str:
        return (
            f"{'client' if self.client else 'server'} of session {self.number} "
            f"({self.kind.name}, sent {self.sent}, received {self.received}"
            f"{', has shut' if self.shut else ''}{', has read the end' if self.ended else ''})"
        )

    @property
    def finished(self) -> bool:
        return self.over or (self.shut and self.ended)

    @property
    def hurries(self) -> bool:
        """No pauses any more: it is to come to its end."""
        return self.told

    def room(self) -> int:
        """How many bytes it may send now, time set aside."""
        script = self.script
        if self.early:
            return len(self.early)
        if (script.when_told and not self.told) or (script.after_end and not self.ended):
            return 0
        if self.received < script.after:
            return 0
        if script.answers:
            limit = self.received
        elif script.sends == UNTIL_TOLD:
            limit = self.sent if self.told else sys.maxsize
        else:
            limit = script.sends
        room = limit - self.sent
        if script.window:
            room = min(room, script.window - (self.sent - self.received))
        return min(room, script.piece)

    def may_shut(self) -> bool:
        """Everything is sent and its own end is due."""
        script = self.script
        if self.shut or self.early or (script.holds and not self.ended):
            return False
        if script.answers:
            return self.ended and self.sent == self.received
        if script.sends == UNTIL_TOLD:
            return self.told
        return self.sent == script.sends

    def wants_to_send(self, now: float) -> bool:
        if self.shut:
            return False
        return self.may_shut() or (self.room() > 0 and (self.hurries or now >= self.send_at))

    def wants_to_read(self, now: float) -> bool:
        return not self.ended and (self.hurries or now >= self.read_at)

    def wakes_at(self, now: float) -> float | None:
        """When a pause of its ends, if it is in one."""
        if self.hurries:
            return None
        times = []
        if not self.ended and self.read_at > now:
            times.append(self.read_at)
        if not self.shut and self.send_at > now and self.room() > 0:
            times.append(self.send_at)
        return min(times, default=None)

    def turn(self, now: float) -> None:
        """Send and read what is possible. Trouble if something is wrong."""
        try:
            self._read(now)
            if not self.over:
                self._send(now)
        except ConnectionError as error:
            if not self.script.broken:
                raise Trouble(f"{self}: {error.strerror}") from None
            self.over = True
        if self.shut and self.ended:
            self._judge()

    def _send(self, now: float) -> None:
        for _ in range(TURN):
            if not self.wants_to_send(now):
                return
            room = self.room()
            try:
                if not room:
                    self.socket.shutdown(socket.SHUT_WR)
                    self.shut = True
                    return
                if self.early:
                    self.early = self.early[self.socket.send(self.early) :]
                    continue
                self.sent += self.socket.send(pattern.piece(self._says, self.sent, room))
            except BlockingIOError:
                return
            if self.script.send_every_s:
                # Behind its time it does not make up for it: what it missed is not due.
                self.send_at = max(self.send_at + self.script.send_every_s, now)

    def _read(self, now: float) -> None:
        for _ in range(TURN):
            if not self.wants_to_read(now):
                return
            try:
                got = self.socket.recv(self.script.read_piece)
            except BlockingIOError:
                return
            if not got:
                self._reads_end()
                return
            wrong = pattern.difference(self._hears, self.received, got)
            if wrong:
                raise Trouble(f"{self}: {wrong}")
            self.received += len(got)
            if self.script.breaks_at and self.received >= self.script.breaks_at:
                self._break()
                return
            if self.script.read_every_s:
                self.read_at = max(self.read_at + self.script.read_every_s, now)

    def _reads_end(self) -> None:
        self.ended = True
        if self.script.broken:
            raise Trouble(f"{self}: a clean end where a reset was due")
        if self.script.breaks_at:
            raise Trouble(f"{self}: the end came too early")

    def _break(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.socket.close()
        self.over = True

    def _judge(self) -> None:
        """Both ends are through: everything is there, as far as one end can tell."""
        if self.other.answers:
            due = self.sent
        elif self.other.sends != UNTIL_TOLD:
            due = self.other.sends
        else:
            return
        if self.received != due:
            raise Trouble(f"{self}: a clean end, and {due} bytes were due")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()
