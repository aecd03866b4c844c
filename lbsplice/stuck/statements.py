"""What HAProxy's stats socket answers, read: states of servers, sessions, the worker.

Read by name and with tolerance: versions add columns and fields."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

ServerName = tuple[str, str]
"""Backend and server."""

_STOPPED = 0
_MAINTENANCE = 0x01 | 0x02 | 0x04 | 0x20
_NO_FD = -1
_MAPPED = "::ffff:"


@dataclass(frozen=True)
class ServerState:
    """A line of `show servers state`."""

    name: ServerName
    address: str
    port: int
    """0 where the server takes the port of the client's connection."""
    down: bool
    """By its checks; a server in maintenance is not down."""
    since_s: int
    """How long it has its state."""


@dataclass(frozen=True)
class SessionLine:
    """A line of `show sess`: a session with a server."""

    server: ServerName
    client: tuple[str, int] | None
    """The client's address as HAProxy has it (of a PROXY header, where there is one)."""
    client_fd: int
    server_fd: int


@dataclass(frozen=True)
class Load:
    """What `show stat` says of a server."""

    sessions: int
    mode: str


@dataclass(frozen=True)
class WorkerInfo:
    """What `show info` says of a worker. `sessions` counts none on the stats socket."""

    pid: int
    stopping: bool
    sessions: int


def read_servers(answer: str) -> list[ServerState]:
    """The answer to `show servers state`."""
    names: list[str] = []
    found = []
    for line in answer.splitlines():
        if line.startswith("# "):
            names = line[2:].split()
            continue
        values = dict(zip(names, line.split(), strict=False))
        if "srv_op_state" not in values:
            continue
        down = (
            int(values["srv_op_state"]) == _STOPPED
            and not int(values["srv_admin_state"]) & _MAINTENANCE
        )
        found.append(
            ServerState(
                (values["be_name"], values["srv_name"]),
                values["srv_addr"],
                _number(values.get("srv_port", "")),
                down,
                _number(values["srv_time_since_last_change"]),
            )
        )
    return found


_SESSION = re.compile(
    r"(?m)^0x[0-9a-f]+: proto=\S+ src=(?P<src>\S+) .*?\bbe=(?P<be>\S+) srv=(?P<srv>\S+) "
    r".*?\bscf=\[[^]]*?fd=(?:\d+/)?(?P<client>-?\d+).*?\bscb=\[[^]]*?fd=(?:\d+/)?(?P<server>-?\d+)"
)
_OLDER = re.compile(
    r"(?m)^0x[0-9a-f]+: proto=\S+ src=(?P<src>\S+) .*?\bbe=(?P<be>\S+) srv=(?P<srv>\S+) "
    r".*?\bs0=\[[^]]*?fd=(?P<client>-?\d+).*?\bs1=\[[^]]*?fd=(?P<server>-?\d+)"
)


def read_sessions(answer: str) -> list[SessionLine]:
    """The answer to `show sess`: sessions that have a socket to a server."""
    return [
        SessionLine(
            (found["be"], found["srv"]),
            _client(found["src"]),
            int(found["client"]),
            int(found["server"]),
        )
        for found in _matches(answer)
        if int(found["server"]) != _NO_FD and int(found["client"]) != _NO_FD
    ]


def _matches(answer: str) -> Iterator[re.Match[str]]:
    for line in answer.splitlines():
        found = _SESSION.match(line) or _OLDER.match(line)  # before HAProxy 2.6: s0, s1
        if found:
            yield found


def _client(text: str) -> tuple[str, int] | None:
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        return None
    address = address.removeprefix("[").removesuffix("]")
    return address.removeprefix(_MAPPED) if "." in address else address, int(port)


def read_loads(answer: str) -> dict[ServerName, Load]:
    """The answer to `show stat`."""
    rows = csv.DictReader(answer.lstrip().removeprefix("# ").splitlines())
    return {
        (row["pxname"], row["svname"]): Load(_number(row["scur"]), row.get("mode") or "tcp")
        for row in rows
        if row.get("pxname") and row.get("svname") and row.get("scur") is not None
    }


def read_info(answer: str) -> WorkerInfo | None:
    """The answer to `show info`; None if it is none."""
    values = {}
    for line in answer.splitlines():
        name, colon, value = line.partition(": ")
        if colon:
            values[name] = value.strip()
    if not values.get("Pid", "").isdigit():
        return None
    return WorkerInfo(
        int(values["Pid"]),
        _number(values.get("Stopping", "")) != 0,
        _number(values.get("CurrConns", "")),
    )


def read_workers(answer: str) -> list[int]:
    """The answer of a master to `show proc`: the pids of its workers, old ones too."""
    rows = (line.split() for line in answer.splitlines() if not line.startswith("#"))
    return [int(row[0]) for row in rows if len(row) > 1 and row[0].isdigit() and row[1] == "worker"]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
