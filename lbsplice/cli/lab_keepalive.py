"""`lbsplice lab keepalive`: what keepalive probes do for a session, and what they do not."""

from __future__ import annotations

import click

from lbsplice.cli.lab_parts import (
    case_option,
    chosen_cases,
    in_turn,
    json_option,
    leave,
    play_cases,
    proxy_option,
    scene_show,
    watch_option,
)
from lbsplice.lab.keepalive_results import (
    as_object,
    case_title,
    opening_lines,
    summary,
)
from lbsplice.lab.keepalive_scene import KeepaliveCase, KeepaliveSettings
from lbsplice.lab.scene import Proxy

_DEFAULTS = KeepaliveSettings()


@click.command()
@proxy_option
@case_option(KeepaliveCase)
@click.option(
    "--idle",
    type=click.IntRange(1, 3600),
    default=_DEFAULTS.idle_s,
    show_default=True,
    metavar="SECONDS",
    help="Silence before the first probe (clitcpka-idle, srvtcpka-idle).",
)
@click.option(
    "--intvl",
    type=click.IntRange(1, 3600),
    default=_DEFAULTS.interval_s,
    show_default=True,
    metavar="SECONDS",
    help="Time between two probes.",
)
@click.option(
    "--cnt",
    type=click.IntRange(1, 100),
    default=_DEFAULTS.count,
    show_default=True,
    help="Probes without an answer before the peer is given up.",
)
@click.option(
    "--timeout-client",
    type=click.FloatRange(0.5, 3600),
    default=_DEFAULTS.timeout_s,
    show_default=True,
    metavar="SECONDS",
    help="The idle timeout of the first two cases.",
)
@watch_option(_DEFAULTS.watch_s, "How much longer than computed a session is watched.")
@json_option
@click.pass_context
def keepalive(
    context: click.Context,
    proxy: str,
    cases: tuple[str, ...],
    idle: int,
    intvl: int,
    cnt: int,
    timeout_client: float,
    watch: float,
    as_json: bool,
) -> None:
    """Watch keepalive probes, and what they do and do not do for a session.

    A session speaks once and is then silent; tcpdump shows the probes on one of its legs. Five
    cases are played: no keepalive (timeout client ends the session); probes to a client who is
    well (they are answered, and timeout client ends it all the same); the server dies while the
    client is probed (the client hangs); the server dies and is probed (found); the client dies
    and is probed (found). Every time is computed first and then measured.

    The exit status is 0 only if what was computed happened. Needs root, iptables and tcpdump.

    \b
    Examples:
      sudo lbsplice lab keepalive
      sudo lbsplice lab keepalive --proxy both
      sudo lbsplice lab keepalive --case dead-server --idle 5 --intvl 2 --cnt 4
    """
    chosen = chosen_cases(KeepaliveCase, cases)

    def play(one: Proxy) -> bool:
        return _play(
            KeepaliveSettings(one, idle, intvl, cnt, timeout_client, watch), chosen, as_json
        )

    leave(context, in_turn(proxy, play))


def _play(settings: KeepaliveSettings, cases: list[KeepaliveCase], as_json: bool) -> bool:
    from lbsplice.lab.keepalive import check_machine, play
    from lbsplice.lab.proxies import version

    check_machine(settings)
    show, proxy_version = scene_show(as_json), version(settings.proxy)
    show.opens(opening_lines(settings, proxy_version))
    results = play_cases(
        show,
        cases,
        lambda case: case_title(case, settings),
        lambda case, report: play(settings, case, report),
    )
    told = summary(settings, results)
    show.closes(told, as_object(settings, proxy_version, results))
    return told.held
