"""The commands that look into the process: its threads, descriptors, libraries, events."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from pathlib import Path

from lbsplice.admin import named
from lbsplice.admin.commands import Answer, Command, Context, Handler
from lbsplice.admin.control import AdminError
from lbsplice.admin.levels import Level
from lbsplice.admin.lines import Gone
from lbsplice.admin.session import SessionView
from lbsplice.admin.state_text import leading_number
from lbsplice.admin.view import ServerView, ThreadView, Transition
from lbsplice.plan.slots import ServerKey

_AT_ONCE = 256
_PROC = Path("/proc/self")
_RING = "buf0"
_EVENTS_EVERY_S = 0.2


def _env(_context: Context, words: list[str], _payload: str | None) -> str:
    if not words:
        return "".join(f"{name}={value}\n" for name, value in os.environ.items())
    if words[0] not in os.environ:
        raise AdminError("Variable not found")
    return f"{words[0]}={os.environ[words[0]]}\n"


def _startup_logs(context: Context, _words: list[str], _payload: str | None) -> str:
    return "".join(f"{each}\n" for each in context.control.view().startup_logs) or "\n"


# ---- tables that are empty ----


def _empty(sentence: str) -> Handler:
    """The listing of what there is none of: nothing, and no name is in it."""

    def handler(_context: Context, words: list[str], _payload: str | None) -> str:
        names = [word for word in words if word not in ("dict", "-")]
        if names:
            raise AdminError(sentence)
        return ""

    return handler


# ---- activity and threads ----

_ACTIVITY = (
    ("loops", "batches"),
    ("accepted", "accepted"),
    ("ended", "ended"),
    ("pipe_wait", "pipe_waits"),
    ("accept_pause", "accept_pauses"),
    ("pipes_open", "pipes_open"),
    ("spliced_bytes", "spliced_bytes"),
    ("events_dropped", "events_dropped"),
    ("events_unwanted", "events_unwanted"),
)


def _activity(context: Context, _words: list[str], _payload: str | None) -> str:
    view = context.control.view()
    threads = view.threads or (ThreadView(),) * view.process.threads
    now = time.time()
    lines = [f"thread_id: 1 (1..{len(threads)})", f"date_now: {now:.6f}"]
    lines += [
        _per_thread(name, [getattr(each, key) for each in threads]) for name, key in _ACTIVITY
    ]
    return "".join(f"{each}\n" for each in lines)


def _per_thread(name: str, values: list[int]) -> str:
    """The sum, and what it is made of where there are several threads."""
    if len(values) == 1:
        return f"{name}: {values[0]}"
    return f"{name}: {sum(values)} [ {' '.join(map(str, values))} ]"


def _threads(_context: Context, _words: list[str], _payload: str | None) -> str:
    """The relay threads, and how long each has been on a processor."""
    lines = []
    for number, (thread, spent_ns) in enumerate(sorted(_relay_threads()), 1):
        lines.append(
            f"  Thread {number:<2}: id={thread:#x} act=0 glob=0 wq=0 rq=0 tl=0 tlsz=0 rqsz=0\n"
            f"      1/{number:<4} stuck=0 prof=0 harmless=0 isolated=0\n"
            f"             cpu_ns: poll=0 now={spent_ns} diff=0\n"
        )
    return "".join(lines) or "\n"


def _relay_threads() -> Iterator[tuple[int, int]]:
    for task in (_PROC / "task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            if (task / "comm").read_text().startswith("relay-"):
                yield int(task.name), int((task / "schedstat").read_text().split()[0])


def _tasks(context: Context, _words: list[str], _payload: str | None) -> str:
    """What the control plane waits for."""
    names = Counter(_task_name(each) for each in asyncio.all_tasks())
    total = sum(names.values())
    lines = [
        f"Running tasks: {total} ({context.control.view().process.threads} threads)",
        "  function                     places     %    lat_tot   lat_avg",
    ]
    lines += [
        f"  {name:<28} {count:>6} {100 * count / total:>5.1f}          -         -"
        for name, count in names.most_common()
    ]
    return "".join(f"{each}\n" for each in lines)


def _task_name(task: asyncio.Task[object]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())


def _pools(context: Context, _words: list[str], _payload: str | None) -> str:
    """What is kept to be used again: pipes."""
    process = context.control.view().process
    pipes = process.pipes_used + process.pipes_free
    return (
        "What is kept to be used again: pipes.\n"
        f"  - Pool pipe (2 descriptors) : {pipes} allocated, {process.pipes_used} used, "
        f"limit {process.max_pipes}\n"
        f"Total: 1 pools, {pipes} pipes allocated, {process.pipes_used} used.\n"
    )


def _libs(_context: Context, _words: list[str], _payload: str | None) -> str:
    """Program and libraries, with the memory that they are mapped to."""
    found: dict[str, tuple[int, int]] = {}
    program = str((_PROC / "exe").readlink())
    for line in (_PROC / "maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        if name.startswith("/") and (".so" in name or name == program):
            low, high = (int(each, 16) for each in span.split("-"))
            before = found.get(name, (low, high))
            found[name] = (min(low, before[0]), max(high, before[1]))
    return "".join(
        f"{low:#018x}-{high:#018x} ({high - low:#09x}) {name}\n"
        for name, (low, high) in found.items()
    )


# ---- descriptors ----


def _fd(context: Context, words: list[str], _payload: str | None) -> AsyncIterator[str]:
    return _descriptors(context, leading_number(words[0]) if words else None)


async def _descriptors(context: Context, only: int | None) -> AsyncIterator[str]:
    """Listening sockets, then those of the sessions."""
    for _, number in context.control.listening():
        if only in (None, number):
            yield _descriptor(number, 0, 0, f"l.st=RDY {_bound(number)}")
    servers = named.servers(context.control.view())
    first: int | None = 0
    while first is not None:
        some, first = context.control.sessions(first, _AT_ONCE)
        yield "".join(
            _descriptor(number, session.thread, session.serial, text)
            for session in some
            for number, text in _legs(session, servers)
            if only in (None, number)
        )
        await asyncio.sleep(0)


def _bound(number: int) -> str:
    """What a listening socket is bound to."""
    with socket.socket(fileno=os.dup(number)) as sock:
        if sock.family == socket.AF_UNIX:
            return "fam=unix"
        family = "ipv6" if sock.family == socket.AF_INET6 else "ipv4"
        return f"fam={family} lport={sock.getsockname()[1]}"


def _legs(session: SessionView, servers: dict[ServerKey, ServerView]) -> Iterator[tuple[int, str]]:
    """The session's descriptors, and what is at the other end of each."""
    client, server = session.legs
    if client.fd >= 0:
        yield (
            client.fd,
            f"back=0 cerr=0 fam={_family(client.is_unix, session)} "
            f"lport={_port(session.destination)} rport={_port(session.client)} "
            f"fe={session.frontend} mux=PASS xprt=RAW",
        )
    if server.fd >= 0 and session.server is not None:
        view = servers.get(session.server)
        yield (
            server.fd,
            f"back=1 cerr=0 fam={_family(server.is_unix, session)} "
            f"rport={_port(view.address if view else '')} "
            f"sv={'/'.join(session.server)} mux=PASS xprt=RAW",
        )


