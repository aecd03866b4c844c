"""Where the processes that serve a configuration are found and asked for something.

They listen on abstract unix sockets: no file is left behind, and the names are bound to
the network namespace as the ports are. A question is one line of JSON, so is its answer;
descriptors may come with either. Whoever asks is root or the user that we run as, and so
is whoever answers; others find a closed connection.

    lbsplice/<key>          the supervisor: who, reload, upgrade
    lbsplice/<key>/worker   its worker process: who, takeover (once the supervisor is dead),
                            admin: the command language on the socket that comes along"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import hashlib
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lbsplice import descriptors
from lbsplice.errors import EnvironmentLacks, LbspliceError

WHO = "who"
RELOAD = "reload"
UPGRADE = "upgrade"
TAKEOVER = "takeover"
ADMIN = "admin"

SUPERVISOR = "supervisor"
WORKER = "worker"

ANSWERS_WITHIN_S = 2.0
"""How long a process that is at work may take to say who it is."""

MOST_BYTES = 1 << 20
_BACKLOG = 64
_CREDENTIALS = struct.Struct("3i")  # struct ucred
_NAME = re.compile(r"@(lbsplice/[0-9a-f]{16}(?:/worker)?)$")
_ACCEPTING = "00010000"  # the flags of a listening socket in /proc/net/unix


class Unreachable(LbspliceError):
    """Nobody answers there, or somebody whom we do not trust."""


def name_of(files: Sequence[str]) -> str:
    """The name of what runs with these configuration files, in this order. Containers
    that share a network and have a file of the same path each are told apart."""
    paths = [os.path.realpath(file) for file in files]
    with contextlib.suppress(OSError):
        paths.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    digest = hashlib.sha256(os.fsencode("\0".join(paths)))
    return f"lbsplice/{digest.hexdigest()[:16]}"


def worker_name(name: str) -> str:
    """Where the worker process of a supervisor with this name is found."""
    return f"{name}/worker"


def listen(name: str) -> socket.socket | None:
    """A socket that listens there, not blocking; None if somebody else does."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(f"\0{name}")
        listener.listen(_BACKLOG)
    except OSError as why:
        listener.close()
        if why.errno == errno.EADDRINUSE:
            return None
        raise EnvironmentLacks(f"cannot listen on the name {name} ({why.strerror})") from why
    listener.setblocking(False)
    return listener


# ---- one line each way ----


@dataclass(frozen=True, slots=True)
class Letter:
    """A question or an answer. The descriptors are the receiver's to close."""

    values: Mapping[str, Any]
    descriptors: tuple[int, ...] = ()

    @property
    def request(self) -> str:
        return str(self.values.get("request", ""))

    def close(self) -> None:
        """Give up the descriptors."""
        descriptors.close(self.descriptors)


@dataclass(slots=True)
class _Reader:
    """Puts a letter together from what comes in pieces."""

    _text: bytearray = field(default_factory=bytearray)
    _descriptors: list[int] = field(default_factory=list)

    def read(self, sock: socket.socket) -> Letter | None:
        """Receive once; the letter when it is complete. Raises Unreachable at an end
        that comes too early, and for what is no letter; OSError as the socket does."""
        data, some = descriptors.receive(sock, 65536)
        self._descriptors += some
        self._text += data
        try:
            if not data:
                raise Unreachable("the connection ended without an answer")
            if len(self._text) > MOST_BYTES:
                raise Unreachable("the message is too long")
            line, ended, _ = bytes(self._text).partition(b"\n")
            if not ended:
                return None
            values = json.loads(line)
            count = values.pop("descriptors", 0)
            if len(self._descriptors) < count:
                return None
        except (ValueError, AttributeError, TypeError) as why:
            self.drop()
            raise Unreachable("the message is not understood") from why
        except Unreachable:
            self.drop()
            raise
        taken = tuple(self._descriptors)
        self._descriptors = []
        return Letter(values, taken)

    def drop(self) -> None:
        descriptors.close(self._descriptors)
        self._descriptors = []


