"""Asking a worker of HAProxy on its stats socket, or through its master."""

from __future__ import annotations

import socket
from typing import Protocol

from lbsplice.errors import EnvironmentLacks, LbspliceError

_WITHIN_S = 10.0
_CHUNK = 1 << 18
_PROMPT = b"\n> "


class LineLost(LbspliceError):
    """HAProxy does not answer: it is not there, or has gone."""


class Line(Protocol):
    """A way to one worker of HAProxy."""

    def ask(self, command: str) -> str:
        """The answer to a command. Raises LineLost; EnvironmentLacks when it is refused."""

    def close(self) -> None: ...


class HeldLine:
    """A connection to a stats socket that is kept: it stays with the worker that accepted it,
    also when a reload has made that an old worker, which nobody else can ask any more.

    Raises LineLost."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_WITHIN_S)
        try:
            self._socket.connect(path)
            self._exchange("prompt")
        except OSError as error:
            self._socket.close()
            raise LineLost(f"{path}: {_said(error)}") from error
        except LineLost:
            self._socket.close()
            raise

    def ask(self, command: str) -> str:
        try:
            return _granted(command, self._exchange(command), self._path)
        except OSError as error:
            raise LineLost(f"{self._path}: {_said(error)}") from error

    def close(self) -> None:
        self._socket.close()

    def _exchange(self, command: str) -> str:
        self._socket.sendall(command.encode() + b"\n")
        answer = bytearray()
        while not answer.endswith(_PROMPT):
            chunk = self._socket.recv(_CHUNK)
            if not chunk:
                raise LineLost(f"{self._path}: the connection was closed")
            answer += chunk
        return answer[: -len(_PROMPT)].decode(errors="replace")


class MasterLine:
    """A worker asked through its master's socket (`haproxy -S`). `pid` 0 is the master."""

    def __init__(self, path: str, pid: int = 0) -> None:
        self._path = path
        self._prefix = f"@!{pid} " if pid else ""

    def ask(self, command: str) -> str:
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_WITHIN_S)
                connection.connect(self._path)
                connection.sendall(f"{self._prefix}{command}\n".encode())
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(_CHUNK):
                    answer += chunk
        except OSError as error:
            raise LineLost(f"{self._path}: {_said(error)}") from error
        return _granted(command, answer.decode(errors="replace"), self._path)

    def close(self) -> None:
        """Nothing is kept open."""


def _granted(command: str, answer: str, path: str) -> str:
    if answer.lstrip().startswith("Permission denied"):
        raise EnvironmentLacks(
            f"{path} does not allow `{command}`: `level operator` (or admin) on its"
            " `stats socket` line would help"
        )
    return answer


def _said(error: OSError) -> str:
    return error.strerror or "no answer in time"
