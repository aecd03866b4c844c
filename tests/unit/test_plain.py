"""Values that one release writes and another reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lbsplice.config.model import Config
from lbsplice.plain import PlainError, made, plain
from lbsplice.terms import Cause, LogLevel
from tests.unit.config_reading import config

EXAMPLES = Path(__file__).parent / "data" / "examples"


@dataclass(frozen=True, slots=True)
class Inner:
    number: int = 3


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    maybe: float | None = None
    cause: Cause = Cause.NONE
    level: LogLevel = LogLevel.INFO
    many: tuple[Inner, ...] = ()
    pair: tuple[str, int] = ("", 0)
    on: bool = True


FULL = Outer("x", Inner(4), 1.5, Cause.DOWN, LogLevel.ERR, (Inner(1), Inner()), ("a", 2), False)


@pytest.mark.parametrize("value", [Outer("only"), FULL])
def test_a_value_comes_back(value):
    assert made(Outer, json.loads(json.dumps(plain(value)))) == value


def test_defaults_are_left_out():
    assert plain(Outer("x")) == {"name": "x"}


def test_what_is_unknown_is_passed_over_and_what_is_missing_has_its_default():
    assert made(Outer, {"name": "x", "later": {"a": 1}, "inner": {"depth": 2}}) == Outer("x")


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"name": 3},
        {"name": "x", "on": 1},
        {"name": "x", "maybe": "1"},
        {"name": "x", "cause": "?"},
        {"name": "x", "many": 3},
        {"name": "x", "pair": ["a"]},
        {"name": "x", "inner": []},
        {"name": "x", "pair": ["a", True]},
        [],
    ],
)
def test_what_is_not_of_the_type_is_an_error(value):
    with pytest.raises(PlainError):
        made(Outer, value)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.cfg")), ids=lambda path: path.stem)
def test_a_whole_configuration_comes_back(path):
    value = config(path.read_text())
    assert made(Config, json.loads(json.dumps(plain(value)))) == value
