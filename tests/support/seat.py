"""A worker in a process of its own, as tests/support/succession.py starts it: what it begins
with, and what a test may ask of it."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import os
import pickle
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lbsplice.dataplane import ledger, vault
from lbsplice.dataplane.binding import lib
from lbsplice.dataplane.ledger import Sizes
from lbsplice.dataplane.tables import Extent
from lbsplice.dataplane.worker import Adoption, Workers
from lbsplice.in_flight import rescue
from lbsplice.terms import Cause
from tests.support.dataplane import Shape
from tests.support.waiting import SOON_S

LENGTH = struct.Struct("=I")


def send(sock: socket.socket, value: object) -> None:
    data = pickle.dumps(value)
    sock.sendall(LENGTH.pack(len(data)) + data)


def receive(sock: socket.socket) -> Any:
    """EOFError if the other end is gone."""

    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = sock.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    return pickle.loads(exactly(LENGTH.unpack(exactly(LENGTH.size))[0]))


@dataclass(frozen=True)
class Session:
    """A live record, as far as tests look at it."""

    index: int
    serial: int
    state: int
    client_port: int
    slot: int
    held: tuple[int, int]
    moved: tuple[int, int]
    fds: tuple[int, int]
    crashes: int


@dataclass(frozen=True)
class Legacy:
    """What a successor gets from the worker before."""

    vault_pid: int | None
    request: socket.socket | None
    way: str = "both"  # or "vault", "table": how its descriptors are taken


@dataclass(frozen=True)
class Start:
    """How a worker process begins."""

    control: socket.socket
    memfd: int
    sizes: Sizes
    listening: int
    request: socket.socket
    legacy: Legacy | None
    settings: dict[str, Any]
    crash_watch: bool


class Seat:
    """In a worker process: what the tests ask of it."""

    def __init__(self, start: Start) -> None:
        self.listening = start.listening
        self.generation = 0
        self.taken = 0
        self.arrivals: list[tuple[int, socket.socket]] = []
        began = time.monotonic()
        if start.legacy is not None:
            self.taken = self._take(start.legacy, start.memfd)
        self.vault_pid = vault.start_vault(start.request)
        send(start.control, self.vault_pid)
        if start.legacy is not None and start.legacy.request is not None:
            vault.quit_vault(start.legacy.request)
            assert vault.wait_released(start.legacy.request, SOON_S), "the old vault lives on"
            start.legacy.request.close()
        self.workers = Workers(
            start.sizes, memfd=start.memfd, adopt=start.legacy is not None, **start.settings
        )
        if start.crash_watch:
            self.workers.watch_crashes()
        for listener, sock in self.arrivals:
            if self.workers.begin(0, listener, sock.fileno()):
                sock.detach()
            else:
                sock.close()
        self.workers.start()
        self.took_s = time.monotonic() - began

    def _take(self, legacy: Legacy, memfd: int) -> int:
        pid = None if legacy.way == "vault" else legacy.vault_pid
        request = None if legacy.way == "table" else legacy.request
        taken = vault.take_descriptors(memfd, pid, request)
        with socket.socket(fileno=os.dup(self.listening)) as listener:
            listeners = {0: listener}
            if request is not None:
                self.arrivals = rescue(memfd, pid or 0, request, lambda: listeners)
        return taken

    def publish(self, shape: Shape) -> int:
        """The plan's generation."""
        self.generation += 1
        self.workers.publish(shape.plan(self.generation), {0: self.listening})
        return self.generation

    def generations(self) -> set[int]:
        return set(self.workers.counters.generations())

    def sessions(self) -> list[Session]:
        found = []
        for thread in range(self.workers.sizes.threads):
            table: Any = self.workers.sessions(thread)
            for index in range(self.workers.sessions_used(thread)):
                if table[index].magic:
                    found.append(session_of(index, table[index]))
        return found

    def live(self) -> int:
        return sum(session.state == lib.LBS_ESTABLISHED for session in self.sessions())

    def counters(self) -> dict[str, Any]:
        c = self.workers.counters
        return {
            "workers": c.workers(),
            "frontend": c.frontend(0),
            "backend": c.backend(0),
            "slots": [c.slot(i) for i in range(4)],
            "gauges": [
                c.process_sessions(),
                c.frontend_sessions(0),
                c.listener_sessions(0),
                c.backend_sessions(0),
            ],
            "listener": self.workers.tables.counted(Extent(listeners=1)).listeners[0],
            "slot_gauges": [c.slot_sessions(i) for i in range(4)],
        }

    def events(self) -> list[Any]:
        found = []
        for reader in self.workers.readers:
            while batch := reader.take():
                found += batch
        return found

    def kill_slot(self, slot: int, cause: Cause) -> None:
        self.workers.kill_slot(slot, cause)

    def kill_all(self, cause: Cause) -> None:
        self.workers.kill_all(cause)

    def adoption(self) -> Adoption | None:
        return self.workers.adoption

    def park(self) -> None:
        self.workers.park()

    def carry_on(self) -> None:
        self.workers.carry_on()

    def descriptors(self) -> dict[int, str]:
        found = {}
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (iterdir opens another)
            with contextlib.suppress(OSError):
                found[int(name)] = str(Path(f"/proc/self/fd/{name}").readlink())
        return found

    def took(self) -> tuple[int, float]:
        """Descriptors taken, and seconds from the first to relaying."""
        return self.taken, self.took_s

    def fault(self, where: str) -> None:
        """Die of a fault of one's own: in Python's `main` thread, by `abort`, or in a
        relay thread."""
        if where == "main":
            ctypes.string_at(0)
        elif where == "abort":
            os.abort()
        else:
            thread = self.workers._threads[int(where)]
            assert thread.ident is not None
            signal.pthread_kill(thread.ident, signal.SIGSEGV)
            signal.pause()


