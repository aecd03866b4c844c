"""`lbsplice lab`: scenes that show, on one machine, what a failure does to sessions.

What plays them is imported when one is played: the netlink library would make every start of
`lbsplice run` a fifth of a second slower."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lbsplice.cli.lab_keepalive import keepalive
from lbsplice.cli.lab_parts import (
    fall_option,
    in_turn,
    inter_option,
    json_option,
    leave,
    proxy_option,
    watch_option,
)
from lbsplice.cli.lab_reload import reload
from lbsplice.errors import UnitError
from lbsplice.lab.crash_scene import CrashSettings
from lbsplice.lab.scene import Case, Fault, Proxy, Settings
from lbsplice.units import parse_size

if TYPE_CHECKING:
    from lbsplice.lab.crash_show import CrashShow
    from lbsplice.lab.timeline import Show

_LARGEST_TRANSFER = 1 << 40


@click.group()
def lab() -> None:
    """Scenes that show, on this machine, what a failure does to sessions.

    \b
    Examples:
      sudo lbsplice lab failover
      sudo lbsplice lab keepalive --proxy both
      sudo lbsplice lab reload --proxy both
      lbsplice lab crash
    """


@lab.command()
@proxy_option
@click.option(
    "--how",
    type=click.Choice([fault.value for fault in Fault]),
    default=Fault.OUTPUT_DROP.value,
    show_default=True,
    help="How the server fails.",
)
@click.option(
    "--action/--no-action",
    default=None,
    help="Play only the case with, or without, on-marked-down shutdown-sessions.",
)
@click.option(
    "--back-in-time",
    is_flag=True,
    help="Play only the case where the server is back before anybody gave up.",
)
@fall_option(2)
@inter_option(200)
@watch_option(3.0)
@json_option
@click.pass_context
def failover(
    context: click.Context,
    proxy: str,
    how: str,
    action: bool | None,
    back_in_time: bool,
    fall: int,
    inter: int,
    watch: float,
    as_json: bool,
) -> None:
    """Break a server under a long session and see what its client is told.

    A client, the balancer and two servers are set up in network namespaces of their own. A long
    session is opened to one server; the way to that server is broken; the checks mark it down.
    Three cases are played: without on-marked-down shutdown-sessions (the session hangs), with it
    (the session is ended), and without it but with the server back in time (the session goes on).
    A session to the other server must never notice. All is taken down at the end, also after
    Ctrl-C.

    The exit status is 0 only if what should happen happened. Needs root, and iptables for the
    faults that are firewall rules.

    \b
    Examples:
      sudo lbsplice lab failover
      sudo lbsplice lab failover --proxy haproxy --how far-drop
      sudo lbsplice lab failover --action --fall 3 --json
    """
    cases = _cases(action, back_in_time)

    def play(one: Proxy) -> bool:
        return _play_all(Settings(one, Fault(how), fall, inter, watch), cases, _show(as_json))

    leave(context, in_turn(proxy, play))


def _size(context: click.Context, parameter: click.Parameter, text: str) -> int:
    try:
        size = parse_size(text, _LARGEST_TRANSFER)
    except UnitError as error:
        raise click.BadParameter(str(error)) from error
    if not size:
        raise click.BadParameter("there has to be something to transfer")
    return size


@lab.command()
@proxy_option
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The time between two kills, give or take a fifth.",
)
@click.option(
    "--size",
    callback=_size,
    default="512m",
    show_default=True,
    metavar="BYTES",
    help="What is transferred each way; k, m and g may follow.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.2, 86_400),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the transfer takes: it is sent at an even rate.",
)
@click.option(
    "--seed",
    type=int,
    default=1,
    show_default=True,
    help="Decides the bytes, the moments of the kills and their signals.",
)
@json_option
@click.pass_context
def crash(
    context: click.Context,
    proxy: str,
    every: float,
    size: int,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Kill the proxy's worker again and again and see what its sessions notice.

    Bytes go through the proxy to a server and come back, with a checksum at both ends; a second
    session gets a line answered every 20 ms; a third is idle until the end. Meanwhile the worker
    process is killed, with SIGKILL, SIGSEGV, SIGABRT or SIGBUS. lbsplice loses nothing and the
    table tells how long each kill was felt; HAProxy (as master and worker) loses all sessions at
    the first kill.

    The exit status is 0 only if what should happen happened. All is on loopback: root is not
    needed.

    \b
    Examples:
      lbsplice lab crash
      lbsplice lab crash --every 0.3 --seconds 60 --size 10g --seed 7
      lbsplice lab crash --proxy haproxy
    """
    if seconds < 2 * every:
        raise click.UsageError("nobody would be killed: --seconds has to be twice --every or more")

    def play(one: Proxy) -> bool:
        return _play_crash(CrashSettings(one, every, size, seconds, seed), _crash_show(as_json))

    leave(context, in_turn(proxy, play))


def _cases(action: bool | None, back_in_time: bool) -> list[Case]:
    if back_in_time:
        if action:
            raise click.UsageError(
                "--back-in-time plays without the action, which would end the session: "
                "leave out --action"
            )
        return [Case.BACK_IN_TIME]
    if action is None:
        return list(Case)
    return [Case.WITH_ACTION if action else Case.WITHOUT_ACTION]


def _show(as_json: bool) -> Show:
    from rich.console import Console

    from lbsplice.lab.timeline import JsonShow, PlainShow, TerminalShow

    if as_json:
        return JsonShow(sys.stdout)
    console = Console()
    return TerminalShow(console) if console.is_terminal else PlainShow(sys.stdout)


def _play_all(settings: Settings, cases: list[Case], show: Show) -> bool:
    from lbsplice.lab.failover import check_machine, play
    from lbsplice.lab.proxies import version

    check_machine(settings)
    show.opens(settings, version(settings.proxy))
    results = []
    for number, case in enumerate(cases, 1):
        show.case_opens(number, case)
        result = play(settings, case, show.happens)
        show.case_closes(result)
        results.append(result)
    show.closes(results)
    return all(result.held for result in results)


def _crash_show(as_json: bool) -> CrashShow:
    from rich.console import Console

    from lbsplice.lab.crash_show import JsonCrashShow, PlainCrashShow, TerminalCrashShow

    if as_json:
        return JsonCrashShow(sys.stdout)
    console = Console()
    return TerminalCrashShow(console) if console.is_terminal else PlainCrashShow(sys.stdout)


def _play_crash(settings: CrashSettings, show: CrashShow) -> bool:
    from lbsplice.lab.crash import play_crash
    from lbsplice.lab.proxies import version

    show.opens(settings, version(settings.proxy))
    try:
        result = play_crash(settings, show.happens, show.moves)
        show.closes(result)
    finally:
        show.leaves()
    return result.held


lab.add_command(keepalive)
lab.add_command(reload)
