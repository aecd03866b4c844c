"""Workers in processes of their own, each the successor of the one before: a ledger, a
listening socket and servers that outlive all of them.

    line = Line()
    client, server = line.session()
    line.dies()
    line.succeeds()
    client.sends(b"still here")

What a worker process is asked is a call of Seat, carried out there."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from lbsplice.dataplane import ledger, vault
from lbsplice.dataplane.binding import lib
from lbsplice.dataplane.ledger import Sizes
from lbsplice.dataplane.worker import Adoption
from lbsplice.report.record import SESSION_ENDED
from tests.support.dataplane import Shape
from tests.support.peers import Listener, Peer, connected
from tests.support.rawledger import raw
from tests.support.seat import Legacy, Session, Start, begin, receive, send
from tests.support.waiting import SOON_S, wait_until


class Line:
    """The workers' parent. `close` ends all of them."""

    def __init__(
        self,
        servers: int | Sequence[Listener] = 1,
        *,
        threads: int = 1,
        sessions: int = 4096,
        pipes: int = 1024,
        events: int = 4096,
        max_pipes: int = 1024,
        pipe_bytes: int = 0,
        crash_watch: bool = False,
        **plan: Any,
    ) -> None:
        self.servers = (
            [Listener() for _ in range(servers)] if isinstance(servers, int) else list(servers)
        )
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listening.setblocking(False)
        self.sizes = Sizes(threads, sessions, pipes, 8, 8, 8, 64, events)
        self.memfd = ledger.create(self.sizes)
        self.settings = {"max_pipes": max_pipes, "pipe_bytes": pipe_bytes}
        self.crash_watch = crash_watch
        addresses = tuple(server.address for server in self.servers)
        self.shape = Shape(**{"addresses": addresses, **plan})
        self.peers: list[Peer] = []
        self.pid = 0
        self.vault_pid: int | None = None
        self.request: socket.socket | None = None
        self.control: socket.socket | None = None
        self._parked: tuple[int, socket.socket] | None = None
        self._start(None)
        self.publish()

    # ---- the workers ----

    def _start(self, legacy: Legacy | None) -> None:
        control, theirs = socket.socketpair()
        request, vaults = vault.request_pair()
        control.settimeout(30)
        start = Start(
            theirs,
            self.memfd,
            self.sizes,
            self.listening.fileno(),
            vaults,
            legacy,
            self.settings,
            self.crash_watch,
        )
        pid = os.fork()
        if not pid:
            begin(start)
        theirs.close()
        vaults.close()
        self.pid, self.control = pid, control
        try:
            self.vault_pid = receive(control)
        except BaseException:
            request.close()
            raise
        self.request = request
        receive(control)

    def ask(self, name: str, *arguments: object) -> Any:
        assert self.control is not None
        send(self.control, (name, arguments))
        return receive(self.control)

    def publish(self, **changes: Any) -> None:
        self.shape = Shape(**{**self.shape.__dict__, **changes})
        generation = self.ask("publish", self.shape)
        wait_until(lambda: self.ask("generations") == {generation}, "the plan is taken")

    def dies(self, number: int = signal.SIGKILL) -> int:
        """Kill the worker. The wait status."""
        os.kill(self.pid, number)
        return self.ended()

    def ended(self) -> int:
        """The worker is dead; its wait status."""
        status = os.waitpid(self.pid, 0)[1]
        self.pid = 0
        assert self.control is not None
        self.control.close()
        return status

    def faults(self, where: str) -> int:
        """The worker dies of itself (Seat.fault). The wait status."""
        assert self.control is not None
        send(self.control, ("fault", (where,)))
        return self.ended()

    def succeeds(
        self,
        *,
        way: str = "both",
        by_vault: bool = True,
        publish: bool = True,
        sizes: Sizes | None = None,
        memfd: int | None = None,
    ) -> Adoption:
        """A successor of the worker that died or is parked, and then ends."""
        old = self.pid, self.control, self.request, self.vault_pid
        if memfd is not None:
            self._replace(memfd)
        if sizes is not None:
            self.sizes = sizes
            self._replace(ledger.convert(self.memfd, sizes))
        if old[0]:
            # Alive and parked: it ends as soon as its successor has taken everything.
            os.kill(old[0], signal.SIGSTOP)
            os.kill(old[0], signal.SIGKILL)
            os.waitpid(old[0], 0)
            assert old[1] is not None
            old[1].close()
        self._start(Legacy(old[3], old[2] if by_vault else None, way))
        if old[2] is not None:
            old[2].close()
        if old[3] is not None:
            os.waitpid(old[3], 0)
        if publish:
            self.publish()
        adoption = self.ask("adoption")
        assert isinstance(adoption, Adoption)
        return adoption

    def _replace(self, memfd: int) -> None:
        os.close(self.memfd)
        self.memfd = memfd

    def loses_vault(self) -> None:
        """Kill the vault: what it kept for a dead worker is gone."""
        assert self.vault_pid is not None
        os.kill(self.vault_pid, signal.SIGKILL)
        os.waitpid(self.vault_pid, 0)
        self.vault_pid = None
        assert self.request is not None
        self.request.close()
        self.request = None

    # ---- sessions ----

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listening.getsockname()
        return host, port

    def connects(self, receive_buffer: int = 0) -> Peer:
        peer = connected(self.address, receive_buffer)
        self.peers.append(peer)
        return peer

    def accepts(self, server: int = 0) -> Peer:
        peer = self.servers[server].accepts()
        self.peers.append(peer)
        return peer

    def session(self, server: int = 0, receive_buffer: int = 0) -> tuple[Peer, Peer]:
        """A session that is established: the client's and the server's end."""
        client = self.connects(receive_buffer)
        peer = self.accepts(server)
        self.waits_for_state(client, lib.LBS_ESTABLISHED)
        return client, peer

    def session_of(self, client: Peer) -> Session | None:
        port = client.socket.getsockname()[1]
        found = [s for s in self.ask("sessions") if s.client_port == port]
        return found[0] if found else None

    def waits_for_state(self, client: Peer, state: int) -> Session:
        def there() -> Session | None:
            session = self.session_of(client)
            return session if session is not None and session.state == state else None

        found = wait_until(there, f"the session is in state {state}")
        assert found is not None
        return found

    def waits_gone(self) -> None:
        wait_until(lambda: not self.ask("sessions"), "every record is free")

    # ---- the end ----

    def close(self) -> None:
        for peer in self.peers:
            peer.closes()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.ended()
        if self.request is not None:
            vault.quit_vault(self.request)
            released = vault.wait_released(self.request, SOON_S)
            self.request.close()
            assert released, "somebody has the descriptor table still"
        if self.vault_pid is not None:
            os.waitpid(self.vault_pid, 0)
        os.close(self.memfd)
        self.listening.close()
        for server in self.servers:
            server.closes()


