"""Applying sysctls so that they can be undone: file and values change together or not at
all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lbsplice.errors import ConfigError, EnvironmentLacks
from lbsplice.kernel import sysctl
from lbsplice.sysctl.kept import Kept, merged, parse_kept
from lbsplice.sysctl.values import dotted

READ_AT_BOOT = tuple(
    Path(root, "sysctl.d") for root in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
"""Where sysctl.d(5) files are, the ones that win first."""

_SETTING = re.compile(r"\s*-?\s*([^#;\s=-][^\s=]*)\s*=")


@dataclass(frozen=True, slots=True)
class Step:
    """One value that is, or would be, changed."""

    name: str
    present: str | None
    value: str


def kept(file: Path) -> Kept:
    """What the file holds; nothing if there is none. Raises `ConfigError`."""
    try:
        return parse_kept(file.read_text(), str(file))
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise ConfigError(f"{file} can not be read: {error.strerror}") from error


def steps_to(old: Kept, values: Mapping[str, str]) -> list[Step]:
    """What `apply` would write: the wanted values, and for names that are not wanted any
    more the ones from before, unless somebody else has changed them since. Values that hold
    already are left out."""
    wanted = {
        name: value
        for name, value in old.before.items()
        if name not in values and sysctl.read(name) == old.values[name]
    }
    wanted.update(values)
    return _needed(wanted)


def steps_back(old: Kept) -> tuple[list[Step], list[str]]:
    """What `revert` would write; and the names that somebody else has changed since, which
    are left alone."""
    foreign = [name for name, value in old.values.items() if sysctl.read(name) != value]
    wanted = {name: value for name, value in old.before.items() if name not in foreign}
    return _needed(wanted), [n for n in foreign if sysctl.read(n) != old.before[n]]


def _needed(wanted: Mapping[str, str]) -> list[Step]:
    steps = [Step(name, sysctl.read(name), value) for name, value in wanted.items()]
    return [step for step in steps if step.present != step.value]


def prepared(file: Path, values: Mapping[str, str]) -> tuple[Kept, list[Step]]:
    """What `apply` would put into the file, and set. Raises `ConfigError` and
    `EnvironmentLacks`."""
    old = kept(file)
    present: dict[str, str] = {}
    for name in values:
        value = sysctl.read(name)
        if value is None:
            raise EnvironmentLacks(f"this kernel has no {name}")
        present[name] = value
    new = merged(old, values, present)
    return new, steps_to(old, new.values)


def apply(file: Path, values: Mapping[str, str]) -> list[Step]:
    """Write the file and set the values; what was done. After an error everything is as
    before. Raises `ConfigError` and `EnvironmentLacks`."""
    new, steps = prepared(file, values)
    with _file_kept(file):
        _put(file, new)
        _write(steps)
    return steps


def revert(file: Path) -> tuple[list[Step], list[str]]:
    """Undo all of it and remove the file: what was done, and what was left alone because
    somebody else has changed it since."""
    old = kept(file)
    steps, foreign = steps_back(old)
    with _file_kept(file):
        _put(file, Kept())
        _write(steps)
    return steps, foreign


@contextmanager
def _file_kept(file: Path) -> Iterator[None]:
    """The file gets its old content back when the block fails."""
    content = file.read_bytes() if file.exists() else None
    try:
        yield
    except BaseException:
        if content is None:
            file.unlink(missing_ok=True)
        else:
            _replace(file, content)
        raise


def _put(file: Path, content: Kept) -> None:
    try:
        if content.values:
            file.parent.mkdir(parents=True, exist_ok=True)
            _replace(file, content.text().encode())
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentLacks(f"{file} can not be written: {error.strerror}") from error


def _replace(file: Path, content: bytes) -> None:
    """In one step, and on the disk."""
    scratch = file.with_name(f".{file.name}.new")
    try:
        with scratch.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.chmod(0o644)
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _write(steps: list[Step]) -> None:
    """Set the values in order; on an error the ones already set go back."""
    done: list[Step] = []
    try:
        for step in steps:
            done.append(step)
            sysctl.write(step.name, step.value)
            if (now := sysctl.read(step.name)) != step.value:
                raise EnvironmentLacks(f"{step.name} = {step.value} was taken as {now}")
    except BaseException:
        for step in reversed(done):
            if step.present is not None:
                with suppress(EnvironmentLacks):
                    sysctl.write(step.name, step.present)
        raise


def overridden(file: Path, names: Iterable[str]) -> list[str]:
    """What is read at boot after our file, or in its place, and sets one of these names as
    well. All directories' files are read in the order of their names; of those with one name
    only the first directory's."""
    places = READ_AT_BOOT if file.parent in READ_AT_BOOT else (file.parent, *READ_AT_BOOT)
    read: dict[str, Path] = {}
    for place in reversed(places):
        with suppress(OSError):
            read.update((other.name, other) for other in place.glob("*.conf"))
    found = []
    for other in (read[name] for name in sorted(read)):
        if other != file and other.name >= file.name and not _is_lower(other, file, places):
            when = "later" if other.name > file.name else f"in place of {file}"
            set_there = _names_in(other)
            found += [
                f"{other} sets {name} as well and is read {when}"
                for name in names
                if name in set_there
            ]
    return found


def _is_lower(other: Path, file: Path, places: Sequence[Path]) -> bool:
    """Whether ours, once it is there, takes the place of the other."""
    return other.name == file.name and places.index(other.parent) > places.index(file.parent)


def _names_in(file: Path) -> frozenset[str]:
    """The names that a file of sysctl.d sets."""
    with suppress(OSError):
        matches = map(_SETTING.match, file.read_text(errors="replace").splitlines())
        return frozenset(dotted(match[1]) for match in matches if match)
    return frozenset()
