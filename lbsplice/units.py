"""Durations, sizes and whole numbers as a configuration writes them.

Every function raises `UnitError` for text it can not read; the error's `kind` tells
what is wrong, so that a caller can say it in the words of its keyword."""

from __future__ import annotations

import re
from enum import Enum

from lbsplice.errors import UnitError

MAX_DELAY_MS = 2**31 - 1
"""The longest duration, about 24.8 days."""

_MICROSECONDS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_SIZE_SHIFT = {"k": 10, "m": 20, "g": 30}
_MAX_DIGITS = 20
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z")


class Fault(Enum):
    """What can be wrong with a duration or a size."""

    EMPTY = "empty"
    CHARACTER = "character"
    OVERFLOW = "overflow"


class QuantityError(UnitError):
    """A duration or a size that can not be read. `character` is the first one that
    does not belong, for `Fault.CHARACTER`."""

    def __init__(self, fault: Fault, text: str, character: str = "") -> None:
        self.fault = fault
        self.text = text
        self.character = character
        what = {
            Fault.EMPTY: "a value is missing",
            Fault.CHARACTER: f"unexpected character '{character}' in '{text}'",
            Fault.OVERFLOW: f"'{text}' is too large",
        }
        super().__init__(what[fault])


def _split_number(text: str) -> tuple[int, str]:
    """The leading digits as a number, and what follows them."""
    if not text:
        raise QuantityError(Fault.EMPTY, text)
    end = 0
    while end < len(text) and text[end] in "0123456789":
        end += 1
    if end == 0:
        raise QuantityError(Fault.CHARACTER, text, text[0])
    if end > _MAX_DIGITS:
        raise QuantityError(Fault.OVERFLOW, text)
    return int(text[:end]), text[end:]


def parse_duration(text: str, unit: str = "ms", result: str = "ms") -> int:
    """A duration such as `200`, `5s` or `1h`, in units of `result` (`ms` or `s`),
    rounded up. A number without a unit is in `unit`.

    Raises `QuantityError`; the largest value is 2^31-1 units of `result`."""
    number, suffix = _split_number(text)
    if suffix and suffix not in _MICROSECONDS:
        raise QuantityError(Fault.CHARACTER, text, _foreign(suffix))
    microseconds = number * _MICROSECONDS[suffix or unit]
    value = -(-microseconds // _MICROSECONDS[result])
    if value > MAX_DELAY_MS:
        raise QuantityError(Fault.OVERFLOW, text)
    return value


def _foreign(suffix: str) -> str:
    """The first character of a suffix that keeps it from being a unit of time."""
    if suffix[0] not in "umshd":
        return suffix[0]
    if suffix[0] in "um" and suffix[1:2] == "s":
        return suffix[2:3] or suffix[0]
    return suffix[1:2] or suffix[0]


def parse_size(text: str, largest: int = 2**31 - 1) -> int:
    """A size in bytes, such as `16384`, `64k` or `1m`. Raises `QuantityError`."""
    number, suffix = _split_number(text)
    if suffix:
        shift = _SIZE_SHIFT.get(suffix.lower())
        if shift is None:
            character = suffix[0] if suffix[0].lower() not in _SIZE_SHIFT else suffix[1]
            raise QuantityError(Fault.CHARACTER, text, character)
        number <<= shift
    if number > largest:
        raise QuantityError(Fault.OVERFLOW, text)
    return number


def parse_integer(text: str) -> int:
    """A whole number with an optional sign. Raises `UnitError`."""
    if not _INTEGER.match(text):
        raise UnitError(f"'{text}' is not a whole number")
    return int(text)


def format_duration(milliseconds: int) -> str:
    """A duration with the largest unit that divides it: `1h`, `1500ms`, `0`."""
    if milliseconds == 0:
        return "0"
    for unit in ("d", "h", "m", "s"):
        size = _MICROSECONDS[unit] // 1000
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
