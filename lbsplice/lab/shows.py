"""How a scene of several cases is shown: a coloured timeline on a terminal, plain lines
elsewhere, or nothing until the end, for `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbsplice.lab.scene import Happening
from lbsplice.lab.summary import Summary
from lbsplice.lab.timeline import aligned, claim_grid, claim_line, happening_grid, happening_line
from lbsplice.lab.verdict import Claim


class SceneShow(Protocol):
    """Someone who shows a scene while it runs."""

    def opens(self, lines: Sequence[str]) -> None:
        """Before the first case: who plays, and how."""

    def case_opens(self, number: int, title: str) -> None:
        """Before the network of a case is made."""

    def happens(self, happening: Happening) -> None:
        """One line of the timeline, as it happens."""

    def case_closes(self, claims: Sequence[Claim]) -> None:
        """After a case, judged."""

    def closes(self, summary: Summary, told: Mapping[str, object]) -> None:
        """After the last case; `told` is all of it, for programs."""


class PlainSceneShow:
    """Lines of text, for a pipe or a file."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def opens(self, lines: Sequence[str]) -> None:
        self._write(*lines)

    def case_opens(self, number: int, title: str) -> None:
        self._write("", f"{number}. {title}")

    def happens(self, happening: Happening) -> None:
        self._write(happening_line(happening))

    def case_closes(self, claims: Sequence[Claim]) -> None:
        self._write(*map(claim_line, claims))

    def closes(self, summary: Summary, told: Mapping[str, object]) -> None:
        rows = [summary.columns, *summary.rows]
        self._write("")
        for line in aligned(rows):
            self._write(line)
        self._write("", summary.moral)

    def _write(self, *lines: str) -> None:
        for line in lines:
            print(line, file=self._output, flush=True)


class TerminalSceneShow:
    """A timeline in colour and a table at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def opens(self, lines: Sequence[str]) -> None:
        first, *others = lines
        self._print(Text(first, style="bold"))
        for line in others:
            self._print(Text(line, style="dim"))

    def case_opens(self, number: int, title: str) -> None:
        self._console.print()
        self._console.rule(Text(f"{number}. {title}", style="bold"), align="left")

    def happens(self, happening: Happening) -> None:
        self._print(happening_grid(happening))

    def case_closes(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._print(claim_grid(claim))

    def closes(self, summary: Summary, told: Mapping[str, object]) -> None:
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for column in summary.columns:
            table.add_column(column)
        for row in summary.rows:
            table.add_row(*row)
        self._console.print()
        self._print(table)
        self._print(Text(summary.moral, style="bold" if summary.held else "bold red"))

    def _print(self, what: Text | Table) -> None:
        self._console.print(what, highlight=False)


class JsonSceneShow:
    """Silent until the end, then one JSON object."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def opens(self, lines: Sequence[str]) -> None:
        """All is told at the end."""

    def case_opens(self, number: int, title: str) -> None:
        """All is told at the end."""

    def happens(self, happening: Happening) -> None:
        """All is told at the end."""

    def case_closes(self, claims: Sequence[Claim]) -> None:
        """All is told at the end."""

    def closes(self, summary: Summary, told: Mapping[str, object]) -> None:
        print(json.dumps(told, indent=2), file=self._output, flush=True)
