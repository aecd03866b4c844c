"""What is said on standard error before and beside the log, in HAProxy's shape:

    [NOTICE]   (1909) : lbsplice version is 0.1.0
    [ALERT]    (1909) : Binding [lb.cfg:7] for proxy l: cannot bind socket (...)

The two lines that say who speaks come once, before the first line of all."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable

from lbsplice import __version__
from lbsplice.config.messages import Message, Severity, render


class Console:
    """Standard error of a daemon. `quiet` says nothing at all. Standard error that is
    closed or a pipe nobody reads any more is no reason to stop."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._introduced = False

    def show(self, messages: Iterable[Message]) -> None:
        """What reading the configuration had to say."""
        for message in messages:
            self._write(render(message, os.getpid()))

    def warning(self, text: str) -> None:
        self._write(line(Severity.WARNING, text))

    def alert(self, text: str) -> None:
        self._write(line(Severity.ALERT, text))

    def plain(self, text: str) -> None:
        """A line without severity, as `-V` gives them."""
        if not self.quiet:
            _to_stderr(text)

    def _write(self, text: str) -> None:
        if self.quiet:
            return
        if not self._introduced:
            self._introduced = True
            _to_stderr(line(Severity.NOTICE, f"lbsplice version is {__version__}"))
            _to_stderr(line(Severity.NOTICE, f"path to executable is {executable()}"))
        _to_stderr(text)


def line(severity: Severity, text: str) -> str:
    """One line in HAProxy's shape; the pid is always the one of now."""
    return render(Message(severity, text, area=""), os.getpid())


def executable() -> str:
    """The program as it was called."""
    return os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else sys.executable


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)
