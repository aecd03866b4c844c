"""What a worker process runs, as its process sees it: the words that the process tree
(supervisor, worker process) and the control plane (orchestrator) share."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lbsplice.config.model import Config
from lbsplice.dataplane.worker import Workers
from lbsplice.journal import Journal
from lbsplice.limits import Limits
from lbsplice.plan.slots import ListenerKey
from lbsplice.terms import Cause

Sockets = Mapping[ListenerKey, socket.socket]
"""Listening sockets by (frontend name, index in its `binds`)."""


@dataclass(frozen=True, slots=True)
class Succession:
    """Why this worker is not the first, for the log. `reason` is a sentence without its
    end, such as `worker 4711 was killed by signal 9 (SIGKILL)`."""

    reason: str
    started_s: float  # time.monotonic() when the end of the one before was noticed
    planned: bool = False  # an upgrade, a takeover or a change of sizes; not a crash


class Service(Protocol):
    """What a worker process runs: lbsplice.orchestrator.Orchestrator, or a test's stand-in.
    What is not a coroutine returns at once. On the event loop only."""

    async def start(self) -> None:
        """Take up the work: restore what the journal says, publish the plan, start checks."""

    def soft_stop(self) -> None: ...

    def hard_stop(self, cause: Cause) -> None: ...

    async def wait_stopped(self) -> None:
        """Return when all has stopped after soft_stop or hard_stop; raises what brought
        it down otherwise."""

    def dump_states(self) -> None:
        """Write every server's state to the log."""

    def reload(self, config: Config, sockets: Sockets, limits: Limits) -> None:
        """Go on with this configuration. `sockets` has all its listening sockets, those
        that stay are the same objects. Raises an LbspliceError and changes nothing when
        that is not possible; NeedsRoom if a larger ledger would make it possible."""

    async def park(self) -> None:
        """Stop the relay threads at the end of a batch and the checks, write the journal:
        from here on nothing is changed in ledger and journal, sessions stay as they are."""

    async def carry_on(self) -> None:
        """After park, because the successor did not come: go on as if nothing had been."""

    def set_pid(self, pid: int) -> None:
        """The pid for log lines (another supervisor took over)."""

    def converse(self, sock: socket.socket) -> None:
        """Serve the command language on this connected socket, which is the service's from
        here on, with every right."""


AskSupervisor = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""A request such as {"request": "reload"}, and its answer (lbsplice/rendezvous.py)."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a service gets to work with."""

    sockets: Sockets
    threads: int
    maxconn: int
    max_pipes: int
    pid: int  # of the log lines
    aloud: bool = False  # they may go to standard error as well
    ask: AskSupervisor | None = None  # for what only the supervisor can do
    startup_logs: tuple[str, ...] = ()  # what the program has told at its start


Finish = Callable[[Workers, Journal, Succession | None], Service]
"""Makes the service around relay threads that run."""

Assemble = Callable[[Config, Share], Finish]
"""Opens what has to be opened before a chroot and a change of user; called before them."""

Prepare = Callable[[Config], None]
"""Imports what takes long and this configuration needs, in the supervisor, for all workers
to come: they have it from their fork. Raises EnvironmentLacks."""


def nothing_to_prepare(_config: Config) -> None:
    """Where a service needs nothing that takes long."""
