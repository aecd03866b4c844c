"""What a scene of several cases comes to: a table, what to remember, and pieces of `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from lbsplice.lab.scene import Happening
from lbsplice.lab.verdict import Claim

NOT_HELD = "Not all happened that should: see the lines marked NO above."


@dataclass(frozen=True)
class Summary:
    """The end of a scene, for people. `moral` has a sentence a line; `held` says whether all
    happened that should."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    moral: str
    held: bool


def rounded_ms(seconds: float | None) -> float | None:
    """A time for programs, in milliseconds."""
    return None if seconds is None else round(seconds * 1000, 3)


def claims_told(claims: Sequence[Claim]) -> list[dict[str, object]]:
    return [asdict(claim) for claim in claims]


def timeline_told(timeline: Sequence[Happening]) -> list[dict[str, object]]:
    """The timeline for programs; times are null for what came before the zero."""
    return [
        {
            "since_fault_ms": rounded_ms(line.since_fault_s),
            "who": line.who.value,
            "what": line.what,
        }
        for line in timeline
    ]
