"""Taking the place of other processes, HAProxy's as a rule: `-sf`, `-st` and `-x`.

Nobody is refused meanwhile if the listening sockets themselves are taken over (`-x`). Else
we bind beside the old process, which HAProxy allows (SO_REUSEPORT): only connections that
wait in its queue when it stops to listen are reset. Where that is not possible it is told
to pause (SIGTTOU), and connections are refused for some milliseconds."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from lbsplice.config.model import Config
from lbsplice.getsocks import fetch
from lbsplice.listeners import Listeners, Offered, open_listeners

PAUSES_WITHIN_S = 1.0
_STEP_S = 0.005


@dataclass(frozen=True, slots=True)
class Predecessors:
    """Who ran before us, as the command line tells."""

    finish: tuple[int, ...] = ()  # -sf: pids to end when their last session has
    terminate: tuple[int, ...] = ()  # -st: at once
    socket: str | None = None  # -x: where to ask for listening sockets

    @property
    def pids(self) -> tuple[int, ...]:
        return (*self.finish, *self.terminate)


def open_after(config: Config, maxconn: int, before: Predecessors) -> Listeners:
    """As `open_listeners`, which it is when nobody ran before. Raises EnvironmentLacks
    when the listening sockets can not be had."""
    offered = [] if before.socket is None else fetch(before.socket)
    try:
        return _open(config, maxconn, offered, before)
    finally:
        for each in offered:
            each.socket.close()


def _open(config: Config, maxconn: int, offered: list[Offered], before: Predecessors) -> Listeners:
    listeners = open_listeners(config, maxconn, offered)
    if not listeners.busy or not before.pids:
        return listeners
    listeners.close()
    listeners = open_listeners(config, maxconn, offered, beside=True)
    if not listeners.busy:
        return listeners
    _signal(before.pids, signal.SIGTTOU)
    deadline = time.monotonic() + PAUSES_WITHIN_S
    while listeners.busy and time.monotonic() < deadline:
        listeners.close()
        time.sleep(_STEP_S)
        listeners = open_listeners(config, maxconn, offered, beside=True)
    if listeners.failed:
        _signal(before.pids, signal.SIGTTIN)
    return listeners


def dismiss(before: Predecessors) -> list[str]:
    """Once we serve: tell them to end. What could not be told to whom, as warnings."""
    return [
        *_signal(before.finish, signal.SIGUSR1),
        *_signal(before.terminate, signal.SIGTERM),
    ]


def resume(before: Predecessors) -> None:
    """We will not serve after all: those who paused for us shall listen again. One who
    did not pause takes no notice."""
    _signal(before.pids, signal.SIGTTIN)


def _signal(pids: Iterable[int], number: signal.Signals) -> list[str]:
    failed = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            try:
                os.kill(pid, number)
            except PermissionError as why:
                failed.append(f"cannot send {number.name} to process {pid} ({why.strerror})")
    return failed
