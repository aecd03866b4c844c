"""The command behind `scripts/bench`. Run it in a network namespace of its own, which it
changes: it brings `lo` up, widens the port range and sets firewall rules."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from pyroute2 import IPRoute
from rich.console import Console

from . import show
from .failure import BenchError
from .load import build
from .measure import Bench, measure
from .proxies import CHECK_INTERVAL_MS, CONFIG, MAXCONN, Program, program
from .rows import ROWS, Outcome, Row

BUILD = Path(__file__).resolve().parents[2] / "build" / "bench"


def take_namespace() -> None:
    """Make this network namespace ready. BenchError in one that has other interfaces than
    `lo` up: it is not ours to change."""
    with IPRoute() as route:
        others = [
            link.get("ifname")
            for link in route.get_links()
            if link.get("ifname") != "lo" and link["flags"] & 1
        ]
        if others:
            raise BenchError(
                "this network namespace is in use; start the bench as scripts/bench, "
                "or under `unshare --net`"
            )
        route.link("set", index=1, state="up")
    ipv4 = Path("/proc/sys/net/ipv4")
    (ipv4 / "ip_local_port_range").write_text("1024 65535")
    (ipv4 / "tcp_tw_reuse").write_text("1")


def choose_cores() -> tuple[int, int]:
    """A core for the proxy, and another for the load and this program, which moves there."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("two processor cores are needed: one for the proxy, one for the load")
    os.sched_setaffinity(0, {cores[1]})
    return cores[0], cores[1]


def processor() -> str:
    """The processor's model, as the kernel names it."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def measure_row(
    bench: Bench, row: Row, ours: Program | None, theirs: Program | None, rounds: int
) -> Outcome:
    """Measure in turn: ours, theirs, ours, theirs, so that a slow machine slows both."""
    values: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for side, proxy in zip(values, (ours, theirs), strict=True):
            if proxy is None or (row.ours_alone and proxy is theirs):
                continue
            try:
                side.append(measure(bench, row, proxy))
            except BenchError as e:
                raise BenchError(f"{row.name}, {proxy.name}: {e}") from e
            click.echo(
                f"{row.name:10} {turn + 1}/{rounds}  {proxy.name:10} "
                f"{show.number(side[-1])} {row.unit}",
                err=True,
            )
    return Outcome(row, tuple(values[0]), tuple(values[1]))


@click.command(
    name="scripts/bench",
    epilog="Example: scripts/bench --only messages --rounds 9",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--a", "ours", default="lbsplice", help="The proxy that is judged.")
@click.option(
    "--b", "theirs", default="haproxy", help="The one beside it; lbsplice, haproxy, NAME=COMMAND."
)
@click.option("--proxy-only", metavar="NAME", help="Measure this proxy alone, without a verdict.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([row.name for row in ROWS]),
    help="Only this row; may be repeated.",
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Each measurement's.")
@click.option("--quick", is_flag=True, help="Small and short: shows that it works, judges nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(
    ours: str,
    theirs: str,
    proxy_only: str | None,
    only: tuple[str, ...],
    rounds: int,
    seconds: float,
    quick: bool,
    as_json: bool,
) -> None:
    """Measure lbsplice and HAProxy side by side against the budgets.

    Each measurement starts the proxy afresh, with the same configuration, pinned to one
    core; the load, clients and servers, has another. CPU time is that of all of the proxy's
    processes. Status 0: every budget is met."""
    judged = not quick and proxy_only is None
    a = program(proxy_only or ours)
    b = None if proxy_only else program(theirs)
    rows = [row for row in ROWS if not only or row.name in only]
    if quick:
        rows, rounds, seconds = [row.quick() for row in rows], 1, 0.2
    take_namespace()
    settings: dict[str, Any] = {
        "ours": a.version(),
        "theirs": b.version() if b else None,
        "kernel": platform.release(),
        "processor": processor(),
        "rounds": rounds,
        "seconds": seconds,
        "maxconn": MAXCONN,
        "check_interval_ms": CHECK_INTERVAL_MS,
        "configuration": CONFIG,
    }
    proxy_core, load_core = choose_cores()
    settings |= {"proxy_core": proxy_core, "load_core": load_core, "judged": judged}
    with tempfile.TemporaryDirectory(prefix="lbsplice-bench-") as directory:
        bench = Bench(
            proxy_core=proxy_core,
            load_core=load_core,
            warm_ms=int(seconds * 250),
            measure_ms=int(seconds * 1000),
            load_program=build(BUILD),
            directory=Path(directory),
        )
        outcomes = [measure_row(bench, row, a, b, rounds) for row in rows]
    if as_json:
        click.echo(json.dumps(show.as_json(outcomes, settings), indent=2))
    else:
        width = None if sys.stdout.isatty() else 120
        console = Console(width=width, highlight=False)
        console.print(show.table(outcomes, a.name, b.name if b else "-"))
        console.print(
            f"{settings['ours']}"
            + (f"; {settings['theirs']}" if b else "")
            + f"\nLinux {settings['kernel']}, {settings['processor']}; proxy on core {proxy_core}, "
            f"load on core {load_core}; loopback\n"
            f"{rounds} rounds of {seconds:g} s in turn; nbthread 1, maxconn {MAXCONN}, no log, "
            f"splice both ways, check inter {CHECK_INTERVAL_MS} fall 1 rise 1 where checked",
            markup=False,
        )
    if judged and not all(outcome.met for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except BenchError as e:
        sys.exit(f"scripts/bench: {e}")
