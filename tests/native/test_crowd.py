"""Many sessions: nine thousand at once, and two hundred thousand one after the other."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbsplice.terms import Cause
from tests.support.dataplane import Make, Rig, descriptors
from tests.support.peers import ip_address
from tests.support.waiting import wait_until

SOURCE = Path(__file__).with_name("crowd.c")
PAGE = os.sysconf("SC_PAGESIZE")
QUIET = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
SANITIZED = "LD_PRELOAD" in os.environ


class Crowd:
    """The crowd's process: clients and servers, far from our descriptors and our lock."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=QUIET
        )
        word, port = self._answer()
        assert word == "port"
        self.port = int(port)

    def asks(self, *words: object) -> None:
        assert self.process.stdin
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> list[str]:
        assert self.process.stdout
        words = self.process.stdout.readline().split()
        assert words, f"the crowd ended with status {self.process.wait()}"
        return words

    def says(self, word: str) -> list[int]:
        """The numbers of its next answer, which begins with this word."""
        first, *numbers = self._answer()
        assert first == word
        return [int(number) for number in numbers]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crowd") / "crowd"
    command = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(path), str(SOURCE)]
    subprocess.run(command, check=True, env=QUIET)
    return path


@pytest.fixture
def crowd(program: Path) -> Iterator[Crowd]:
    made = Crowd(program)
    yield made
    made.close()


def rig_for(rig: Make, crowd: Crowd, sessions: int) -> Rig:
    return rig(
        0,
        addresses=(ip_address("127.0.0.1", crowd.port),),
        threads=2,
        sessions=sessions,
        frontend={"want_end_event": False},
    )


def memory_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_nine_thousand_sessions_live_at_once_and_are_all_told_of_the_death(
    rig: Make, crowd: Crowd
) -> None:
    sessions = 9000
    lb = rig_for(rig, crowd, sessions)
    before = memory_bytes()
    crowd.asks("hold", lb.address[1], sessions)
    assert crowd.says("held") == [sessions]
    assert lb.counters.process_sessions().now == sessions
    per_session = (memory_bytes() - before) / sessions
    if not SANITIZED:
        assert per_session < 400, f"{per_session:.0f} bytes a session"
    for _ in range(3):
        crowd.asks("ask")
        assert crowd.says("alive") == [sessions]
    lb.publish(usable=())
    crowd.asks("told")
    started = time.monotonic()
    lb.workers.kill_slot(0, Cause.DOWN)
    resets, ends, spread_ms = crowd.says("told")
    took = time.monotonic() - started
    assert (resets, ends) == (sessions, 0)
    assert took < 2.0, f"all were told after {took:.2f} s"
    assert spread_ms < 1500
    assert lb.killed() == sessions
    wait_until(lambda: lb.counters.process_sessions().now == 0, "all have ended")
    assert lb.counters.slot(0).killed == sessions
    assert not lb.records()
    lb.balanced_books()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps freed memory")
def test_nothing_grows_over_two_hundred_thousand_sessions(rig: Make, crowd: Crowd) -> None:
    lb = rig_for(rig, crowd, 1000)
    crowd.asks("churn", lb.address[1], 20_000, 100)
    assert crowd.says("churned") == [20_000, 0]
    wait_until(lambda: lb.counters.process_sessions().now == 0, "all have ended")
    memory, open_ = memory_bytes(), descriptors()
    pipes = lb.counters.workers().pipes_open
    for _ in range(9):
        crowd.asks("churn", lb.address[1], 20_000, 100)
        assert crowd.says("churned") == [20_000, 0]
    wait_until(lambda: lb.counters.process_sessions().now == 0, "all have ended")
    totals = lb.counters.workers()
    assert totals.accepted == totals.ended == totals.events_unwanted == 200_000
    assert totals.spliced_bytes == 400_000
    # Pipes in the pools are the only descriptors that may differ, two each.
    assert descriptors() - open_ == 2 * (totals.pipes_open - pipes)
    assert totals.pipes_open <= 2 * 256
    growth = memory_bytes() - memory
    assert growth < 1 << 20, f"{growth} bytes more after 180,000 sessions"
    lb.balanced_books()
