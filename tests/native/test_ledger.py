"""What C and Python both know must be the same: layouts, letters, names, sizes."""

from __future__ import annotations

import os
import struct
from dataclasses import fields
from typing import Any

import pytest

from lbsplice.dataplane import counters, ledger, load
from lbsplice.dataplane.ledger import Sizes
from lbsplice.errors import DataplaneError
from lbsplice.plan import tables
from lbsplice.report import record
from lbsplice.terms import Cause, Phase
from tests.support.dataplane import Make, Rig, ffi, lib


def members(name: str) -> list[tuple[str, Any]]:
    return list(ffi.typeof(name).fields)


def test_record_has_the_fields_of_an_event_in_its_order() -> None:
    assert record.Record._fields == tuple(name for name, _ in members("lbs_event"))
    assert record.LAYOUT.size == ffi.sizeof("lbs_event")


def test_each_field_of_a_record_is_read_from_where_c_wrote_it() -> None:
    event = ffi.new("lbs_event *")
    wanted: list[int | bytes] = []
    for number, (name, field) in enumerate(members("lbs_event")):
        if field.type.kind == "array":
            value: int | bytes = bytes([number]) * field.type.length
            ffi.memmove(getattr(event, name), value, len(value))
        else:
            # Negative where the type can be, so that a wrong sign is seen.
            signed = field.type.cname.startswith("int")
            value = -number if signed else number + 200 * (ffi.sizeof(field.type) == 1)
            setattr(event, name, value)
        wanted.append(value)
    assert list(record.LAYOUT.unpack(bytes(ffi.buffer(event)))) == wanted


@pytest.mark.parametrize(("words", "name"), [(Cause, "lbs_cause"), (Phase, "lbs_phase")])
def test_letters_are_those_of_c(words: Any, name: str) -> None:
    prefix = name.upper() + "_"
    in_c = {
        key.removeprefix(prefix): value
        for value, key in ffi.typeof(f"enum {name}").elements.items()
    }
    assert in_c == {word.name: ord(word.value) for word in words}


def test_event_kinds_are_those_of_c() -> None:
    for value, name in ffi.typeof("enum lbs_event_kind").elements.items():
        assert getattr(record, name.removeprefix("LBS_EVENT_")) == value


@pytest.mark.parametrize(
    ("words", "prefix"), [(tables.PortRule, "LBS_PORT_"), (tables.Redispatch, "LBS_REDISPATCH_")]
)
def test_numbers_of_the_plan_are_those_of_c(words: Any, prefix: str) -> None:
    for word in words:
        assert getattr(lib, prefix + word.name) == word.value


def test_every_field_of_the_plans_rows_reaches_c() -> None:
    """A field added to a row and not copied would be ignored silently."""
    copied_by_hand = {
        tables.ListenerRow: set(),
        tables.FrontendRow: set(),
        tables.SlotRow: {"address", "source", "keepalive", "source_interface"},
        tables.BackendRow: {"algorithm", "usable", "wheel", "points"},
    }
    for row, by_hand in copied_by_hand.items():
        names = {field.name for field in fields(row)}  # type: ignore[arg-type]
        assert set(load._SAME_NAMES[row]) | by_hand == names
        in_c = {name for name, _ in members(f"lbs_{row.__name__.removesuffix('Row').lower()}_row")}
        assert names <= in_c


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (counters.COUNTS, "lbs_totals"),
        (counters.TIMES, "lbs_times"),
        (counters.Workers._fields, "lbs_thread_counters"),
    ],
)
def test_counters_are_those_of_c(values: tuple[str, ...], name: str) -> None:
    assert set(values) <= {field for field, _ in members(name)}


def test_sizes_are_those_of_c() -> None:
    assert [field.name for field in fields(Sizes)] == [name for name, _ in members("lbs_sizes")]


def test_session_record_is_four_cache_lines() -> None:
    assert ffi.sizeof("lbs_session") == 256


def test_ledger_says_what_it_is(lb: Rig) -> None:
    """A successor reads this before anything else."""
    magic, version = struct.unpack("=2I", os.pread(lb.workers.memfd, 8, 0))
    assert magic == int.from_bytes(b"LBSL", "big")
    assert version == lib.LBS_LAYOUT_VERSION


def test_ledger_costs_memory_only_for_what_was_used(rig: Make) -> None:
    lb = rig(sessions=400_000, pipes=100_000)
    for _ in range(100):
        lb.session()
    assert len(lb.records()) == 100
    state = os.fstat(lb.workers.memfd)
    assert state.st_size > 100 << 20
    assert state.st_blocks * 512 < 8 << 20


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(threads=0, sessions=1, pipes=1),
        Sizes(threads=65, sessions=1, pipes=1),
        Sizes(threads=1, sessions=0, pipes=1),
        Sizes(threads=1, sessions=1 << 25, pipes=1),
        Sizes(threads=1, sessions=1, pipes=1, events=1000),
        Sizes(threads=1, sessions=1, pipes=1, slots=0),
    ],
)
def test_impossible_sizes_are_refused(sizes: Sizes) -> None:
    with pytest.raises(DataplaneError, match="impossible size"):
        ledger.create(sizes)


def test_serials_are_unique_and_name_their_thread(rig: Make) -> None:
    lb = rig(threads=2, sessions=10)
    for _ in range(20):
        lb.session()
    serials = [record.serial for record in lb.records()]
    assert len(set(serials)) == 20
    assert {serial >> 56 for serial in serials} == {0, 1}
