"""`lbsplice top` as a screen of a given size, made of a Model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lbsplice.admin.spans import bytes_text, many, span_text
from lbsplice.cli.top_model import KEYS, Model, Row, fitted, sparkline, transitions_of

_COLOURS = {"UP": "green", "DOWN": "bold red", "DRAIN": "blue", "MAINT": "magenta"}
_HISTORY_SHARE = 3  # a third of the lines is for the timeline, no more than
_HISTORY_LINES = 8
_OTHER_LINES = 3  # head, column names, prompt
_TIMELINE_LINES = 2  # its title, and how many servers are not shown


def screen(model: Model, width: int, height: int) -> RenderableType:
    """All of it: head, servers, the last transitions, and one line to talk in."""
    if model.help:
        return Panel(_help(), title="keys", title_align="left", height=height)
    if model.status is None:
        return Text(model.trouble or "waiting for the first answer")
    changes = transitions_of(model.status, min(height // _HISTORY_SHARE, _HISTORY_LINES))
    timeline = _TIMELINE_LINES + max(1, len(changes))
    if height <= _OTHER_LINES + timeline:  # a server, and the line to talk in, come first
        timeline = 0
    room = max(1, height - _OTHER_LINES - timeline)
    rows = model.rows()
    shown = window(rows, model.selected, room)
    parts: list[RenderableType] = [
        _head(model, width),
        _servers(shown, model, width),
    ]
    parts += [Text("")] * (room - len(shown))
    if timeline:
        parts.append(Text(_hidden(len(rows), len(shown)), style="dim", no_wrap=True))
        parts.append(Text("last transitions", style="bold", no_wrap=True))
        parts += [_change(each, width) for each in changes] or [Text("  none", style="dim")]
    parts.append(_prompt(model, width))
    return Group(*parts)


def window(rows: list[Row], selected: str | None, room: int) -> list[Row]:
    """As many rows as there is room for, the selected one among them."""
    names = [row.name for row in rows]
    at = names.index(selected) if selected in names else 0
    first = max(0, min(at - room // 2, len(rows) - room))
    return rows[first : first + room]


def _hidden(there: int, shown: int) -> str:
    return f"  {there - shown} more" if there > shown else ""


def _head(model: Model, width: int) -> Text:
    assert model.status is not None
    process = model.status["process"]
    sessions = process["sessions"]
    parts = [
        f"lbsplice {model.status['version']}",
        f"pid {process['pid']}",
        f"up {span_text(1000 * process['uptime'])}",
        f"sessions {sessions['now']}/{process['maxconn']} (most {sessions['max']})",
        f"{process['session_rate']['now']}/s",
        f"{bytes_text(process['bytes_out_rate'])}/s",
    ]
    if process["stalled"]:
        parts.append(f"{process['stalled']} stalled")
    if process["crashes"]:
        parts.append(many(process["crashes"], "crash", "crashes"))
    for expendable in parts[:3]:
        if len("  ".join(parts)) > width:
            parts.remove(expendable)
    text = Text("  ".join(parts), style="reverse", no_wrap=True)
    if model.paused:
        text.append("  paused", style="bold yellow reverse")
    if process["stopping"]:
        text.append("  stopping", style="bold red reverse")
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


@dataclass(frozen=True, slots=True)
class _Column:
    """`rank` 0 is always there; the others as far as the terminal is wide, in this order."""

    name: str
    title: str
    rank: int
    width: int
    cell: Callable[[Row, int], str | Text]
    right: bool = True


_COLUMNS = (
    _Column("name", "server", 0, 0, lambda row, width: Text(fitted(row.name, width)), right=False),
    _Column("status", "status", 0, 9, lambda row, _: Text(row.status, style(row.status)), False),
    _Column("weight", "weight", 6, 6, lambda row, _: str(row.weight)),
    _Column("sessions", "sess", 1, 5, lambda row, _: str(row.sessions)),
    _Column("most", "most", 8, 5, lambda row, _: str(row.most)),
    _Column("rate", "sess/s", 4, 7, lambda row, _: str(row.session_rate)),
    _Column("in", "in/s", 5, 8, lambda row, _: _rate(row.bytes_in_rate)),
    _Column("traffic", "out/s", 2, 8, lambda row, _: _rate(row.bytes_out_rate)),
    _Column("killed", "killed", 3, 6, lambda row, _: str(row.killed)),
    _Column("check", "check", 9, 7, lambda row, _: Text(row.check), right=False),
    _Column("changed", "since", 7, 6, lambda row, _: span_text(1000 * row.since)),
)
_LEAST_NAME, _MOST_NAME, _LEAST_ASKED = 12, 32, 8
_LEAST_WHY = 12
_LEAST_BARS, _MOST_BARS = 8, 30


def _servers(rows: list[Row], model: Model, width: int) -> Table:
    longest = max((len(row.name) for row in model.rows()), default=0)
    most = min(_MOST_NAME, width - sum(c.width + 1 for c in _COLUMNS if 0 <= c.rank <= 1) - 1)
    names = max(_LEAST_NAME, min(most, longest))
    room = width - names - 1
    chosen = []
    for column in sorted(_COLUMNS, key=lambda each: each.rank):
        needs = column.width + 1 if column.width else 0
        if column.rank and needs > room:
            break
        room -= needs
        chosen.append(column)
    bars = min(_MOST_BARS, room - 1) if len(chosen) == len(_COLUMNS) else 0
    if bars < _LEAST_BARS:
        bars = 0
    names += max(0, room - (bars + 1 if bars else 0))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True, width=width)
    columns = [column for column in _COLUMNS if column in chosen]
    for column in columns:
        mark = ("▲" if model.backwards else "▼") if column.name == model.sort else ""
        table.add_column(
            f"{column.title}{mark}",
            justify="right" if column.right else "left",
            width=column.width or names,
            no_wrap=True,
            overflow="ellipsis",
        )
    if bars:
        table.add_column("traffic", width=bars, no_wrap=True)
    for row in rows:
        cells = [column.cell(row, column.width or names) for column in columns]
        if bars:
            cells.append(Text(sparkline(row.history, bars), style="cyan"))
        table.add_row(*cells, style="reverse" if row.name == model.selected else "")
    return table


def style(status: str) -> str:
    """The colour of a status; what is about to change is yellow."""
    word, _, score = status.partition(" ")
    return "bold yellow" if score[:1].isdigit() else _COLOURS.get(word, "")


def _rate(value: float | None) -> str:
    return "-" if value is None else bytes_text(value)


def _change(change: dict[str, Any], width: int) -> Text:
    at = time.strftime("%H:%M:%S", time.localtime(change["at"]))
    ended = f"  ended {many(change['ended'], 'session')}" if change["ended"] else ""
    others = f"  {at}    {change['before']} -> {change['after']}{ended}"
    name = fitted(f"{change['backend']}/{change['server']}", max(_LEAST_NAME, width - len(others)))
    text = Text(f"  {at}  {name}  ", no_wrap=True)
    text.append(change["before"], style=style(change["before"]))
    text.append(" -> ")
    text.append(change["after"], style=style(change["after"]))
    text.append(ended, style="bold red")
    if change["why"] and width - len(text) >= _LEAST_WHY:
        text.append(f"  {change['why']}", style="dim")
    text.truncate(width, overflow="ellipsis")
    return text


def _prompt(model: Model, width: int) -> Text:
    if model.filtering:
        text = Text(f"filter: {model.filter}▏", style="bold", no_wrap=True)
    elif model.confirming is not None:
        order = model.confirming
        what = "end all its sessions" if "kill" in order.words else "put it into maintenance"
        asked = f": {what}? y/n"
        name = fitted(order.server, max(_LEAST_ASKED, width - len(asked)))
        text = Text(f"{name}{asked}", style="bold yellow", no_wrap=True)
    elif model.trouble:
        text = Text(model.trouble, style="bold red", no_wrap=True)
    elif model.message:
        text = Text(model.message, style="bold", no_wrap=True)
    else:
        said = f"filter: {model.filter}   " if model.filter else ""
        text = Text(f"{said}q quit  ? keys", style="dim", no_wrap=True)
    text.truncate(width, overflow="ellipsis")
    return text


def _help() -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for keys, what in KEYS:
        table.add_row(keys, what)
    return table
