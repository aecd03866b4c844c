"""Times and lists as people say them."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def spoken(ms: int | None) -> str:
    """A time in its two largest units, or `never` for None.

    >>> [spoken(t) for t in (0, 350, 1500, 200_000, 7_875_000, None)]
    ['0 s', '0.35 s', '1.5 s', '3 min 20 s', '2 h 11 min', 'never']
    """
    if ms is None:
        return "never"
    if ms < 60_000:
        return f"{round(ms / 1000, 2):g} s"
    parts: list[tuple[int, str]] = []
    rest = ms
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def span(best_ms: int | None, worst_ms: int | None) -> str:
    """From the best to the worst, in one phrase."""
    best, worst = spoken(best_ms), spoken(worst_ms)
    return worst if best == worst or worst_ms is None else f"{best} to {worst}"


def listed(names: Sequence[str], at_most: int = 3) -> str:
    """`a, b and c`; long lists are cut short.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    if len(names) > at_most + 1:
        return f"{', '.join(names[:at_most])} and {len(names) - at_most} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
