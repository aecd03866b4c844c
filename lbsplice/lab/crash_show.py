"""How `lab crash` is shown: a progress bar under a coloured timeline on a terminal, plain lines
elsewhere, or nothing until the end, for `--json`."""

from __future__ import annotations

import json
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from lbsplice.lab.crash_results import (
    KILL_COLUMNS,
    CrashResult,
    crash_moral,
    crash_object,
    kill_rows,
    size_text,
)
from lbsplice.lab.crash_scene import CrashSettings
from lbsplice.lab.scene import Happening, Tone, Who
from lbsplice.lab.timeline import aligned, claim_grid, claim_line, happening_grid, happening_line

_BAR_WIDTH = 40


class CrashShow(Protocol):
    """Someone who shows the scene while it runs."""

    def opens(self, settings: CrashSettings, proxy_version: str) -> None:
        """Before anything is started."""

    def happens(self, happening: Happening) -> None:
        """One line of the timeline, as it happens."""

    def moves(self, received: int) -> None:
        """So many bytes are back."""

    def closes(self, result: CrashResult) -> None:
        """After the end, judged."""

    def leaves(self) -> None:
        """The scene is over, in whatever way."""


def opening_lines(settings: CrashSettings, proxy_version: str) -> list[str]:
    """Who plays, and what will happen to whom."""
    return [
        f"{proxy_version}; the fault: its worker is killed about every {settings.every_s:g} s",
        f"transfer  {size_text(settings.size)} to a server and back,"
        f" at {size_text(settings.rate)}/s, seed {settings.seed}",
        "lines     a session with a line every 20 ms, each is answered",
        "idle      a session that says nothing until the end",
    ]


class PlainCrashShow:
    """Lines of text, for a pipe or a file."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._settings = CrashSettings()

    def opens(self, settings: CrashSettings, proxy_version: str) -> None:
        self._settings = settings
        for line in [*opening_lines(settings, proxy_version), ""]:
            self._line(line)

    def happens(self, happening: Happening) -> None:
        self._line(happening_line(happening))

    def moves(self, received: int) -> None:
        """The lines of the kills tell enough."""

    def closes(self, result: CrashResult) -> None:
        self._line("")
        for claim in result.claims:
            self._line(claim_line(claim))
        rows = [KILL_COLUMNS, *kill_rows(result.observed)]
        self._line("")
        for line in aligned(rows):
            self._line(line)
        self._line("")
        self._line(crash_moral(self._settings, result))

    def leaves(self) -> None:
        """Nothing is open."""

    def _line(self, text: str) -> None:
        print(text, file=self._output, flush=True)


class TerminalCrashShow:
    """A timeline in colour above a progress bar, and a table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._settings = CrashSettings()
        self._progress = Progress(
            TextColumn("transfer"),
            BarColumn(_BAR_WIDTH),
            TaskProgressColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TextColumn("{task.fields[kills]}"),
            console=console,
        )
        self._bar = self._progress.add_task("transfer", total=None, kills="")
        self._kills = 0

    def opens(self, settings: CrashSettings, proxy_version: str) -> None:
        self._settings = settings
        first, *others = opening_lines(settings, proxy_version)
        self._print(Text(first, style="bold"))
        for line in others:
            self._print(Text(line, style="dim"))
        self._console.print()
        self._progress.update(self._bar, total=settings.size)
        self._progress.start()

    def happens(self, happening: Happening) -> None:
        self._print(happening_grid(happening))
        if happening.tone is Tone.FAULT and happening.who is Who.OPERATOR:
            self._kills += 1
            self._progress.update(self._bar, kills=f"kills: {self._kills}")

    def moves(self, received: int) -> None:
        self._progress.update(self._bar, completed=received)

    def closes(self, result: CrashResult) -> None:
        self.leaves()
        self._console.print()
        for claim in result.claims:
            self._print(claim_grid(claim))
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for column in KILL_COLUMNS:
            table.add_column(column)
        for row in kill_rows(result.observed):
            table.add_row(*row, style="" if row[0].isdigit() else "dim")
        self._console.print()
        self._print(table)
        moral = crash_moral(self._settings, result)
        self._print(Text(moral, style="bold" if result.held else "bold red"))

    def leaves(self) -> None:
        self._progress.stop()

    def _print(self, what: Text | Table) -> None:
        self._console.print(what, highlight=False)


class JsonCrashShow:
    """Silent until the end, then one JSON object."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._settings = CrashSettings()
        self._version = ""
        self._timeline: list[Happening] = []

    def opens(self, settings: CrashSettings, proxy_version: str) -> None:
        self._settings, self._version = settings, proxy_version

    def happens(self, happening: Happening) -> None:
        self._timeline.append(happening)

    def moves(self, received: int) -> None:
        """All is told at the end."""

    def closes(self, result: CrashResult) -> None:
        told = crash_object(self._settings, self._version, result, self._timeline)
        print(json.dumps(told, indent=2), file=self._output, flush=True)

    def leaves(self) -> None:
        """Nothing is open."""