def _family(is_unix: bool, session: SessionView) -> str:
    return "unix" if is_unix else {"tcpv6": "ipv6"}.get(session.family, "ipv4")


def _port(address: str) -> str:
    port = address.rpartition(":")[2]
    return port if port.isdigit() else "0"


def _descriptor(number: int, thread: int, owner: int, text: str) -> str:
    mask = 1 << thread
    return (
        f"{number:>7} : st=0x000021(cl heopi W:sRa R:srA) ref=0 gid=1 tmask={mask:#x} "
        f"umask=0x0 prmsk={mask:#x} pwmsk=0x0 owner={owner:#x} iocb=0x0(relay) {text}\n"
    )


# ---- events ----


def _events(context: Context, words: list[str], _payload: str | None) -> Answer:
    """Our one sink holds the servers' last changes."""
    if not words:
        return (
            "Sinks of events. After a sink: -w waits for more, until any key is pressed; "
            "-n tells only of new ones; -0 ends each with a NUL\n"
            f"    {_RING}       : type=buffer, 0 dropped, the servers' last changes\n"
        )
    if context.level < Level.OPERATOR:
        raise AdminError("Permission denied")
    if words[0] != _RING:
        raise AdminError("No such event sink")
    options = [each.lstrip("-") for each in words[1:]]
    if any(not word.startswith("-") for word in words[1:]) or set("".join(options)) - set("wn0"):
        raise AdminError("unknown option")
    letters = "".join(options)
    return _ring(context, wait="w" in letters, new="n" in letters, nul="0" in letters)


