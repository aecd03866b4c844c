"""The supervisor's loop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest

from lbsplice.reactor import Reactor
from tests.support.waiting import SOON_S

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


@pytest.fixture
def reactor():
    before = {number: signal.getsignal(number) for number in NUMBERS}
    with closing(Reactor()) as made:
        yield made
    for number, handler in before.items():
        signal.signal(number, handler)


def turns_until(reactor, condition):
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happens"
        reactor.turn(0.1)


def test_signals_are_told_in_order_and_each_once(reactor):
    told = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        reactor.on_signal(number, lambda number=number: told.append(number))
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1):
        os.kill(os.getpid(), number)
    turns_until(reactor, lambda: len(told) == 3)
    assert told == [signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1]


def test_timers_come_in_their_order_and_not_after_a_cancel(reactor):
    told = []
    reactor.after(0.02, lambda: told.append("late"))
    reactor.after(0.01, lambda: told.append("never")).cancel()
    reactor.after(0, lambda: told.append("now"))
    reactor.after(0, lambda: told.append("then"))
    turns_until(reactor, lambda: "late" in told)
    assert told == ["now", "then", "late"]


def test_a_source_is_watched_for_reading_and_when_wanted_for_writing(reactor):
    told = []
    one, other = socket.socketpair()
    with one, other:
        reactor.watch(one, lambda: told.append("ready"))
        reactor.turn(0)
        assert told == []
        reactor.want_write(one, True)
        reactor.turn(0)
        assert told == ["ready"]
        reactor.want_write(one, False)
        reactor.turn(0)
        assert told == ["ready"]
        other.send(b"x")
        reactor.turn(0)
        assert told == ["ready"] * 2
        reactor.forget(one)
        reactor.turn(0)
        assert told == ["ready"] * 2


def child(status):
    pid = os.fork()
    if not pid:
        os._exit(status)
    return pid


def test_the_end_of_a_child_is_told_with_its_status(reactor):
    told = {}
    pids = [child(status) for status in (3, 4)]
    for pid in pids:
        reactor.on_exit(pid, lambda status, pid=pid: told.update({pid: status}))
    turns_until(reactor, lambda: len(told) == 2)
    assert [os.waitstatus_to_exitcode(told[pid]) for pid in pids] == [3, 4]


def test_the_end_of_a_stranger_is_told_without_one(reactor):
    told = []
    script = "import os, sys\npid = os.fork()\nif pid: print(pid)\nelse: sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        reactor.others.add(parent.pid)
        reactor.on_exit(int(parent.stdout.readline()), told.append)
        reactor.turn(0.02)
        assert told == []
        parent.stdin.close()
        turns_until(reactor, lambda: told)
        parent.stdout.close()
    assert told == [None]


def test_a_process_that_is_gone_has_ended(reactor):
    pid = child(0)
    os.waitpid(pid, 0)
    told = []
    reactor.on_exit(pid, told.append)
    turns_until(reactor, lambda: told)
    assert told == [None]


def test_children_nobody_knows_are_reaped_and_those_of_others_are_not(reactor):
    stray, other = child(0), child(5)
    reactor.others.add(other)

    def is_gone():
        try:
            os.waitid(os.P_PID, stray, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    os.waitid(os.P_PID, other, os.WEXITED | os.WNOWAIT)
    os.kill(os.getpid(), signal.SIGCHLD)
    turns_until(reactor, lambda: os.kill(os.getpid(), signal.SIGCHLD) or is_gone())
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 5
