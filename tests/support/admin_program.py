"""A real program with a stats socket, and asking it."""

from __future__ import annotations

import csv
import socket
from pathlib import Path
from typing import Any

from tests.support.command import DEADLINE_S
from tests.support.crash import text
from tests.support.program import Program
from tests.support.waiting import wait_until


class Admin:
    """The socket `admin` of level admin in a directory of a short name."""

    def __init__(self, lb: Program, directory: Path) -> None:
        self.lb = lb
        self.path = directory / "admin"
        self.line = f"stats socket {self.path} level admin"

    def start(self, *lines: str, globals_: str = "", **fields: Any) -> None:
        """A `listen l` with these lines and the socket."""
        self.text = text(self.lb, *lines, globals_=f"{self.line}\n {globals_}", **fields)
        self.lb.start(self.text)

    def reload(self, *lines: str, globals_: str = "") -> str:
        """What the command `reload` answers to the file with these lines."""
        written = text(self.lb, *lines, globals_=f"{self.line}\n {globals_}")
        (self.lb.directory / "lb.cfg").write_text(written)
        return self.say("reload")

    def say(self, command: str, path: Path | None = None) -> str:
        """The whole answer, without the empty line at its end."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(DEADLINE_S)
            sock.connect(str(path or self.path))
            sock.sendall(command.encode() + b"\n")
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        return answer.decode().rstrip("\n")

    def does(self, command: str) -> None:
        """A command whose success is silent."""
        assert self.say(command) == ""

    def row(self, name: str, proxy: str = "l") -> dict[str, str]:
        """A line of `show stat`."""
        rows = csv.DictReader(self.say("show stat").removeprefix("# ").splitlines())
        return next(r for r in rows if (r["pxname"], r["svname"]) == (proxy, name))

    def shows(self, name: str, **wanted: str) -> None:
        """Wait until `show stat` says so of a server, of FRONTEND or of BACKEND."""

        def said() -> bool:
            row = self.row(name)
            return all(row[column] == value for column, value in wanted.items())

        wait_until(said, f"{name} is {wanted}", DEADLINE_S)