def _send(sock: socket.socket, values: Mapping[str, Any], given: Sequence[int]) -> None:
    line = json.dumps({**values, "descriptors": len(given)}).encode() + b"\n"
    sock.sendall(line)
    # more than a system call takes, and each needs a byte to travel with
    for start in range(0, len(given), descriptors.AT_ONCE):
        some = array.array("i", given[start : start + descriptors.AT_ONCE])
        sock.sendmsg([b"\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, some)], socket.MSG_NOSIGNAL)


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Pid and user of the other end (of a listener: when it began to listen)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def _is_trusted(uid: int) -> bool:
    return uid in (0, os.geteuid())


# ---- asking ----


def call(
    name: str,
    values: Mapping[str, Any],
    timeout_s: float,
    *,
    given: Sequence[int] = (),
    of_any_user: bool = False,
) -> Letter:
    """Ask whoever listens there; descriptors that are given along stay the caller's.
    Raises Unreachable, also when no answer comes in time.

    With `of_any_user` root also believes a process of another user, who may have lied
    about its name: for commands of an operator, never for descriptors."""
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.settimeout(timeout_s)
            sock.connect(f"\0{name}")
            _, uid = _peer(sock)
            if not _is_trusted(uid) and not (of_any_user and os.geteuid() == 0):
                raise Unreachable(f"{name} belongs to user {uid}")
            _send(sock, values, given)
            return _answer(sock, deadline)
        except TimeoutError:
            raise Unreachable(f"no answer within {timeout_s:g} s") from None
        except OSError as why:
            raise Unreachable(f"nobody answers ({why.strerror or why})") from why


def _answer(sock: socket.socket, deadline: float) -> Letter:
    reader = _Reader()
    try:
        while True:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            letter = reader.read(sock)
            if letter is not None:
                return letter
    except OSError:
        reader.drop()
        raise


def ask(name: str, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """The answer's values; see `call`."""
    letter = call(name, request, timeout_s)
    letter.close()
    return dict(letter.values)


# ---- answering ----


class Caller:
    """Somebody who has connected and may be trusted. `receive` until the question is
    there, `answer` it once, whenever that is possible, and `close`."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self._reader = _Reader()
        self.pid = pid

    @classmethod
    def held(cls, descriptor: int) -> Caller:
        """One whose question was read by the program that ran here before (an upgrade)."""
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        return cls(sock, _peer(sock)[0])

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> Letter | None:
        """What has come; None: not all of it yet. Raises Unreachable when nothing that
        is understood will come any more: close it then."""
        try:
            return self._reader.read(self._socket)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as why:
            raise Unreachable(f"the connection broke ({why.strerror})") from why

    def answer(self, values: Mapping[str, Any], given: Sequence[int] = ()) -> None:
        """Send the answer, if anybody still waits for it. Descriptors that are given along
        stay ours."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(1.0)  # it fits into the kernel's buffer but for one who jams it
            _send(self._socket, values, given)

    def close(self) -> None:
        self._reader.drop()
        self._socket.close()


def accept(listener: socket.socket) -> Caller | None:
    """The next one who waits to be let in; None: nobody (any more), or one who may not."""
    try:
        sock, _ = listener.accept()
    except OSError:
        return None
    pid, uid = _peer(sock)
    if not _is_trusted(uid):
        sock.close()
        return None
    sock.setblocking(False)
    return Caller(sock, pid)


Obey = Callable[[Letter], tuple[Mapping[str, Any], Sequence[int]]]
"""From a question to its answer and the descriptors that go with it, which stay the
answerer's; those of the question are its to close."""


def serve(loop: asyncio.AbstractEventLoop, listener: socket.socket, obey: Obey) -> None:
    """Answer all questions that come to `listener` on this loop, until `unserve`."""

    def let_in() -> None:
        caller = accept(listener)
        if caller is not None:
            loop.add_reader(caller.fileno(), hear, caller)

    def hear(caller: Caller) -> None:
        try:
            letter = caller.receive()
        except Unreachable:
            leave(caller)
            return
        if letter is not None:
            try:
                caller.answer(*obey(letter))
            finally:
                leave(caller)

    def leave(caller: Caller) -> None:
        loop.remove_reader(caller.fileno())
        caller.close()

    loop.add_reader(listener.fileno(), let_in)


def unserve(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    """Let nobody in any more; the socket stays the caller's."""
    loop.remove_reader(listener.fileno())


# ---- who is there ----


@dataclass(frozen=True, slots=True)
class Running:
    """A process of lbsplice. `files` is empty and `role` guessed if it did not answer."""

    name: str
    pid: int
    role: str
    files: tuple[str, ...] = ()
    answers: bool = True


def introduction(role: str, pid: int, files: Sequence[str]) -> dict[str, Any]:
    """The answer to `who`."""
    return {"role": role, "pid": pid, "files": [os.path.realpath(file) for file in files]}


def who(name: str, timeout_s: float = ANSWERS_WITHIN_S) -> Running | None:
    """Who listens there; None: nobody."""
    guessed = WORKER if name.endswith("/worker") else SUPERVISOR
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(f"\0{name}")
        except ConnectionRefusedError:
            return None
        except OSError:  # somebody who lets nobody in
            return Running(name, 0, guessed, answers=False)
        pid, _ = _peer(sock)
    try:
        letter = call(name, {"request": WHO}, timeout_s, of_any_user=True)
        letter.close()
        told = letter.values
        files = tuple(str(file) for file in told["files"])
        return Running(name, int(told["pid"]), str(told["role"]), files)
    except (Unreachable, KeyError, TypeError, ValueError):
        return Running(name, pid, guessed, answers=False)


def running() -> list[Running]:
    """All processes of lbsplice that can be found in this network namespace."""
    names = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/unix").read_text(errors="replace").splitlines():
            found = _NAME.search(line)
            if found is not None and line.split()[3] == _ACCEPTING:
                names.add(found[1])
    return [one for name in sorted(names) if (one := who(name)) is not None]


# ---- what came of a command ----


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a reload or an upgrade went. `error` is None if it was done; `messages` are the
    lines that the process wrote meanwhile."""

    error: str | None = None
    messages: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        return {"error": self.error, "messages": list(self.messages)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Outcome:
        error = values.get("error")
        messages = values.get("messages", [])
        return cls(None if error is None else str(error), tuple(str(each) for each in messages))
