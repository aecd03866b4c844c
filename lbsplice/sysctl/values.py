"""The sysctls of one machine, as text, with the kernel's own defaults for what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbsplice.errors import ConfigError

DEFAULTS = {
    "net.ipv4.tcp_keepalive_time": "7200",
    "net.ipv4.tcp_keepalive_intvl": "75",
    "net.ipv4.tcp_keepalive_probes": "9",
    "net.ipv4.tcp_retries2": "15",
    "net.ipv4.tcp_syn_retries": "6",
    "net.ipv4.tcp_synack_retries": "5",
    "net.ipv4.tcp_orphan_retries": "0",
    "net.ipv4.tcp_fin_timeout": "60",
    "net.ipv4.tcp_rto_max_ms": "120000",
    "net.ipv4.tcp_rto_min_us": "200000",
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.tcp_max_syn_backlog": "1024",
    "net.core.somaxconn": "4096",
    "fs.nr_open": "1048576",
    "fs.pipe-max-size": "1048576",
    "fs.pipe-user-pages-soft": "16384",
}
"""What Linux starts with where memory does not decide. `tcp_syn_linear_timeouts` is not
here: kernels before 6.5 have none, and count as 0."""

_LINE = re.compile(r"-?\s*([A-Za-z0-9_][A-Za-z0-9_./*-]*)\s*=\s*(.*?)\s*\Z")


@dataclass(frozen=True)
class Sysctls:
    """Values by dotted name. `origin` says whose they are, for people."""

    values: Mapping[str, str] = field(default_factory=dict)
    origin: str = "Linux's defaults"

    def text(self, name: str) -> str | None:
        """The value with single spaces, or None if neither the machine nor Linux's
        defaults have it."""
        value = self.values.get(name, DEFAULTS.get(name))
        return None if value is None else " ".join(value.split())

    def known(self, name: str) -> bool:
        """Whether the machine itself has told it."""
        return name in self.values

    def numbers(self, name: str) -> tuple[int, ...]:
        """All numbers of a value, () where there is none."""
        text = self.text(name)
        if text is None:
            return ()
        try:
            return tuple(int(part) for part in text.split())
        except ValueError:
            raise ConfigError(f"{self.origin}: {name} = {text} is not a number") from None

    def number(self, name: str, missing: int = 0) -> int:
        """The first number of a value. Raises `ConfigError` for text that is none."""
        found = self.numbers(name)
        return found[0] if found else missing


def dotted(name: str) -> str:
    """A sysctl's name with dots, from either way of writing it."""
    return name.replace("/", ".") if "/" in name and "." not in name else name


def parse_sysctls(text: str, origin: str) -> Sysctls:
    """What `sysctl -a` prints, or a file of /etc/sysctl.d. The last value of a name counts.
    Raises `ConfigError` with the line that is neither."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;" or stripped.startswith("sysctl:"):
            continue
        match = _LINE.match(stripped)
        if match is None:
            raise ConfigError(f"{origin}:{number}: not `name = value`: {stripped[:80]!r}")
        values[dotted(match[1])] = match[2]
    return Sysctls(values, origin)
