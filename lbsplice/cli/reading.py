"""From a command line to a configuration: at a start, at a reload and for a trial alike."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from lbsplice.cli.arguments import Arguments
from lbsplice.config.files import read_sources
from lbsplice.config.messages import Message, Severity
from lbsplice.config.model import Config
from lbsplice.config.parse import parse
from lbsplice.errors import EnvironmentLacks
from lbsplice.resolve import resolve
from lbsplice.state_files import load_states


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of it. `config` is None after an error, which is among the messages."""

    config: Config | None
    messages: tuple[Message, ...]

    @property
    def warned(self) -> bool:
        return any(message.severity is Severity.WARNING for message in self.messages)


def with_states(found: Reading) -> Reading:
    """With what state files say besides: at a start, not at a reload."""
    if found.config is None:
        return found
    config, messages = load_states(found.config)
    return Reading(config, (*found.messages, *messages))


def enter(arguments: Arguments) -> None:
    """Once, before the first `read`: what HAProxy lets a configuration ask of the way it
    was started, and the directory of `-C`. Raises EnvironmentLacks."""
    os.environ["HAPROXY_LOCALPEER"] = arguments.local_peer or socket.gethostname()
    os.environ["HAPROXY_CFGFILES"] = ";".join(arguments.files)
    if arguments.master:
        os.environ["HAPROXY_MWORKER"] = "1"
    path = arguments.directory
    if path is not None:
        try:
            os.chdir(path)
        except OSError as why:
            raise EnvironmentLacks(
                f"Could not change to directory {path} : {why.strerror}"
            ) from why


def read(arguments: Arguments) -> Reading:
    """Read, check and resolve the files as they are now. Raises ConfigError when one can
    not be read at all."""
    outcome = parse(read_sources(arguments.files), os.environ)
    if outcome.config is None:
        return Reading(None, tuple(outcome.messages))
    resolved = resolve(outcome.config)
    return Reading(resolved.config, (*outcome.messages, *resolved.messages))