async def _ring(context: Context, *, wait: bool, new: bool, nul: bool) -> AsyncIterator[str]:
    """The changes until now and, with `wait`, those to come, until the client says
    anything or leaves."""
    end = "\0" if nul else "\n"
    seen = context.control.view().transitions
    if not new:
        yield "".join(_event(each) + end for each in seen)
    if not wait:
        return
    stop = asyncio.ensure_future(_any_key(context))
    try:
        while not stop.done():
            await asyncio.wait((stop,), timeout=_EVENTS_EVERY_S)
            now = context.control.view().transitions
            fresh = _since(seen, now)
            seen = now
            if fresh:
                yield "".join(_event(each) + end for each in fresh)
    finally:
        stop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stop


async def _any_key(context: Context) -> None:
    """Return when the client says anything, or will say no more."""
    if context.client.heard is not None:
        with contextlib.suppress(Gone):
            await context.client.heard()


def _since(before: tuple[Transition, ...], now: tuple[Transition, ...]) -> tuple[Transition, ...]:
    """Those after the last that was there before; old ones have been forgotten meanwhile."""
    if not before:
        return now
    for number in range(len(now) - 1, -1, -1):
        if now[number] == before[-1]:
            return now[number + 1 :]
    return now


def _event(change: Transition) -> str:
    at = datetime.fromtimestamp(change.at, timezone.utc).isoformat(timespec="milliseconds")
    why = f", reason: {change.why}" if change.why else ""
    ended = f", {change.ended} sessions ended" if change.ended else ""
    return f"{at} server {'/'.join(change.key)}: {change.before} -> {change.after}{why}{ended}"


COMMANDS: tuple[Command, ...] = (
    Command(
        ("show", "env"),
        Level.OPERATOR,
        "show env [var] : the environment of the process",
        _env,
    ),
    Command(
        ("show", "startup-logs"),
        Level.OPERATOR,
        "show startup-logs : what was told at the start",
        _startup_logs,
    ),
    Command(
        ("show", "activity"),
        Level.USER,
        "show activity : what each relay thread has done",
        _activity,
    ),
    Command(
        ("show", "fd"),
        Level.OPERATOR,
        "show fd [num] : the descriptors of listeners and sessions",
        _fd,
    ),
    Command(
        ("show", "events"),
        Level.USER,
        "show events [<sink>] [-w] [-n] [-0] : the servers' last changes",
        _events,
    ),
    Command(
        ("show", "threads"),
        Level.USER,
        "show threads : the relay threads",
        _threads,
    ),
    Command(
        ("show", "tasks"),
        Level.USER,
        "show tasks : what the control plane waits for",
        _tasks,
    ),
    Command(
        ("show", "pools"),
        Level.USER,
        "show pools : pipes that are kept",
        _pools,
    ),
    Command(
        ("show", "libs"),
        Level.OPERATOR,
        "show libs : the program and its libraries in memory",
        _libs,
    ),
    Command(
        ("show", "resolvers"),
        Level.USER,
        "show resolvers [id] : name servers (there are none)",
        _empty("Can't find that resolvers section"),
    ),
    Command(
        ("show", "peers"),
        Level.USER,
        "show peers [dict|-] [section] : peers (there are none)",
        _empty("No such peers"),
    ),
    Command(
        ("show", "table"),
        Level.USER,
        "show table <table> [<filter>]* : stick tables (there are none)",
        _empty("No such table"),
    ),
)
