"""The load program (load.c): built when it is needed, started, told what to do."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from .failure import BenchError

SOURCE = Path(__file__).with_name("load.c")
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O2")


def build(directory: Path) -> Path:
    """The program, compiled into `directory` unless this source has been already."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = directory / f"load-{digest}"
    if not target.exists():
        directory.mkdir(parents=True, exist_ok=True)
        part = directory / f"load-{digest}.{os.getpid()}"
        made = subprocess.run(
            ["cc", *FLAGS, "-o", part, SOURCE], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise BenchError(f"the load program can not be compiled\n{made.stderr}")
        part.rename(target)
    return target


class Load:
    """A running load program on one core; a context manager that ends it."""

    def __init__(self, program: Path, core: int, work: str, server_ip: str, sessions: int) -> None:
        self._process = subprocess.Popen(
            ["taskset", "-c", str(core), program, work, server_ip, str(sessions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._text = b""
        self.server = (server_ip, 0)

    def __enter__(self) -> Load:
        self.server = (self.server[0], int(self.wait_for("listening", 10)["port"]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def tell(self, command: str) -> None:
        """Send one command line."""
        assert self._process.stdin
        self._process.stdin.write(command.encode() + b"\n")

    def wait_for(self, event: str, seconds: float) -> dict[str, Any]:
        """The next event of that name; others before it are passed over. BenchError when
        it does not come in time."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self._text:
                line, _, self._text = self._text.partition(b"\n")
                said: dict[str, Any] = json.loads(line)
                if said["event"] == event:
                    return said
            self._receive(event, deadline)

    def _receive(self, event: str, deadline: float) -> None:
        assert self._process.stdout
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
            raise BenchError(f"the load did not report '{event}' in time")
        data = os.read(self._process.stdout.fileno(), 65536)
        if not data:
            raise BenchError(f"the load program ended before '{event}'")
        self._text += data
