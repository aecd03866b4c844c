"""Finds and reads the state files that a configuration names. At a start only, and before
a chroot: a reload knows the states."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lbsplice import statefile
from lbsplice.config.messages import Message, Severity
from lbsplice.config.model import Config, Proxy, SavedServer, StateFile
from lbsplice.plan.slots import ServerKey


def load_states(config: Config) -> tuple[Config, tuple[Message, ...]]:
    """The configuration with what its state files say, and what to warn of: a file that
    can not be read is no reason not to start."""
    saved: list[SavedServer] = []
    warnings: list[str] = []

    def read(path: Path, file: str, lacks: str, proxies: Iterable[Proxy]) -> None:
        wanted = {key for proxy in proxies for key in _keys(proxy)}
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as why:
            warnings.append(f"{lacks}: {why.strerror}")
            return
        found = statefile.parse(text, file, wanted)
        saved.extend(found.servers)
        warnings.extend(found.warnings)

    live = [proxy for proxy in config.proxies if proxy.has_backend and not proxy.disabled]
    base = Path(config.global_.server_state_base or "")
    everyone = [proxy for proxy in live if proxy.state_file is StateFile.GLOBAL]
    name = config.global_.server_state_file
    if name is not None and everyone:
        path = base / name
        file = f"global server state file '{path}'"
        read(path, file, f"config: Can't open {file}", everyone)
    for proxy in everyone if name is None else ():
        warnings.append(
            f"backend '{proxy.name}' configured to load server state file from global section "
            "'server-state-file' directive. Unfortunately, 'server-state-file' is not set!"
        )
    for proxy in live:
        if proxy.state_file is StateFile.LOCAL:
            path = base / (proxy.state_file_name or proxy.name)
            file = f"server state file '{path}'"
            read(path, file, f"Proxy '{proxy.name}': Can't open {file}", [proxy])
    messages = tuple(Message(Severity.WARNING, text) for text in warnings)
    return replace(config, saved=tuple(saved)), messages


def _keys(proxy: Proxy) -> list[ServerKey]:
    return [(proxy.name, server.name) for server in proxy.servers]
