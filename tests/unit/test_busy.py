"""The share of the time that a thread works."""

from __future__ import annotations

import threading
import time

from lbsplice.dataplane.busy import PERIOD_NS, Busy
from tests.support.waiting import SOON_S, wait_until


class Clocks:
    cpu = now = 0

    def moves(self, cpu_ns: int, now_ns: int) -> None:
        self.cpu += cpu_ns
        self.now += now_ns


def meter(clocks: Clocks) -> Busy:
    return Busy(lambda: clocks.cpu, lambda: clocks.now)


def test_share_is_the_processor_time_since_it_was_last_asked_for():
    clocks = Clocks()
    busy = meter(clocks)
    clocks.moves(PERIOD_NS // 4, PERIOD_NS)
    assert busy.percent() == 25
    clocks.moves(9 * PERIOD_NS, 10 * PERIOD_NS)
    assert busy.percent() == 90


def test_who_asks_too_soon_is_told_the_last_share():
    clocks = Clocks()
    busy = meter(clocks)
    assert busy.percent() == 0
    clocks.moves(PERIOD_NS // 2, PERIOD_NS)
    assert busy.percent() == 50
    clocks.moves(PERIOD_NS // 2, PERIOD_NS // 2)
    assert busy.percent() == 50
    clocks.moves(PERIOD_NS // 2, PERIOD_NS // 2)
    assert busy.percent() == 100


def test_share_is_never_more_than_all_of_it():
    clocks = Clocks()
    busy = meter(clocks)
    clocks.moves(PERIOD_NS + 5, PERIOD_NS)
    assert busy.percent() == 100


def test_thread_that_works_is_seen_from_another_and_one_that_has_ended_does_nothing():
    made: list[Busy] = []
    there, done = threading.Event(), threading.Event()

    def works() -> None:
        made.append(Busy.of_this_thread())
        until = time.thread_time() + 0.5
        while time.thread_time() < until:
            pass
        there.set()
        done.wait(SOON_S)

    thread = threading.Thread(target=works)
    thread.start()
    assert there.wait(SOON_S)
    percent = wait_until(made[0].percent, "a second is over")
    assert percent <= 60, "half a second of work, in a second or more"
    done.set()
    thread.join()
    wait_until(lambda: made[0].percent() == 0, "the thread is gone")
