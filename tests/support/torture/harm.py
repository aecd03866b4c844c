"""What is done to a running lbsplice: kills by many signals, reloads, upgrades."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.command import lbsplice
from tests.support.program import Program
from tests.support.torture import family
from tests.support.waiting import wait_until

SUCCESSOR_S = 30.0  # until there is one, on a machine under load
TOOK_OVER = re.compile(r"took over (\d+) sessions? within (\d+(?:\.\d+)?) ms")
IN_A_ROW = 3  # kills before one successor has said that it is ready


@dataclass(frozen=True, slots=True)
class Done:
    """One harm and when it was done (time.monotonic())."""

    what: str
    at: float


class Victim:
    """A program under torture. `configurations` are gone through by reloads; the first is
    the one that it was started with."""

    def __init__(
        self,
        program: Program,
        configurations: Sequence[str] = (),
        rng: random.Random | None = None,
    ) -> None:
        self.program = program
        self.configurations = configurations
        self.turn = 0
        self.rng = rng or random.Random()
        self.pids: set[int] = set()  # all that were seen
        self.kills = 0
        self._since_ready = 0
        self._ready_seen = 0

    # ---- what is seen of it ----

    @property
    def supervisor(self) -> int:
        self.pids.add(self.program.pid)
        return self.program.pid

    def worker(self) -> int:
        """Wait until there is one."""
        return self._there(family.worker, "a worker")

    def vault(self) -> int:
        return self._there(family.vault, "a vault")

    def _there(self, find: Callable[[int], int | None], what: str) -> int:
        def found() -> int | None:
            assert self.program.process is not None
            assert self.program.process.poll() is None, "the supervisor has ended"
            return find(self.supervisor)

        pid = wait_until(found, f"{what} is there", SUCCESSOR_S)
        assert pid is not None
        self.pids.add(pid)
        return pid

    def adoptions(self) -> list[tuple[int, float]]:
        """Of each successor that told: how many sessions, within how many ms."""
        found = (TOOK_OVER.search(line.text) for line in self.program.log.lines)
        return [(int(each[1]), float(each[2])) for each in found if each is not None]

    def succeeded(self, dead: int) -> bool:
        """Has the successor of that worker told so?"""
        return any(
            f"worker {dead} " in line.text and TOOK_OVER.search(line.text)
            for line in self.program.log.lines
        )

    def settles(self) -> None:
        """Wait until a successor of the last kill is at work and has told so, and there is
        a vault."""
        if self.kills:
            self._wait_ready()
        self.worker()
        self.vault()

    def _wait_ready(self) -> None:
        wait_until(
            lambda: len(self.adoptions()) > self._ready_seen or not self._since_ready,
            "a successor has told that it is at work",
            SUCCESSOR_S,
        )
        self._since_ready = 0
        self._ready_seen = len(self.adoptions())

    def close(self) -> None:
        """End those that outlived their supervisor. Call it after the program's own end."""
        for pid in self.pids:
            if family.name(pid) in (family.WORKER, family.VAULT):
                os.kill(pid, signal.SIGKILL)

    # ---- what is done to it ----

    def crash(self, number: signal.Signals = signal.SIGKILL) -> Victim:
        """Kill the worker, and wait until a successor is at work."""
        self.kill(number)
        self.settles()
        return self

    def kill(self, number: signal.Signals) -> Done:
        """Kill the worker, whatever it does at the moment."""
        if self._since_ready >= IN_A_ROW:
            self._wait_ready()
        pid = self.worker()
        self._ready_seen = len(self.adoptions())
        at = time.monotonic()
        with contextlib.suppress(ProcessLookupError):  # it made way by itself (an upgrade)
            os.kill(pid, number)
        return self._dies(pid, number.name, at)

    def freeze(self) -> None:
        """The worker stops where it is; the next kill finds it so."""
        os.kill(self.worker(), signal.SIGSTOP)

    def freeze_and_kill(self) -> Done:
        """SIGSTOP, and SIGKILL a moment later."""
        if self._since_ready >= IN_A_ROW:
            self._wait_ready()
        pid = self.worker()
        self._ready_seen = len(self.adoptions())
        at = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.0, 0.05))  # a part of what is done, not a wait
            os.kill(pid, signal.SIGKILL)
        return self._dies(pid, "SIGSTOP+SIGKILL", at)

    def _dies(self, pid: int, what: str, at: float) -> Done:
        wait_until(lambda: not family.alive(pid), f"worker {pid} is dead ({what})", SUCCESSOR_S)
        self.kills += 1
        self._since_ready += 1
        return Done(what, at)

    def kill_vault(self) -> Done:
        """Between two crashes; both at once would be the end of all sessions."""
        self.settles()
        pid = self.vault()
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: family.vault(self.supervisor) not in (None, pid), "a new vault", SUCCESSOR_S
        )
        return Done("vault SIGKILL", at)

    def reload(self) -> Done:
        """With another configuration than the one before."""
        self.turn = (self.turn + 1) % len(self.configurations)
        (self.program.directory / "lb.cfg").write_text(self.configurations[self.turn])
        at = time.monotonic()
        self.program.signals(signal.SIGHUP)
        return Done("reload", at)

    def upgrade(self) -> Done:
        """With the command, which returns when it is done."""
        self.settles()
        at = time.monotonic()
        done = lbsplice("upgrade", "-f", str(self.program.directory / "lb.cfg"))
        assert done.returncode == 0, done.stderr
        return Done("upgrade", at)

    def nothing(self) -> Done:
        """For comparison."""
        return Done("nothing", time.monotonic())

    def returns_to_first(self) -> None:
        """The configuration of the start is the one in force again."""
        if self.turn:
            self.turn = 0
            path = self.program.directory / "lb.cfg"
            path.write_text(self.configurations[0])
            done = lbsplice("reload", "-f", str(path))
            assert done.returncode == 0, done.stderr
