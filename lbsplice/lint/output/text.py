"""Findings and the table of detection times, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lbsplice.config.messages import printable
from lbsplice.config.model import Place
from lbsplice.lint.analysis import Analysis
from lbsplice.lint.detect import Detection, Estimate, Session, Side
from lbsplice.lint.finding import Finding, Severity
from lbsplice.lint.wording import listed, span, spoken

_COLOURS = {Severity.NOTE: "cyan", Severity.WARNING: "yellow", Severity.ERROR: "bold red"}
_ROWS = (
    (Side.SERVER, Session.NEW, "server dies", "no new sessions to it"),
    (Side.SERVER, Session.IDLE, "", "idle old sessions"),
    (Side.SERVER, Session.UNACKED, "", "old sessions, data unacknowledged"),
    (Side.CLIENT, Session.IDLE, "client dies", "idle old sessions"),
    (Side.CLIENT, Session.UNACKED, "", "old sessions, data unacknowledged"),
)


def show(analysis: Analysis, console: Console, *, with_table: bool = True) -> None:
    """All of it: the table, the notes of what was not understood, the findings, a summary."""
    if with_table:
        _show_detections(analysis, console)
    for note in analysis.notes:
        _say(console, f"{_clean(note.place)}: [dim]{_clean(note.text)}[/dim]")
    for finding in analysis.findings:
        _show_finding(finding, console)
    _say(console, _summary(analysis))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _clean(text: object) -> str:
    return escape(printable(str(text)))


def _show_finding(finding: Finding, console: Console) -> None:
    colour = _COLOURS[finding.severity]
    fix = " [green](--fix does it)[/green]" if finding.edits else ""
    _say(
        console,
        f"[bold]{_clean(finding.place)}[/bold]: [{colour}]{finding.severity.value} {finding.rule}"
        f"[/{colour}]: {_clean(finding.message)}\n    change: {_clean(finding.change)}{fix}\n"
        f"    more:   docs/lint/{finding.rule}.md",
    )


def _summary(analysis: Analysis) -> str:
    counts = dict.fromkeys(reversed(Severity), 0)
    for finding in analysis.findings:
        counts[finding.severity] += 1
    parts = [f"{n} {s.value}{'' if n == 1 else 's'}" for s, n in counts.items() if n]
    if analysis.suppressed:
        parts.append(f"{analysis.suppressed} suppressed by comments")
    fixes = sum(1 for finding in analysis.findings if finding.edits)
    more = f"; --fix can mend {fixes} of them" if fixes else ""
    return f"{', '.join(parts) or 'nothing found'}{more}"


def _show_detections(analysis: Analysis, console: Console) -> None:
    named = _names(analysis)
    for title, group in grouped(analysis.detections):
        first = group[0]
        names = listed([named[title, d.path.server.place] for d in group])
        table = Table(
            title=_clean(f"{title}, {'server' if len(group) == 1 else 'servers'} {names}"),
            title_justify="left",
            title_style="bold",
        )
        table.add_column("when a")
        table.add_column("it is noticed by")
        table.add_column("after")
        table.add_column("decided by", overflow="fold")
        for side, session, who, what in _ROWS:
            table.add_row(
                who, what, _when(first.of(side, session)), _decided(analysis, first, side, session)
            )
        console.print(table)
    if analysis.detections:
        _say(
            console,
            "[dim]A death is silent when nothing comes any more, not even a reset. From "
            f"{_clean(analysis.host.sysctls.origin)}; kernel timers may be an eighth late.[/dim]\n",
        )


def _names(analysis: Analysis) -> Mapping[tuple[str, Place], str]:
    """What each path's servers are called; of several with one name also where they stand."""
    names = {(d.path.title, d.path.server.place): d.path.server.name for d in analysis.detections}
    counts = Counter((title, name) for (title, _), name in names.items())
    told: dict[tuple[str, Place], str] = {}
    for (title, place), name in names.items():
        where = f"line {place.line}" if len(analysis.sources) == 1 else str(place)
        told[title, place] = f"{name} ({where})" if counts[title, name] > 1 else name
    return told


def _when(estimate: Estimate) -> str:
    text = span(estimate.best_ms, estimate.worst_ms)
    return f"[bold red]{text}[/bold red]" if estimate.never else text


def _decided(analysis: Analysis, found: Detection, side: Side, session: Session) -> str:
    estimate = found.of(side, session)
    if estimate.never:
        text = f"missing: {estimate.setting}"
    else:
        place: object = estimate.place or "host"
        if estimate.place and len(analysis.sources) == 1:
            place = f"line {estimate.place.line}"
        where = f" ({place})"
        text = f"{estimate.setting}{where}"
    if session is Session.NEW:
        if found.refused:
            text += f"; if its host answers with resets: {span(*found.refused)}"
        text += f"; until then {spoken(found.connect_ms)} a connect, {found.attempts} attempts"
    return _clean(text)


def grouped(detections: Iterable[Detection]) -> list[tuple[str, list[Detection]]]:
    """Servers of one path that have the same times, together."""
    groups: dict[tuple[object, ...], list[Detection]] = {}
    for found in detections:
        times: Sequence[object] = [
            (e.side, e.session, e.best_ms, e.worst_ms, e.setting) for e in found.estimates
        ]
        groups.setdefault((found.path.title, found.refused, *times), []).append(found)
    return [(str(key[0]), group) for key, group in groups.items()]
