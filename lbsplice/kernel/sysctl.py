"""The sysctls of the network namespace that the calling thread is in."""

from __future__ import annotations

import os
from pathlib import Path

from lbsplice.errors import EnvironmentLacks
from lbsplice.sysctl.keys import KEYS
from lbsplice.sysctl.values import Sysctls


def path_of(name: str) -> Path:
    """The file of a sysctl, as the calling thread's namespace has it."""
    return Path("/proc/sys", *name.split("."))


def read(name: str) -> str | None:
    """The present value, or None where this kernel has no such sysctl. Raises
    `EnvironmentLacks` where it may not be read."""
    try:
        return " ".join(path_of(name).read_text().split())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentLacks(f"{name} can not be read: {error.strerror}") from error


def write(name: str, value: str) -> None:
    """Set a value at once. Raises `EnvironmentLacks` with what would help."""
    try:
        descriptor = os.open(path_of(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EnvironmentLacks(f"{name} = {value} is refused: {error.strerror}") from error


def present() -> Sysctls:
    """All values that lbsplice knows the meaning of, of this machine."""
    found = {name: value for name in KEYS if (value := read(name)) is not None}
    return Sysctls(found, "the sysctls of this machine")
