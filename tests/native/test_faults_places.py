"""At every STEP() of the data plane: a worker that dies there is succeeded, and no session
notices. Runs under scripts/faults alone."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbsplice.plan.tables import Redispatch
from tests.native.test_connect import Refusing
from tests.support.lives import Lives
from tests.support.peers import Listener
from tests.support.storm import seed_from_environment

NATIVE = Path(__file__).resolve().parents[2] / "native"
FUNCTION = re.compile(r"^[a-z].*?(\w+)\(")
DATA = random.Random(11).randbytes(300_000)

# Files whose places only a successor passes; some of them only if the worker before it died
# at a certain point: after this text.
ADOPTING = {"adopt.c", "adopt_thread.c"}
AFTER = {
    "session_recover": ("session_end.c", "add_totals(s, slot);"),
    "settle_attempt": ("session_end.c", "~LBS_SESSION_IN_SLOT"),
}

# Places that this conversation does not come to, and why.
ELSEWHERE = {
    ("adopt.c", "condemn"): "a session with a descriptor that is gone: test_adopt",
    ("adopt.c", "discard"): "a record with numbers that lead nowhere: test_adopt",
}


def places() -> list[tuple[str, int, str]]:
    """(file, line, function) of each."""
    found = []
    for path in sorted(NATIVE.glob("*.c")):
        function = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if (match := FUNCTION.match(line)) and not line.endswith(";"):
                function = match[1]
            if line.strip() == "STEP();":
                found.append((path.name, number, function))
    return found


def line_of(file: str, text: str) -> int:
    """The first STEP() after this text."""
    lines = (NATIVE / file).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if text in line)
    return next(i + 1 for i in range(first, len(lines)) if lines[i].strip() == "STEP();")


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "deaths"
    path.write_text("0\n")
    yield path
    os.environ.pop("LBSPLICE_FAULT", None)


def deaths(counter: Path) -> int:
    return int(counter.read_text())


def conversation(lb: Lives, *, dies: bool) -> None:
    """Sessions of every kind. `dies`: the worker is killed in the middle as well."""
    # A server that refuses, and is tried again.
    lb.publish(usable=(2,))
    lb.connects().reads_end()
    lb.publish(usable=(0,))
    stream, streamed = lb.session()
    slow, slow_server = lb.session(receive_buffer=16384)
    said = slow_server.sends_what_fits(0.02)
    half, half_server = lb.session()
    half.shuts_output()
    half_server.reads_end()
    full, full_server = lb.session(receive_buffer=16384)
    full_server.sends_what_fits(0.02)
    idle, idle_server = lb.session()
    idle.sends(b"ask")
    idle_server.reads(b"ask")
    if dies:
        lb.dies()
    stream.sends(DATA)
    assert streamed.reads_count(len(DATA)) == DATA
    streamed.sends(DATA)
    assert stream.reads_count(len(DATA)) == DATA
    # A reset with bytes under way to who sent it: our pipe's are lost, too.
    full.resets()
    full_server.breaks()
    client, server = lb.session()
    client.sends_what_fits(0.02)
    server.resets()
    client.breaks()
    for _ in range(3):
        client, server = lb.session()
        client.sends(b"ask")
        server.reads(b"ask").sends(b"answer").closes()
        client.reads(b"answer").reads_end().closes()
    client, server = lb.session()
    server.resets()
    client.reads_reset()
    # A server that is marked down, with a session that has bytes for its client.
    lb.publish(usable=(1,))
    killed, killed_server = lb.session(1)
    busy, busy_server = lb.session(1, receive_buffer=16384)
    busy_server.sends_what_fits(0.02)
    lb.publish(usable=(0,))
    lb.kills(1)
    killed.reads_reset()
    killed_server.breaks()
    assert busy.reads_until_reset()
    assert slow.reads_count(said) == bytes(said)
    half_server.sends(b"late").closes()
    half.reads(b"late").reads_end()
    idle.sends(b"still")
    idle_server.reads(b"still").sends(b"here")
    idle.reads(b"here")
    for peer in lb.peers:
        peer.closes()


@pytest.mark.parametrize(
    ("file", "line", "function"),
    [pytest.param(*place, id=f"{place[2]}:{place[1]}") for place in places()],
)
def test_worker_that_dies_here_is_not_missed(
    counter: Path, file: str, line: int, function: str
) -> None:
    before = ""
    if function in AFTER:
        before = f"file={AFTER[function][0]},line={line_of(*AFTER[function])};"
    number = (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)[line % 4]
    os.environ["LBSPLICE_FAULT"] = (
        f"counter={counter};{before}file={file},line={line},signal={number}"
    )
    servers = Listener(receive_buffer=16384), Listener(), Refusing()
    with Lives(
        *servers,
        threads=1,
        pipe_bytes=16384,
        frontend={"want_connect_event": True},
        backend={"retries": 1, "timeout_connect": 60, "redispatch": Redispatch.NEVER},
    ) as lb:
        conversation(lb, dies=file in ADOPTING)
        lb.balanced_books()
    if deaths(counter) == before.count(";"):
        assert (file, function) in ELSEWHERE, "no worker came here"


@pytest.mark.parametrize("round_", range(4))
@pytest.mark.parametrize(("mean", "times"), [(250, 6), (70, 15)])
def test_workers_that_die_at_random_are_not_missed(
    counter: Path, mean: int, times: int, round_: int
) -> None:
    """Also while they adopt. LBSPLICE_SEED=N repeats the first round of a run that said so."""
    seed = seed_from_environment() + round_
    print(f"LBSPLICE_SEED={seed}")
    os.environ["LBSPLICE_FAULT"] = (
        f"counter={counter};random={seed},mean={mean},signal=0,times={times}"
    )
    servers = Listener(receive_buffer=16384), Listener(), Refusing()
    with Lives(
        *servers,
        threads=2,
        pipe_bytes=16384,
        backend={"retries": 1, "timeout_connect": 60, "redispatch": Redispatch.NEVER},
    ) as lb:
        conversation(lb, dies=False)
        lb.balanced_books()
    assert deaths(counter) > 0
