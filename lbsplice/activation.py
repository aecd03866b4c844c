"""Sockets that systemd listens on for us (sd_listen_fds(3)); a `bind fd@N` uses one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping, Sequence

from lbsplice.config.model import AddressKind, Config

FIRST = 3


def take(environ: MutableMapping[str, str]) -> tuple[int, ...]:
    """The numbers of the sockets that were handed to this very process. The variables are
    removed: they are not meant for programs that we start."""
    said = {name: environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    with contextlib.suppress(ValueError):
        if int(said["LISTEN_PID"]) == os.getpid():
            return tuple(range(FIRST, FIRST + int(said["LISTEN_FDS"])))
    return ()


def unused(config: Config, activated: Sequence[int]) -> list[str]:
    """Warnings: what connects to these waits for nobody."""
    named = {
        bind.endpoint.host
        for proxy in config.listening
        if not proxy.disabled
        for bind in proxy.binds
        if bind.endpoint.kind is AddressKind.FD
    }
    named |= {
        each.address.host
        for each in config.global_.stats_sockets
        if each.address.kind is AddressKind.FD
    }
    return [
        f"systemd listens on descriptor {number} for us, but no frontend has `bind fd@{number}`."
        for number in activated
        if str(number) not in named
    ]
