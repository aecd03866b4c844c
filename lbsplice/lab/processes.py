"""The lab's child processes: their output as lines with a time, and an end for certain.

Each child runs in a session of its own, so that Ctrl-C reaches the lab alone, which then ends the
children in its own order."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import IO

_STOP_WITHIN_S = 5.0
_KEPT_LINES = 5


@dataclass(frozen=True)
class Line:
    """One line that a child wrote. `text` is None when its output has ended."""

    at: float
    """time.monotonic() when it was read."""
    source: Child
    text: str | None


Inbox = queue.SimpleQueue[Line]


@contextmanager
def cleaned_up() -> Iterator[ExitStack]:
    """An ExitStack that a second Ctrl-C can not interrupt while it takes things down."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    with ExitStack() as stack:
        try:
            yield stack
        finally:
            before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
            try:
                stack.close()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)


class Child:
    """A running program. It starts in the calling thread's network namespace.

    Lines of its output go to `inbox`; the last lines of its error output are kept. Raises OSError
    when it can not be started."""

    def __init__(self, name: str, command: Sequence[str], inbox: Inbox) -> None:
        self.name = name
        self._inbox = inbox
        self._last_words: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
        self._input = _opened(self._process.stdin)
        output, errors = _opened(self._process.stdout), _opened(self._process.stderr)
        self._readers = [
            threading.Thread(target=self._read_output, args=[output], daemon=True),
            threading.Thread(target=self._read_errors, args=[errors], daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """The end of its error output, in one line."""
        if not self.running():
            self._readers[1].join(_STOP_WITHIN_S)
        return " | ".join(self._last_words)

    def tell(self, text: str) -> None:
        """Write one line to its standard input. A child that is gone is not told: its output's end
        says so already."""
        with suppress(BrokenPipeError):
            self._input.write(text + "\n")
            self._input.flush()

    def kill(self) -> None:
        """End it without a word (SIGKILL), and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL for the whole process group when that takes too long."""
        with suppress(BrokenPipeError):
            self._input.close()
        if self.running():
            self._process.terminate()
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()
        for reader in self._readers:
            reader.join(_STOP_WITHIN_S)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _read_output(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._inbox.put(Line(time.monotonic(), self, line.rstrip("\n")))
        self._inbox.put(Line(time.monotonic(), self, None))

    def _read_errors(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._last_words.append(line.rstrip("\n"))


def _opened(stream: IO[str] | None) -> IO[str]:
    assert stream is not None, "every stream of a child is a pipe"
    return stream
