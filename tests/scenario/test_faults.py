"""The worker dies at chosen places: before and after every write of the ledger and every
system call of accept, connect, splice, close and of adoption itself.

Needs the fault-injection build, with which `scripts/faults` runs it; elsewhere it is not
collected (conftest.py)."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import time

import pytest

from tests.support.command import environment
from tests.support.crash import talks, text
from tests.support.peers import Peer
from tests.support.program import reserved_port
from tests.support.torture import family
from tests.support.torture.faulty import IN_A_ROW, NEVER, AtPlaces, AtRandom, Deaths, settings
from tests.support.torture.harm import Victim
from tests.support.torture.places import Place, places
from tests.support.torture.run import Torture
from tests.support.waiting import wait_until

BATCHES = 5
MOST_GROUPS_OF_TWO = 10
SEED = int(os.environ.get("LBSPLICE_SEED", random.randrange(1 << 32)))

AFTER_A_DEATH = {
    "session_recover": ("count_end",),
    "settle_attempt": ("withdraw", "session_leave_slot"),
}
"""Functions that a successor comes to after a death in other functions only."""

UNREACHED = {
    *AFTER_A_DEATH,
    "condemn",  # at a session's third crash in a row: below
    "discard",  # after a stray write into a record: tests/native
}
"""Functions whose places the load does not come to by itself."""


def in_function(*names: str) -> list[Place]:
    return [place for place in places() if place.function in names]


def holds(torture: Torture) -> None:
    print(f"LBSPLICE_SEED={SEED}")
    result = torture.run()
    assert not result.failures, "\n".join(result.failures)


def dies_at(tmp_path, batch: int, nth: int) -> list[Place]:
    """Everything held, though the worker died at each place; those it never came to."""
    chosen = [place for place in places() if place.function not in UNREACHED][batch::BATCHES]
    groups = [chosen[at : at + IN_A_ROW] for at in range(0, len(chosen), IN_A_ROW)]
    torture = AtPlaces(settings(SEED), tmp_path, groups, nth)
    holds(torture)
    return [place for place in chosen if place not in torture.reached]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_death_at_every_place_when_it_is_first_reached(tmp_path, batch):
    assert dies_at(tmp_path, batch, 1) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_death_at_every_place_when_it_is_reached_again(tmp_path, batch):
    never = dies_at(tmp_path, batch, random.Random(SEED + batch).randrange(2, 9))
    print("never reached so often:", *never)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("second", AFTER_A_DEATH)
def test_death_of_a_successor_that_finds_something_half_done(tmp_path, second):
    first, then = in_function(*AFTER_A_DEATH[second]), in_function(second)
    pairs = [(one, other) for one in first for other in then]
    chosen = random.Random(SEED).sample(pairs, min(len(pairs), MOST_GROUPS_OF_TWO))
    torture = AtPlaces(settings(SEED), tmp_path, chosen)
    holds(torture)
    assert set(then) & set(torture.reached)
    print("never reached:", *set(then) - set(torture.reached))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mean", [800, 5000, 30_000])
def test_death_at_random_places(tmp_path, mean):
    """With the small mean many a worker dies while it adopts."""
    holds(AtRandom(settings(SEED + mean), tmp_path, 12, mean))


@pytest.mark.timeout(300)
def test_death_of_faults_of_its_own_at_random_places(tmp_path):
    """SIGSEGV, SIGABRT and SIGBUS as the program itself brings them about: many sessions,
    so that none is at work three times in a row by chance."""
    holds(AtRandom(settings(SEED, shorts_per_s=120.0), tmp_path, 8, 20_000, number=0))


@pytest.mark.parametrize("then", [None, *in_function("condemn")], ids=str)
def test_session_that_crashes_the_worker_is_left_out(lb, victim, then):
    """At the third crash in a row; the others live, and the log says which it was. `then`:
    where one more worker dies, just as it condemns that session."""
    server = lb.server()
    deaths = Deaths(lb.directory / "deaths")
    with reserved_port() as held:
        port = held.getsockname()[1]
        clauses = [f"counter={deaths.path}", f"poison={port},signal=11,times=3"]
        fault = ";".join([*clauses, *([then.clause()] if then else []), NEVER])
        lb.start(text(lb, f"server a {server}"), env=environment(LBSPLICE_FAULT=fault))
        pid = lb.pid
        pairs = [lb.session(server) for _ in range(20)]
        bad = socket.socket()
        lb.stack.callback(bad.close)
        bad.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bad.bind(("127.0.0.1", port))
        bad.connect(("127.0.0.1", lb.port()))
        Peer(bad).reads_reset()
    wait_until(lambda: victim.adoptions(), "a successor is at work", 20)
    for pair in pairs:
        talks(*pair)
    lb.logs(rf"^127\.0\.0\.1:{port} .* ID ")
    if then is None:
        lb.logs(r"signal 11 \(SIGSEGV\).*took over .* 1 was reset")
    assert lb.pid == pid
    assert deaths.count == (3 if then is None else 4)
    victim.crash()
    for pair in pairs:
        talks(*pair)
    assert lb.stops().count("SIGSEGV") == 3
    lb.says_no_more(" ID ", 1)


def test_five_deaths_in_a_row_before_the_adoption_is_finished_end_it(lb, tmp_path):
    server = lb.server()
    deaths = Deaths(tmp_path / "deaths")
    place = in_function("adopt_thread")[0]
    fault = f"counter={deaths.path};{NEVER};{place.clause(signal=11, times=0)}"
    lb.start(text(lb, f"server a {server}"), env=environment(LBSPLICE_FAULT=fault))
    victim = Victim(lb)
    pairs = [lb.session(server) for _ in range(3)]
    victim.settles()
    deaths.skip()
    begun = time.monotonic()
    victim.kill(signal.SIGKILL)
    wait_until(lambda: lb.process.poll() is not None, "it gives up", 30)
    assert time.monotonic() - begun < 30
    err = lb.ends(1)
    assert deaths.count in (5, 6), "the kill from outside, and five (or four) of its own"
    assert re.search(r"5 workers in a row died before one was ready.* 11 \(SIGSEGV\)", err), err
    assert "set-dumpable" in err, "what a core dump needs"
    for client, end in pairs:
        ends_somehow(client)
        ends_somehow(end)
    for pid in victim.pids:
        wait_until(lambda pid=pid: not family.alive(pid), f"process {pid} is gone")


def ends_somehow(peer: Peer) -> None:
    """The connection is over, by a reset or an end."""
    try:
        assert peer.socket.recv(1) == b""
    except ConnectionError:
        return
