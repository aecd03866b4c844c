"""The program that runs: how it was started, and whether it is still the one installed.

Imported before anything changes the directory or the environment: it remembers both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

_PARTS = frozenset((".py", ".so"))


def _directory() -> str | None:
    with contextlib.suppress(OSError):  # it may have been removed
        return str(Path.cwd())
    return None


STARTED_IN = _directory()
"""The working directory at the start: `-C` may change it later, and a path on the command
line, of the program itself or in PYTHONPATH, may be relative to this one."""

_ENVIRONMENT = dict(os.environ)

HANDOVER = "LBSPLICE_HANDOVER"
"""The variable that lbsplice/handover.py is found by."""

_OF_ONE_PROCESS = frozenset((HANDOVER, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))


def identity(package: Path = PACKAGE) -> str:
    """A digest that changes when another release, or another Python, is installed in the
    place of this one: over the names, sizes and times of the package's files."""
    digest = hashlib.sha256(f"{sys.version}\n".encode())
    for path in sorted(package.rglob("*")):
        if path.suffix in _PARTS:
            with contextlib.suppress(OSError):  # it is being replaced: another digest, too
                about = path.stat()
                digest.update(f"{path}\0{about.st_size}\0{about.st_mtime_ns}\n".encode())
    with contextlib.suppress(OSError):
        about = Path(sys.executable).stat()
        digest.update(f"{about.st_size}\0{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def same_words() -> list[str]:
    """The command line to start the installed program as this one was started: as a
    console script, by `python -m lbsplice` or in any other way. Exec `sys.executable`
    with it, in STARTED_IN."""
    return [sys.executable, *sys.orig_argv[1:]]


def other_words(*words: str) -> list[str]:
    """The same, with other words behind the program's name."""
    return [*same_words()[: len(sys.orig_argv) - len(sys.argv) + 1], *words]


def same_environment() -> dict[str, str]:
    """Without what a configuration has set since, and without what was meant for this
    process alone."""
    return {name: value for name, value in _ENVIRONMENT.items() if name not in _OF_ONE_PROCESS}


def go_back() -> None:
    """Change to the directory that the program was started in, if it is still there."""
    if STARTED_IN is not None:
        with contextlib.suppress(OSError):
            os.chdir(STARTED_IN)
