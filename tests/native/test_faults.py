"""The fault-injection build: a worker dies where it was told to, of what it was told.

Runs under scripts/faults alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.native.test_ends_table import free_port

NATIVE = Path(__file__).resolve().parents[2] / "native"

# A worker, and a new session from each client's port that it reads; it lives until its
# input ends.
WORKER = """
import socket
import sys
from tests.support.dataplane import Rig

with Rig() as lb:
    print("ready", flush=True)
    for line in sys.stdin:
        client = socket.create_connection(lb.address, source_address=("127.0.0.1", int(line)))
        server = lb.accepts()
        client.send(b"ask")
        server.reads(b"ask").sends(b"answer").closes()
        assert client.recv(6, socket.MSG_WAITALL) == b"answer"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
        client.close()
        print("passed", flush=True)
"""


class Life:
    """One process of WORKER, told by `fault` how to die."""

    def __init__(self, fault: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={**os.environ, "LBSPLICE_FAULT": fault},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

        assert self._reads() in ("ready", "")

    def serves(self, port: int = 0) -> bool:
        """Does it survive a session with the client at this port?"""
        assert self.process.stdin
        self.process.stdin.write(f"{port}\n")
        self.process.stdin.flush()
        return self._reads() == "passed"

    def _reads(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ends(self) -> int:
        """Let it end; its status, as subprocess has it."""
        with suppress(BrokenPipeError):
            self.process.communicate()
        return self.process.wait()


def end_of(life: Life) -> int:
    """The status of a worker that gets a session to work on."""
    with suppress(BrokenPipeError):
        life.serves()
    return life.ends()


def place(file: str, text: str) -> int:
    """The line of the first STEP() after the line that has this text."""
    lines = (NATIVE / file).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if text in line)
    return next(i + 1 for i in range(first, len(lines)) if "STEP();" in lines[i])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_worker_dies_of_the_signal_it_was_told(number: int) -> None:
    life = Life(f"step=10,signal={number}")
    assert not life.serves()
    assert life.ends() == -number


def test_worker_that_was_told_nothing_lives() -> None:
    life = Life("")
    assert life.serves()
    assert life.ends() == 0


def test_worker_dies_at_a_place_the_nth_time(tmp_path: Path) -> None:
    counter = tmp_path / "deaths"
    line = place("accept.c", "fd = accept4(")
    life = Life(f"counter={counter};file=accept.c,line={line},nth=3")
    assert life.serves()
    assert life.serves()
    assert not life.serves()
    assert life.ends() == -signal.SIGKILL
    assert counter.read_text() == "1\n"


def test_each_death_uses_up_a_clause_or_a_part_of_it(tmp_path: Path) -> None:
    fault = f"counter={tmp_path / 'deaths'};step=1,signal=11;step=2,signal=6,times=2;step=3"
    ends = [end_of(Life(fault)) for _ in range(5)]
    assert ends == [-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGABRT, -signal.SIGKILL, 0]


def test_random_deaths_differ_from_life_to_life(tmp_path: Path) -> None:
    fault = f"counter={tmp_path / 'deaths'};random=7,mean=20,signal=0,times=8"
    ends = [end_of(Life(fault)) for _ in range(8)]
    assert len(set(ends)) > 1
    assert set(ends) <= {-9, -11, -6, -7, 0}


def test_session_is_deadly_that_was_poisoned_and_no_other() -> None:
    port = free_port()
    life = Life(f"poison={port},signal=11")
    assert life.serves()
    assert not life.serves(port)
    assert life.ends() == -signal.SIGSEGV


def test_word_that_it_does_not_know_is_told_and_ends_it() -> None:
    assert end_of(Life("step=4,sig=9")) == 2
