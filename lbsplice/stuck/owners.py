"""Who holds a socket: the processes behind an inode of /proc/PID/fd."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from lbsplice.config.messages import printable
from lbsplice.stuck.selection import Connection, Endpoint

_SOCKET = "socket:["


@dataclass(frozen=True)
class Owner:
    """A process that holds a socket."""

    pid: int
    name: str
    user: str
    age_s: float

    def __str__(self) -> str:
        return f"{self.name}[{self.pid}]"


def sockets_of(pid: int) -> dict[int, int]:
    """The sockets of a process: descriptor -> inode. Empty if it is gone or can not be seen."""
    found = {}
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                target = os.readlink(entry.path)  # noqa: PTH115 - of each descriptor of each process
                if target.startswith(_SOCKET):
                    found[int(entry.name)] = int(target[len(_SOCKET) : -1])
    return found


def owners_of(inodes: Collection[int]) -> dict[int, list[Owner]]:
    """The processes that hold these sockets, by inode; a socket may have several, or none."""
    wanted = set(inodes) - {0}
    found: dict[int, list[Owner]] = {}
    if not wanted:
        return found
    for pid in psutil.pids():
        held = wanted.intersection(sockets_of(pid).values())
        if held and (owner := describe(pid)) is not None:
            for inode in held:
                found.setdefault(inode, []).append(owner)
    return found


def describe(pid: int) -> Owner | None:
    """A process, or None if it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            try:
                user = process.username()
            except KeyError:  # a user of another container's
                user = str(process.uids().real)
            age_s = max(0.0, time.time() - process.create_time())
            return Owner(pid, printable(process.name()), user, age_s)
    except psutil.Error:
        return None


def own_sockets() -> set[int]:
    """The inodes of our own sockets and of those above us, so that nobody saws off the
    branch (an sshd's) that he sits on."""
    return {inode for pid in _ourselves() for inode in sockets_of(pid).values()}


def _ourselves() -> Iterator[int]:
    yield os.getpid()
    with suppress(psutil.Error):
        for parent in psutil.Process().parents():
            if parent.pid > 1:
                yield parent.pid


def is_login(connection: Connection, ssh_connection: str) -> bool:
    """Whether it is the one that $SSH_CONNECTION tells of, through which we are used."""
    words = ssh_connection.split()
    if len(words) != 4 or not (words[1].isdigit() and words[3].isdigit()):
        return False
    client, server = Endpoint(words[0], int(words[1])), Endpoint(words[2], int(words[3]))
    return client.matches(connection.peer) and server.matches(connection.local)


def listens(pid: int, listening: Set[int]) -> bool:
    """Whether a process holds one of these listening sockets."""
    return not listening.isdisjoint(sockets_of(pid).values())


def network_of(pid: int) -> str | None:
    """A process's network namespace; None if it is gone or can not be seen."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None


def our_network() -> str:
    return str(Path("/proc/thread-self/ns/net").readlink())


def elsewhere(name: str) -> list[int]:
    """The processes of this name in other network namespaces than ours."""
    ours = our_network()
    found = []
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == name and network_of(process.pid) not in (None, ours):
            found.append(process.pid)
    return found
