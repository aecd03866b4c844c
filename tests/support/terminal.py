"""A real terminal with a program in it (tmux): what is on its screen, and keys for it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

WITHIN_S = 20.0
HAVE_TMUX = shutil.which("tmux") is not None


class Terminal:
    """`with Terminal(directory, command) as terminal`: ended with all that runs in it."""

    def __init__(
        self,
        directory: Path,
        command: Sequence[str],
        *,
        width: int = 140,
        height: int = 30,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._socket = str(directory / "tmux.sock")
        self._command = shlex.join(command)
        self._size = ("-x", str(width), "-y", str(height))
        self._env = {**os.environ, **(env or {}), "LC_ALL": "C.UTF-8"}
        self._env.pop("TMUX", None)

    def __enter__(self) -> Terminal:
        # The command ends in a line of its own, so that how it ended can be read.
        command = f'{self._command}; echo "ended: $?"; exec cat'
        self._tmux("-f", "/dev/null", "new-session", "-d", *self._size, command)
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", self._socket, *words],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=True,
        )
        return done.stdout

    def screen(self, *, colours: bool = False) -> str:
        """What is on it now."""
        return self._tmux("capture-pane", "-p", *(("-e",) if colours else ()))

    def types(self, *keys: str) -> Terminal:
        """Press keys, each in tmux's words (`Down`, `Enter`, `q`)."""
        for key in keys:
            self._tmux("send-keys", key)
        return self

    def signals(self, name: str, command: str) -> Terminal:
        """Send this signal to what runs in it with these words in its command line."""
        shell = int(self._tmux("list-panes", "-F", "#{pane_pid}"))
        words = command.split()
        (meant,) = [
            process
            for process in psutil.Process(shell).children(recursive=True)
            if words[0] in " ".join(process.cmdline()) and words[-1] in process.cmdline()
        ]
        meant.send_signal(signal.Signals[f"SIG{name}"])
        return self

    def resizes(self, width: int, height: int) -> Terminal:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))
        return self

    def shows(self, *texts: str) -> str:
        """Wait until all of them are on the screen; it, then."""
        return self.fits(lambda screen: all(text in screen for text in texts), ", ".join(texts))

    def fits(self, condition: Callable[[str], object], what: str) -> str:
        """Wait until the screen is as `condition` wants it; it, then."""

        def fitting() -> str:
            screen = self.screen()
            return screen if condition(screen) else ""

        try:
            return wait_until(fitting, what, WITHIN_S)
        except AssertionError as why:
            raise AssertionError(f"{why}; on the screen is:\n{self.screen()}") from None
