"""What outlives a supervisor: handed to the next program over exec (an upgrade), or by
its worker process to a new supervisor (a takeover, after the old one was killed).

Both are JSON by names of fields, so that releases that know more or less of them
understand each other. Signals are blocked from before the exec until `settled`: one that
comes meanwhile is late, not lost, and never the end of a supervisor that can not answer
yet."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from lbsplice import program
from lbsplice.errors import EnvironmentLacks
from lbsplice.listeners import Held
from lbsplice.plain import PlainError, made, plain
from lbsplice.rendezvous import Letter

VARIABLE = program.HANDOVER
FORMAT = 1
"""Goes up when a release could not go on with what an earlier one hands over."""

TRIAL = "trial"
"""The hidden command that a program is tried with before it is trusted."""

_WAITING = frozenset(
    (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCHLD,
    )
)
_NONE = -1


@dataclass(frozen=True, slots=True)
class Handover:
    """What a supervisor holds. Numbers of descriptors are valid on both sides of the exec;
    -1 is none."""

    worker: int  # pids
    vault: int
    channel: int  # descriptors
    request: int
    ledger: int
    journal: int
    listeners: tuple[Held, ...] = ()
    rendezvous: int = _NONE
    worker_rendezvous: int = _NONE
    callers: tuple[int, ...] = ()  # who asked for the upgrade and waits for its outcome
    activated: tuple[int, ...] = ()  # of systemd's socket activation
    configuration: str = ""  # JSON of the Config that is in force
    reloads: int = 0  # so far, and how many failed
    failed: int = 0
    format: int = FORMAT

    def descriptors(self) -> list[int]:
        """All that are named."""
        found = [self.channel, self.request, self.ledger, self.journal]
        found += [self.rendezvous, self.worker_rendezvous, *self.callers]
        found += [held.descriptor for held in self.listeners]
        return [number for number in found if number != _NONE]


def give(handover: Handover) -> NoReturn:
    """Become the installed program, which finds this with `received`. The activated
    descriptors pass as they are.

    Raises EnvironmentLacks when the program can not be executed: nothing has changed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITING)
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    number = _NONE
    try:
        number = _sealed(json.dumps(plain(handover)).encode())
        for each in (number, *handover.descriptors()):
            os.set_inheritable(each, True)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
            sys.stderr.flush()
        program.go_back()
        environment = {**program.same_environment(), VARIABLE: str(number)}
        os.execve(sys.executable, program.same_words(), environment)
    except OSError as why:
        os.fchdir(here)
        for each in handover.descriptors():
            os.set_inheritable(each, False)
        if number != _NONE:
            os.close(number)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise EnvironmentLacks(f"cannot execute {sys.executable} ({why.strerror})") from why
    finally:
        os.close(here)


def _sealed(content: bytes) -> int:
    number = os.memfd_create("lbsplice-handover", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(number, "wb", closefd=False) as file:
        file.write(content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, seals)
    return number


def _read_whole(number: int) -> bytes:
    """What is in a memfd, which is closed."""
    with os.fdopen(number, "rb") as file:
        file.seek(0)
        return file.read()


def received() -> Handover | None:
    """What the program that ran here before hands over; None at an ordinary start. Its
    descriptors are closed on exec again. Signals stay blocked until `settled`.

    Raises EnvironmentLacks when it can not be understood."""
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    try:
        values = json.loads(_read_whole(int(number)))
        if values.get("format", FORMAT) != FORMAT:
            raise EnvironmentLacks(f"its format is {values['format']}, not {FORMAT}")
        handover = made(Handover, values)
        for each in handover.descriptors():
            os.set_inheritable(each, False)
    except (OSError, ValueError, AttributeError, PlainError, EnvironmentLacks) as why:
        settled()
        raise EnvironmentLacks(
            f"what the program before handed over is not understood: {why}"
        ) from why
    return handover


def settled() -> None:
    """Handlers for the signals are there: let those through that came meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITING)


# ---- from a worker process to a new supervisor ----


@dataclass(frozen=True, slots=True)
class Takeover:
    """What a worker process hands to a supervisor that takes the place of its dead one."""

    worker: int  # pids
    vault: int
    ledger: int  # descriptors
    journal: int
    listeners: tuple[Held, ...] = ()
    worker_rendezvous: int = _NONE
    maxconn: int = 0
    generation: int = 0

    def letter(self) -> tuple[Mapping[str, Any], list[int]]:
        """As an answer of a rendezvous."""
        descriptors = [self.ledger, self.journal, self.worker_rendezvous]
        descriptors += [held.descriptor for held in self.listeners]
        present = [number for number in descriptors if number != _NONE]
        return {"takeover": plain(self._with(present.index))}, present

    @classmethod
    def of(cls, letter: Letter) -> Takeover:
        """From that answer; its descriptors are the caller's. Raises EnvironmentLacks when
        the worker did not agree."""
        try:
            return made(cls, letter.values.get("takeover"))._with(letter.descriptors.__getitem__)
        except (PlainError, IndexError) as why:
            letter.close()
            said = letter.values.get("error") or "its answer is not understood"
            raise EnvironmentLacks(
                f"the worker process does not let itself be taken: {said}"
            ) from why

    def _with(self, number: Any) -> Takeover:
        """With other numbers for the descriptors."""
        return replace(
            self,
            ledger=number(self.ledger),
            journal=number(self.journal),
            worker_rendezvous=(
                _NONE if self.worker_rendezvous == _NONE else number(self.worker_rendezvous)
            ),
            listeners=tuple(
                replace(held, descriptor=number(held.descriptor)) for held in self.listeners
            ),
        )


# ---- is the installed program fit to go on? ----


class Trial:
    """The installed program, started to import everything, to read the configuration that
    this command line names and to see whether it can go on with the ledger (a memfd).

    `fileno` is readable whenever `done` may have become true."""

    def __init__(self, ledger: int) -> None:
        """OSError if it can not be started at all."""
        self._said = bytearray()
        self._errors = os.memfd_create("lbsplice-trial")
        try:
            self._child = subprocess.Popen(
                program.other_words(TRIAL, str(FORMAT), str(ledger), *sys.argv[1:]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=program.STARTED_IN,
                env=program.same_environment(),
                pass_fds=[ledger],
            )
        except OSError:
            os.close(self._errors)
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def fileno(self) -> int:
        assert self._child.stdout is not None
        return self._child.stdout.fileno()

    def done(self) -> bool:
        """Read what there is; true when `reason` may be asked. Waits if there is nothing."""
        data = os.read(self.fileno(), 65536)
        self._said += data
        return not data

    def reason(self) -> str | None:
        """Why the program is not fit to go on; None: it is. Once, after `done`."""
        status = self._child.wait()
        errors = _read_whole(self._errors).decode(errors="replace").strip()
        assert self._child.stdout is not None
        self._child.stdout.close()
        with contextlib.suppress(ValueError):
            said = json.loads(self._said)
            if isinstance(said, dict) and "reason" in said and status == 0:
                reason = said["reason"]
                return None if reason is None else str(reason)
        lines = errors.splitlines() or [f"exit status {status}"]
        # of a traceback the last line says it all; the rest is for whoever wrote it
        return "\n".join((f"the installed program does not start: {lines[-1]}", *lines[:-1]))
