"""The supervisor: the one process that is shown. It reads the configuration, watches over
the worker processes and obeys signals; no byte of a session goes through it.

    SIGTERM SIGINT   end all sessions, exit 0 (143, 130 with -W and -Ws); twice: at once
    SIGUSR1          accept no more; exit 0 after the last session or `hard-stop-after`
    SIGHUP           read the configuration again and go on with it
    SIGUSR2          become the installed program if that is another one; else as SIGHUP
    SIGPIPE SIGTTIN SIGTTOU   are ignored"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lbsplice import handover, migration, process, program, rendezvous
from lbsplice.console import Console, write_if_possible
from lbsplice.family import Family
from lbsplice.handover import Handover
from lbsplice.kinship import Reloads, processes
from lbsplice.meeting import Meeting
from lbsplice.operations import Operation, Read, Reloading, Tools, Upgrading
from lbsplice.plain import plain
from lbsplice.protocol import Answer, Ask, Message, Pong, Reloaded, Stop
from lbsplice.reactor import Reactor, Timer
from lbsplice.rendezvous import RELOAD, UPGRADE, Outcome
from lbsplice.startup import Belongings, Settings
from lbsplice.terms import Cause
from lbsplice.watchdog import Watchdog
from lbsplice.worker import Worker

PROCESSES = "proc"
"""A request of a worker: what `show proc` shows."""

QUIT_WITHIN_S = 5.0
"""How long the worker may take to end all sessions once told to."""


@dataclass(frozen=True, slots=True)
class _Wish:
    """A reload or an upgrade that somebody wants, and how to tell what came of it."""

    what: str
    answer: Callable[[Outcome], None] | None = None


class Supervisor:
    """One run. `family` is made by the caller with `duties` of this object."""

    def __init__(
        self, reactor: Reactor, console: Console, settings: Settings, own: Belongings, read: Read
    ) -> None:
        self._reactor = reactor
        self._console = console
        self._settings = settings
        self._own = own
        self._read = read
        self._program = program.identity()
        self._stop: Stop | None = None
        self._timer: Timer | None = None
        self._status = 0
        self._operation: Operation | None = None
        self._wishes: list[_Wish] = []
        self._granted: list[_Wish] = []
        self._watchdog = Watchdog(reactor, own.notifier)
        self.family: Family
        self.meeting: Meeting | None = None
        self.activated: tuple[int, ...] = ()
        self.reloads = Reloads()

    def run(self, begin: Callable[[], None]) -> int:
        """Begin, and go on until everything has ended; the exit status."""
        reactor = self._reactor
        for number in (signal.SIGTERM, signal.SIGINT):
            reactor.on_signal(number, lambda number=number: self._quit(number))  # type: ignore[misc]
        reactor.on_signal(signal.SIGUSR1, self._finish)
        reactor.on_signal(signal.SIGHUP, lambda: self._want(_Wish(RELOAD)))
        reactor.on_signal(signal.SIGUSR2, self._renew)
        handover.settled()
        try:
            begin()
            reactor.run()
        except Exception:
            if not self._own.ready or self._stop is not None:
                self._end()
                raise
            # Nobody shall lose a session because of us: whoever comes next takes over.
            write_if_possible(traceback.format_exc())
            self._console.alert(
                "the supervisor ends because of an error of its own. The worker process serves "
                "on; `lbsplice run` with the same configuration takes over from it."
            )
            self._status = 1
        else:
            self._end()
        reactor.close()
        return self._status

    def _end(self) -> None:
        self.family.end()
        if self.family.setup is not None:
            self.family.setup.listeners.close()

    # ---- the end ----

    def _begin_stop(self, stop: Stop) -> None:
        if self._stop is None:
            self._own.notifier.stopping()
        self._stop = stop
        self._tell_stop()
        if self.family.setup is not None:
            self.family.setup.listeners.retire()

    def _tell_stop(self) -> None:
        office = self.family.office
        if self._stop is not None and office is not None and office.ready:
            self.family.tell(self._stop)

    def _quit(self, number: int) -> None:
        """End all sessions now; asked a second time, wait for nothing."""
        if self._stop is not None and self._stop.hard:
            self._reactor.stop()
            return
        self._status = process.exit_status(number, self._settings.master)
        self._end_sessions()

    def _end_sessions(self) -> None:
        self._begin_stop(Stop(hard=True, cause=Cause.KILLED.value))
        self._reset_timer(QUIT_WITHIN_S, self._lose_patience)

    def _finish(self) -> None:
        """Accept no more and let the sessions end by themselves, up to `hard-stop-after`."""
        if self._stop is not None:
            return
        self._begin_stop(Stop())
        setup = self.family.setup
        after_ms = None if setup is None else setup.config.global_.hard_stop_after
        if after_ms is not None:
            self._reset_timer(after_ms / 1000, self._end_sessions)

    def _reset_timer(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.after(seconds, callback)

    def _lose_patience(self) -> None:
        self._console.alert("the workers do not end; leaving them")
        self._reactor.stop()

    # ---- what the family tells ----

    def first_is_ready(self) -> None:
        self.serve()
        self._own.announce_ready()
        self.family.estate.null = -1  # its successors have our streams
        for text in migration.dismiss(self._settings.before):
            self._console.warning(text)

    def serve(self) -> None:
        """From now on nobody waits for us to start."""
        self._console.serving = self._console.started = True
        self._watchdog.start(self.family)

    def is_ready(self, worker: Worker) -> None:
        self.reloads.seen(worker.pid)
        self._tell_stop()
        if self._operation is not None:
            self._operation.worker_is_ready()
        self._grant()

    def died(self, worker: Worker) -> bool:
        if worker.finished or (self._stop is not None and self._stop.hard):
            return False
        if self._stop is not None and worker.error is not None:
            self._status = 1
            self._console.alert(worker.error)
            return False
        why = "" if worker.error is None else f": {worker.error}"
        self._console.alert(worker.story + why)
        return True

    def all_ended(self, error: str | None) -> None:
        if error is not None:
            self._status = 1
            self._console.alert(error)
        self._reactor.stop()

    def heard(self, worker: Worker, message: Message, descriptors: list[int]) -> None:
        match message:
            case Reloaded():
                if self._operation is not None:
                    self._operation.answered(message)
            case Pong():
                self._watchdog.heard(message)
            case Ask(number, request):
                self._asked(worker, number, request)

    def _asked(self, worker: Worker, number: int, request: dict[str, Any]) -> None:
        def answer(values: dict[str, Any]) -> None:
            if worker.alive:
                self.family.send(worker, Answer(number, values))

        self.asked(str(request.get("request", "")), answer)

    # ---- a reload, an upgrade ----

    def asked(self, what: str, answer: Callable[[dict[str, Any]], None]) -> None:
        """Somebody asks by the rendezvous or by the worker."""
        if what == rendezvous.WHO:
            answer(
                rendezvous.introduction(rendezvous.SUPERVISOR, os.getpid(), self._settings.files)
            )
        elif what == PROCESSES:
            answer(processes(self.family, self.reloads))
        elif what in (RELOAD, UPGRADE):
            self._want(_Wish(what, lambda outcome: answer(outcome.values())))
        else:
            answer(Outcome(f"'{what}' is not known here").values())

    def _renew(self) -> None:
        """SIGUSR2: what is new, the configuration alone or the program as well?"""
        changed = program.identity() != self._program
        self._want(_Wish(UPGRADE if changed else RELOAD))

    def _want(self, wish: _Wish) -> None:
        self._wishes.append(wish)
        self._grant()

    def _grant(self) -> None:
        """Begin what is wanted next, once there is a worker to do it with."""
        if self._operation is not None or not self._wishes or not self.family.is_steady:
            return
        if self._stop is not None:
            wishes, self._wishes = self._wishes, []
            for wish in wishes:
                if wish.answer is not None:
                    wish.answer(Outcome("lbsplice is stopping"))
            return
        what = self._wishes[0].what
        self._granted = [wish for wish in self._wishes if wish.what == what]
        self._wishes = [wish for wish in self._wishes if wish.what != what]
        self._own.notifier.reloading()
        self._console.begin_record()
        family = self.family
        prepare = family.estate.prepare
        tools = Tools(self._reactor, family, self._console, self._settings, self._read, prepare)
        if what == RELOAD:
            self._operation = Reloading(tools, self._done)
        else:
            self._operation = Upgrading(tools, self._done, self._hand_over)

    def _done(self, error: str | None) -> None:
        granted, self._granted, self._operation = self._granted, [], None
        self.tell_outcome(granted[0].what, error, [each.answer for each in granted])
        self._grant()

    def _hand_over(self) -> Handover:
        """What the next program has to know."""
        family, meeting = self.family, self.meeting
        office, setup, estate = family.office, family.setup, family.estate
        assert office is not None
        assert setup is not None
        place = estate.meeting_place
        return Handover(
            worker=office.pid,
            vault=office.vault,
            channel=office.channel.fileno(),
            request=office.request.fileno(),
            ledger=estate.ledger,
            journal=estate.journal,
            listeners=setup.listeners.held(),
            rendezvous=-1 if meeting is None else meeting.listener.fileno(),
            worker_rendezvous=-1 if place is None else place.fileno(),
            callers=() if meeting is None else tuple(meeting.waiting),
            activated=self.activated,
            configuration=json.dumps(plain(setup.config)),
            reloads=self.reloads.done,
            failed=self.reloads.failed,
        )

    def tell_outcome(
        self, what: str, error: str | None, answers: Sequence[Callable[[Outcome], None] | None]
    ) -> None:
        """To everybody: the console, systemd, those who asked."""
        self._tell_stop()  # it may have gone to a worker that did not come to be
        self.reloads.note(error)
        messages = tuple(self._console.end_record())  # who asked gets the error beside them
        if error is not None:
            self._console.alert(f"{what} failed, nothing has changed: {error}")
        self._own.notifier.ready(
            "Ready." if error is None else f"{what.capitalize()} failed: {error.splitlines()[0]}"
        )
        if self._stop is not None:
            self._own.notifier.stopping()
        outcome = Outcome(error, messages)
        for answer in answers:
            if answer is not None:
                answer(outcome)
