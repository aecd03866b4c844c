"""A rig for the data plane: workers, a listening socket and servers, with a plan that a
test states by what differs from the simplest one."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from lbsplice.dataplane.binding import ffi, lib
from lbsplice.dataplane.ledger import Sizes
from lbsplice.dataplane.worker import Workers
from lbsplice.plan import wheel
from lbsplice.plan.tables import BackendRow, FrontendRow, ListenerRow, Plan, SlotRow
from lbsplice.report.record import KILLED, SESSION_ENDED, Record
from lbsplice.terms import Algorithm, Cause, Phase
from tests.support.peers import Listener, Peer, connected
from tests.support.waiting import SOON_S, wait_until


@dataclass(frozen=True)
class Shape:
    """A plan of one listener, one frontend and one backend, by what is not default.
    Times are milliseconds."""

    addresses: tuple[bytes, ...] = ()  # one server each
    weights: tuple[int, ...] = ()  # all 1 if empty
    usable: tuple[int, ...] | None = None  # all if None
    algorithm: Algorithm = Algorithm.ROUNDROBIN
    maxconn: int = 0
    frontend: Mapping[str, Any] = field(default_factory=dict)
    backend: Mapping[str, Any] = field(default_factory=dict)
    slot: Mapping[str, Any] = field(default_factory=dict)
    listener: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, generation: int) -> Plan:
        weights = self.weights or (1,) * len(self.addresses)
        usable = tuple(range(len(weights))) if self.usable is None else self.usable
        share = tuple(weights[slot] for slot in usable)
        turns = (
            wheel.hash_map(share)
            if self.algorithm in (Algorithm.STATIC_RR, Algorithm.SOURCE)
            else wheel.spread(share)
        )
        backend = {"timeout_connect": 2000, **self.backend}
        return Plan(
            generation,
            self.maxconn,
            (ListenerRow(0, 0, **self.listener),),
            (FrontendRow(0, 0, **self.frontend),),
            (BackendRow(0, self.algorithm, usable, tuple(usable[i] for i in turns), **backend),),
            tuple(
                SlotRow(number, 0, address, weight=weights[number], **self.slot)
                for number, address in enumerate(self.addresses)
            ),
        )


class Rig:
    """Workers that balance over listening servers. `close` ends everything.

    `servers`: how many to make, or those to use; `plan`: the fields of Shape."""

    def __init__(
        self,
        servers: int | Sequence[Listener] = 1,
        *,
        threads: int = 1,
        sessions: int = 4096,
        pipes: int = 4096,
        events: int = 16384,
        max_pipes: int = 4096,
        pipe_bytes: int = 0,
        **plan: Any,
    ) -> None:
        self.servers = (
            [Listener() for _ in range(servers)] if isinstance(servers, int) else list(servers)
        )
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listening.setblocking(False)
        self.workers = Workers(
            Sizes(threads, sessions, pipes, 8, 8, 8, 64, events),
            max_pipes=max_pipes,
            pipe_bytes=pipe_bytes,
        )
        self.workers.start()
        self.counters = self.workers.counters
        self.generation = 0
        self.events: list[Record] = []
        addresses = tuple(server.address for server in self.servers)
        self.shape = Shape(**{"addresses": addresses, **plan})
        self._taken = 0
        self._peers: list[Peer] = []
        self.publish()

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.workers.close()
        for peer in self._peers:
            peer.closes()
        for server in self.servers:
            server.closes()
        self.listening.close()

    # ---- the plan ----

    def publish(self, **changes: Any) -> None:
        """Publish the plan with these fields of Shape changed, for good, and wait until
        every thread uses it."""
        self.shape = Shape(**{**self.shape.__dict__, **changes})
        self.publish_plan(self.shape.plan(self.generation + 1))

    def publish_plan(self, plan: Plan, descriptors: Mapping[int, int] | None = None) -> None:
        """Publish any plan and wait until every thread uses it."""
        self.workers.publish(plan, descriptors or {0: self.listening.fileno()})
        self.generation = plan.generation
        self.wait_taken()

    def wait_taken(self) -> None:
        wait_until(
            lambda: set(self.counters.generations()) == {self.generation}, "the plan is taken"
        )

    # ---- sessions ----

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listening.getsockname()
        return host, port

    def connects(self, receive_buffer: int = 0) -> Peer:
        return self._keeps(connected(self.address, receive_buffer))

    def accepts(self, server: int = 0) -> Peer:
        return self._keeps(self.servers[server].accepts())

    def session(self, server: int = 0, receive_buffer: int = 0) -> tuple[Peer, Peer]:
        """A session that is established: the client's and the server's end."""
        client = self.connects(receive_buffer)
        peer = self.accepts(server)
        port = client.socket.getsockname()[1]
        wait_until(lambda: not self._connecting(port), "the session is established")
        return client, peer

    def _connecting(self, port: int) -> bool:
        """Has the client at this port no server yet?"""
        return any(
            record.client_port == port and record.state in (lib.LBS_CONNECTING, lib.LBS_PAUSING)
            for record in self.records()
        )

    def _keeps(self, peer: Peer) -> Peer:
        self._peers.append(peer)
        return peer

    def records(self) -> list[Any]:
        """The sessions' records in the ledger, those in use."""
        found = []
        # Those beyond were never used, and looking at them would cost memory.
        used = min(self.workers.sizes.sessions, self.counters.workers().accepted)
        for thread in range(self.workers.sizes.threads):
            table: Any = self.workers.sessions(thread)
            found += [table[i] for i in range(used) if table[i].magic]
        return found

    def live(self) -> int:
        """Established sessions."""
        return sum(record.state == lib.LBS_ESTABLISHED for record in self.records())

    def descriptor(self, side: int, session: int = 0) -> socket.socket:
        """A copy of a session's socket: lib.LBS_CLIENT's or lib.LBS_SERVER's. Close it."""
        return socket.socket(fileno=os.dup(self.records()[session].legs[side].fd))

    # ---- what the workers tell ----

    def collect(self) -> list[Record]:
        """All events so far."""
        for reader in self.workers.readers:
            while batch := reader.take():
                self.events += batch
        return self.events

    def waits_for(
        self, kind: int, count: int, within_s: float = SOON_S, what: str = ""
    ) -> list[Record]:
        """The first `count` events of a kind, as soon as there are that many."""
        deadline = time.monotonic() + within_s

        def enough() -> list[Record]:
            return [event for event in self.collect() if event.kind == kind]

        while len(found := enough()) < count:
            left = deadline - time.monotonic()
            assert left > 0, (
                f"{len(found)} events of kind {kind} within {within_s} s, not {count}: {what}"
            )
            armed = [reader.arm() for reader in self.workers.readers]
            if not all(armed):
                continue
            for fd in select.select(self.workers.event_fds, [], [], left)[0]:
                os.read(fd, 8)
        return found[:count]

    def ends(self, count: int = 1, within_s: float = SOON_S) -> list[Record]:
        """The first `count` sessions that ended."""
        return self.waits_for(SESSION_ENDED, count, within_s, "sessions that ended")

    def last_session(self) -> Ended:
        """The one session of this rig, when it has ended."""
        return Ended.of(self.ends(1)[0])

    def killed(self, count: int = 1) -> int:
        """Sessions that the first `count` kill commands found, over all threads."""
        wanted = count * self.workers.sizes.threads
        return sum(event.amount for event in self.waits_for(KILLED, wanted))

    def balanced_books(self) -> None:
        """What holds whenever nothing goes on: accepted = ended + current, and each end
        was delivered, dropped or unwanted (DESIGN 7.4)."""

        def settled() -> bool:
            """An end is told a moment before its record is free."""
            totals, current = self.counters.workers(), len(self.records())
            gauge = self.counters.process_sessions().now
            return totals.accepted == totals.ended + current and gauge == current

        wait_until(settled, "accepted = ended + current")
        totals = self.counters.workers()
        delivered = sum(event.kind == SESSION_ENDED for event in self.collect())
        assert delivered + totals.events_dropped + totals.events_unwanted == totals.ended


@dataclass(frozen=True)
class Ended:
    """How a session ended, in words."""

    cause: Cause
    phase: Phase
    record: Record

    @classmethod
    def of(cls, record: Record) -> Ended:
        return cls(Cause(chr(record.cause)), Phase(chr(record.phase)), record)

    @property
    def letters(self) -> str:
        return self.cause.value + self.phase.value


def held(relay: Any) -> int:
    """How many bytes the pipe of a record's direction holds."""
    return int(relay.taken - relay.moved) & 0xFFFFFFFF


def descriptors() -> int:
    """Open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


Make = Callable[..., Rig]
"""The `rig` fixture: makes a Rig that is closed after the test."""

__all__ = ["Ended", "Make", "Rig", "Shape", "descriptors", "ffi", "held", "lib"]
