"""The lab's network: one namespace a host, one for the bridge, veth pairs as cables.

Nothing here touches the machine's own network. A thread enters a namespace for a moment to open a
socket or start a process there; what it opened stays in that namespace."""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import psutil
from pyroute2 import IPRoute, netns

from lbsplice.errors import EnvironmentLacks
from lbsplice.lab.topology import (
    HOSTS,
    PREFIX_LENGTH,
    Host,
    namespace_name,
    namespace_owner,
    port_name,
)

_BRIDGE = "bridge"
_INTERFACE = "eth0"
_RUN = Path("/run/netns")
_numbers = itertools.count(1)


class Network:
    """The namespaces of one scene, wired and addressed, from `with` to its end.

    Entering raises EnvironmentLacks when the rights or kernel features are missing. Leaving ends
    every process that is still inside and removes the namespaces, whatever happened."""

    def __init__(self) -> None:
        self._run = f"{os.getpid()}-{next(_numbers)}"
        self._names = [self.name(host) for host in (_BRIDGE, *(host.name for host in HOSTS))]

    def __enter__(self) -> Network:
        _sweep()
        try:
            self._build()
        except BaseException as error:
            self.remove()
            if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
                raise EnvironmentLacks(
                    "network namespaces can not be made here: the lab needs root with CAP_SYS_ADMIN"
                    " and CAP_NET_ADMIN (in a container: --privileged)"
                ) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def name(self, host: str) -> str:
        """The name of a host's namespace."""
        return namespace_name(self._run, host)

    @contextmanager
    def entered(self, host: Host) -> Iterator[None]:
        """Move the calling thread into a host's namespace, and back."""
        with _entered(self.name(host.name)):
            yield

    def set_link(self, host: Host, *, up: bool) -> None:
        """Pull a host's cable out, or plug it in."""
        with self.entered(host), IPRoute() as ip:
            ip.link("set", index=_index(ip, _INTERFACE), state="up" if up else "down")

    def inhabitants(self, host: Host) -> list[int]:
        """The pids of the processes in a host's namespace."""
        return _inhabitants(self.name(host.name))

    def remove(self) -> None:
        for name in self._names:
            _remove(name)

    def _build(self) -> None:
        for name in self._names:
            netns.create(name)
        with _entered(self.name(_BRIDGE)), IPRoute() as ip:
            ip.link("add", ifname="br0", kind="bridge")
            bridge = _index(ip, "br0")
            ip.link("set", index=bridge, state="up")
            for host in HOSTS:
                ip.link(
                    "add",
                    ifname=port_name(host),
                    kind="veth",
                    peer={"ifname": _INTERFACE, "net_ns_fd": self.name(host.name)},
                )
                ip.link("set", index=_index(ip, port_name(host)), master=bridge, state="up")
        for host in HOSTS:
            with self.entered(host), IPRoute() as ip:
                interface = _index(ip, _INTERFACE)
                for address in host.addresses:
                    ip.addr("add", index=interface, address=address, prefixlen=PREFIX_LENGTH)
                ip.link("set", index=_index(ip, "lo"), state="up")
                ip.link("set", index=interface, state="up")


@contextmanager
def _entered(name: str) -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        netns.setns(name, flags=0)
        yield
    finally:
        netns.setns(home)
        os.close(home)


def _index(ip: IPRoute, interface: str) -> int:
    index: int = ip.link_lookup(ifname=interface)[0]
    return index


def _inhabitants(name: str) -> list[int]:
    try:
        wanted = (_RUN / name).stat()
    except FileNotFoundError:
        return []
    inside = []
    for pid in psutil.pids():
        if pid == os.getpid():
            continue
        with suppress(OSError):  # it has just ended, or is a zombie
            found = Path(f"/proc/{pid}/ns/net").stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                inside.append(pid)
    return inside


def _remove(name: str) -> None:
    for pid in _inhabitants(name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with suppress(FileNotFoundError):
        netns.remove(name)


def _sweep() -> None:
    """Remove what a lab that was killed outright could not."""
    for name in netns.listnetns():
        owner = namespace_owner(name)
        if owner is not None and not psutil.pid_exists(owner):
            _remove(name)
