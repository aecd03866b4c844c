"""`lbsplice rescue`: end stuck sessions that another process holds."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lbsplice.errors import EnvironmentLacks, LbspliceError, UnitError
from lbsplice.units import parse_duration

if TYPE_CHECKING:
    from lbsplice.kernel.sockdiag import SocketWatch
    from lbsplice.stuck.find import Worker
    from lbsplice.stuck.selection import Selection
    from lbsplice.stuck.session import Stuck
    from lbsplice.stuck.watch import Orders

_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:/([sm]))?\Z")
_SYSLOG = "/dev/log"


@click.command()
@click.option("--dst", metavar="ADDR[:PORT]", help="The far end, as the socket's owner sees it.")
@click.option("--src", metavar="[ADDR]:PORT", help="The near end.")
@click.option("--stalled", is_flag=True, help="Only those whose data nobody acknowledges.")
@click.option("--idle", metavar="TIME", help="Only those that received no data for so long.")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only in this TCP state.")
@click.option("--rate", default="200/s", show_default=True, help="So many are ended.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--include-loopback", is_flag=True, help="Sessions within this machine as well.")
@click.option("--haproxy", metavar="SOCKET", help="HAProxy's stats socket: end both legs.")
@click.option("--master", metavar="SOCKET", help="Its master's socket: of old workers too.")
@click.option("--watch", "watching", is_flag=True, help="Follow HAProxy's servers.")
@click.option("--for", "down_for", default="0s", show_default=True, help="Once down so long.")
@click.option("--backend", help="With --watch: only servers of this backend.")
@click.option("--server", help="With --watch: only servers of this name.")
@click.option("--syslog", is_flag=True, help="With --watch: tell syslog too.")
def rescue(
    dst: str | None,
    src: str | None,
    stalled: bool,
    idle: str | None,
    states: tuple[str, ...],
    rate: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    include_loopback: bool,
    haproxy: str | None,
    master: str | None,
    watching: bool,
    down_for: str,
    backend: str | None,
    server: str | None,
    syslog: bool,
) -> None:
    """End stuck TCP sessions that another process holds: a HAProxy, an old worker of it, an
    application. The process meets ECONNABORTED, its peer a reset.

    First lists who holds what, then asks. With --haproxy both legs of HAProxy's sessions are
    ended. With --watch the sessions of each server that HAProxy takes DOWN are ended as it
    does: `on-marked-down shutdown-sessions`, without a change to haproxy.cfg.

    \b
    Examples:
      lbsplice rescue --dst 192.168.1.29:81 --stalled --dry-run
      lbsplice rescue --dst 192.168.1.29:81 --idle 60s
      lbsplice rescue --dst 192.168.1.29:81 --haproxy /run/haproxy/admin.sock
      lbsplice rescue --haproxy /run/haproxy/admin.sock --watch --for 2s
    """
    try:
        if master and not haproxy:
            raise click.UsageError("--master goes with --haproxy")
        if watching:
            if not haproxy:
                raise click.UsageError("--watch needs --haproxy SOCKET")
            if dst or src or stalled or idle or states or as_json:
                raise click.UsageError(
                    "--watch takes its sessions from HAProxy: no --dst, --src, --stalled, --idle,"
                    " --state or --json with it"
                )
            from lbsplice.stuck.watch import Orders

            orders = Orders(
                stats_socket=haproxy,
                master_socket=master,
                for_s=_duration(down_for, "--for") / 1000,
                backend=backend,
                server=server,
                per_second=_rate(rate),
                include_loopback=include_loopback,
                dry_run=dry_run,
            )
            _watch(orders, syslog)
            return
        if backend or server or syslog or down_for != "0s":
            raise click.UsageError("--backend, --server, --for and --syslog go with --watch")
        selection = _selection(dst, src, states, stalled, idle, include_loopback)
        _once(selection, _rate(rate), haproxy, master, dry_run, yes, as_json)
    except LbspliceError as error:
        raise click.ClickException(str(error)) from error


def _selection(
    dst: str | None,
    src: str | None,
    states: tuple[str, ...],
    stalled: bool,
    idle: str | None,
    include_loopback: bool,
) -> Selection:
    from lbsplice.stuck.selection import CONNECTED, Selection, parse_endpoint

    return Selection(
        parse_endpoint(dst) if dst is not None else None,
        parse_endpoint(src) if src is not None else None,
        tuple(state.upper().replace("-", "_") for state in states) or CONNECTED,
        stalled,
        None if idle is None else _duration(idle, "--idle"),
        include_loopback,
    )


def _duration(text: str, option: str) -> int:
    try:
        return parse_duration(text)
    except UnitError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _rate(text: str) -> float:
    """`200/s`, `200` or `30/m`, as sessions a second."""
    found = _RATE.match(text)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"'{text}' is not as 200/s or 30/m", param_hint="--rate")
    return float(found[1]) / (60 if found[2] == "m" else 1)


def _once(
    selection: Selection,
    per_second: float,
    stats_socket: str | None,
    master_socket: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    from rich.console import Console

    from lbsplice.kernel.sockdiag import SocketWatch, check_destroy
    from lbsplice.stuck import show
    from lbsplice.stuck.find import Finder
    from lbsplice.stuck.owners import is_login, own_sockets

    ask = not (yes or dry_run)
    if ask and (as_json or not sys.stdin.isatty()):
        raise click.UsageError("nobody can be asked here: say --yes, or --dry-run to look only")
    with SocketWatch() as watch, _workers(stats_socket, master_socket) as workers:
        finder = Finder(watch, include_loopback=selection.include_loopback)
        login = os.environ.get("SSH_CONNECTION", "")
        found = [
            each
            for each in finder.selected(selection, own_sockets(), workers)
            if not is_login(each.leg, login)
        ]
        if found and not dry_run:
            check_destroy(watch)
        if not as_json:
            if found:
                show.show(found, Console())
            else:
                click.echo("no session matches")
                _hint()
        count = f"{len(found)} session{'' if len(found) == 1 else 's'}"
        if found and ask and not click.confirm(f"end {count}?"):
            raise click.Abort
        ended = None if dry_run else _end(found, watch, per_second)
    if as_json:
        click.echo(show.as_json(found, ended))
    elif found:
        click.echo(f"would end {count}" if dry_run else f"ended {ended} of {count}")


@contextlib.contextmanager
def _workers(stats_socket: str | None, master_socket: str | None) -> Iterator[list[Worker]]:
    """The workers of HAProxy that can tell which two legs are a session."""
    from lbsplice.stuck.find import Worker
    from lbsplice.stuck.line import HeldLine, MasterLine
    from lbsplice.stuck.statements import read_info, read_workers

    with contextlib.ExitStack() as stack:
        workers = []
        if stats_socket is not None:
            line = HeldLine(stats_socket)
            stack.callback(line.close)
            info = read_info(line.ask("show info"))
            if info is None:
                raise EnvironmentLacks(f"{stats_socket} is no stats socket of HAProxy's")
            workers.append(Worker(info.pid, line))
            if master_socket is not None:
                pids = read_workers(MasterLine(master_socket).ask("show proc"))
                workers += [
                    Worker(pid, MasterLine(master_socket, pid)) for pid in pids if pid != info.pid
                ]
        yield workers


def _hint() -> None:
    """Sessions may be out of sight."""
    from lbsplice.stuck.owners import elsewhere

    pids = elsewhere("haproxy")
    if pids:
        click.echo(
            f"note: HAProxy (pid {pids[0]}) is in another network namespace:"
            f" `nsenter -t {pids[0]} -n lbsplice rescue ...` would look there",
            err=True,
        )


def _end(found: list[Stuck], watch: SocketWatch, per_second: float) -> int:
    from lbsplice.stuck.downs import Pace

    pace = Pace(per_second)
    ended = 0
    for stuck in found:
        time.sleep(pace.wait_s(time.monotonic()))
        if stuck.end(watch):
            pace.went(time.monotonic())
            ended += 1
    return ended


def _watch(orders: Orders, syslog: bool) -> None:
    from lbsplice.kernel.sockdiag import SocketWatch, check_destroy
    from lbsplice.notify import Notifier
    from lbsplice.stuck.watch import Watch

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    notifier = Notifier(os.environ)
    with SocketWatch() as sockets:
        if not orders.dry_run:
            check_destroy(sockets)
        Watch(orders, sockets, _log(syslog)).run(stop, notifier.ready)
    notifier.stopping()
    notifier.close()


def _log(syslog: bool) -> logging.Logger:
    """Lines on standard error; the journal adds time and name itself."""
    log = logging.getLogger("lbsplice.rescue")
    log.setLevel(logging.INFO)
    log.propagate = False
    to_stderr = logging.StreamHandler()
    plain = "%(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(message)s"
    to_stderr.setFormatter(logging.Formatter(plain))
    log.handlers = [to_stderr]
    if syslog:
        if not Path(_SYSLOG).exists():
            raise EnvironmentLacks(f"there is no syslog to tell: {_SYSLOG} does not exist")
        to_syslog = logging.handlers.SysLogHandler(
            _SYSLOG, facility=logging.handlers.SysLogHandler.LOG_DAEMON
        )
        to_syslog.setFormatter(logging.Formatter(f"lbsplice-rescue[{os.getpid()}]: %(message)s"))
        log.addHandler(to_syslog)
    return log
