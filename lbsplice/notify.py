"""Telling systemd how far we are (sd_notify(3)): datagrams to $NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to whoever started us; silent when nobody asked.

    The socket is connected at once, before a chroot or a change of user can come in
    between. A message that can not be sent is lost: a watcher that went away must not
    take the service with it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._socket: socket.socket | None = None
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

    def ready(self) -> None:
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Ready.\n")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Stopping.\n")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(text.encode())
