"""The lab's network on paper: who is there, under which address, and the proxy's configuration.

One subnet, one bridge. The addresses live inside network namespaces, so they clash neither with the
machine's own nor with those of a second lab."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.lab.scene import Proxy

PREFIX_LENGTH = 24
PORT = 81
LISTEN_NAME = "long"
NAMESPACE_PREFIX = "lbslab"


@dataclass(frozen=True)
class Host:
    """A machine of the lab: a namespace with one interface, `eth0`, on the bridge."""

    name: str
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.addresses[0]


CLIENT = Host("client", ("192.168.1.35",))
BALANCER = Host("balancer", ("192.168.1.39", "192.168.1.100"))
VICTIM = Host("lbb-811tmjow", ("192.168.1.29",))
BYSTANDER = Host("lbb-v8y2j191", ("192.168.1.38",))
SERVERS = (VICTIM, BYSTANDER)
HOSTS = (CLIENT, BALANCER, *SERVERS)
SERVICE_ADDRESS = BALANCER.addresses[1]


def namespace_name(run: str, host: str) -> str:
    """The name of a host's namespace in the lab `run` (`PID-NUMBER`), as under /run/netns."""
    return f"{NAMESPACE_PREFIX}-{run}-{host}"


def namespace_owner(namespace: str) -> int | None:
    """The pid of the lab that made a namespace, or None when no lab made it."""
    prefix, _, rest = namespace.partition("-")
    pid = rest.partition("-")[0]
    return int(pid) if prefix == NAMESPACE_PREFIX and pid.isdecimal() else None


def port_name(host: Host) -> str:
    """The bridge's end of a host's cable. Interface names hold 15 bytes at most."""
    return f"to-{host.name}"


def configuration(
    proxy: Proxy, *, action: bool, fall: int, inter_ms: int, stats_socket: str | None = None
) -> str:
    """The proxy's configuration: two servers behind one address, long timeouts, quick checks.

    `action` is `on-marked-down shutdown-sessions` on every server. HAProxy gets a stats socket,
    for `show stat`."""
    lines = ["global", "    maxconn 4096", "    log stdout format raw local0"]
    if proxy is Proxy.HAPROXY and stats_socket is not None:
        lines.append(f"    stats socket {stats_socket} mode 600 level admin")
    lines += [
        "",
        "defaults",
        "    mode tcp",
        "    log global",
        "    option tcplog",
        "    option log-health-checks",
        "    timeout connect 5s",
        "    timeout client 1h",
        "    timeout server 1h",
        "    timeout tunnel 1h",
        "",
        f"listen {LISTEN_NAME}",
        f"    bind {SERVICE_ADDRESS}:{PORT}",
        "    balance roundrobin",
        "    option tcpka",
    ]
    if action:
        lines.append("    default-server on-marked-down shutdown-sessions")
    lines += [
        f"    server {server.name} {server.address}:{PORT}"
        f" check inter {inter_ms} fall {fall} rise 1 weight 1"
        for server in SERVERS
    ]
    return "\n".join(lines) + "\n"
