"""Real servers from their distribution's packages, as ordinary processes of the test: on
loopback, in a directory of their own, under their package's user where they insist on one.
They never meet systemd, and nothing of the package's own in /etc and /var is touched.

A server dies with the test's process, whatever ends that."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.program import reserved_port
from tests.support.waiting import wait_until

STOPS_WITHIN_S = 20.0
WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/rabbitmq/bin"


def installed(name: str) -> str | None:
    """Where a program is, also of those that only root has in the path."""
    return shutil.which(name, path=WHERE)


@dataclass(frozen=True)
class Home:
    """Whose a server is, the directory it may write to and the port it gets."""

    user: str
    directory: Path
    port: int

    def command(self, *words: str | Path) -> list[str]:
        """The words to run a program as this user, until the thread that starts it ends."""
        become = ["--reuid", self.user, "--regid", self.group, "--init-groups"]
        return ["setpriv", *become, "--pdeathsig", "KILL", "--", *map(str, words)]

    @property
    def group(self) -> str:
        return str(pwd.getpwnam(self.user).pw_gid)

    def accepts(self) -> bool:
        """Does somebody listen on the port?"""
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self.port)) == 0

    def runs(self, *words: str | Path) -> None:
        """Run a command as this user to its end. AssertionError when it fails."""
        run(*self.command(*words), cwd=self.directory, env=self.environment())

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The least that a program needs, so that nothing of the caller's gets in."""
        base = {"PATH": WHERE, "HOME": str(self.directory), "LC_ALL": "C.UTF-8"}
        return {**base, **(more or {})}


@contextlib.contextmanager
def home(user: str) -> Iterator[Home]:
    """A directory that only this user may look into, and a port held for it."""
    with tempfile.TemporaryDirectory(prefix=f"lbsplice-{user}-") as name:
        shutil.chown(name, user)
        with contextlib.closing(reserved_port()) as held:
            yield Home(user, Path(name), held.getsockname()[1])


@contextlib.contextmanager
def serving(
    home: Home,
    *words: str | Path,
    ready: Callable[[], bool] | None = None,
    env: Mapping[str, str] | None = None,
    within_s: float = 30.0,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is `ready` (or accepts at its port, if that is all); ended with `stop` when
    the block is left, and by force, with all processes it made, when that takes too long."""
    log = home.directory / f"{Path(words[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            home.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home.directory,
            env=home.environment(env),
            start_new_session=True,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or (ready or home.accepts)(),
            f"{words[0]} is ready",
            within_s,
        )
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        yield process
    finally:
        _end(process, stop)


def run(*words: str | Path, within_s: float = 100.0, **fields: Any) -> str:
    """Run a client to its end; what it wrote. AssertionError when its status is not 0."""
    done = subprocess.run(
        [str(word) for word in words],
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "timeout": within_s,
            "check": False,
            **fields,
        },
    )
    told = (done.stdout or b"").decode(errors="replace")
    assert done.returncode == 0, f"{words[0]} ended with {done.returncode}: {told[-4000:]}"
    return str(told)


def _end(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(stop)
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(family, timeout=STOPS_WITHIN_S)
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
