"""The listening sockets of a running HAProxy, by its stats socket (`expose-fd listeners`).

Asked with `_getsocks`, it sends how many there are (an int of 32 bits), then messages with
up to 252 descriptors each and, for each of those, a network namespace and an interface
(a byte of length and the name) and 32 bits of options. Every message but the last has to
be acknowledged with the number of descriptors that came (an int of 32 bits)."""

from __future__ import annotations

import os
import re
import socket
import struct

from lbsplice import descriptors
from lbsplice.errors import EnvironmentLacks
from lbsplice.listeners import Offered
from lbsplice.plan.sockaddr import abstract_name

ANSWERS_WITHIN_S = 5.0
_COUNT = struct.Struct("=i")
_MOST = 65536
_ROOM = 253 * (2 * 256 + 4)
_WHILE_BOUND = re.compile(r"\.\d+\.tmp$")
"""A unix socket is bound to such a name and then moved to the one it is known by."""


def fetch(address: str) -> list[Offered]:
    """All its listening stream sockets, which are the caller's to close.

    Raises EnvironmentLacks when they can not be had."""
    where, name = _address(address)
    found: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(ANSWERS_WITHIN_S)
        try:
            sock.connect(where)
            sock.sendall(b"_getsocks\n")
            count = _COUNT.unpack(_exactly(sock, _COUNT.size))[0]
            if not 0 <= count <= _MOST:
                raise ValueError
            while len(found) < count:
                data, some = descriptors.receive(sock, _ROOM)
                found += some
                if not data or not some:
                    raise ValueError
                if len(found) < count:
                    sock.sendall(_COUNT.pack(len(some)))
        except OSError as why:
            descriptors.close(found)
            reason = "no answer in time" if isinstance(why, TimeoutError) else why.strerror
            raise EnvironmentLacks(f"{_failed(name)} ({reason}){_HELP}") from why
        except (ValueError, struct.error):
            descriptors.close(found)
            raise EnvironmentLacks(f"{_failed(name)} (its answer is not understood){_HELP}") from (
                None
            )
    return [offered for each in found if (offered := _offered(each)) is not None]


_HELP = (
    "; it has to be a stats socket of the running process with `level admin` and "
    "`expose-fd listeners`"
)


def _failed(name: str) -> str:
    return f"Failed to get the sockets from the old process over '{name}'"


def _address(address: str) -> tuple[str | bytes, str]:
    """For connect, and as it is shown."""
    kind, at, rest = address.partition("@")
    if not at:
        return address, address
    if kind == "unix":
        return rest, rest
    if kind == "abns":
        return abstract_name(rest), address
    raise EnvironmentLacks(f"{_failed(address)} (only unix sockets can hand them over)")


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ValueError("the end")
        data += piece
    return data


def _offered(descriptor: int) -> Offered | None:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):  # of QUIC, or one that was paused
        sock.close()
        return None
    where = sock.getsockname()
    if isinstance(where, str):
        return Offered(sock, _WHILE_BOUND.sub("", where))
    return Offered(sock)
