from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.errors import UnitError
from lbsplice.units import (
    MAX_DELAY_MS,
    Fault,
    QuantityError,
    format_duration,
    parse_duration,
    parse_integer,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("200", 200),
        ("200ms", 200),
        ("5s", 5000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("24d", 24 * 86_400_000),
        ("1us", 1),
        ("1000us", 1),
        ("1001us", 2),
        ("2147483647", MAX_DELAY_MS),
    ],
)
def test_duration_without_a_unit_is_milliseconds(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("500ms", 1), ("2m", 120), ("1500ms", 2), ("0", 0)]
)
def test_duration_can_be_in_seconds_and_is_rounded_up(text: str, seconds: int) -> None:
    assert parse_duration(text, "s", "s") == seconds


@pytest.mark.parametrize(
    ("text", "fault", "character"),
    [
        ("", Fault.EMPTY, ""),
        ("x", Fault.CHARACTER, "x"),
        ("-1", Fault.CHARACTER, "-"),
        ("1.5s", Fault.CHARACTER, "."),
        ("1y", Fault.CHARACTER, "y"),
        ("1sx", Fault.CHARACTER, "x"),
        ("1msx", Fault.CHARACTER, "x"),
        ("1u", Fault.CHARACTER, "u"),
        ("1 s", Fault.CHARACTER, " "),
        ("\u0663", Fault.CHARACTER, "\u0663"),
        ("25d", Fault.OVERFLOW, ""),
        ("2147483648", Fault.OVERFLOW, ""),
        ("9" * 5000, Fault.OVERFLOW, ""),
    ],
)
def test_bad_duration_tells_what_is_wrong(text: str, fault: Fault, character: str) -> None:
    with pytest.raises(QuantityError) as caught:
        parse_duration(text)
    assert (caught.value.fault, caught.value.character) == (fault, character)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("16384", 16384), ("64k", 65536), ("1M", 1 << 20), ("1g", 1 << 30)]
)
def test_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "64kb", "64x", "4g", "9" * 50])
def test_bad_size(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_size(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-5", -5), ("+7", 7), ("007", 7)])
def test_integer(text: str, value: int) -> None:
    assert parse_integer(text) == value


@pytest.mark.parametrize("text", ["", "-", "1x", "1_0", " 1", "1\n", "0x10", "\u0663", "1" * 21])
def test_bad_integer(text: str) -> None:
    with pytest.raises(UnitError):
        parse_integer(text)


@given(st.integers(0, MAX_DELAY_MS))
def test_a_duration_is_written_as_it_can_be_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds
