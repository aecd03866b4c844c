"""Lengths of time and amounts as people read them."""

from __future__ import annotations

_TENTH, _SECOND, _MINUTE, _HOUR, _DAY = 100, 1000, 60_000, 3_600_000, 86_400_000
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_COLUMN = 5
_ROUNDS_UP = 999.95  # to a thousand


def span_text(ms: float) -> str:
    """
    >>> [span_text(each) for each in (250, 59_999, 75_000, 7_260_000, 180_000_000)]
    ['0.2s', '59.9s', '1m15s', '2h01m', '2d02h']
    """
    whole = int(ms)
    if whole < _MINUTE:
        return f"{whole // _TENTH / 10:.1f}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE // _SECOND:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02d}h"


def short_span(ms: float) -> str:
    """In no more than five characters, for a column.

    >>> [short_span(each) for each in (250, 75_000, 675_000, 7_260_000, 86_399_000, 9e9)]
    ['0.2s', '1m15s', '11m', '2h01m', '23h', '104d']
    """
    text = span_text(ms)
    if len(text) <= _COLUMN:
        return text
    unit = next(at for at, each in enumerate(text) if each in "mhd")
    return text[: unit + 1]


def range_text(best_ms: int, worst_ms: int) -> str:
    """`in 1.2s`, or `in 0.4s to 1.2s` where the two read differently."""
    best, worst = span_text(best_ms), span_text(worst_ms)
    return f"in {worst}" if best == worst else f"in {best} to {worst}"


def bytes_text(count: float) -> str:
    """
    >>> [bytes_text(each) for each in (0, 999, 1500, 999_999, 2_500_000)]
    ['0 B', '999 B', '1.5 kB', '1.0 MB', '2.5 MB']
    """
    if count < 1000:
        return f"{int(count)} B"
    unit = 0
    while count >= _ROUNDS_UP and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.1f} {_UNITS[unit]}"


def short_bytes(count: int) -> str:
    """In no more than four characters, for a column.

    >>> [short_bytes(each) for each in (0, 999, 1500, 123_456, 999_999, 2_500_000)]
    ['0', '999', '1.5k', '123k', '1.0M', '2.5M']
    """
    if count < 1000:
        return str(count)
    value = float(count)
    for unit in "kMGTP":
        value /= 1000
        if value < 9.95:
            return f"{value:.1f}{unit}"
        if value < 999.5:
            break
    return f"{value:.0f}{unit}"


def many(count: int, what: str, plural: str = "") -> str:
    """`1 probe`, `2 probes`."""
    return f"{count} {what if count == 1 else plural or what + 's'}"
