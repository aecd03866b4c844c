"""Descriptors that travel over unix sockets."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterable

AT_ONCE = 253
"""What the kernel takes in one system call."""


def receive(sock: socket.socket, room: int) -> tuple[bytes, list[int]]:
    """Receive once: data, and the descriptors that came with it, closed on exec.
    (socket.recv_fds drops the flag that says so.)"""
    numbers = array.array("i")
    data, ancillary, _, _ = sock.recvmsg(
        room, socket.CMSG_LEN(AT_ONCE * numbers.itemsize), socket.MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return data, list(numbers)


def close(numbers: Iterable[int]) -> None:
    """Close them all, whether they are open or not."""
    for each in numbers:
        with contextlib.suppress(OSError):
            os.close(each)
