"""What a running program can be told to do beside ending: a reload and an upgrade.

One is carried out after the other; what was asked for meanwhile in the same words is
answered with the same outcome. Each changes nothing unless it succeeds."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from lbsplice import handover, limits, process
from lbsplice.config.messages import Message as Told
from lbsplice.config.model import Config
from lbsplice.console import Console
from lbsplice.dataplane.ledger import Sizes
from lbsplice.errand import Errand
from lbsplice.errors import EnvironmentLacks, LbspliceError
from lbsplice.family import Family
from lbsplice.listeners import reopen, retired
from lbsplice.protocol import Reload, Reloaded
from lbsplice.reactor import Reactor
from lbsplice.rooms import sizes_for
from lbsplice.service import Prepare
from lbsplice.startup import (
    Settings,
    Setup,
    log_descriptors,
    tell_troubles,
    unchangeable,
    with_settings,
)
from lbsplice.worker_listeners import rows

_QUIET_WITHIN_S = 0.01

_TRIES = 3
"""So many workers may die in the middle of a reload before it is given up."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading the configuration brought: None after errors."""

    config: Config | None
    messages: tuple[Told, ...] = ()
    error: str | None = None  # what is not in the messages


Read = Callable[[], Reading]


Finish = Callable[[str | None], None]
"""Called once with why nothing has changed, or None."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What operations work with."""

    reactor: Reactor
    family: Family
    console: Console
    settings: Settings
    read: Read
    prepare: Prepare


class Operation(Protocol):
    """One that is under way."""

    def answered(self, answer: Reloaded) -> None:
        """What the worker made of it."""

    def worker_is_ready(self) -> None:
        """Another one than the one that was told."""


class Reloading:
    """The configuration is read again and put in force in the running worker; in a new one
    where the ledger's tables are too small."""

    def __init__(self, tools: Tools, finish: Finish) -> None:
        self._tools = tools
        self._finish = finish
        self._before: Setup | None = None  # these two once it was read
        self._setup: Setup | None = None
        self._tries = 0
        self._replacing = False
        try:
            Errand(tools.reactor, tools.read, self._read)
        except OSError as why:
            # From the loop: whoever began this may have to get to know of it first.
            text = f"no process can be made ({why.strerror})"
            tools.reactor.after(0, lambda: finish(text))

    def _read(self, reading: Reading | None) -> None:
        if reading is None:
            self._finish("reading the configuration was interrupted")
            return
        tools, before = self._tools, self._tools.family.setup
        tools.console.show(reading.messages)
        assert before is not None
        try:
            if reading.config is None:
                raise LbspliceError(reading.error or "the configuration has errors")
            setup = _renewed(before, with_settings(reading.config, tools.settings), tools)
        except LbspliceError as why:
            self._finish(str(why))
            return
        self._before, self._setup = before, setup
        for text in unchangeable(before.config, setup.config):
            tools.console.warning(text)
        if setup.threads == tools.family.sizes.threads:
            self._tell(before, setup)
        else:
            self._replace("the number of threads changes")

    # ---- in the running worker ----

    def _tell(self, before: Setup, setup: Setup) -> None:
        self._tries += 1
        told, descriptors = rows(before.listeners.held(), setup.listeners.held())
        configuration = pickle.dumps((setup.config, setup.limits))
        self._tools.family.tell(Reload(configuration, told), descriptors)

    def answered(self, answer: Reloaded) -> None:
        if answer.needs_room:
            self._replace(answer.error or "")
        else:
            self._end(answer.error)

    def worker_is_ready(self) -> None:
        if self._before is None or self._setup is None or self._replacing:
            return
        if self._tries < _TRIES:
            self._tell(self._before, self._setup)
        else:
            self._end("the worker died of it")

    # ---- in a new one ----

    def _replace(self, why: str) -> None:
        setup, family = self._setup, self._tools.family
        assert setup is not None
        self._replacing = True
        sizes = larger(sizes_for(setup.config, setup.threads, setup.limits), family.sizes)
        family.replace(f"the configuration was reloaded ({why})", setup, sizes, self._end)

    def _end(self, error: str | None) -> None:
        before, setup = self._before, self._setup
        assert before is not None
        assert setup is not None
        if error is None:
            self._tools.family.works_with(setup)
            retired(before.listeners, setup.listeners).close()
        else:
            retired(setup.listeners, before.listeners).close()
        self._finish(error)


def larger(fresh: Sizes, there: Sizes) -> Sizes:
    """Sizes for a configuration that would have `fresh` ones, after one that had the
    others: what is leaving needs its place beside all that is new."""
    return replace(
        fresh,
        sessions=max(fresh.sessions, there.sessions),
        pipes=max(fresh.pipes, there.pipes),
        listeners=fresh.listeners + there.listeners,
        frontends=fresh.frontends + there.frontends,
        backends=fresh.backends + there.backends,
        slots=fresh.slots + there.slots,
    )


def _renewed(before: Setup, config: Config, tools: Tools) -> Setup:
    """What is in force with another configuration. Raises LbspliceError; then nothing is
    left open."""
    _check_log_descriptors(before.config, config)
    tools.prepare(config)
    threads = limits.threads(config.global_.nbthread, process.usable_cpus())
    given = limits.settle(config, threads, process.descriptor_limit(), tools.settings.maxconn)
    if given.warning is not None:
        tools.console.warning(given.warning)
    listeners = reopen(config, before.listeners, given.maxconn)
    try:
        tell_troubles(listeners, tools.console)
    except EnvironmentLacks as why:  # of a start it says that it ends
        raise EnvironmentLacks("an address can not be listened on") from why
    return replace(before, config=config, threads=threads, limits=given, listeners=listeners)


def _check_log_descriptors(before: Config, after: Config) -> None:
    """A number that nobody handed to us at the start is one of our own sockets by now."""
    for number in sorted(log_descriptors(after) - log_descriptors(before)):
        raise LbspliceError(
            f"log : fd@{number} was not handed to the program at its start; restart it, or "
            "log to a socket or a standard stream"
        )


class Upgrading:
    """The program becomes the installed one, in the same process, and its worker is
    succeeded by one of that program. What comes after the exec is the supervisor's."""

    def __init__(
        self, tools: Tools, finish: Finish, hand_over: Callable[[], handover.Handover]
    ) -> None:
        self._tools = tools
        self._finish = finish
        self._hand_over = hand_over
        self._trial: handover.Trial | None = None
        try:
            self._trial = handover.Trial(tools.family.estate.ledger)
        except OSError as why:
            text = f"the installed program does not start ({why.strerror})"
            tools.reactor.after(0, lambda: finish(text))
        else:
            tools.reactor.others.add(self._trial.pid)
            tools.reactor.watch(self._trial, self._heard)
        self._fit = False

    def _heard(self) -> None:
        trial = self._trial
        assert trial is not None
        if trial.done():
            self._tools.reactor.forget(trial)
            reason = trial.reason()
            self._tools.reactor.others.discard(trial.pid)
            if reason is not None:
                self._finish(reason)
            else:
                self._fit = True
                self._become()

    def _become(self) -> None:
        family = self._tools.family
        if not family.is_steady:
            return  # a worker died meanwhile: when the next one is ready
        if not family.is_quiet:
            self._tools.reactor.after(_QUIET_WITHIN_S, self._become)
            return
        try:
            handover.give(self._hand_over())
        except LbspliceError as why:
            self._finish(str(why))

    def answered(self, answer: Reloaded) -> None:
        """Nothing was told to the worker."""

    def worker_is_ready(self) -> None:
        if self._fit:
            self._become()
