"""`lbsplice lab reload`: what a reload does to the sessions that are there already."""

from __future__ import annotations

import click

from lbsplice.cli.lab_parts import in_turn, json_option, leave, proxy_option, scene_show
from lbsplice.lab.reload_results import ReloadResult, as_object, opening_lines, summary
from lbsplice.lab.reload_scene import ReloadCase, ReloadSettings, title
from lbsplice.lab.scene import Proxy

_DEFAULTS = ReloadSettings()


@click.command()
@proxy_option
@click.option(
    "--case",
    "cases",
    type=click.Choice([case.value for case in ReloadCase]),
    multiple=True,
    help="Play only this one; repeatable.  [default: all]",
)
@click.option(
    "--fall",
    type=click.IntRange(2, 100),
    default=_DEFAULTS.fall,
    show_default=True,
    help="Failed checks until the server is down.",
)
@click.option(
    "--inter",
    type=click.IntRange(10, 60_000),
    default=_DEFAULTS.inter_ms,
    show_default=True,
    metavar="MS",
    help="Milliseconds between checks, and for one check.",
)
@click.option(
    "--watch",
    type=click.FloatRange(0.1, 3600),
    default=_DEFAULTS.watch_s,
    show_default=True,
    metavar="SECONDS",
    help="How long a silent session is watched before it counts as hanging.",
)
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
    chosen = [case for case in ReloadCase if not cases or case.value in cases]

    def play(one: Proxy) -> bool:
        return _play(ReloadSettings(one, fall, inter, watch), chosen, as_json)

    leave(context, in_turn(proxy, play))


def _play(settings: ReloadSettings, cases: list[ReloadCase], as_json: bool) -> bool:
    from lbsplice.lab.proxies import version
    from lbsplice.lab.reload import check_machine, play

    check_machine(settings)
    show, proxy_version = scene_show(as_json), version(settings.proxy)
    show.opens(opening_lines(settings, proxy_version))
    results: list[ReloadResult] = []
    for number, case in enumerate(cases, 1):
        show.case_opens(number, title(case))
        result = play(settings, case, show.happens)
        show.case_closes(result.claims)
        results.append(result)
    told = summary(settings, results)
    show.closes(told, as_object(settings, proxy_version, results))
    return told.held
