"""Where a worker may die: every STEP() of native/*.c, as LBSPLICE_FAULT names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

NATIVE = Path(__file__).resolve().parents[3] / "native"


@dataclass(frozen=True, slots=True)
class Place:
    """`function` is the one that it is in."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.function})"

    def clause(self, nth: int = 1, **words: object) -> str:
        """As LBSPLICE_FAULT has it (native/fault.c)."""
        rest = "".join(f",{key}={value}" for key, value in words.items())
        return f"file={self.file},line={self.line},nth={nth}{rest}"


def places() -> list[Place]:
    found = []
    for path in sorted(NATIVE.glob("*.c")):
        function = ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if begins := re.match(r"[a-zA-Z_].*?(\w+)\(", line):
                function = begins[1]
            if re.fullmatch(r"\s*STEP\(\);", line):
                found.append(Place(path.name, number, function))
    assert found, f"no STEP() in {NATIVE}"
    return found
