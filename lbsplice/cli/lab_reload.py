"""`lbsplice lab reload`: what a reload does to the sessions that are there already."""

from __future__ import annotations

import click

from lbsplice.cli.lab_parts import (
    case_option,
    chosen_cases,
    fall_option,
    in_turn,
    inter_option,
    json_option,
    leave,
    play_cases,
    proxy_option,
    scene_show,
    watch_option,
)
from lbsplice.lab.reload_results import as_object, opening_lines, summary
from lbsplice.lab.reload_scene import ReloadCase, ReloadSettings, title
from lbsplice.lab.scene import Proxy

_DEFAULTS = ReloadSettings()


@click.command()
@proxy_option
@case_option(ReloadCase)
@fall_option(_DEFAULTS.fall, least=2)
@inter_option(_DEFAULTS.inter_ms)
@watch_option(_DEFAULTS.watch_s)
@json_option
@click.pass_context
def reload(
    context: click.Context,
    proxy: str,
    cases: tuple[str, ...],
    fall: int,
    inter: int,
    watch: float,
    as_json: bool,
) -> None:
    """Reload the proxy under a session, then break the session's server.

    on-marked-down shutdown-sessions is set. Two cases are played: without a reload the session
    is ended when its server goes DOWN; after a reload, HAProxy has it in an old process, which
    has stopped its checks, and it hangs; lbsplice has it in the same process as before, which
    resets it.

    The exit status is 0 only if what should happen happened. Needs root and iptables.

    \b
    Examples:
      sudo lbsplice lab reload
      sudo lbsplice lab reload --proxy both
      sudo lbsplice lab reload --proxy haproxy --case after-reload --watch 60
    """
    chosen = chosen_cases(ReloadCase, cases)

    def play(one: Proxy) -> bool:
        return _play(ReloadSettings(one, fall, inter, watch), chosen, as_json)

    leave(context, in_turn(proxy, play))


def _play(settings: ReloadSettings, cases: list[ReloadCase], as_json: bool) -> bool:
    from lbsplice.lab.proxies import version
    from lbsplice.lab.reload import check_machine, play

    check_machine(settings)
    show, proxy_version = scene_show(as_json), version(settings.proxy)
    show.opens(opening_lines(settings, proxy_version))
    results = play_cases(show, cases, title, lambda case, report: play(settings, case, report))
    told = summary(settings, results)
    show.closes(told, as_object(settings, proxy_version, results))
    return told.held
