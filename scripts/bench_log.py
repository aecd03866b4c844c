"""What the session log costs: lines per second of CPU, formatted, framed and sent.

    python scripts/bench_log.py [--lines 100000] [--line tcplog|default] [--json]

Records of sessions that ended go through a hub to one UDP target on loopback, whose
receiver reads in another process. Client ports and accept times vary as they do in
traffic. Exit status 1 if 20,000 lines a second would cost half a core or more, or if a
line was dropped."""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import socket
import sys
import time
from typing import Any

from lbsplice.config.model import (
    AddressKind,
    Bind,
    Config,
    Endpoint,
    Global,
    Log,
    LogTarget,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.plan.slots import assign
from lbsplice.report.hub import Hub
from lbsplice.report.record import SESSION_CONNECTED, SESSION_ENDED, Record
from lbsplice.report.sessionlog import SessionLog

RATE = 20_000
BUDGET = 0.5
"""Of one core, for RATE lines a second."""
BATCH = 512
SEED = 1


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def configuration(port: int, tcplog: bool) -> Config:
    place = Place("bench", 1)
    local = Endpoint(AddressKind.IPV4, "127.0.0.1", port)
    proxy = Proxy(
        place,
        ProxyKind.LISTEN,
        "long-sessions",
        2,
        binds=(Bind(place, Endpoint(AddressKind.IPV4, "192.168.1.100", 81)),),
        servers=tuple(Server(place, f"lb{n}", n + 1, local) for n in range(8)),
        logs=(Log(place, LogTarget.UDP, local, "local0"),),
        tcplog=tcplog,
    )
    return Config(Global(), (proxy,))


def records(count: int, tcplog: bool) -> list[Record]:
    """Sessions that ended within a few seconds, and began up to ten minutes earlier."""
    rng = random.Random(SEED)
    base: dict[str, Any] = dict.fromkeys(Record._fields, 0) | {
        "kind": SESSION_ENDED if tcplog else SESSION_CONNECTED,
        "cause": ord("-"),
        "phase": ord("-"),
        "client_family": int(socket.AF_INET),
        "destination_family": int(socket.AF_INET),
        "destination_port": 81,
        "destination_ip": bytes((192, 168, 1, 100)).ljust(16, b"\0"),
    }
    return [
        Record(
            **base
            | {
                "client_port": rng.randrange(1024, 65536),
                "client_ip": rng.randbytes(4).ljust(16, b"\0"),
                "accepted_wall_ms": 1_795_238_402_000 + rng.randrange(600_000),
                "connect_ms": rng.randrange(50),
                "total_ms": rng.randrange(600_000),
                "bytes_from_client": rng.randrange(10**6),
                "bytes_from_server": rng.randrange(10**9),
                "slot": rng.randrange(8),
                "process_sessions": rng.randrange(9000),
                "frontend_sessions": rng.randrange(9000),
            }
        )
        for _ in range(count)
    ]


def receive(receiver: socket.socket, parent: int) -> None:
    """Read until the parent is gone."""
    receiver.settimeout(0.2)
    while os.getppid() == parent:
        try:
            receiver.recv(65536)
        except TimeoutError:
            continue


def measure(lines: int, tcplog: bool) -> dict[str, float | int | str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            receive(receiver, parent)
            os._exit(0)
    try:
        return measure_to(port, lines, tcplog)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def measure_to(port: int, lines: int, tcplog: bool) -> dict[str, float | int | str]:
    config = configuration(port, tcplog)
    numbers = assign(config)
    wanted = records(lines, tcplog)

    session_log = SessionLog(config, numbers)
    began = cpu_seconds()
    for _ in session_log.lines(wanted):
        pass
    formatting = cpu_seconds() - began

    hub = Hub(config.global_, pid=os.getpid())
    hub.replace(config, numbers)
    began, wall = cpu_seconds(), time.monotonic()
    for first in range(0, lines, BATCH):
        hub.sessions(wanted[first : first + BATCH])
    spent, wall = cpu_seconds() - began, time.monotonic() - wall
    dropped = hub.dropped
    hub.close()
    return {
        "line": "tcplog" if tcplog else "default",
        "lines": lines,
        "dropped": dropped,
        "formatted_per_cpu_second": round(lines / formatting),
        "sent_per_cpu_second": round(lines / spent),
        "sent_per_second": round(lines / wall),
        "cores_at_20000": round(RATE * spent / lines, 3),
    }


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=100_000, help="how many (default 100000)")
    parser.add_argument("--line", choices=["tcplog", "default"], default="tcplog")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments.lines, arguments.line == "tcplog")
    if arguments.json:
        print(json.dumps(result))
    else:
        print(
            f"{result['line']}: {result['sent_per_cpu_second']} lines per CPU-second to UDP "
            f"({result['formatted_per_cpu_second']} formatted alone); {RATE} lines a second "
            f"cost {result['cores_at_20000']} of a core (budget {BUDGET}); "
            f"{result['dropped']} of {result['lines']} dropped"
        )
    return 0 if float(result["cores_at_20000"]) < BUDGET and not result["dropped"] else 1


if __name__ == "__main__":
    sys.exit(main())
