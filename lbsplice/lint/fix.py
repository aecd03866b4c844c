"""The changes of findings with one safe answer, as new text and as a patch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from lbsplice.config.files import Source
from lbsplice.lint.finding import Edit, EditKind, Finding


def fixed(sources: Sequence[Source], findings: Iterable[Finding]) -> Mapping[str, str]:
    """The new text of every file that changes, by name. Of two findings that would replace
    one line differently the first counts; the next run finds the other."""
    edits: dict[str, list[Edit]] = {}
    for finding in findings:
        for edit in finding.edits:
            edits.setdefault(edit.place.file, []).append(edit)
    texts = {source.name: source.text for source in sources}
    return {name: _edited(texts[name], own) for name, own in edits.items()}


def _edited(text: str, edits: Sequence[Edit]) -> str:
    lines = text.split("\n")
    replaced: dict[int, str] = {}
    inserted: dict[int, list[str]] = {}
    for edit in edits:
        if edit.kind is EditKind.REPLACE:
            replaced.setdefault(edit.place.line, edit.text)
        elif edit.text not in inserted.setdefault(edit.place.line, []):
            inserted[edit.place.line].append(edit.text)
    result: list[str] = []
    for number, line in enumerate(lines, 1):
        ending = "\r" if line.endswith("\r") else ""
        result += [new + ending for new in inserted.get(number, ())]
        result.append(replaced[number] + ending if number in replaced else line)
    return "\n".join(result)


def _header(name: str) -> str:
    """A name with a blank ends with a tab, or `patch` takes only what is before the blank."""
    return f"{name}\t" if " " in name else name


def patch(sources: Sequence[Source], texts: Mapping[str, str]) -> str:
    """A unified diff from the sources to `texts`, for `patch -p0`. Empty if nothing
    changes."""
    parts: list[str] = []
    for source in sources:
        if source.name in texts:
            parts += difflib.unified_diff(
                source.text.splitlines(keepends=True),
                texts[source.name].splitlines(keepends=True),
                _header(source.name),
                _header(source.name),
            )
    return "".join(p if p.endswith("\n") else f"{p}\n\\ No newline at end of file\n" for p in parts)
