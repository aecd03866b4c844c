"""The list of what a rescue would end, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbsplice.stuck.session import Stuck, end_text

_COLUMNS = ("held by", "user", "running", "near end", "far end", "state", "idle", "last ack")
_NUMBERS = ("unsent", "unacked", "retrans", "probes")
_WIDEST = 400
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


def span_text(seconds: float) -> str:
    """A length of time for people.

    >>> [span_text(each) for each in (0.25, 75, 7260, 180000)]
    ['0.2s', '1m15s', '2h01m', '2d02h']
    """
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{seconds:.1f}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02d}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02d}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02d}h"


def as_table(found: Sequence[Stuck]) -> Table:
    """One row a session; with the client's end where a session has both legs."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    for column in _NUMBERS:
        table.add_column(column, justify="right", no_wrap=True)
    with_clients = any(each.client_leg for each in found)
    if with_clients:
        table.add_column("client", no_wrap=True)
    for each in found:
        leg, owner = each.leg, each.owners[0] if each.owners else None
        more = f" +{len(each.owners) - 1}" if len(each.owners) > 1 else ""
        nobody = "no process" if not leg.inode else "?"  # of another user: root would see
        cells = [
            f"{owner}{more}" if owner else nobody,
            owner.user if owner else "-",
            span_text(owner.age_s) if owner else "-",
            end_text(leg.local),
            end_text(leg.peer),
            leg.state,
            span_text(leg.last_data_received_ms / 1000),
            span_text(leg.last_ack_ms / 1000),
            *(map(str, (leg.unsent, leg.unacknowledged, leg.retransmits, leg.probes))),
        ]
        if with_clients:
            cells.append(end_text(each.client_leg.peer) if each.client_leg else "-")
        table.add_row(*map(Text, cells))
    return table


def show(found: Sequence[Stuck], console: Console) -> None:
    """Print the list, as wide as it needs: no address is cut."""
    wide = Console(file=console.file, force_terminal=console.is_terminal, width=_WIDEST)
    wide.print(as_table(found), highlight=False)


def as_json(found: Sequence[Stuck], ended: int | None) -> str:
    """One object. `ended`: how many were ended, None where nothing was to be."""
    sessions = [each.as_object() for each in found]
    return json.dumps({"sessions": sessions, "ended": ended}, indent=2)
