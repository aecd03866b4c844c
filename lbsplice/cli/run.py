"""`lbsplice run`: from HAProxy's command line to an exit status.

Imports of the service itself come late: a check of a configuration needs no data plane,
and a stop signal that comes early is answered in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lbsplice.cli import version
from lbsplice.cli.arguments import USAGE, Arguments, Unsupported, UsageError, parse
from lbsplice.cli.reading import enter, read, with_states
from lbsplice.config.conditions import evaluate
from lbsplice.config.model import Config
from lbsplice.console import Console
from lbsplice.errors import ConfigError, LbspliceError
from lbsplice.process import hold_standard_streams

if TYPE_CHECKING:
    from lbsplice.dataplane.worker import Workers
    from lbsplice.journal import Journal
    from lbsplice.operations import Reading
    from lbsplice.service import Finish, Service, Share, Succession


def run(words: Sequence[str]) -> int:
    """Do what a command line in HAProxy's words asks for; the exit status."""
    hold_standard_streams()
    console = Console()
    try:
        arguments = parse(words)
    except UsageError as why:
        print(version.brief())
        console.plain(f"{why}\n{USAGE}")
        return 1
    except Unsupported as why:
        console.alert(str(why))
        return 1
    console.quiet = arguments.quiet
    if arguments.version:
        print(version.brief() if arguments.version == 1 else version.full())
        return 0
    if arguments.condition is not None:
        return _test_condition(arguments.condition, console)
    if not arguments.files:
        print(version.brief())
        console.plain(USAGE)
        return 1
    return _run_files(arguments, console)


def _test_condition(condition: str, console: Console) -> int:
    """0 true, 1 false, 2 not a condition."""
    try:
        return 0 if evaluate(condition, os.environ) else 1
    except ConfigError as why:
        console.alert(f"config : Failed to evaluate condition: {why}")
        return 2


def _run_files(arguments: Arguments, console: Console) -> int:
    try:
        enter(arguments)
        environment = dict(os.environ)  # as it is before `setenv` and its kin
        found = with_states(read(arguments))
    except ConfigError as why:
        console.alert(f"config : {why}")
        return 1
    except LbspliceError as why:
        console.alert(str(why))
        return 1
    console.show(found.messages)
    config = found.config
    if config is None:
        return 1
    if found.warned and (arguments.zero_warning or config.global_.zero_warning):
        console.alert(_WARNED)
        return 1
    if arguments.check:
        if not arguments.quiet:
            if found.warned:
                print("Warnings were found.")
            if arguments.verbose:
                print("Configuration file is valid")
        return 0
    return _serve(config, arguments, environment, console)


_WARNED = "config : Some warnings were found and 'zero-warning' is set. Aborting."


def _serve(
    config: Config, arguments: Arguments, environment: dict[str, str], console: Console
) -> int:
    # Now, so that no worker process has to: a successor shall be at work in no time.
    import lbsplice.orchestrator
    import lbsplice.report.hub  # noqa: F401
    from lbsplice.launch import run as launch
    from lbsplice.startup import Settings

    settings = Settings(
        daemon=arguments.daemon,
        foreground=arguments.foreground,
        master=arguments.master,
        notify=arguments.notify,
        verbose=arguments.verbose,
        debug=arguments.debug,
        pidfile=arguments.pidfile,
        maxconn=arguments.maxconn,
        proxy_maxconn=arguments.proxy_maxconn,
        files=arguments.files,
        before=arguments.before,
    )

    def again() -> Reading:
        return _read_again(arguments, environment)

    return launch(config, settings, console, assemble, again, prepare)


def _read_again(arguments: Arguments, environment: dict[str, str]) -> Reading:
    """For a reload, in a process of its own."""
    from lbsplice.operations import Reading

    os.environ.clear()
    os.environ.update(environment)
    try:
        found = read(arguments)
    except ConfigError as why:
        return Reading(None, (), f"config : {why}")
    except LbspliceError as why:
        return Reading(None, (), str(why))
    config = found.config
    if found.warned and config and (arguments.zero_warning or config.global_.zero_warning):
        return Reading(None, found.messages, _WARNED)
    return Reading(config, found.messages)


def prepare(config: Config) -> None:
    """Import in the supervisor, for all worker processes, what those need who ask them; or
    leave it to each worker once it relays, if it can reach the files then as well."""
    global_ = config.global_
    if global_.stats_sockets or config.pages or global_.chroot or global_.places:
        from lbsplice.admin.desk import load

        load(config)


def assemble(config: Config, share: Share) -> Finish:
    """The real service: checks, decisions and the log around the relay threads, and those
    who ask."""
    from lbsplice.orchestrator import Orchestrator
    from lbsplice.report.hub import Hub

    prepare(config)
    hub = Hub(config.global_, pid=share.pid, aloud=share.aloud)
    hub.prepare(config)

    def finish(workers: Workers, journal: Journal, succession: Succession | None) -> Service:
        from lbsplice.admin.desk import Desk

        orchestrator = Orchestrator(
            config,
            share.sockets,
            hub,
            workers=workers,
            journal=journal,
            maxconn=share.maxconn,
            succession=succession,
        )
        return Desk(orchestrator, share)

    return finish
