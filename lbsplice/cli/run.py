"""`lbsplice run`: from HAProxy's command line to an exit status.

Imports of the service itself come late: a check of a configuration needs no data plane,
and a stop signal that comes early is answered in order."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from lbsplice.cli import version
from lbsplice.cli.arguments import USAGE, Arguments, Unsupported, UsageError, parse
from lbsplice.config.conditions import evaluate
from lbsplice.config.files import read_sources
from lbsplice.config.messages import Message, Severity
from lbsplice.config.model import Config
from lbsplice.config.parse import parse as parse_config
from lbsplice.console import Console
from lbsplice.errors import ConfigError, EnvironmentLacks, LbspliceError
from lbsplice.process import hold_standard_streams
from lbsplice.resolve import resolve
from lbsplice.supervisor import Service, Settings, Share
from lbsplice.supervisor import run as supervise


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
    _set_environment(arguments)
    try:
        if arguments.directory is not None:
            _change_directory(arguments.directory)
        config, warned = _read(arguments.files, console)
    except ConfigError as why:
        console.alert(f"config : {why}")
        return 1
    except LbspliceError as why:
        console.alert(str(why))
        return 1
    if config is None:
        return 1
    if warned and (arguments.zero_warning or config.global_.zero_warning):
        console.alert("config : Some warnings were found and 'zero-warning' is set. Aborting.")
        return 1
    if arguments.check:
        if not arguments.quiet:
            if warned:
                print("Warnings were found.")
            if arguments.verbose:
                print("Configuration file is valid")
        return 0
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
    )
    return supervise(config, settings, console, assemble)


def _read(files: Sequence[str], console: Console) -> tuple[Config | None, bool]:
    """The configuration, or None after its errors were told; and whether there were warnings."""
    outcome = parse_config(read_sources(files), os.environ)
    console.show(outcome.messages)
    if outcome.config is None:
        return None, _has_warning(outcome.messages)
    resolved = resolve(outcome.config)
    console.show(resolved.messages)
    return resolved.config, _has_warning((*outcome.messages, *resolved.messages))


def _has_warning(messages: Sequence[Message]) -> bool:
    return any(message.severity is Severity.WARNING for message in messages)


def _set_environment(arguments: Arguments) -> None:
    """What HAProxy lets a configuration ask of the way it was started."""
    os.environ["HAPROXY_LOCALPEER"] = arguments.local_peer or socket.gethostname()
    os.environ["HAPROXY_CFGFILES"] = ";".join(arguments.files)
    if arguments.master:
        os.environ["HAPROXY_MWORKER"] = "1"


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as why:
        raise EnvironmentLacks(f"Could not change to directory {path} : {why.strerror}") from why


def assemble(config: Config, share: Share) -> Service:
    """The real service: workers, checks and the log."""
    from lbsplice.orchestrator import Orchestrator
    from lbsplice.report.hub import Hub

    return Orchestrator(
        config,
        share.sockets,
        Hub(config.global_, pid=share.pid, aloud=share.aloud),
        threads=share.threads,
        maxconn=share.maxconn,
        max_pipes=share.max_pipes,
    )
