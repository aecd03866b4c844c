"""`lbsplice sessions`: who is connected, and how the kernel sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from lbsplice.admin.session_filter import Filter, filter_words, parse_span
from lbsplice.admin.spans import short_bytes, short_span, span_text
from lbsplice.cli.client import Lbsplice, Where, asking
from lbsplice.cli.names import (
    complete_backend,
    complete_server,
    name_of_server,
    servers_of,
    unknown,
)
from lbsplice.errors import UnitError
from lbsplice.stuck.selection import Endpoint, parse_endpoint
from lbsplice.units import Fault, QuantityError

_SIDE_WIDTH = len(" server!")
_SIDES = ("client", "server")
HEAD = ("idle", "bytes")
KERNEL_HEAD = ("state", "timer", "unsent", "unack", "resent", "probes", "heard")
_LEFT = frozenset(("state", "timer"))
_TIMERS = {"on": "retrans"}
_STATES = {"ESTABLISHED": "ESTAB"}


def _time(_context: click.Context, option: click.Parameter, value: str | None) -> int:
    try:
        return 0 if value is None else parse_span(value)
    except QuantityError as why:
        if why.fault is Fault.OVERFLOW:
            raise click.BadParameter(str(why), param=option) from why
        raise click.BadParameter(f"'{value}' is no time such as 30s or 2m", param=option) from why


def _endpoint(
    _context: click.Context, option: click.Parameter, value: str | None
) -> Endpoint | None:
    try:
        return None if value is None else parse_endpoint(value)
    except UnitError as why:
        raise click.BadParameter(str(why), param=option) from why


@click.command()
@click.option("--server", metavar="[BACKEND/]NAME", shell_complete=complete_server, help="Of this.")
@click.option(
    "--backend", metavar="NAME", shell_complete=complete_backend, help="Of the servers of this."
)
@click.option("--client", callback=_endpoint, metavar="ADDR[:PORT]", help="From this client.")
@click.option("--older", callback=_time, metavar="TIME", help="Open for at least so long.")
@click.option("--idle", callback=_time, metavar="TIME", help="Without a byte for so long.")
@click.option("--stalled", is_flag=True, help="Whose data one side does not acknowledge.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="No more than so many.")
@click.option("--quick", is_flag=True, help="Do not ask the kernel about each of them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@asking
def sessions(
    where: Where,
    server: str | None,
    backend: str | None,
    client: Endpoint | None,
    older: int,
    idle: int,
    stalled: bool,
    limit: int | None,
    quick: bool,
    as_json: bool,
) -> None:
    """List the open sessions of the running lbsplice. All filters that are given must hold.

    A line for the session, and one for each side of it. `timer` is the timer of the kernel
    that runs and when it fires: retrans(mission), keepalive, or probe (window probe).
    `unsent` and `unack`(nowledged) are bytes for that side; `resent` and `probes` are how
    often the kernel has tried in vain so far; `heard` is how long ago anything came from
    there. A side is marked with `!` when it looks gone: data for it was sent again or probed
    for, and nothing comes back.

    Exit status: 0 also when none matches; 1 when there is no such server or backend.

    \b
    Examples:
      lbsplice sessions --stalled
      lbsplice sessions --server amqp/a --idle 10m --json
      lbsplice explain $(lbsplice sessions --client 10.0.0.7 --json | jq -r '.sessions[0].id')
    """
    if stalled and quick:
        raise click.UsageError("--stalled is what the kernel tells: not with --quick")
    wanted = Filter(
        server=server,
        backend=backend,
        client=client,
        older_ms=older,
        idle_ms=idle,
        stalled=stalled,
        quick=quick,
        limit=limit or 0,
    )
    there = where.find()
    found = there.objects("lbsplice", "show", "sessions", "json", *filter_words(wanted))
    if not found:
        _known(there, server, backend)
    if as_json:
        click.echo(json.dumps({"sessions": found}, indent=2, ensure_ascii=False))
        return
    for line in table(found, kernel=not quick):
        click.echo(line)


def _known(there: Lbsplice, server: str | None, backend: str | None) -> None:
    """No session of a server that there is, is an answer. Raises Refused for another one."""
    if server is None and backend is None:
        return
    status = there.status()
    names = [name_of_server(each) for each in servers_of(status)]
    if server is not None and not any(server in (n, n.partition("/")[2]) for n in names):
        raise unknown("server", server, names)
    backends = [each["name"] for each in status["backends"]]
    if backend is not None and backend not in backends:
        raise unknown("backend", backend, backends)


# ---- the table ----


def table(found: Sequence[dict[str, Any]], *, kernel: bool) -> Iterator[str]:
    """A line a session and one for each leg, under one head. Names are in the session's line,
    so that the columns stay within 80 characters; nothing is cut."""
    if not found:
        yield "no session matches"
        return
    head = HEAD + (KERNEL_HEAD if kernel else ())
    rows = [_rows(session, kernel) for session in found]
    cells = (head, *(row for pair in rows for row in pair))
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]

    def line(side: str, row: Sequence[str]) -> str:
        fitted = (
            text.ljust(width) if name in _LEFT else text.rjust(width)
            for name, text, width in zip(head, row, widths, strict=True)
        )
        return " ".join((side.ljust(_SIDE_WIDTH), *fitted)).rstrip()

    yield line("leg", head)
    for session, pair in zip(found, rows, strict=True):
        yield _title(session)
        for side, row in zip(_SIDES, pair, strict=True):
            seen = session["legs"][side]["kernel"]
            if seen and seen["stalled"]:
                yield click.style(line(f" {side}!", row), fg="red")
            else:
                yield line(f" {side}", row)


def _title(session: dict[str, Any]) -> str:
    """`0x1f  10.0.0.7:5000 -> amqp -> amqp/a (10.0.0.9:5672)  open 1m15s`."""
    server = f"{session['backend'] or '-'}/{session['server'] or '<NOSRV>'}"
    kernel = session["legs"]["server"]["kernel"]
    if kernel and kernel["peer"]:
        server += f" ({kernel['peer']})"
    state = session["state"]
    parts = (
        click.style(session["id"], bold=True),
        f"{session['client']} -> {session['frontend']} -> {server}",
        f"open {span_text(session['age_ms'])}" + (f", {state}" if state != "established" else ""),
    )
    return "  ".join(parts)


def _rows(session: dict[str, Any], with_kernel: bool) -> tuple[tuple[str, ...], ...]:
    legs = [session["legs"][side] for side in _SIDES]
    return tuple(
        (
            short_span(leg["idle_ms"]),
            short_bytes(leg["bytes"]),
            *(_kernel_cells(leg["kernel"]) if with_kernel else ()),
        )
        for leg in legs
    )


def _kernel_cells(kernel: dict[str, Any] | None) -> tuple[str, ...]:
    if kernel is None:  # no TCP socket, or none any more
        return ("-", *[""] * (len(KERNEL_HEAD) - 1))
    return (
        _STATES.get(kernel["state"], kernel["state"]),
        _timer(kernel),
        short_bytes(kernel["unsent"]),
        short_bytes(kernel["unacknowledged"]),
        str(kernel["retransmits"]),
        str(kernel["probes"]),
        "-" if kernel["last_ack_ms"] is None else short_span(kernel["last_ack_ms"]),
    )


def _timer(kernel: dict[str, Any]) -> str:
    """`keepalive 1h59m`; `-` where none runs, `?` where the kernel does not tell."""
    name = kernel["timer"]
    if name is None:
        return "?"
    if name == "off":
        return "-"
    return f"{_TIMERS.get(name, name)} {short_span(kernel['expires_ms'])}"
