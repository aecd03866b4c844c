"""The sysctls that decide when a silent death is noticed and how many sessions fit: their
bounds, and whether each network namespace has its own."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.errors import ConfigError

_INT = 2**31 - 1
_LONG = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Key:
    """One sysctl of `count` numbers, each within `low` and `high`."""

    name: str
    low: int
    high: int
    namespaced: bool = True
    count: int = 1
    rising: bool = False  # each number at least the one before

    def check(self, value: str) -> str:
        """The value in the kernel's own shape. Raises `ConfigError` for what the kernel
        would refuse, or take and misbehave."""
        try:
            numbers = [int(part) for part in value.split()]
        except ValueError:
            raise ConfigError(f"{self.name}: '{value}' is not made of numbers") from None
        if len(numbers) != self.count:
            raise ConfigError(f"{self.name}: '{value}' is not {self.count} numbers")
        for number in numbers:
            if not self.low <= number <= self.high:
                raise ConfigError(
                    f"{self.name}: {number} is out of range ({self.low}..{self.high})"
                )
        if self.rising and sorted(numbers) != numbers:
            raise ConfigError(f"{self.name}: '{value}' must not fall")
        return " ".join(map(str, numbers))


_ALL = (
    Key("net.ipv4.tcp_keepalive_time", 1, 32767),
    Key("net.ipv4.tcp_keepalive_intvl", 1, 32767),
    Key("net.ipv4.tcp_keepalive_probes", 1, 127),
    Key("net.ipv4.tcp_retries2", 1, 255),
    Key("net.ipv4.tcp_syn_retries", 1, 127),
    Key("net.ipv4.tcp_syn_linear_timeouts", 0, 127),
    Key("net.ipv4.tcp_synack_retries", 0, 255),
    Key("net.ipv4.tcp_orphan_retries", 0, 255),
    Key("net.ipv4.tcp_fin_timeout", 1, 32767),
    Key("net.ipv4.tcp_rto_max_ms", 1000, 120_000),
    Key("net.ipv4.tcp_rto_min_us", 1000, 1_000_000),
    Key("net.ipv4.tcp_tw_reuse", 0, 2),
    Key("net.ipv4.tcp_syncookies", 0, 2),
    Key("net.ipv4.tcp_max_syn_backlog", 1, _INT),
    Key("net.ipv4.ip_local_port_range", 1024, 65535, count=2, rising=True),
    Key("net.ipv4.tcp_rmem", 1, _INT, count=3, rising=True),
    Key("net.ipv4.tcp_wmem", 1, _INT, count=3, rising=True),
    Key("net.core.somaxconn", 1, _INT),
    Key("net.ipv4.tcp_mem", 1, _LONG, namespaced=False, count=3, rising=True),
    Key("fs.file-max", 1024, _LONG, namespaced=False),
    Key("fs.nr_open", 1024, 2_147_483_584, namespaced=False),
    Key("fs.pipe-user-pages-soft", 0, _LONG, namespaced=False),
    Key("fs.pipe-max-size", 4096, 2**31, namespaced=False),
    Key("net.netfilter.nf_conntrack_max", 1, _INT, namespaced=False),
    Key("net.netfilter.nf_conntrack_tcp_timeout_established", 1, _INT // 1000),
    Key("net.netfilter.nf_conntrack_tcp_timeout_unacknowledged", 1, _INT // 1000),
    Key("net.netfilter.nf_conntrack_tcp_timeout_max_retrans", 1, _INT // 1000),
    Key("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 1, _INT // 1000),
)
KEYS = {key.name: key for key in _ALL}


def key_of(name: str) -> Key:
    """The key of a name. Raises `ConfigError` for one that lbsplice does not touch."""
    if name not in KEYS:
        raise ConfigError(f"{name}: not one of the sysctls that this command knows")
    return KEYS[name]
