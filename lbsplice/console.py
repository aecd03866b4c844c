"""What is said on standard error before and beside the log, in HAProxy's shape:

    [NOTICE]   (1909) : lbsplice version is 0.1.0
    [ALERT]    (1909) : Binding [lb.cfg:7] for proxy l: cannot bind socket (...)

The two lines that say who speaks come once, before the first line of all."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterable

from lbsplice import __version__
from lbsplice.config.messages import Message, Severity, render


class Console:
    """Standard error of a daemon. `quiet` says nothing at all. Standard error that is
    closed or a pipe nobody reads any more is no reason to stop, and once `serving` is set
    none to wait: what finds no room is lost then. `startup_logs` has what was told,
    `quiet` or not, until `started` was set."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.serving = False
        self._introduced = False
        self._record: list[str] | None = None
        self.started = False
        self.startup_logs: list[str] = []

    def show(self, messages: Iterable[Message]) -> None:
        """What reading the configuration had to say."""
        for message in messages:
            self._write(render(message, os.getpid()))

    def notice(self, text: str) -> None:
        self._write(line(Severity.NOTICE, text))

    def warning(self, text: str) -> None:
        self._write(line(Severity.WARNING, text))

    def alert(self, text: str) -> None:
        self._write(line(Severity.ALERT, text))

    def plain(self, text: str) -> None:
        """A line without severity, as `-V` gives them."""
        if not self.quiet:
            _to_stderr(text)

    def begin_record(self) -> None:
        """Keep the lines from now on, for somebody else than standard error."""
        self._record = []

    def end_record(self) -> list[str]:
        lines, self._record = self._record or [], None
        return lines

    def _write(self, text: str) -> None:
        if self._record is not None:
            self._record.append(text)
        lines = [text]
        if not self._introduced:
            self._introduced = True
            lines[:0] = (
                line(Severity.NOTICE, f"lbsplice version is {__version__}"),
                line(Severity.NOTICE, f"path to executable is {executable()}"),
            )
        if not self.started:
            self.startup_logs += lines
        if self.quiet:
            return
        for each in lines:
            if self.serving:
                write_if_possible(each + "\n")
            else:
                _to_stderr(each)


def line(severity: Severity, text: str) -> str:
    """One line in HAProxy's shape; the pid is always the one of now."""
    return render(Message(severity, text, area=""), os.getpid())


def executable() -> str:
    """The program as it was called."""
    return os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else sys.executable


def write_if_possible(text: str) -> None:
    """Say something on standard error, as far as that need not be waited for: a pipe that
    nobody reads must not hold up those who serve."""
    data = text.encode(errors="backslashreplace")
    with contextlib.suppress(OSError, ValueError):
        while data and select.select((), (2,), (), 0)[1]:
            # What is writable has room for this much without waiting.
            data = data[os.write(2, data[: select.PIPE_BUF]) :]


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(text, file=sys.stderr, flush=True)
