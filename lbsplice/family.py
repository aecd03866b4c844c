"""The supervisor's worker processes: forked, watched, succeeded, ended.

At any time one worker is in office: its vault holds the descriptors that count. When it
dies, or on purpose, a successor is forked, and is in office as soon as it says that it
has taken everything. Until then the one before, or its vault, can be succeeded by
another one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from lbsplice import deaths, process
from lbsplice.dataplane import ledger, vault
from lbsplice.dataplane.ledger import Sizes
from lbsplice.deaths import Deaths
from lbsplice.protocol import (
    Adopted,
    CarryOn,
    Committed,
    Ended,
    Message,
    NewVault,
    Park,
    Parked,
    Quit,
    Ready,
    TakeOver,
    ToWorker,
    Vault,
)
from lbsplice.reactor import Reactor, Timer
from lbsplice.service import Succession
from lbsplice.startup import Setup
from lbsplice.worker import Estate, Worker, core_dumps, fork

PARKS_WITHIN_S = 3.0
TAKES_OVER_WITHIN_S = 10.0
_QUITS_WITHIN_S = 1.0
_TRY_AGAIN_S = 0.1


class Duties(Protocol):
    """What the family tells its supervisor of."""

    def first_is_ready(self) -> None: ...
    def is_ready(self, worker: Worker) -> None: ...
    def died(self, worker: Worker) -> bool:
        """A worker that was needed died. Shall it have a successor?"""

    def all_ended(self, error: str | None) -> None:
        """There is no worker any more, and none will come."""

    def heard(self, worker: Worker, message: Message, descriptors: list[int]) -> None: ...


Outcome = Callable[[str | None], None]
"""Called once with what went wrong, or None."""


@dataclass(eq=False)
class _Replacement:
    """A worker that is succeeded while it lives."""

    setup: Setup
    outcome: Outcome
    timer: Timer | None = None
    committed: bool = False
    trouble: str | None = None

    def stop_clock(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Family:
    """All workers of one supervisor."""

    def __init__(self, reactor: Reactor, duties: Duties, estate: Estate) -> None:
        self.estate = estate
        self.office: Worker | None = None
        self.coming: Worker | None = None
        self._reactor = reactor
        self._duties = duties
        self._replacement: _Replacement | None = None
        self._deaths = Deaths()
        self._since = 0.0  # nobody has been ready
        self._proven: Setup | None = None  # the setup of a worker that became ready
        self._ending = False

    # ---- a worker begins ----

    def start(self, setup: Setup, sizes: Sizes) -> None:
        """Fork the first worker."""
        self.setup = setup
        self.sizes = sizes
        self._fork(setup, sizes)

    def take_in(self, worker: Worker) -> None:
        """Go on with a worker that the program that ran here before, or another supervisor,
        has made."""
        self.office = worker
        self.setup = worker.setup
        self.sizes = ledger.read(self.estate.ledger)[1]
        worker.ready = True
        self._proven = worker.setup
        self._listen_to(worker)
        if worker.vault:
            self._guard(worker)

    def replace(self, reason: str, setup: Setup, sizes: Sizes | None, outcome: Outcome) -> None:
        """Let a successor take over from the worker in office, which should be ready;
        `sizes` of its ledger are as before unless given. `reason` is for the log."""
        office = self.office
        if office is None or not self.is_steady:
            outcome("the worker died meanwhile")
            return
        self._replacement = _Replacement(setup, outcome)
        succession = Succession(reason, time.monotonic(), planned=True)
        self._fork(setup, sizes or self.sizes, office, succession)
        if self.coming is not None:
            self.send(office, Park())
            self._limit(PARKS_WITHIN_S, "the worker in office does not stand still for it")

    def works_with(self, setup: Setup) -> None:
        """The worker in office has taken this, and so shall its successors."""
        self.setup = self._proven = setup
        if self.office is not None:
            self.office.setup = setup

    @property
    def is_steady(self) -> bool:
        """There is a worker that is ready, and no other one on its way."""
        return (
            self.coming is None
            and self._replacement is None
            and self.office is not None
            and self.office.alive
            and self.office.ready
        )

    @property
    def is_quiet(self) -> bool:
        """Nothing is half said between us and the worker in office, and it has its vault."""
        office = self.office
        return office is not None and office.channel.is_quiet and office.vault > 0

    def tell(self, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        """Say it to the worker that is, or will be, in office."""
        worker = self.coming or self.office
        if worker is not None:
            self.send(worker, message, descriptors)

    def send(self, worker: Worker, message: ToWorker, descriptors: Sequence[int] = ()) -> None:
        """Say it to this one, if it listens."""
        if not worker.channel.closed:
            worker.channel.send(message, descriptors)
            self._reactor.want_write(worker.channel, worker.channel.wants_write)

    def _fork(
        self,
        setup: Setup,
        sizes: Sizes,
        before: Worker | None = None,
        succession: Succession | None = None,
    ) -> None:
        if before is None:
            self._new_memory(sizes)
        try:
            self.coming = fork(setup, sizes, self.estate, before, succession)
        except OSError as why:
            self._not_forked(f"no process can be made ({why.strerror})")
        else:
            self._listen_to(self.coming)

    def _new_memory(self, sizes: Sizes) -> None:
        """An empty ledger."""
        if self.estate.ledger >= 0:
            os.close(self.estate.ledger)
        self.estate.ledger = ledger.create(sizes)

    def _listen_to(self, worker: Worker) -> None:
        self._reactor.watch(worker.channel, lambda: self._hear(worker))
        self._reactor.on_exit(worker.pid, lambda status: self._exited(worker, status))

    # ---- what workers say ----

    def _hear(self, worker: Worker) -> None:
        for message, descriptors in worker.channel.receive():
            match message:
                case Committed(guardian):
                    self._takes_office(worker, guardian, descriptors)
                case Vault(pid):
                    self._has_vault(worker, pid)
                case Adopted():
                    worker.adopted = True
                case Ready():
                    self._is_ready(worker)
                case Parked():
                    self._stands_still(worker)
                case Ended(error):
                    worker.error = error
                    worker.finished = error is None
                case _:
                    self._duties.heard(worker, message, descriptors)
        if worker.channel.closed:
            self._reactor.forget(worker.channel)
        else:
            worker.channel.flush()
            self._reactor.want_write(worker.channel, worker.channel.wants_write)

    def _stands_still(self, worker: Worker) -> None:
        if worker is self.office and self.coming is not None:
            self.send(self.coming, TakeOver())
            self._limit(TAKES_OVER_WITHIN_S, "it did not take over in time")

    def _limit(self, seconds: float, why: str) -> None:
        """The successor that is to come on purpose has to be further by then."""
        replacement = self._replacement
        if replacement is not None:
            replacement.stop_clock()
            replacement.timer = self._reactor.after(seconds, lambda: self._abandon(why))

    def _abandon(self, why: str) -> None:
        if self.coming is not None:
            self.coming.error = why
            self.coming.kill()

    def _takes_office(self, worker: Worker, guardian: int, descriptors: list[int]) -> None:
        before, self.office, self.coming = self.office, worker, None
        self.setup = worker.setup
        worker.vault = guardian
        self._guard(worker)
        for descriptor in descriptors:
            os.close(self.estate.ledger)
            self.estate.ledger = descriptor
            self.sizes = ledger.read(descriptor)[1]
        if self._replacement is not None:
            self._replacement.stop_clock()
            self._replacement.committed = True
        if before is not None:
            before.request.close()
            self.send(before, Quit())
            self._reactor.after(_QUITS_WITHIN_S, before.end_by_force)

    def _is_ready(self, worker: Worker) -> None:
        worker.ready = True
        worker.ready_s = time.monotonic()
        self._deaths.one_is_ready()
        self._since = 0.0
        first, self._proven = self._proven is None, worker.setup
        if first:
            self._duties.first_is_ready()
        replacement = self._replacement
        if replacement is not None and replacement.committed:
            self._replacement = None
            replacement.outcome(None if worker.setup is replacement.setup else replacement.trouble)
        self._duties.is_ready(worker)

    # ---- the vault ----

    def _guard(self, worker: Worker) -> None:
        self._reactor.on_exit(worker.vault, lambda _status: self._vault_ended(worker))

    def _vault_ended(self, worker: Worker) -> None:
        worker.vault = 0
        if worker is self.office and worker.alive and not self._ending:
            self._new_vault(worker)

    def _new_vault(self, worker: Worker) -> None:
        if worker is not self.office or not worker.alive or self._ending:
            return
        worker.request.close()
        worker.request, obeyed = vault.request_pair()
        self.send(worker, NewVault(), [obeyed.fileno()])
        obeyed.close()

    def _has_vault(self, worker: Worker, pid: int) -> None:
        if pid:
            worker.vault = pid
            self._guard(worker)
        else:
            self._reactor.after(_TRY_AGAIN_S, lambda: self._new_vault(worker))

    # ---- a worker dies ----

    def _exited(self, worker: Worker, status: int | None) -> None:
        if not worker.channel.closed:
            self._hear(worker)  # its last words
        if not worker.channel.closed:  # its vault has the other end, too
            self._reactor.forget(worker.channel)
        worker.channel.close()
        worker.alive = False
        worker.end = "ended" if status is None else process.how_it_ended(status)
        if self._ending:
            return
        if worker is self.coming:
            self._coming_died(worker)
        elif worker is self.office:
            if self.coming is not None:
                self._stands_still(worker)  # for good
            else:
                self._needed(worker)

    def _coming_died(self, worker: Worker) -> None:
        self.coming = None
        worker.request.close()
        if not self._give_up_replacing(worker.error or f"its worker {worker.end}"):
            self._needed(worker)

    def _give_up_replacing(self, why: str) -> bool:
        """A successor that was to come on purpose did not. False if none was, or if the
        worker in office can not go on."""
        replacement, office = self._replacement, self.office
        if replacement is None or replacement.committed or office is None:
            return False
        replacement.stop_clock()
        self._replacement = None
        self.send(office, CarryOn())
        replacement.outcome(why)
        return office.alive

    def _needed(self, worker: Worker) -> None:
        """It died, and no other one is on its way."""
        if worker.error is not None and self._proven is None:
            self._duties.all_ended(worker.error)  # a start that failed
            return
        self._deaths.note(worker.death())
        if not worker.ready:
            self._doubt(worker)
        if not self._duties.died(worker):
            self._duties.all_ended(None)
        elif self._deaths.too_many:
            self._duties.all_ended(
                f"{deaths.MOST} workers in a row died before one was ready, the last one "
                f"{worker.end}: giving up.{core_dumps()}"
            )
        else:
            self._since = self._since or time.monotonic()
            self._reactor.after(self._deaths.pause_s, partial(self._succeed, worker.story))

    def _doubt(self, worker: Worker) -> None:
        """If what it was to work with is new, go back to what is known to work."""
        replacement = self._replacement
        if replacement is not None and self._deaths.suspicious and self._proven is not None:
            self.setup = self._proven
            replacement.trouble = worker.error or f"its worker {worker.end}"

    def _succeed(self, reason: str) -> None:
        if self._ending:
            return
        assert self.setup is not None
        before = self.office
        if before is not None and not before.has_table():
            before.request.close()
            self.office = before = None
            reason += " and its vault with it, its sessions are lost"
        self._fork(self.setup, self.sizes, before, Succession(reason, self._since))

    def _not_forked(self, why: str) -> None:
        if self._replacement is not None:
            self._give_up_replacing(why)
        elif self._proven is None:
            self._duties.all_ended(why)
        else:
            again = f"a worker died, and {why}"
            self._reactor.after(_TRY_AGAIN_S, lambda: self._succeed(again))

    def end(self) -> None:
        """Let nothing of it live on, and wait until that is so."""
        self._ending = True
        for worker in (self.coming, self.office):
            if worker is not None and worker.alive:
                worker.kill()
                self._wait_until(worker.is_dead)
        office = self.office
        if office is not None:
            vault.quit_vault(office.request)
            self._wait_until(lambda: not office.vault)
            office.end_by_force()
            self._wait_until(lambda: not office.vault)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _QUITS_WITHIN_S
        while not condition() and time.monotonic() < deadline:
            self._reactor.turn(deadline - time.monotonic())
