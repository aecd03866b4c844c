"""What health checks cost: the CPU share of a process that checks many servers.

    python scripts/bench_checks.py [--servers 500] [--inter 1000] [--seconds 10] [--json]

The servers are listening sockets of another process on 127.1.0.0/16; each is checked
every `inter` ms. Exit status 1 if it costs a quarter of a core or more, or if any check
failed."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path

from lbsplice.config.model import (
    AddressKind,
    Check,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.health.checker import Checker
from lbsplice.health.judge import CheckResult
from lbsplice.plan.slots import ServerKey
from lbsplice.roster import Roster

BUDGET = 0.25
"""Of one core."""


def addresses(count: int) -> list[str]:
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


def serve(listeners: list[socket.socket], parent: int) -> None:
    """Accept and close whatever comes, until the parent is gone."""
    with selectors.DefaultSelector() as selector:
        for each in listeners:
            each.setblocking(False)
            selector.register(each, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in selector.select(0.2):
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                try:
                    listener.accept()[0].close()
                except OSError:
                    continue  # it was reset before we came


def configuration(hosts: list[str], port: int, inter: int) -> Config:
    place = Place("bench", 1)
    servers = tuple(
        Server(
            place,
            f"s{number}",
            number,
            Endpoint(AddressKind.IPV4, host, port),
            check=Check(enabled=True, inter=inter),
        )
        for number, host in enumerate(hosts, 1)
    )
    return Config(Global(), (Proxy(place, ProxyKind.BACKEND, "b", 2, servers=servers),))


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(config: Config, warm_up: float, seconds: float) -> dict[str, float]:
    """Check for a while; CPU share, checks per second, failures. The first interval, in
    which the checks spread out, is not counted."""
    loop = asyncio.get_running_loop()
    roster = Roster(config, loop.time())
    seen: Counter[bool] = Counter()

    def on_result(key: ServerKey, result: CheckResult) -> None:
        roster.check_result(key, result, loop.time())
        seen[result.passed] += 1

    checker = Checker(config, on_result, state_of=roster.state)
    task = checker.start()
    await asyncio.wait([task], timeout=warm_up)
    before, cpu, wall = Counter(seen), cpu_seconds(), time.monotonic()
    await asyncio.wait([task], timeout=seconds)
    spent, passed = time.monotonic() - wall, seen[True] - before[True]
    share = (cpu_seconds() - cpu) / spent
    await checker.stop()
    return {
        "servers": len(roster),
        "checks_per_second": round(passed / spent, 1),
        "failed": seen[False],
        "cpu_share": round(share, 4),
        "cpu_us_per_check": round(share * spent * 1e6 / max(1, passed), 1),
        "budget": BUDGET,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", type=int, default=500)
    parser.add_argument("--inter", type=int, default=1000, help="ms")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    hosts = addresses(options.servers)
    listeners = [socket.create_server((hosts[0], 0))]
    port = listeners[0].getsockname()[1]
    listeners += [socket.create_server((host, port)) for host in hosts[1:]]
    parent = os.getpid()
    child = os.fork()
    if not child:
        serve(listeners, parent)
        os._exit(0)
    for listener in listeners:
        listener.close()
    try:
        gc.freeze()
        config = configuration(hosts, port, options.inter)
        figures = asyncio.run(measure(config, options.inter / 1000, options.seconds))
    finally:
        os.kill(child, 15)
        os.waitpid(child, 0)
    met = figures["cpu_share"] < BUDGET and not figures["failed"]
    if options.json:
        print(json.dumps({"inter_ms": options.inter, **figures, "met": met}))
    else:
        print(
            f"{Path(__file__).stem}: {options.servers} servers, inter {options.inter} ms: "
            f"{figures['checks_per_second']:.0f} checks/s, {figures['failed']} failed, "
            f"{figures['cpu_share']:.1%} of a core (budget {BUDGET:.0%}), "
            f"{figures['cpu_us_per_check']:.0f} us a check: {'met' if met else 'NOT MET'}"
        )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
