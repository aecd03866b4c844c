"""How a run comes about: a start of its own, an upgrade (the program that ran here before
has become this one), or a takeover (another supervisor is dead, its worker serves on)."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from lbsplice import activation, handover, limits, migration, process, rendezvous
from lbsplice.channel import Channel
from lbsplice.config.model import Config
from lbsplice.console import Console
from lbsplice.dataplane import ledger, vault
from lbsplice.dataplane.ledger import Sizes
from lbsplice.errors import EnvironmentLacks, LbspliceError
from lbsplice.family import Family
from lbsplice.handover import Handover, Takeover
from lbsplice.journal import Journal
from lbsplice.kinship import Reloads
from lbsplice.listeners import Listeners, reopen, retired
from lbsplice.meeting import Meeting
from lbsplice.notify import Notifier
from lbsplice.operations import Read, Reading, larger
from lbsplice.plain import PlainError, made
from lbsplice.reactor import Reactor
from lbsplice.rendezvous import UPGRADE, Outcome
from lbsplice.rooms import sizes_for
from lbsplice.service import Assemble, Prepare, nothing_to_prepare
from lbsplice.startup import (
    Belongings,
    Settings,
    Setup,
    set_up,
    settle_mode,
    take_place,
    with_settings,
)
from lbsplice.supervisor import Supervisor
from lbsplice.worker import Estate, Worker

NAME = "lbsplice"

_ANSWERS_WITHIN_S = 5.0


def run(
    config: Config,
    settings: Settings,
    console: Console,
    assemble: Assemble,
    read: Read | None = None,
    prepare: Prepare = nothing_to_prepare,
) -> int:
    """Serve until told to stop; the exit status. In the background it is the daemon that
    returns from here; the process that called has exited by then. `read` reads the
    configuration again, in a process of its own."""
    process.set_name(NAME)
    config = with_settings(config, settings)
    settings = settle_mode(config, settings, console)
    own = Belongings()
    again = read or (lambda: Reading(config))
    launch = _Launch(config, settings, console, assemble, again, prepare, own)
    status = 1
    try:
        status = launch.run()
    except LbspliceError as why:
        console.alert(str(why))
    finally:
        own.give_back(status)
    return status


@dataclass(frozen=True, slots=True)
class _Launch:
    config: Config
    settings: Settings
    console: Console
    assemble: Assemble
    read: Read
    prepare: Prepare
    own: Belongings

    def run(self) -> int:
        handed = handover.received()
        if handed is not None:
            return self._go_on(handed)
        name = rendezvous.name_of(self.settings.files) if self.settings.files else None
        place = None if name is None else rendezvous.listen(name)
        if name is None:
            return self._begin(None, None)
        if place is None:
            return self._begin_beside(name)
        with place:
            if rendezvous.who(rendezvous.worker_name(name)) is not None:
                return self._take_over(name, place)
            return self._begin(place, rendezvous.listen(rendezvous.worker_name(name)))

    # ---- a start of its own ----

    def _begin_beside(self, name: str) -> int:
        """Somebody runs with this configuration already. Its addresses are as a rule what
        we fail at."""
        there = rendezvous.who(name)
        try:
            return self._begin(None, None)
        except EnvironmentLacks as why:
            if there is None:
                raise
            raise EnvironmentLacks(
                f"{why} lbsplice runs with this configuration already, as process "
                f"{there.pid}; to let it read the configuration again use `lbsplice reload`."
            ) from why

    def _begin(self, place: socket.socket | None, worker_place: socket.socket | None) -> int:
        self.prepare(self.config)
        before = self.settings.before
        activated = activation.take(os.environ)
        try:
            setup = set_up(
                self.config,
                self.settings,
                self.console,
                lambda config, maxconn: migration.open_after(config, maxconn, before),
            )
            try:
                for text in activation.unused(self.config, activated):
                    self.console.warning(text)
                take_place(self.settings, self.config, self.own)
                supervisor = self._supervisor(place, worker_place, Journal.create().fd)
            except BaseException:
                setup.listeners.close()
                raise
            supervisor.activated = activated
            sizes = sizes_for(setup.config, setup.threads, setup.limits)
            return supervisor.run(lambda: supervisor.family.start(setup, sizes))
        finally:
            if not self.own.ready:
                migration.resume(before)

    # ---- with a worker that is there already ----

    def _take_over(self, name: str, place: socket.socket) -> int:
        self.console.serving = True  # somebody is served, and shall not have to wait for us
        worker_name = rendezvous.worker_name(name)
        ours, theirs = Channel.pair()
        request, obeyed = vault.request_pair()
        letter = rendezvous.call(
            worker_name,
            {"request": rendezvous.TAKEOVER},
            _ANSWERS_WITHIN_S,
            given=[theirs.fileno(), obeyed.fileno()],
        )
        theirs.close()
        obeyed.close()
        taken = Takeover.of(letter)
        previous = Listeners.of(taken.listeners)
        setup = self._set_up_after(previous)
        take_place(self.settings, self.config, self.own)
        worker = Worker(taken.worker, ours, request, setup, taken.vault)
        supervisor = self._supervisor(
            place, _socket(taken.worker_rendezvous), taken.journal, taken.ledger
        )

        def outcome(error: str | None) -> None:
            retired(previous, setup.listeners).close()
            if error is not None:
                self.console.alert(f"the worker process {worker.pid} serves on: {error}")
            supervisor.first_is_ready()

        return self._succeed(
            supervisor,
            worker,
            setup,
            f"process {os.getpid()} took the place of a dead one",
            outcome,
        )

    def _go_on(self, handed: Handover) -> int:
        """After an upgrade: we are the next program."""
        self.console.serving = True
        self.console.begin_record()
        self.own.ready = True
        self.own.notifier = Notifier(os.environ if self.settings.notify else {})
        previous = Listeners.of(handed.listeners)
        before = self._setup_of(handed, previous)
        setup, trouble = before, None
        try:
            setup = self._set_up_after(previous)
        except LbspliceError as why:
            trouble = str(why)
        worker = Worker(
            handed.worker,
            Channel(socket.socket(fileno=handed.channel)),
            socket.socket(fileno=handed.request),
            before,
            handed.vault,
        )
        supervisor = self._supervisor(
            _socket(handed.rendezvous),
            _socket(handed.worker_rendezvous),
            handed.journal,
            handed.ledger,
        )
        supervisor.activated = handed.activated
        supervisor.reloads = Reloads(handed.reloads, handed.failed)
        supervisor.reloads.seen(worker.pid)
        answers: list[Callable[[Outcome], None]] = []
        if supervisor.meeting is not None:
            for caller in handed.callers:
                answer = supervisor.meeting.hold(caller)
                answers.append(lambda outcome, answer=answer: answer(outcome.values()))  # type: ignore[misc]

        def outcome(error: str | None) -> None:
            kept, left = (previous, setup.listeners) if error else (setup.listeners, previous)
            retired(left, kept).close()
            supervisor.serve()
            supervisor.tell_outcome(UPGRADE, error, answers)

        if trouble is not None:
            return supervisor.run(lambda: self._only_watch(supervisor, worker, trouble, outcome))
        return self._succeed(supervisor, worker, setup, "lbsplice was upgraded", outcome)

    def _succeed(
        self,
        supervisor: Supervisor,
        worker: Worker,
        setup: Setup,
        reason: str,
        outcome: Callable[[str | None], None],
    ) -> int:
        def begin() -> None:
            family = supervisor.family
            family.take_in(worker)
            family.replace(reason, setup, _sizes_after(setup, family.sizes), outcome)

        return supervisor.run(begin)

    @staticmethod
    def _only_watch(
        supervisor: Supervisor, worker: Worker, why: str, outcome: Callable[[str | None], None]
    ) -> None:
        supervisor.family.take_in(worker)
        outcome(why)

    def _set_up_after(self, previous: Listeners) -> Setup:
        """With the listening sockets that are there. Raises LbspliceError; then those are
        as they were."""
        self.prepare(self.config)
        return set_up(
            self.config,
            self.settings,
            self.console,
            lambda config, maxconn: reopen(config, previous, maxconn),
        )

    def _setup_of(self, handed: Handover, listeners: Listeners) -> Setup:
        """What the worker that is there works with."""
        config = self.config
        with contextlib.suppress(PlainError, json.JSONDecodeError):
            config = made(Config, json.loads(handed.configuration))
        threads = ledger.read(handed.ledger)[1].threads
        given = limits.settle(config, threads, process.descriptor_limit(), self.settings.maxconn)
        return Setup(config, threads, given, process.identity(config.global_), listeners)

    def _supervisor(
        self,
        place: socket.socket | None,
        worker_place: socket.socket | None,
        journal: int,
        memory: int = -1,
    ) -> Supervisor:
        """With all that was imported and made until now out of the collector's sight:
        forks share it."""
        reactor = Reactor()
        supervisor = Supervisor(reactor, self.console, self.settings, self.own, self.read)
        estate = Estate(
            self.assemble,
            journal,
            self.prepare,
            memory,
            aloud=not (self.settings.daemon or self.console.quiet),
            null=self.own.null,
            meeting_place=worker_place,
            files=self.settings.files,
            startup_logs=self.console.startup_logs,
        )
        supervisor.family = Family(reactor, supervisor, estate)
        if place is not None:
            supervisor.meeting = Meeting(reactor, place, supervisor.asked)
        gc.collect()
        gc.freeze()
        return supervisor


def _socket(descriptor: int) -> socket.socket | None:
    return None if descriptor < 0 else socket.socket(fileno=descriptor)


def _sizes_after(setup: Setup, there: Sizes) -> Sizes:
    """Those that are there, if they will do."""
    fresh = sizes_for(setup.config, setup.threads, setup.limits)
    fits = fresh.threads == there.threads and all(
        getattr(fresh, name) <= getattr(there, name)
        for name in ("sessions", "pipes", "listeners", "frontends", "backends", "slots")
    )
    return there if fits else larger(fresh, there)
