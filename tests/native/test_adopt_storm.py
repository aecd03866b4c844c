"""Workers that die over and over under traffic, byte for byte. A run that fails prints its
seed; LBSPLICE_SEED=N repeats it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from lbsplice.terms import Algorithm
from tests.support.storm import Storm, seed_from_environment
from tests.support.succession import MakeLine, books_balance, ends, talk


def test_fifty_deaths_in_a_row(line: MakeLine) -> None:
    it = line(threads=2, servers=2, algorithm=Algorithm.LEASTCONN)
    idle = [it.session(i % 2) for i in range(40)]
    client, server = idle[0]
    for number in range(50):
        client.sends(b"%4d" % number)
        it.dies()
        it.succeeds()
        server.reads(b"%4d" % number).sends(b"ok")
        client.reads(b"ok")
    for pair in idle:
        talk(*pair)
    books_balance(it)


# A sanitizer takes the others for findings.
SIGNALS = (
    [signal.SIGKILL]
    if "ASAN_OPTIONS" in os.environ
    else [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS]
)


class Deadly(Storm):
    """A storm in which the worker is killed every few milliseconds of its own time."""

    deaths = 0
    next_s = 0.0

    def _resume(self, now: float) -> None:
        super()._resume(now)
        if now < self.next_s:
            return
        line: Any = self.rig
        line.dies(self.rng.choice(SIGNALS))
        line.succeeds(way=self.rng.choice(["vault", "table"]))
        self.deaths += 1
        self.next_s = time.monotonic() + self.rng.random() * 0.05


@pytest.mark.parametrize(
    ("sessions", "at_once", "settings"),
    [
        (1200, 150, {"threads": 2, "servers": 3}),
        (500, 80, {"pipe_bytes": 4096, "threads": 2}),
        (400, 60, {"max_pipes": 2, "threads": 2, "sessions": 64}),
    ],
)
def test_every_byte_of_a_storm_arrives_under_kills(
    line: MakeLine, sessions: int, at_once: int, settings: dict[str, Any]
) -> None:
    seed = seed_from_environment()
    print(f"LBSPLICE_SEED={seed}")
    it = line(events=16384, **settings)
    rig: Any = it
    storm = Deadly(rig, seed, sessions, at_once)
    storm.run(within_s=100)
    assert storm.deaths > 10
    it.waits_gone()
    totals = it.ask("counters")["workers"]
    # Of the connections that were accepted when a worker died, those are given up whose
    # client had reset already: nobody is there any more.
    missing = sessions - totals.accepted
    assert 0 <= missing <= storm.deaths * it.sizes.threads
    assert totals.ended == totals.accepted
    ends(it, totals.ended)
    books_balance(it)
