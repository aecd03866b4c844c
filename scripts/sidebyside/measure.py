"""One measurement: one row, one proxy, one round, each with processes of its own."""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from .failure import BenchError
from .load import Load
from .proxies import CHECK_INTERVAL_MS, Program, Proxy
from .rows import Kind, Row
from .scraper import SCRAPES_PER_S, Scraper

SERVER_IP = "127.0.0.2"


@dataclass(frozen=True)
class Bench:
    """Where and for how long: cores, times in milliseconds, a directory for files."""

    proxy_core: int
    load_core: int
    warm_ms: int
    measure_ms: int
    load_program: Path
    directory: Path


def measure(bench: Bench, row: Row, program: Program) -> float:
    """The value of the row, in its unit. BenchError when something did not work."""
    if row.kind is Kind.SCRAPED:
        return _per_relay_cpu(bench, row, program, scraped=True) / _per_relay_cpu(
            bench, row, program, scraped=False
        )
    if row.kind is Kind.SHARE:
        return _share(bench, row, program)
    checked = row.kind in (Kind.KILL, Kind.SILENT)
    with (
        Load(bench.load_program, bench.load_core, row.work, SERVER_IP, row.sessions) as load,
        Proxy(program, bench.proxy_core, load.server, checked, bench.directory) as proxy,
    ):
        go = f"go 127.0.0.1 {proxy.port} {bench.warm_ms} {bench.measure_ms}"
        if row.kind is Kind.RATE:
            pids = " ".join(str(pid) for pid in proxy.pids())
            load.tell(f"{go} {pids}")
            return _rate(load, row, bench)
        before = proxy.memory() if row.kind is Kind.MEMORY else 0
        load.tell(go)
        load.wait_for("ready", 60)
        if row.kind is Kind.MEMORY:
            return (proxy.memory() - before) / row.sessions
        if row.kind is Kind.KILL:
            load.tell("unlisten")
            told = load.wait_for("told", 60)
            return float(told["last_ns"] - told["first_ns"]) / 1e6
        return _silent(load)


def _rate(load: Load, row: Row, bench: Bench) -> float:
    found = load.wait_for("measured", (bench.warm_ms + bench.measure_ms) / 1000 + 30)
    if found["errors"]:
        raise BenchError(f"{found['errors']} sessions were lost")
    done = found["bytes"] if row.work in ("up", "down") else found["count"]
    if not done or not found["cpu_ns"]:
        raise BenchError("nothing came through")
    return float(done * row.scale / (found["cpu_ns"] / 1e9))


def _per_relay_cpu(bench: Bench, row: Row, program: Program, *, scraped: bool) -> float:
    """Work per CPU-second of relay threads. The configuration is the same either way."""
    with (
        Load(bench.load_program, bench.load_core, row.work, SERVER_IP, row.sessions) as load,
        Proxy(
            program, bench.proxy_core, load.server, False, bench.directory, scraped=True
        ) as proxy,
        Scraper(proxy) if scraped else nullcontext(),
    ):
        threads = " ".join(proxy.relay_threads())
        load.tell(f"go 127.0.0.1 {proxy.port} {bench.warm_ms} {bench.measure_ms} {threads}")
        return _rate(load, row, bench)


def _share(bench: Bench, row: Row, program: Program) -> float:
    """How many cores the scraping costs: CPU seconds of all processes per second."""
    with (
        Load(bench.load_program, bench.load_core, row.work, SERVER_IP, row.sessions) as load,
        Proxy(
            program, bench.proxy_core, load.server, False, bench.directory, scraped=True
        ) as proxy,
        Scraper(proxy) as scraper,
    ):
        scraper.wait_for(1)
        before, began, rounds = proxy.cpu_s(), time.monotonic(), scraper.rounds
        scraper.wait_for(rounds + max(2, bench.measure_ms * SCRAPES_PER_S // 1000))
        return (proxy.cpu_s() - before) / (time.monotonic() - began)


def _silent(load: Load) -> float:
    """Milliseconds from the server's falling silent until the last client was told. The
    silence always begins half an interval after a check, so that luck has no part in it."""
    port = load.server[1]
    _wait_for_check(port)
    time.sleep(CHECK_INTERVAL_MS / 2000)
    began = time.monotonic_ns()
    try:
        _firewall(
            f"-A OUTPUT -p tcp -d {SERVER_IP} --dport {port} -j DROP\n"
            f"-A OUTPUT -p tcp -s {SERVER_IP} --sport {port} -j DROP\n"
        )
        told = load.wait_for("told", 60)
    finally:
        _firewall("")
    return float(told["last_ns"] - began) / 1e6


def _wait_for_check(port: int) -> None:
    """Return when a SYN to the server passes. HAProxy breaks its checks off before the
    server's accept() could see them, so only the wire tells."""
    deadline = time.monotonic() + 10
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as wire:
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([wire], [], [], left)[0]:
                break
            packet = wire.recv(128)
            tcp = packet[4 * (packet[0] & 15) :]
            (to,) = struct.unpack_from("!H", tcp, 2)
            if to == port and tcp[13] & 0x12 == 0x02:  # SYN without ACK
                return
    raise BenchError("no health check was seen")


def _firewall(rules: str) -> None:
    """Replace the rules of this network namespace, all at once."""
    made = subprocess.run(
        ["iptables-restore"],
        input=f"*filter\n{rules}COMMIT\n",
        text=True,
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise BenchError(f"iptables-restore: {made.stderr.strip()}")
