"""A worker that is succeeded each time it dies, by the time the test looks again.

    with Lives() as lb:
        client, server = lb.session()
        ...
        lb.dies()
        client.sends(b"still here")

The test's conversation goes on meanwhile; what it asks of the worker waits."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from typing import Any

from lbsplice.dataplane.binding import lib
from lbsplice.report.record import SESSION_ENDED
from lbsplice.terms import Cause
from tests.support.dataplane import Shape
from tests.support.peers import Listener, Peer
from tests.support.succession import Legacy, Line
from tests.support.waiting import wait_until

GONE = (EOFError, ConnectionError)
MOST_LIVES = 20


class Lives(Line):
    """A line of workers without gaps. Kills are ordered again of each that follows."""

    def __init__(self, *servers: Listener, **settings: Any) -> None:
        self.deaths: list[int] = []
        self._kills: list[int] = []
        self._lock = threading.RLock()
        self._closing = False
        self._threads = [threading.Thread(target=t) for t in (self._notice, self._succeed)]
        super().__init__(servers, **settings)
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join()
        super().close()

    def dies(self, number: int = signal.SIGKILL) -> int:
        """Kill the worker from outside; on return another one is at work."""
        with self._lock:
            before = len(self.deaths)
            os.kill(self.pid, number)
        wait_until(lambda: len(self.deaths) > before, "the death is noticed")
        self.ask("generations")
        return number

    def ask(self, name: str, *arguments: object) -> Any:
        """Of whoever is at work."""
        while True:
            with self._lock, contextlib.suppress(*GONE):
                asked = self.pid
                return super().ask(name, *arguments)
            self._wait_for_other(asked)

    def publish(self, **changes: Any) -> None:
        with self._lock:
            self.shape = Shape(**{**self.shape.__dict__, **changes})
        while True:
            by = self.pid
            number = self.ask("publish", self.shape)
            self._wait_taken(by, number)
            if self.pid == by:
                return

    def _wait_taken(self, by: int, number: int) -> None:
        wait_until(
            lambda: self.pid != by or self.ask("generations") == {number}, "the plan is taken"
        )

    def session(self, server: int = 0, receive_buffer: int = 0) -> tuple[Peer, Peer]:
        client = self.connects(receive_buffer)
        while True:
            peer = self.accepts(server)
            self.waits_for_state(client, lib.LBS_ESTABLISHED)
            # What the worker died of while it connected is no session's.
            if not select.select([peer.socket], [], [], 0.005)[0]:
                return client, peer

    def kills(self, slot: int) -> None:
        """The servers left are published already."""
        with self._lock:
            self._kills.append(slot)
        self.ask("kill_slot", slot, Cause.DOWN)

    # ---- succession ----

    def _notice(self) -> None:
        """Who waits for an answer of the dead waits in vain: its vault holds its end."""
        while not self._closing:
            pid = self.pid
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            control = self.control
            if self.pid == pid and control is not None:
                with contextlib.suppress(OSError):
                    control.shutdown(socket.SHUT_RDWR)
            self._wait_for_other(pid)

    def _wait_for_other(self, pid: int) -> None:
        wait_until(lambda: self._closing or self.pid not in (0, pid), "a successor")

    def _succeed(self) -> None:
        while True:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with self._lock:
                if self._closing:
                    self.ended()
                    return
                while not self._begins_anew():
                    assert len(self.deaths) < MOST_LIVES, f"it only dies: {self.deaths}"

    def _begins_anew(self) -> bool:
        """Start a successor of the dead one. False: it died as well."""
        self.deaths.append(self.ended())
        before = self.request
        assert before is not None
        assert self.vault_pid is not None
        old = self.vault_pid
        try:
            self._start(Legacy(old, before))
            alive = True
        except GONE:
            alive = False
        if self.request is not before:
            before.close()
            os.waitpid(old, 0)
        try:
            if alive:
                super().ask("publish", self.shape)
            for slot in self._kills if alive else ():
                super().ask("kill_slot", slot, Cause.DOWN)
        except GONE:
            alive = False
        return alive

    # ---- what must hold when all sessions are over ----

    def balanced_books(self) -> None:
        """Every session was counted once, told once, and left nothing behind."""
        self.waits_gone()
        counters = self.ask("counters")
        ended = counters["workers"].ended
        assert counters["workers"].accepted == ended
        assert counters["frontend"].ended == counters["backend"].ended == ended
        assert [gauge.now for gauge in counters["gauges"] + counters["slot_gauges"]] == [0] * 8
        told = [event.serial for event in self.ask("events") if event.kind == SESSION_ENDED]
        assert len(told) == len(set(told)) == ended
        sockets = [name for name in self.ask("descriptors").values() if name.startswith("socket:")]
        assert len(sockets) == 3, "control, request and the listening one"
