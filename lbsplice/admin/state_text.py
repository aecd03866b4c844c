"""Words that several answers share: a server's check in words, lengths of time, numbers as
HAProxy reads them in a command."""

from __future__ import annotations

import re

from lbsplice.report.healthlog import DESCRIPTIONS
from lbsplice.report.sessionlog import one_line
from lbsplice.terms import CheckStatus

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_NUMBER = re.compile(r"\s*([+-]?)(?:0[xX]0*([0-9a-fA-F]+)|0*([0-9]+))")
_LARGEST = 2**63 - 1
_MOST_DIGITS = 20


def check_word(status: CheckStatus, checking: bool) -> str:
    """`L4OK`, or `* L4OK` while a check is under way."""
    return f"{'* ' if checking else ''}{status.value}"


def check_details(status: CheckStatus, text: str) -> str:
    """What the system or the server said in the last check, without its result. A server
    may say anything, and a row is one line."""
    return one_line(text.removeprefix(DESCRIPTIONS[status]).lstrip(" :,;"))


def length(ms: int) -> str:
    """A length of time in its two largest units: `59m59s`, `1d1h`, `0s`.

    >>> [length(each) for each in (999, 60_000, 3_605_000, 90_061_000)]
    ['0s', '1m', '1h5s', '1d1h']
    """
    left = ms // 1000
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count and len(parts) < 2:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def leading_number(word: str) -> int:
    """The number that a word begins with, in hexadecimal after `0x`; 0 if there is none,
    and what has too many digits is as large as can be."""
    found = _NUMBER.match(word)
    if found is None:
        return 0
    digits, base = (found[2], 16) if found[2] else (found[3], 10)
    number = min(int(digits[:_MOST_DIGITS], base), _LARGEST)
    return -number if found[1] == "-" else number
