"""The wheel of timers: driven by a clock of the test against a model, and by sessions."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI

from native.build import declarations
from tests.support.dataplane import Make
from tests.support.storm import seed_from_environment
from tests.support.waiting import wait_until

NATIVE = Path(__file__).resolve().parents[2] / "native"
TICK_MS = 4
HORIZON_MS = ((1 << 24) - (1 << 16) - 1) * TICK_MS
"""Later than that a timer can not be set; it fires then, and its owner sets it again."""

SESSIONS = 3000
NONE = 0xFFFFFFFF
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """native/timers.c by itself: its functions and their ffi."""
    library = tmp_path_factory.mktemp("timers") / "timers.so"
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", str(library)]
    quiet = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([*command, str(NATIVE / "timers.c")], check=True, env=quiet)
    ffi = FFI()
    ffi.cdef(declarations((NATIVE / "api.h").read_text(encoding="utf-8")))
    text = (NATIVE / "timers.h").read_text(encoding="utf-8")
    kept = [
        line
        for line in text.splitlines()
        if not line.startswith("#") or line.startswith("#define TIMERS_")
    ]
    names = {"TIMERS_LEVELS * TIMERS_BUCKETS": "768", "TIMERS_BUCKETS / 64": "4"}
    body = "\n".join(kept)
    for name, value in names.items():
        body = body.replace(name, value)
    ffi.cdef(body)
    return ffi.dlopen(str(library)), ffi


class Model:
    """A wheel beside a plain dictionary of what must happen when."""

    def __init__(self, wheel: tuple[Any, Any], now: int) -> None:
        self.lib, ffi = wheel
        self.sessions = ffi.new("lbs_session[]", SESSIONS)
        self.timers = ffi.new("struct timers *")
        self.now = now
        self.lib.timers_init(self.timers, self.sessions, now)
        self.due: dict[int, int] = {}

    def sets(self, session: int, at: int) -> None:
        self.lib.timers_set(self.timers, session, at)
        self.due[session] = min(max(at, self.now), self.now + HORIZON_MS)

    def clears(self, session: int) -> None:
        self.lib.timers_clear(self.timers, session)
        self.due.pop(session, None)

    def moves_to(self, now: int) -> list[int]:
        """The sessions that fire by `now`, none of them early and none missing."""
        self.now = now
        fired = []
        while (session := self.lib.timers_due(self.timers, now)) != NONE:
            # What lies beyond the horizon may fire up to a tick before it.
            assert self.due[session] <= now + TICK_MS * (self.due[session] % TICK_MS != 0)
            del self.due[session]
            fired.append(session)
        late = [at for at in self.due.values() if at + 2 * TICK_MS <= now]
        assert not late, f"{len(late)} timers did not fire, one of them {now - min(late)} ms late"
        self.waits()
        return fired

    def waits(self) -> None:
        """Waiting as long as the wheel says misses none by more than a tick."""
        wait = self.lib.timers_wait_ms(self.timers, self.now)
        if not self.due:
            assert wait == -1
            return
        assert wait >= 0
        assert self.now + wait <= max(self.now, min(self.due.values())) + 2 * TICK_MS


def spans(rng: random.Random) -> int:
    """A time span, in ms: as likely short as long."""
    return rng.randrange(1 + rng.choice([10, 100, 1020, 1030, 5000, 262_000, 300_000, HOUR_MS]))


@pytest.mark.parametrize("run", range(12))
def test_wheel_does_what_a_sorted_list_would(wheel: tuple[Any, Any], run: int) -> None:
    seed = seed_from_environment() + run
    print(f"LBSPLICE_SEED={seed - run}")
    rng = random.Random(seed)
    # Also where the low 32 bits of the ticks, and those of the milliseconds, run over.
    start = rng.choice([0, 1, 1 << 32, 4 << 32, rng.randrange(1 << 40)]) - rng.randrange(5000)
    model = Model(wheel, max(0, start))
    for _ in range(1500):
        for _ in range(rng.randrange(6)):
            model.sets(rng.randrange(SESSIONS), model.now + spans(rng))
        if rng.random() < 0.5:
            model.clears(rng.randrange(SESSIONS))
        model.moves_to(model.now + min(spans(rng), spans(rng)))
    while model.due:
        model.moves_to(model.now + max(1, model.lib.timers_wait_ms(model.timers, model.now)))
    model.waits()


def test_timers_of_a_day_and_longer_fire_at_the_horizon(wheel: tuple[Any, Any]) -> None:
    model = Model(wheel, 12_345)
    model.sets(1, 12_345 + 17 * HOUR_MS)
    model.sets(2, 12_345 + 24 * HOUR_MS)
    model.sets(3, 12_345 + 1000 * HOUR_MS)
    assert model.moves_to(12_345 + 17 * HOUR_MS - 1) == []
    assert model.moves_to(12_345 + 17 * HOUR_MS + TICK_MS) == [1]
    assert sorted(model.moves_to(12_345 + HORIZON_MS + TICK_MS)) == [2, 3]


def test_thousands_of_timers_at_the_same_time_all_fire(wheel: tuple[Any, Any]) -> None:
    model = Model(wheel, 1000)
    for session in range(SESSIONS):
        model.sets(session, 90_000)
    assert sorted(model.moves_to(90_000 + TICK_MS)) == list(range(SESSIONS))


def test_timer_of_the_past_fires_with_the_next_tick(wheel: tuple[Any, Any]) -> None:
    model = Model(wheel, 1_000_000)
    model.sets(7, 5)
    assert model.moves_to(1_000_000 + TICK_MS) == [7]


# ---- by sessions ----

LATE_MS = 40
"""What a slow machine may add."""


def limits() -> Iterator[int]:
    yield from (20, 50, 51, 53, 200, 1016, 1020, 1024, 1028, 1100)


def test_timeouts_are_never_early_and_hardly_late(rig: Make) -> None:
    """Also those at the border of two levels of the wheel (1024 ms)."""
    lb = rig()
    wanted = {}
    for limit in limits():
        lb.publish(frontend={"timeout_client": limit}, backend={"timeout_server": limit})
        client, _ = lb.session()
        wanted[client.socket.getsockname()[1]] = limit
    for record in lb.ends(len(wanted)):
        limit = wanted[record.client_port]
        lasted = record.total_ms - record.connect_ms
        assert limit - 1 <= lasted <= limit + TICK_MS + LATE_MS, (limit, lasted)


def test_activity_moves_a_timeout_as_long_as_it_lasts(rig: Make) -> None:
    """A short timeout that is armed again and again, and a long one beside it."""
    lb = rig(frontend={"timeout_client": 20_000}, backend={"timeout_server": 20_000})
    patient, patient_server = lb.session()
    lb.publish(frontend={"timeout_client": 60}, backend={"timeout_server": 60})
    client, server = lb.session()
    started = time.monotonic()
    while time.monotonic() - started < 0.5:
        client.sends(b"tick")
        server.reads(b"tick").sends(b"tock")
        client.reads(b"tock").sees_nothing(0.02)
    client.reads_end()
    record = lb.ends()[0]
    assert 500 + 30 <= record.total_ms <= 500 + 60 + 20 + LATE_MS
    patient.sends(b"here")
    patient_server.reads(b"here")
    assert lb.live() == 1


def test_worker_with_a_distant_timer_sleeps(rig: Make) -> None:
    lb = rig(frontend={"timeout_client": 1200}, backend={"timeout_server": 1200})
    lb.session()
    before = lb.counters.workers().batches
    wait_until(lambda: not lb.records(), "the session timed out")
    # Its timer, and what spreading the wheel's upper levels takes.
    assert lb.counters.workers().batches - before < 12