def session_of(index: int, record: Any) -> Session:
    relays = record.relays
    return Session(
        index,
        record.serial,
        record.state,
        record.client_port,
        record.slot,
        (held(relays[0]), held(relays[1])),
        (relays[0].moved, relays[1].moved),
        (record.legs[0].fd, record.legs[1].fd),
        record.crashes,
    )


def held(relay: Any) -> int:
    return int((relay.taken - relay.moved) & 0xFFFFFFFF)


def begin(start: Start) -> NoReturn:
    """A worker process, from its fork on."""
    status = 1
    try:
        faulthandler.disable()  # pytest's would write into what has its descriptor's number
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        start = own_descriptors(start)
        seat = Seat(start)
        send(start.control, None)
        while True:
            name, arguments = receive(start.control)
            send(start.control, getattr(seat, name)(*arguments))
    except (EOFError, ConnectionError):
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def own_descriptors(start: Start) -> Start:
    """Keep only what is the worker's, above every number that the ledger names."""
    above = max(3, ledger.highest(start.memfd) + 1)

    def moved(fd: int) -> int:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above)

    def moved_socket(sock: socket.socket) -> socket.socket:
        return socket.socket(fileno=moved(sock.fileno()))

    kept = Start(
        moved_socket(start.control),
        moved(start.memfd),
        start.sizes,
        moved(start.listening),
        moved_socket(start.request),
        None
        if start.legacy is None
        else Legacy(
            start.legacy.vault_pid,
            None if start.legacy.request is None else moved_socket(start.legacy.request),
            start.legacy.way,
        ),
        start.settings,
        start.crash_watch,
    )
    numbers = {kept.control.fileno(), kept.memfd, kept.listening, kept.request.fileno()}
    if kept.legacy is not None and kept.legacy.request is not None:
        numbers.add(kept.legacy.request.fileno())
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (iterdir opens another)
        if int(name) > 2 and int(name) not in numbers:
            with contextlib.suppress(OSError):
                os.close(int(name))
    return kept
