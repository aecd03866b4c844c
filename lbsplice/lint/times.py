"""Times as HAProxy takes them, also those that it ought to refuse."""

from __future__ import annotations

import re

from lbsplice.units import MAX_DELAY_MS, Fault, QuantityError, parse_duration

_FIRST_PART = re.compile(r"[0-9]{1,20}(?:us|ms|s|m|h|d)")


def first_part(text: str) -> str | None:
    """What HAProxy takes of a time with more behind its unit: of `1h30m` one hour. (2.6 starts
    with a warning, and says that newer versions will not.) None for other times."""
    found = _FIRST_PART.match(text)
    return found[0] if found and found[0] != text else None


def taken(text: str, unit: str = "ms", result: str = "ms") -> int:
    """As `parse_duration`, but of `1h30m` the first part counts, and a time that is too long
    is the longest there is. Raises `QuantityError`."""
    try:
        return parse_duration(first_part(text) or text, unit, result)
    except QuantityError as error:
        if error.fault is Fault.OVERFLOW:
            return MAX_DELAY_MS if result == "ms" else MAX_DELAY_MS // 1000
        raise
