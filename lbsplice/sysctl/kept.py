"""The one file that `lbsplice sysctl apply` writes: the values it sets, and as comments the
ones that were there before, so that `revert` needs nothing else.

    # written by lbsplice sysctl; `lbsplice sysctl revert` undoes it
    # before: net.core.somaxconn = 4096
    net.core.somaxconn = 5000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lbsplice.errors import ConfigError
from lbsplice.sysctl.keys import key_of
from lbsplice.sysctl.values import parse_sysctls

HEADER = "# written by lbsplice sysctl; `lbsplice sysctl revert` undoes it"
_BEFORE = "# before: "


@dataclass(frozen=True)
class Kept:
    """The values that are set, and those from before, by name."""

    values: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        lines = [HEADER]
        for name, value in self.values.items():
            lines += [f"{_BEFORE}{name} = {self.before[name]}", f"{name} = {value}"]
        return "\n".join(lines) + "\n"


def parse_kept(text: str, origin: str) -> Kept:
    """The file's content. Raises `ConfigError` for a file that somebody else wrote, or
    that lacks a value from before."""
    lines = text.splitlines()
    if not lines or lines[0] != HEADER:
        raise ConfigError(f"{origin} was not written by this command: it is left alone")
    was = "\n".join(line.removeprefix(_BEFORE) for line in lines if line.startswith(_BEFORE))
    kept = Kept(parse_sysctls(text, origin).values, parse_sysctls(was, origin).values)
    for name in kept.values:
        if name not in kept.before:
            raise ConfigError(f"{origin}: the value of {name} from before is missing")
    return kept


def merged(old: Kept, values: Mapping[str, str], present: Mapping[str, str]) -> Kept:
    """What the file shall hold after `values` are applied: for a name that it had, the
    value from before the first time stays; names that are not wanted any more go."""
    checked = {name: key_of(name).check(value) for name, value in values.items()}
    before = {name: old.before.get(name, present[name]) for name in checked}
    return Kept(checked, before)
