"""The other side of `handover.Trial`: is this program fit to go on with what another one
has begun? Started by that one, never by an operator."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from lbsplice import handover
from lbsplice.cli.arguments import parse
from lbsplice.cli.reading import enter, read
from lbsplice.config.messages import Severity, render
from lbsplice.errors import ConfigError, LbspliceError

_WITHIN_S = 60
"""Names that take longer to resolve than this are no names for a start."""

_EVERYTHING = ("lbsplice.launch", "lbsplice.orchestrator", "lbsplice.report.hub")


def fitness(words: Sequence[str]) -> str | None:
    """Why it is not; None: it is. `words` are the format of the handover, the number of the
    ledger's memfd, and the command line."""
    if words[0] != str(handover.FORMAT):
        return f"it takes over in format {handover.FORMAT}, not {words[0]}"
    for module in _EVERYTHING:
        import_module(module)
    try:
        return _of_ledger(int(words[1])) or _of_configuration(words[2:])
    except ConfigError as why:
        return f"config : {why}"
    except LbspliceError as why:
        return str(why)


def _of_ledger(number: int) -> str | None:
    from lbsplice.dataplane import ledger

    version, sizes = ledger.read(number)
    if version != ledger.VERSION:
        os.close(ledger.convert(number, sizes))
    return None


def _of_configuration(words: Sequence[str]) -> str | None:
    arguments = parse(words[1:] if words[:1] == ["run"] else words)
    enter(arguments)
    found = read(arguments)
    if found.config is None:
        errors = [each for each in found.messages if each.severity is Severity.ALERT]
        lines = [render(each, os.getppid()) for each in errors]
        return "\n".join(("the configuration has errors", *lines))
    if found.warned and (arguments.zero_warning or found.config.global_.zero_warning):
        return "config : Some warnings were found and 'zero-warning' is set."
    return None


def run(words: Sequence[str]) -> None:
    """Say it on standard output; SIGALRM ends a trial that takes too long."""
    signal.alarm(_WITHIN_S)
    json.dump({"reason": fitness(words)}, sys.stdout)
    sys.stdout.flush()
