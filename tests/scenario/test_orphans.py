"""The supervisor is killed in the middle of things: one worker serves on, with all sessions,
and another supervisor takes over from it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.crash import talks, text
from tests.support.torture import family
from tests.support.waiting import holds_for, wait_until


def workers_of(supervisor: int) -> list[int]:
    return [pid for pid in family.children(supervisor) if family.name(pid) == family.WORKER]


@pytest.mark.parametrize("when", ["before it takes over", "told to take over", "it has taken over"])
def test_supervisor_that_dies_while_a_successor_is_on_its_way(lb, victim, when):
    """A reload that changes `nbthread` needs another worker."""
    server = lb.server()
    configuration = text(lb, f"server a {server}")
    lb.start(configuration)
    pair = lb.session(server)
    old, coming = with_a_successor_on_its_way(lb, victim)
    guardian = victim.vault()
    if when != "before it takes over":
        wait_until(lambda: threads(old) < 3, "the worker in office stands still")
        holds_for(lambda: family.alive(coming), "it is told that it may take over", 0.2)
    if when == "it has taken over":
        lb.process.send_signal(signal.SIGSTOP)  # and can not tell the old one
        os.kill(coming, signal.SIGCONT)
        wait_until(lambda: family.vault(lb.pid) != guardian, "another vault counts")
        wait_until(lambda: not family.alive(guardian), "the old vault was told to quit")
    lb.process.kill()
    lb.process.wait()
    os.kill(coming, signal.SIGCONT)
    stays, goes = (coming, old) if when == "it has taken over" else (old, coming)
    wait_until(lambda: not family.alive(goes), "one makes way", 20)
    talks(*pair)
    talks(*lb.session(server))
    holds_for(lambda: family.alive(stays), "the other one lives", 0.3)
    lb.process.stdout.close()  # nobody reads what the orphan says
    lb.process.stderr.close()
    lb.start(configuration)
    wait_until(lambda: not family.alive(stays), "it makes way for the next one", 20)
    talks(*pair)
    talks(*lb.session(server))
    lb.stops()
    for pid in (*victim.pids, guardian):
        wait_until(lambda pid=pid: not family.alive(pid), f"process {pid} is gone")


def with_a_successor_on_its_way(lb, victim) -> tuple[int, int]:
    """The worker in office and one that was stopped before it took over. A successor that was
    quicker than our signal is let be, and another reload asks for the next."""
    path = lb.directory / "lb.cfg"
    for turn in range(20):
        was, now = ("nbthread 2", "nbthread 1") if turn % 2 == 0 else ("nbthread 1", "nbthread 2")
        path.write_text(path.read_text().replace(was, now))
        old = victim.worker()
        lb.process.send_signal(signal.SIGHUP)
        (coming,) = wait_until(lambda old=old: set(workers_of(lb.pid)) - {old}, "a successor")
        os.kill(coming, signal.SIGSTOP)
        victim.pids |= {old, coming}
        try:
            holds_for(lambda old=old: family.alive(old), "it was stopped in time", 0.2)
        except AssertionError:
            os.kill(coming, signal.SIGCONT)
            wait_until(lambda coming=coming: victim.worker() == coming, "it is in office")
            continue
        return old, coming
    raise AssertionError("no successor could be stopped in time")


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
