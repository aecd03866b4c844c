"""How many sessions the descriptor limit can carry: plain arithmetic, no system call.

A session holds two sockets, and a pipe (two descriptors) only while bytes are in it.
Sockets are therefore counted in full; pipes give way first when descriptors are short,
because a direction that finds no pipe waits for one and loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.config.model import Config
from lbsplice.errors import EnvironmentLacks

MOST_DESCRIPTORS = 1_048_576
"""A limit above this is treated as this one, as HAProxy does (`fd-hard-limit`)."""

MOST_THREADS = 64

PAGE_CONNECTIONS = 128
"""What a statistics page serves at once, unless its `maxconn` is lower."""

STATS_CONNECTIONS = 10
"""`stats maxconn` where it is not said: what the stats sockets serve at once."""

STATS_WAITING = 128
"""Connections to stats sockets that have said nothing yet, or wait for a place."""

_BASE = 48  # standard streams, the ledger, the event loop, log sockets, and room to spare
_PER_THREAD = 6  # epoll, two eventfds, a spare descriptor
_PIPES_PER_THREAD = 8  # the fewest a thread can work well with


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may use."""

    maxconn: int
    max_pipes: int
    descriptors: int  # the RLIMIT_NOFILE it needs
    warning: str | None = None


def threads(nbthread: int | None, usable_cpus: int) -> int:
    """How many workers to run: `nbthread`, or one for each usable processor."""
    return max(1, min(nbthread or usable_cpus, MOST_THREADS))


def fixed_descriptors(config: Config, workers: int) -> int:
    """What is needed beside the sessions: listeners, one check a server, our own."""
    live = [proxy for proxy in config.proxies if not proxy.disabled]
    listeners = sum(len(proxy.binds) for proxy in config.listening if not proxy.disabled)
    checks = sum(server.check.enabled for proxy in live for server in proxy.servers)
    sinks = len({log.address or log.target for proxy in live for log in proxy.logs})
    sinks += len(config.global_.logs) + len(config.global_.stats_sockets)
    pages = sum(PAGE_CONNECTIONS for page in config.pages if not page.proxy.disabled)
    stats = 0
    if config.global_.stats_sockets:
        stats = STATS_WAITING + (config.global_.stats_maxconn or STATS_CONNECTIONS)
    return _BASE + _PER_THREAD * workers + listeners + checks + sinks + pages + stats


def settle(config: Config, workers: int, limit: int, maxconn: int | None = None) -> Limits:
    """Share out `limit` descriptors. `maxconn` (of the command line) overrides `global`'s.

    A wanted number of sessions that the limit can not carry is lowered, with a warning.
    Raises EnvironmentLacks when not even one session fits."""
    limit = min(limit, MOST_DESCRIPTORS)
    fixed = fixed_descriptors(config, workers)
    fewest_pipes = config.global_.maxpipes or _PIPES_PER_THREAD * workers
    room = limit - fixed
    most = (room - 2 * fewest_pipes) // 2
    if most < 1:
        needed = fixed + 2 * fewest_pipes + 2
        raise EnvironmentLacks(
            f"FD limit ({limit}) too low for a single session, {needed} are needed. "
            f"Please raise 'ulimit-n' or the limit of the service (LimitNOFILE=) to {needed} "
            "or more."
        )
    wanted = maxconn or config.global_.maxconn
    warning = None
    if wanted is None:
        # a sixteenth for pipes: few sessions have bytes under way at the same moment
        sessions = max(1, min(most, (room - max(2 * fewest_pipes, room // 16)) // 2))
    elif wanted > most:
        needed = fixed + 2 * fewest_pipes + 2 * wanted
        warning = (
            f"FD limit ({limit}) too low for maxconn={wanted}/maxsock={needed}, "
            f"maxconn is lowered to {most}. Please raise 'ulimit-n' to {needed} or more "
            "to avoid any trouble."
        )
        sessions = most
    else:
        sessions = wanted
    pipes = config.global_.maxpipes
    if pipes is None:
        generous = max(_PIPES_PER_THREAD * workers, sessions // 4)
        pipes = max(fewest_pipes, min(generous, (room - 2 * sessions) // 2))
    return Limits(sessions, pipes, fixed + 2 * sessions + 2 * pipes, warning)
