"""From a configuration and a command line to what a supervisor works with: the mode, the
limits, the listening sockets, the pid file, the background.

Whatever fails here is told on the starter's standard error and in its exit status, also
when the daemon is in the background by then."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lbsplice import limits, process
from lbsplice.config.model import Config, LogTarget
from lbsplice.console import Console
from lbsplice.errors import EnvironmentLacks
from lbsplice.limits import Limits
from lbsplice.listeners import Listeners
from lbsplice.migration import Predecessors
from lbsplice.notify import Notifier
from lbsplice.process import Identity

PROGRAM = "[lbsplice.main()]"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line adds to the configuration."""

    daemon: bool = False
    foreground: bool = False  # wins over `daemon`, wherever that was said
    master: bool = False
    notify: bool = False
    verbose: bool = False
    debug: bool = False
    pidfile: str | None = None
    maxconn: int | None = None
    proxy_maxconn: int | None = None
    files: tuple[str, ...] = ()  # that the configuration was read from: our name
    before: Predecessors = field(
        default_factory=Predecessors
    )  # other programs, whose place we take


@dataclass(slots=True)
class Setup:
    """A configuration that is, or is about to be, in force, with what was made for it."""

    config: Config
    threads: int
    limits: Limits
    identity: Identity
    listeners: Listeners


@dataclass(slots=True)
class Belongings:
    """What a run holds beside its workers, and has to give back at any end."""

    pidfile: process.PidFile | None = None
    detachment: process.Detachment | None = None
    notifier: Notifier = field(default_factory=lambda: Notifier({}))
    ready: bool = False

    @property
    def null(self) -> int:
        """/dev/null for a worker that has to leave the starter's streams, or -1."""
        return -1 if self.detachment is None else self.detachment.null

    def announce_ready(self) -> None:
        self.ready = True
        if self.detachment is not None:
            self.detachment.succeed()
        self.notifier.ready()

    def give_back(self, status: int) -> None:
        self.notifier.close()
        if not self.ready:
            if self.pidfile is not None:
                self.pidfile.discard()
            if self.detachment is not None:
                self.detachment.fail(status or 1)


OpenListeners = Callable[[Config, int], Listeners]
"""From a configuration and the process's maxconn."""


def with_settings(config: Config, settings: Settings) -> Config:
    """`-N`: the maxconn of proxies that name none."""
    if settings.proxy_maxconn is None:
        return config
    proxies = tuple(
        replace(proxy, maxconn=settings.proxy_maxconn)
        if proxy.maxconn is None and proxy.has_frontend
        else proxy
        for proxy in config.proxies
    )
    return replace(config, proxies=proxies)


def settle_mode(config: Config, settings: Settings, console: Console) -> Settings:
    """What the command line and `daemon`, `debug`, `quiet`, `master-worker` make together."""
    global_ = config.global_
    debug = settings.debug or global_.debug
    daemon = settings.daemon or (global_.daemon and not settings.foreground)
    quiet = console.quiet or (global_.quiet and not settings.verbose)
    if debug and (daemon or quiet):
        console.quiet = quiet = False
        if not settings.debug:
            console.warning(
                "<debug> mode incompatible with <quiet> and <daemon>. Keeping <debug> only."
            )
        daemon = False
    console.quiet = quiet
    return replace(
        settings,
        daemon=daemon and not settings.foreground,
        master=settings.master or global_.master_worker,
        verbose=settings.verbose or debug,
    )


def set_up(
    config: Config, settings: Settings, console: Console, open_listeners: OpenListeners
) -> Setup:
    """Rights, limits and listening sockets. Raises EnvironmentLacks."""
    identity = process.identity(config.global_)
    threads = limits.threads(config.global_.nbthread, process.usable_cpus())
    descriptors = process.raise_descriptor_limit(config.global_.ulimit_n)
    given = limits.settle(config, threads, descriptors, settings.maxconn)
    if given.warning is not None:
        console.warning(f"{PROGRAM} {given.warning}")
    if settings.verbose:
        console.plain("Using epoll() as the polling mechanism.")
        if config.global_.maxconn is None and settings.maxconn is None:
            console.plain(f"Note: setting global.maxconn to {given.maxconn}.")
    listeners = open_listeners(config, given.maxconn)
    try:
        tell_troubles(listeners, console)
    except EnvironmentLacks:
        listeners.close()
        raise
    return Setup(config, threads, given, identity, listeners)


def tell_troubles(listeners: Listeners, console: Console) -> None:
    """Say what went wrong with listeners. Raises EnvironmentLacks if they can not be used."""
    for trouble in listeners.troubles:
        (console.alert if trouble.fatal else console.warning)(trouble.text)
    if listeners.failed:
        raise EnvironmentLacks(
            f"{PROGRAM} Some protocols failed to start their listeners! Exiting."
        )


def take_place(settings: Settings, config: Config, own: Belongings) -> None:
    """The pid file, the background, the watcher."""
    path = settings.pidfile or config.global_.pidfile
    if path is not None and (settings.daemon or settings.master):
        own.pidfile = process.PidFile.create(path)
    if settings.daemon:
        own.detachment = process.Detachment.begin()
    if own.pidfile is not None:
        own.pidfile.write(os.getpid())
    own.notifier = Notifier(os.environ if settings.notify else {})


def unchangeable(before: Config, after: Config) -> Sequence[str]:
    """What a reload can not change, in words, where it was changed all the same."""
    told = []
    old, new = before.global_, after.global_
    for keyword in ("user", "uid", "group", "gid", "chroot", "ulimit_n", "pidfile", "daemon"):
        if getattr(old, keyword) != getattr(new, keyword):
            name = keyword.replace("_", "-")
            told.append(f"'{name}' was changed; that takes effect at the next start only.")
    return told


def log_descriptors(config: Config) -> set[int]:
    """`log fd@N`: descriptors that are open already and keep their numbers."""
    logs = [*config.global_.logs, *(log for proxy in config.proxies for log in proxy.logs)]
    return {
        int(log.address.host)
        for log in logs
        if log.target is LogTarget.FD and log.address is not None
    }
