"""From a valid configuration to a running service and to its end: the start-up sequence,
the signals, the exit status.

The order of a start: limits, listeners, pid file, background, rights, workers, and only
then "ready". Whatever fails before "ready" is told on the starter's standard error and in
its exit status, also when the daemon is in the background by then.

    SIGTERM SIGINT   end all sessions, exit 0 (143, 130 with -W and -Ws); twice: at once
    SIGUSR1          accept no more; exit 0 after the last session or `hard-stop-after`
    SIGHUP           write every server's state to the log
    SIGUSR2          (reload) is answered with a warning: it is not supported yet
    SIGPIPE SIGTTIN SIGTTOU   are ignored"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn, Protocol

from lbsplice import limits, process
from lbsplice.config.model import Config
from lbsplice.console import Console
from lbsplice.errors import EnvironmentLacks, LbspliceError
from lbsplice.listeners import Key, Listeners, open_listeners
from lbsplice.notify import Notifier
from lbsplice.terms import Cause

QUIT_WITHIN_S = 5.0
"""How long the workers may take to end all sessions once told to."""

_PROGRAM = "[lbsplice.main()]"


class Service(Protocol):
    """What is supervised: lbsplice.orchestrator.Orchestrator, or a test's stand-in."""

    async def start(self) -> None: ...

    def soft_stop(self) -> None: ...

    def hard_stop(self, cause: Cause) -> None: ...

    async def wait_stopped(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Share:
    """What a service gets to work with."""

    sockets: Mapping[Key, socket.socket]
    threads: int
    maxconn: int
    max_pipes: int
    pid: int  # of the log lines
    aloud: bool = False  # they may go to standard error as well


Assemble = Callable[[Config, Share], Service]


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


def run(config: Config, settings: Settings, console: Console, assemble: Assemble) -> int:
    """Serve until told to stop; the exit status. In the background it is the daemon
    that returns from here; the process that called has exited by then."""
    config = _with_settings(config, settings)
    settings = _settle_mode(config, settings, console)
    own = _Belongings()
    status = 1
    try:
        identity = process.identity(config.global_)
        workers = limits.threads(config.global_.nbthread, process.usable_cpus())
        given = _give_limits(config, settings, workers, console)
        own.listeners = open_listeners(config, given.maxconn)
        _tell_troubles(own.listeners, console)
        path = settings.pidfile or config.global_.pidfile
        if path is not None and (settings.daemon or settings.master):
            own.pidfile = process.PidFile.create(path)
        if settings.daemon:
            own.detachment = process.Detachment.begin()
        if own.pidfile is not None:
            own.pidfile.write(os.getpid())
        own.notifier = Notifier(os.environ if settings.notify else {})
        sockets = own.listeners.sockets
        aloud = not (settings.daemon or console.quiet)
        service = assemble(
            config, Share(sockets, workers, given.maxconn, given.max_pipes, os.getpid(), aloud)
        )
        identity.take()
        watch = _Watch(service, config, settings, console, own)
        status = asyncio.run(watch.serve())
    except LbspliceError as why:
        console.alert(str(why))
    finally:
        own.give_back(status)
    return status


def _give_limits(
    config: Config, settings: Settings, workers: int, console: Console
) -> limits.Limits:
    descriptors = process.raise_descriptor_limit(config.global_.ulimit_n)
    given = limits.settle(config, workers, descriptors, settings.maxconn)
    if given.warning is not None:
        console.warning(f"{_PROGRAM} {given.warning}")
    if settings.verbose:
        console.plain("Using epoll() as the polling mechanism.")
        if config.global_.maxconn is None and settings.maxconn is None:
            console.plain(f"Note: setting global.maxconn to {given.maxconn}.")
    return given


@dataclass(slots=True)
class _Belongings:
    """What a run holds outside of its service, and has to give back at any end."""

    listeners: Listeners = field(default_factory=Listeners)
    pidfile: process.PidFile | None = None
    detachment: process.Detachment | None = None
    notifier: Notifier = field(default_factory=lambda: Notifier({}))
    ready: bool = False

    def announce_ready(self) -> None:
        self.ready = True
        if self.detachment is not None:
            self.detachment.succeed()
        self.notifier.ready()

    def give_back(self, status: int) -> None:
        self.listeners.close()
        self.notifier.close()
        if not self.ready:
            if self.pidfile is not None:
                self.pidfile.discard()
            if self.detachment is not None:
                self.detachment.fail(status or 1)


def _with_settings(config: Config, settings: Settings) -> Config:
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


def _settle_mode(config: Config, settings: Settings, console: Console) -> Settings:
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


def _tell_troubles(listeners: Listeners, console: Console) -> None:
    for trouble in listeners.troubles:
        (console.alert if trouble.fatal else console.warning)(trouble.text)
    if listeners.failed:
        raise EnvironmentLacks(
            f"{_PROGRAM} Some protocols failed to start their listeners! Exiting."
        )


class _Watch:
    """One run of a service: waits for signals and carries them out."""

    def __init__(
        self,
        service: Service,
        config: Config,
        settings: Settings,
        console: Console,
        own: _Belongings,
    ) -> None:
        self._service = service
        self._hard_stop_after_ms = config.global_.hard_stop_after
        self._master = settings.master
        self._console = console
        self._own = own
        self._status = 0
        self._told_to_quit = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._early: list[Callable[[], None]] = []
        self._stopping = False
        self._broken: BaseException | None = None

    async def serve(self) -> int:
        """Start the service, say so, wait for its end; the exit status. When the service
        breaks this does not return: its workers may be anywhere, nobody waits for them."""
        try:
            await self._serve()
        except LbspliceError as why:
            self._leave(1, str(why))
        except Exception:
            traceback.print_exc()
            self._leave(1, "lbsplice ends because of an error of its own")
        return self._status

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._broke)
        self._take_signals(loop)
        await self._service.start()
        self._started = True
        for early in self._early:
            early()
        stopped = asyncio.create_task(self._service.wait_stopped())
        quitting = asyncio.create_task(self._told_to_quit.wait())
        self._own.announce_ready()
        try:
            await asyncio.wait({stopped, quitting}, return_when=asyncio.FIRST_COMPLETED)
            if self._broken is None and not stopped.done():
                await asyncio.wait({stopped}, timeout=QUIT_WITHIN_S)
            if self._broken is not None:
                raise self._broken
            if not stopped.done():
                self._leave(self._status, "the workers do not end; leaving them")
            await stopped  # an error of the service is ours
        finally:
            quitting.cancel()
            if self._timer is not None:
                self._timer.cancel()
        # the loop gives the signals up when it closes: late ones must not change the status
        signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP}
        )

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._once_started, partial(self._quit, number))
        loop.add_signal_handler(signal.SIGUSR1, self._once_started, self._finish)
        loop.add_signal_handler(signal.SIGUSR2, self._refuse_reload)
        loop.add_signal_handler(signal.SIGHUP, self._once_started, self._dump)

    def _once_started(self, obey: Callable[[], None]) -> None:
        """A service can only be stopped once it runs."""
        if self._started:
            obey()
        else:
            self._early.append(obey)

    def _broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or a forgotten task failed: nothing is swallowed, the program ends."""
        loop.default_exception_handler(context)
        self._broken = context.get("exception") or LbspliceError(context["message"])
        self._told_to_quit.set()

    def _begin_stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._own.notifier.stopping()

    def _quit(self, number: int) -> None:
        """End all sessions now; asked a second time, wait for nothing."""
        if self._told_to_quit.is_set():
            self._leave(self._status)
        self._status = process.exit_status(number, self._master)
        self._begin_stop()
        self._end_sessions()

    def _finish(self) -> None:
        """Accept no more and let the sessions end by themselves, up to `hard-stop-after`."""
        if self._stopping:
            return
        self._begin_stop()
        self._service.soft_stop()
        self._own.listeners.retire()
        if self._hard_stop_after_ms is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._hard_stop_after_ms / 1000, self._end_sessions)

    def _end_sessions(self) -> None:
        self._told_to_quit.set()
        self._service.hard_stop(Cause.KILLED)
        self._own.listeners.retire()

    def _leave(self, status: int, why: str | None = None) -> NoReturn:
        """Exit with what is still running: the kernel closes everything."""
        if why is not None:
            self._console.alert(why)
        self._own.give_back(status)
        sys.stdout.flush()
        os._exit(status)

    def _refuse_reload(self) -> None:
        self._console.warning(
            f"{_PROGRAM} reload (SIGUSR2) is not supported yet; the configuration stays as it is"
        )

    def _dump(self) -> None:
        dump = getattr(self._service, "dump_states", None)
        if dump is not None:
            dump()
