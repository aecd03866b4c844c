"""How `lab failover` is shown: a coloured timeline on a terminal, plain lines elsewhere, or
nothing until the end, for `--json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Protocol, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbsplice.lab.results import (
    END_TONES,
    SUMMARY_COLUMNS,
    CaseResult,
    as_object,
    moral,
    summary_row,
)
from lbsplice.lab.scene import CASE_TITLES, FAULT_TITLES, Case, Happening, Settings, Tone
from lbsplice.lab.topology import BALANCER, CLIENT, PORT, SERVERS, SERVICE_ADDRESS
from lbsplice.lab.verdict import Claim

_TIME_WIDTH = 9
_WHO_WIDTH = 8
_STYLES = {Tone.PLAIN: "", Tone.GOOD: "green", Tone.BAD: "bold red", Tone.FAULT: "yellow"}


class Show(Protocol):
    """Someone who shows the scene while it runs."""

    def opens(self, settings: Settings, proxy_version: str) -> None:
        """Before the first case."""

    def case_opens(self, number: int, case: Case) -> None:
        """Before the network of a case is made."""

    def happens(self, happening: Happening) -> None:
        """One line of the timeline, as it happens."""

    def case_closes(self, result: CaseResult) -> None:
        """After a case, judged."""

    def closes(self, results: Sequence[CaseResult]) -> None:
        """After the last case."""


def time_text(since_fault_s: float | None) -> str:
    """A moment for people, in seconds after the fault: `+0.761 s`; before it, `before`."""
    return "before" if since_fault_s is None else f"+{max(0.0, since_fault_s):.3f} s"


def opening_lines(settings: Settings, proxy_version: str) -> list[str]:
    """Who plays, what will break, how it is checked."""
    servers = "  ".join(f"{server.name} {server.address}:{PORT}" for server in SERVERS)
    return [
        f"{proxy_version}; the fault: {settings.fault.value}, {FAULT_TITLES[settings.fault]}",
        f"client    {CLIENT.address}",
        f"balancer  {SERVICE_ADDRESS}:{PORT}, also {BALANCER.address}",
        f"servers   {servers}",
        f"checks    inter {settings.inter_ms} ms, fall {settings.fall}",
    ]


def _seen_text(claim: Claim) -> str:
    """What was seen, where the claim does not say it already."""
    return "" if claim.held and claim.seen in claim.text else f": {claim.seen}"


def happening_line(happening: Happening) -> str:
    """One line of the timeline, for a pipe or a file."""
    time, who = time_text(happening.since_fault_s), happening.who.value
    return f"{time:>{_TIME_WIDTH}}  {who:<{_WHO_WIDTH}}  {happening.what}"


def happening_grid(happening: Happening) -> Table:
    """One line of the timeline, for a terminal."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=_TIME_WIDTH, justify="right", style="cyan")
    grid.add_column(width=_WHO_WIDTH, style="bold")
    grid.add_column(overflow="fold")
    style = _STYLES[happening.tone]
    who = happening.who.value
    grid.add_row(time_text(happening.since_fault_s), who, Text(happening.what, style=style))
    return grid


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows of a table as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def claim_line(claim: Claim) -> str:
    """A judged claim, for a pipe or a file."""
    mark = "ok" if claim.held else "NO"
    return f"{mark:>{_TIME_WIDTH}}  {claim.text}{_seen_text(claim)}"


def claim_grid(claim: Claim) -> Table:
    """A judged claim, for a terminal."""
    mark = Text("\u2713", style="green") if claim.held else Text("\u2717", style="bold red")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=_TIME_WIDTH, justify="right")
    grid.add_column(overflow="fold")
    words = Text(claim.text)
    words.append(_seen_text(claim), style="dim" if claim.held else "bold red")
    grid.add_row(mark, words)
    return grid


class PlainShow:
    """Lines of text, for a pipe or a file."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._settings = Settings()

    def opens(self, settings: Settings, proxy_version: str) -> None:
        self._settings = settings
        for line in opening_lines(settings, proxy_version):
            self._line(line)

    def case_opens(self, number: int, case: Case) -> None:
        self._line("")
        self._line(f"{number}. {CASE_TITLES[case]}")

    def happens(self, happening: Happening) -> None:
        self._line(happening_line(happening))

    def case_closes(self, result: CaseResult) -> None:
        for claim in result.claims:
            self._line(claim_line(claim))

    def closes(self, results: Sequence[CaseResult]) -> None:
        rows = [SUMMARY_COLUMNS, *(summary_row(result) for result in results)]
        self._line("")
        for line in aligned(rows):
            self._line(line)
        self._line("")
        self._line(moral(self._settings, results))

    def _line(self, text: str) -> None:
        print(text, file=self._output, flush=True)


class TerminalShow:
    """A timeline in colour, and a table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._settings = Settings()

    def opens(self, settings: Settings, proxy_version: str) -> None:
        self._settings = settings
        first, *others = opening_lines(settings, proxy_version)
        self._print(Text(first, style="bold"))
        for line in others:
            self._print(Text(line, style="dim"))

    def case_opens(self, number: int, case: Case) -> None:
        self._console.print()
        self._console.rule(Text(f"{number}. {CASE_TITLES[case]}", style="bold"), align="left")

    def happens(self, happening: Happening) -> None:
        self._print(happening_grid(happening))

    def case_closes(self, result: CaseResult) -> None:
        for claim in result.claims:
            self._print(claim_grid(claim))

    def closes(self, results: Sequence[CaseResult]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for column in SUMMARY_COLUMNS:
            table.add_column(column)
        for result in results:
            case, statuses, end, *others, held = summary_row(result)
            table.add_row(
                case,
                statuses,
                Text(end, style=_STYLES[END_TONES[result.observed.end]]),
                *others,
                Text(held, style="green" if result.held else "bold red"),
            )
        self._console.print()
        self._print(table)
        self._print(Text(moral(self._settings, results), style="bold"))

    def _print(self, what: Text | Table) -> None:
        self._console.print(what, highlight=False)


class JsonShow:
    """Silent until the end, then one JSON object."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._settings = Settings()
        self._version = ""
        self._timelines: list[list[Happening]] = []

    def opens(self, settings: Settings, proxy_version: str) -> None:
        self._settings, self._version = settings, proxy_version

    def case_opens(self, number: int, case: Case) -> None:
        self._timelines.append([])

    def happens(self, happening: Happening) -> None:
        self._timelines[-1].append(happening)

    def case_closes(self, result: CaseResult) -> None:
        """All is told at the end."""

    def closes(self, results: Sequence[CaseResult]) -> None:
        told = as_object(self._settings, self._version, results, self._timelines)
        print(json.dumps(told, indent=2), file=self._output, flush=True)
