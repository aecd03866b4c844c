"""Telling systemd how far we are (sd_notify(3)): datagrams to $NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends states to whoever started us; silent when nobody asked.

    The socket is connected at once, before a chroot or a change of user can come in
    between. A message that can not be sent is lost: a watcher that went away must not
    take the service with it.

    `watchdog_s`: a sign of life is wanted more often than this; None: never."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        self.watchdog_s: float | None = None
        address = env.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return
        raw = os.fsencode(address)
        if raw.startswith(b"@"):  # a name in the abstract namespace
            raw = b"\0" + raw[1:]
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setblocking(False)
        try:
            sender.connect(raw)
        except OSError:
            sender.close()
        else:
            self._socket = sender
            self.watchdog_s = _watchdog_s(env)

    def ready(self, status: str = "Ready.") -> None:
        """At work, after a start as after `reloading`."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}\n")

    def reloading(self) -> None:
        """A reload or an upgrade begins; `ready` ends it, however it went."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reloading.\n")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Stopping.\n")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}\n")

    def alive(self) -> None:
        """The sign of life that `watchdog_s` asks for."""
        self._send("WATCHDOG=1\n")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(text.encode())


def _watchdog_s(env: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC, unless it is meant for another process."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with contextlib.suppress(ValueError):
        microseconds = int(env.get("WATCHDOG_USEC", ""))
        if microseconds > 0:
            return microseconds / 1_000_000
    return None
