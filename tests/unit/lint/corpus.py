"""The configurations of tests/corpus/lint, which say themselves what is found in them:

    server a 10.0.0.1:25 check      #= warning L1, note L14
    ${EXTRA}                        #? not set here

`#=` is every finding of its line, `#?` a part of a note. Nothing else may be found.

`python -m tests.unit.lint.corpus` writes the findings anew; then read what has changed."""

from __future__ import annotations

import re
from pathlib import Path

from lbsplice.config.files import Source
from lbsplice.lint.analysis import Analysis, analyse
from lbsplice.lint.rules import IDS
from lbsplice.sysctl.values import Sysctls

CORPUS = Path(__file__).parents[2] / "corpus" / "lint"
FILES = sorted(CORPUS.glob("*.cfg"))
_MARK = re.compile(r"\s*#= (.*?)\s*$")
_NOTE = re.compile(r"#\? (.*?)(?=\s*#=|\s*$)")


def analysis_of(path: Path) -> Analysis:
    return analyse([Source(path.name, path.read_text())], {}, Sysctls())


def expected(path: Path) -> dict[int, list[str]]:
    found = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = _MARK.search(line)
        if match:
            found[number] = sorted(match[1].split(", "))
    return found


def expected_notes(path: Path) -> dict[int, str]:
    lines = enumerate(path.read_text().splitlines(), 1)
    return {number: match[1] for number, line in lines if (match := _NOTE.search(line))}


def found(analysis: Analysis) -> dict[int, list[str]]:
    result: dict[int, list[str]] = {}
    for finding in analysis.findings:
        shown = f"{finding.severity.value} {finding.rule}"
        result.setdefault(finding.place.line, []).append(shown)
    return {line: sorted(shown) for line, shown in result.items()}


def write_anew() -> None:
    for path in FILES:
        marks = found(analysis_of(path))
        lines = [_MARK.sub("", line) for line in path.read_text().splitlines()]
        for number, shown in marks.items():
            in_order = sorted(shown, key=lambda one: IDS.index(one.split()[1]))
            lines[number - 1] += f"  #= {', '.join(in_order)}"
        path.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    write_anew()