# ---- what tests say of a line ----

MakeLine = Callable[..., Line]
"""The `line` fixture: makes a Line that is closed after the test."""


def talk(client: Peer, server: Peer) -> None:
    client.sends(b"ask")
    server.reads(b"ask").sends(b"answer")
    client.reads(b"answer")


def ends(it: Line, count: int = 1) -> list[Any]:
    """The sessions that ended, as the present worker tells of them; no more than `count`."""
    found: list[Any] = []

    def enough() -> bool:
        found.extend(e for e in it.ask("events") if e.kind == SESSION_ENDED)
        return len(found) >= count

    wait_until(enough, f"{count} sessions have ended")
    assert len(found) == count
    return found


def letters(event: Any) -> str:
    return chr(event.cause) + chr(event.phase)


def books_balance(it: Line) -> None:
    """The gauges are those of the records, accepted is ended and live, and what is open is
    what the ledger names (DESIGN 7)."""

    def fault() -> str:
        try:
            check_books(it)
        except AssertionError as error:
            return str(error) or "an assertion"
        return ""

    # A counter is noted after the byte it counts has arrived.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not fault(), "the books balance", 1)
        return
    check_books(it)


def check_books(it: Line) -> None:
    counters = it.ask("counters")
    live = it.ask("sessions")
    assert {gauge.now for gauge in counters["gauges"]} == {len(live)}
    totals = counters["workers"]
    assert totals.accepted == totals.ended + len(live)
    assert counters["frontend"].sessions == counters["backend"].sessions == totals.accepted
    moved = sum(sum(session.moved) for session in live)
    frontend = counters["frontend"]
    assert totals.spliced_bytes == frontend.bytes_in + frontend.bytes_out + moved
    for slot in range(len(it.servers)):
        there = sum(s.slot == slot for s in live if s.state == lib.LBS_ESTABLISHED)
        assert counters["slot_gauges"][slot].now == there
    assert_descriptors_are_accounted_for(it)


def assert_descriptors_are_accounted_for(it: Line) -> None:
    named = {fd for session in it.ask("sessions") for fd in session.fds}
    table = it.ask("descriptors")
    sockets = {fd for fd, what in table.items() if what.startswith("socket:") and fd > 2}
    # The control socket, the request to the vault and the listening socket are its own.
    assert len(sockets - named) == 3, table
    assert named - {-1} <= sockets
    pipes = sum(what.startswith("pipe:") for fd, what in table.items() if fd > 2)
    assert pipes == 2 * it.ask("counters")["workers"].pipes_open


__all__ = ["Legacy", "Line", "MakeLine", "books_balance", "ends", "letters", "raw", "talk"]
