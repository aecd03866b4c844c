"""The configuration's files as text: files and directories of `-f`, in order."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbsplice.errors import ConfigError

MAX_BYTES = 64 * 1024 * 1024
"""A configuration file longer than this is refused (somebody named a device or a log)."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the configuration. Bytes that are not UTF-8 are kept as lone
    surrogates (`surrogateescape`), so that names survive as they are."""

    name: str
    text: str

    @classmethod
    def from_bytes(cls, name: str, content: bytes) -> Source:
        return cls(name, content.decode("utf-8", "surrogateescape"))


def read_sources(paths: Sequence[str]) -> tuple[Source, ...]:
    """Read every path of the command line, in order: a file as it is, a directory's
    `*.cfg` files sorted by name (hidden ones left out), `-` as standard input.

    Raises `ConfigError` naming the path that can not be read and why."""
    return tuple(_read(path) for given in paths for path in _expand(given))


def _expand(given: str) -> list[str]:
    if given == "-" or not Path(given).is_dir():
        return [given]
    try:
        names = sorted(entry.name for entry in Path(given).iterdir() if entry.is_file())
    except OSError as error:
        raise ConfigError(_cannot("directory", given, error)) from error
    return [
        os.path.join(given, name)  # noqa: PTH118 - shown to the operator as it was written
        for name in names
        if name.endswith(".cfg") and not name.startswith(".")
    ]


def _read(path: str) -> Source:
    try:
        if path == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(_cannot("file", path, error)) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"Configuration file {path} is longer than {MAX_BYTES >> 20} MiB")
    return Source.from_bytes(path, content)


def _cannot(kind: str, path: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"Could not open configuration {kind} {path} : {reason}"
