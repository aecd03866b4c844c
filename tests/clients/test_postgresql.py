"""PostgreSQL through an lbsplice whose worker is killed every second: its clients end
without an error and every byte is right."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.kills import killing
from tests.clients.servers import Home, home, installed, run, serving
from tests.support.program import Program
from tests.support.waiting import wait_until

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
COPY_BYTES = 200_000_000
LINE_BYTES = 1000
KILLS = 8
SETTINGS = (
    *("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=50"),
    *("fsync=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=2GB"),
)

pytestmark = [
    pytest.mark.skipif(not PROGRAMS, reason="postgresql is not installed"),
    pytest.mark.skipif(installed("psql") is None, reason="psql is not installed"),
    pytest.mark.timeout(300),
]


@dataclass(frozen=True)
class Postgres:
    """A server and what its clients are told to find it."""

    home: Home

    def is_ready(self) -> bool:
        """Does it take sessions? It accepts before it does."""
        asked = subprocess.run(
            [_program("pg_isready"), "-q", *_at(self.home.port)], timeout=10, check=False
        )
        return asked.returncode == 0

    def sql(self, front: int, statement: str, **fields: Any) -> str:
        """Run one statement with psql at a port."""
        return run("psql", *_at(front), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, **fields)

    def bench(self, front: int, *words: str) -> str:
        """Run pgbench at a port."""
        return run(_program("pgbench"), *_at(front), *words, "postgres")

    def bench_for(self, front: int, seconds: int, *words: str) -> str:
        """Run pgbench at a port with eight clients for so long; what it said."""
        return self.bench(front, "-c", "8", "-j", "2", "-T", str(seconds), *words)


def _at(port: int) -> tuple[str, ...]:
    return ("-h", "127.0.0.1", "-p", str(port), "-U", "postgres")


def _program(name: str) -> Path:
    return PROGRAMS[-1].parent / name


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with home("postgres") as own:
        data = own.directory / "data"
        own.runs(_program("initdb"), "-D", data, "-A", "trust", "-E", "UTF8", "--no-sync")
        options = [word for setting in SETTINGS for word in ("-c", setting)]
        words = ("-D", str(data), "-p", str(own.port), *options)
        made = Postgres(own)
        with serving(own, _program("postgres"), *words, ready=made.is_ready, stop=signal.SIGINT):
            made.bench(own.port, "-i", "-q", "-s", "5")
            yield made


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """200 MB of rows that look like nothing: a number and letters."""
    chance = random.Random(3)
    path = tmp_path_factory.mktemp("copy") / "rows"
    with path.open("w") as output:
        for number in range(COPY_BYTES // LINE_BYTES):
            row = f"{number}\t"
            row += chance.randbytes(LINE_BYTES // 2).hex()[: LINE_BYTES - len(row) - 1]
            output.write(row + "\n")
    assert path.stat().st_size == COPY_BYTES
    yield path
    path.unlink()


def digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.sha256(content.read()).hexdigest()


def assert_clean(told: str) -> None:
    """Nothing failed and no client was left out of it."""
    assert "number of failed transactions: 0 " in told, told
    assert "aborted" not in told, told


def test_copy_in_and_out_and_a_benchmark_meanwhile(
    lb: Program,
    in_front_of: Callable[[int], int],
    postgres: Postgres,
    rows: Path,
    tmp_path: Path,
) -> None:
    front, back, rounds = in_front_of(postgres.home.port), tmp_path / "back", 0
    wanted = digest(rows)
    with ThreadPoolExecutor(1) as meanwhile, killing(lb.pid) as kills:
        benchmark = meanwhile.submit(postgres.bench_for, front, KILLS + 2)
        while not rounds or kills.count < KILLS:
            postgres.sql(front, "create unlogged table copied (number int, letters text)")
            with rows.open("rb") as given:
                postgres.sql(front, "copy copied from stdin", stdin=given)
            with back.open("wb") as taken:
                postgres.sql(front, "copy copied to stdout", stdout=taken)
            postgres.sql(front, "drop table copied")
            assert digest(back) == wanted
            rounds += 1
        told = benchmark.result()
    assert_clean(told)
    assert kills.count >= KILLS
    lb.stops()
    back.unlink()


def test_a_connection_for_every_transaction(
    lb: Program, in_front_of: Callable[[int], int], postgres: Postgres
) -> None:
    front = in_front_of(postgres.home.port)
    with killing(lb.pid) as kills:
        told = postgres.bench_for(front, KILLS + 2, "-C", "-S")
    assert_clean(told)
    assert kills.count >= KILLS
    lb.stops()


def test_a_session_that_waits_for_a_notification(
    lb: Program, in_front_of: Callable[[int], int], postgres: Postgres
) -> None:
    """The session that is idle for long, and then has to be there."""
    front = in_front_of(postgres.home.port)
    with (
        subprocess.Popen(
            ["psql", *_at(front), "-qAtX", "-v", "ON_ERROR_STOP=1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as psql,
        killing(lb.pid, every_s=0.5) as kills,
    ):
        assert psql.stdin is not None
        psql.stdin.write("listen news;\n")
        psql.stdin.flush()
        wait_until(lambda: kills.count >= KILLS, "it is idle while workers are killed", 60)
        postgres.sql(postgres.home.port, "notify news, 'at last'")
        told, _ = psql.communicate("select 'awake';\n", timeout=20)
    assert told.startswith('awake\nAsynchronous notification "news" with payload "at last"')
    assert psql.returncode == 0
    lb.stops()
