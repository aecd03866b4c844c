"""Redis through an lbsplice whose worker is killed every second: its clients end without an
error and the data is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.kills import killing
from tests.clients.servers import home, installed, run, serving
from tests.support.program import Program

KILLS = 8
KEYS = 200_000
VALUE_BYTES = 256
TESTS = "ping_mbulk,set,get,lpush,lrange_100,mset"

pytestmark = [
    pytest.mark.skipif(installed("redis-server") is None, reason="redis-server is not installed"),
    pytest.mark.skipif(installed("redis-benchmark") is None, reason="redis-tools is missing"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[int]:
    """The port of a server that writes nothing to its disk."""
    with home("redis") as own:
        settings = ("--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes")
        program = installed("redis-server") or ""
        with serving(own, program, "--port", str(own.port), *settings):
            yield own.port


def cli(port: int, *words: str, **fields: Any) -> str:
    """Run redis-cli at a port."""
    return run("redis-cli", "-h", "127.0.0.1", "-p", str(port), "-e", *words, **fields).strip()


def benchmark(port: int, *words: str) -> str:
    """Run redis-benchmark at a port: fifty connections, all kinds of answers."""
    return run("redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", *words)


def setting(number: int) -> str:
    """The command that stores a value of its own under a number."""
    value = (f"value {number} " * VALUE_BYTES)[:VALUE_BYTES]
    return f'SET key:{number} "{value}"\r\n'


def test_a_benchmark_with_fifty_connections(
    lb: Program, in_front_of: Callable[[int], int], redis: int
) -> None:
    front, rounds = in_front_of(redis), 0
    with killing(lb.pid) as kills:
        while not rounds or kills.count < KILLS:
            told = benchmark(front, "-n", "20000", "-d", "1024", "-t", TESTS)
            assert "error" not in told.lower(), told
            rounds += 1
    lb.stops()


def test_a_connection_for_every_command(
    lb: Program, in_front_of: Callable[[int], int], redis: int
) -> None:
    front, rounds = in_front_of(redis), 0
    with killing(lb.pid) as kills:
        while not rounds or kills.count < KILLS:
            told = benchmark(front, "-n", "5000", "-k", "0", "-t", "set,get")
            assert "error" not in told.lower(), told
            rounds += 1
    lb.stops()


def test_a_mass_of_commands_through_one_pipe(
    lb: Program, in_front_of: Callable[[int], int], redis: int, tmp_path: Path
) -> None:
    """redis-cli --pipe does not wait for answers, and counts them all."""
    front, rounds = in_front_of(redis), 0
    commands = tmp_path / "commands"
    commands.write_text("".join(setting(number) for number in range(KEYS)))
    wanted = load(redis, redis, commands)
    with killing(lb.pid) as kills:
        while not rounds or kills.count < KILLS:
            assert load(front, redis, commands) == wanted
            rounds += 1
    lb.stops()
    commands.unlink()


def load(port: int, redis: int, commands: Path) -> str:
    """Fill an empty server through a port; the digest of what it holds then."""
    cli(redis, "flushall")
    with commands.open("rb") as given:
        told = cli(port, "--pipe", stdin=given)
    assert f"errors: 0, replies: {KEYS}" in told, told
    return cli(redis, "debug", "digest")
