"""The text of every error and warning of a single line, and HAProxy's own beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from lbsplice.config.files import Source
from lbsplice.config.parse import parse

HEADS = {
    "-": "",
    "global": "global\n",
    "defaults": "defaults\n",
    "listen": "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nlisten l\n",
    "frontend": "frontend l\n",
    "backend": "backend l\n",
}


class Golden(NamedTuple):
    section: str
    line: str
    same: bool
    severity: str
    text: str


def _read_golden() -> list[Golden]:
    path = Path(__file__).parent / "data" / "config_golden.txt"
    lines = [
        line
        for line in path.read_text().splitlines()
        if line and not line.startswith("# ") and line != "#"
    ]
    found = []
    for first, second in zip(lines[::2], lines[1::2], strict=True):
        section, line = first.split(" | ", 1)
        sign, severity, text = second.split(" ", 2)
        unescaped = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)
        found.append(Golden(section, line, sign == "=", severity, unescaped))
    return found


GOLDEN = _read_golden()


def _configuration(golden: Golden) -> tuple[str, int]:
    """A whole configuration around the line, and the number of the line in it."""
    head = HEADS[golden.section]
    indent = " " if head else ""
    return f"{head}{indent}{golden.line}\n", head.count("\n") + 1


def _haproxy() -> str | None:
    path = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if path is None:
        return None
    said = subprocess.run([path, "-v"], capture_output=True, text=True, check=False).stdout
    return path if said.startswith("HAProxy version 2.6.") else None


HAPROXY = _haproxy()


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: f"{g.section}: {g.line}")
def test_line_is_told_in_these_words(golden: Golden) -> None:
    text, number = _configuration(golden)

    outcome = parse([Source("t.cfg", text)], {})

    said = [m for m in outcome.messages if m.place is not None and m.place.line == number]
    assert [(m.severity.value, m.text) for m in said] == [(golden.severity, golden.text)]
    assert (outcome.config is None) == any(m.severity.value == "ALERT" for m in outcome.messages)


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy 2.6 is not installed")
def test_haproxy_says_the_same_where_we_claim_so(tmp_path: Path) -> None:
    assert HAPROXY is not None
    wrong = []
    for golden in (g for g in GOLDEN if g.same):
        text, number = _configuration(golden)
        (tmp_path / "t.cfg").write_text(text)
        said = subprocess.run(
            [HAPROXY, "-c", "-f", "t.cfg"],
            cwd=tmp_path,
            env={},
            capture_output=True,
            text=True,
            check=False,
        ).stderr
        if _alike(golden.text) not in _texts(said, golden.severity, number):
            wrong.append((golden, said))
    assert wrong == []


def _texts(said: str, severity: str, number: int) -> set[str]:
    """HAProxy's texts about one line. It writes the place in three ways."""
    messages: list[str] = []
    for line in said.splitlines():
        if line.startswith("["):
            messages.append(line)
        elif messages and line.strip():
            messages[-1] += "\n" + line
    shape = re.compile(
        rf"\[{severity}\] +\(\d+\) : config : (?:[pP]arsing )?\[t\.cfg:{number}\] ?: ?(.*)", re.S
    )
    return {_alike(match[1]) for message in messages if (match := shape.match(message))}


def _alike(text: str) -> str:
    """A text without what differs for no reason: dots at the end, doubled dots."""
    return text.replace("..", ".").rstrip(".").strip()
