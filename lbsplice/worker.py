"""One worker process as its supervisor has it: forked, and known by pid, channel and
vault."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from lbsplice import workerprocess
from lbsplice.channel import Channel
from lbsplice.dataplane import vault
from lbsplice.dataplane.ledger import Sizes
from lbsplice.deaths import Death
from lbsplice.reactor import is_child
from lbsplice.service import Assemble, Prepare, Succession, nothing_to_prepare
from lbsplice.startup import Setup
from lbsplice.succession import Birth, Predecessor


@dataclass(slots=True)
class Estate:
    """What every worker of a supervisor is born with. `ledger` and `journal` are memfds."""

    assemble: Assemble
    journal: int
    prepare: Prepare = nothing_to_prepare
    ledger: int = -1
    aloud: bool = False
    null: int = -1  # /dev/null, for the first one, which has to leave the starter's streams
    meeting_place: socket.socket | None = None
    files: tuple[str, ...] = ()
    startup_logs: list[str] = field(default_factory=list)  # grows while the first one starts


@dataclass(eq=False)
class Worker:
    """One worker process, with its vault, as the supervisor sees it."""

    pid: int
    channel: Channel
    request: socket.socket  # asks its vault
    setup: Setup  # what it works with
    vault: int = 0  # 0: none that is known of
    alive: bool = True
    adopted: bool = False
    ready: bool = False
    ready_s: float = 0.0  # monotonic
    finished: bool = False  # it ended because it was told to
    error: str | None = None  # why it ended by itself, if it could say so
    end: str = ""  # how it died, as its parent sees it

    @property
    def story(self) -> str:
        return f"worker {self.pid} {self.end}"

    def death(self) -> Death:
        ready_s = time.monotonic() - self.ready_s if self.ready else None
        return Death(self.adopted, ready_s, self.error is not None)

    def is_dead(self) -> bool:
        return not self.alive

    def kill(self) -> None:
        _kill(self.pid)

    def end_by_force(self) -> None:
        """Whoever was succeeded holds copies for as long as it lives; so does its vault."""
        if self.alive:
            _kill(self.pid)
        if self.vault and is_child(self.vault):  # its pid is what the worker says
            _kill(self.vault)

    def has_table(self) -> bool:
        """Does anybody, its vault as a rule, still hold its descriptors?"""
        poll = select.poll()
        poll.register(self.request, 0)
        return not poll.poll(0)  # only POLLHUP can be told


def fork(
    setup: Setup,
    sizes: Sizes,
    estate: Estate,
    before: Worker | None = None,
    succession: Succession | None = None,
) -> Worker:
    """A new worker process, which takes over from the one before. OSError if there is none
    to be had."""
    ours, theirs = Channel.pair()
    held, obeyed = vault.request_pair()
    predecessor = None
    if before is not None:
        predecessor = Predecessor(before.vault, before.request, parked=before.alive)
    birth = Birth(
        config=setup.config,
        limits=setup.limits,
        sizes=sizes,
        held=setup.listeners.held(),
        sockets=setup.listeners.sockets,
        identity=setup.identity,
        assemble=estate.assemble,
        channel=theirs,
        request=obeyed,
        ledger=estate.ledger,
        journal=estate.journal,
        pid=os.getpid(),
        aloud=estate.aloud,
        files=estate.files,
        startup_logs=tuple(estate.startup_logs),
        meeting_place=estate.meeting_place,
        null=estate.null,
        predecessor=predecessor,
        succession=succession,
    )
    try:
        pid = _fork(birth)
    except OSError:
        held.close()
        ours.close()
        raise
    finally:
        theirs.close()
        obeyed.close()
    return Worker(pid, ours, held, setup)


def _fork(birth: Birth) -> int:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            gc.freeze()  # objects of the supervisor: they must not be freed here
            workerprocess.run(birth)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def core_dumps() -> str:
    """What is needed for one, as sentences to go on with."""
    try:
        pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    except OSError:
        return ""
    return (
        " For a core dump set `set-dumpable` in the `global` section and allow one "
        "(`ulimit -c unlimited`, or LimitCORE=infinity in the unit); it goes where "
        f"/proc/sys/kernel/core_pattern says: '{pattern}'."
    )


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
