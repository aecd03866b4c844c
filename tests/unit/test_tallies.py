"""Counters go by number, and a number may have had another owner."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lbsplice.dataplane.counters import ListenerTotals, Table, Totals
from lbsplice.dataplane.tables import Counted, Sums
from lbsplice.plan.slots import Numbers
from lbsplice.tallies import Tallies


@dataclass
class Counters:
    """The workers', as a test sets them."""

    slots: dict[int, int] = field(default_factory=dict)
    forgotten: list[tuple[Table, int]] = field(default_factory=list)

    def slot(self, number):
        return Totals(self.slots.get(number, 0), *(0,) * 9)

    frontend = backend = slot

    def forget(self, table, number, *, everything):
        assert everything
        self.forgotten.append((table, number))


class Tables:
    """What those come to, with what open sessions have moved."""

    def __init__(self, counters, moved=0):
        self.counters = counters
        self.moved = moved

    def counted(self, extent):
        def row(number):
            totals = self.counters.slot(number)
            return Sums(sessions=totals.sessions, bytes_in=totals.bytes_in + self.moved)

        return Counted(
            [ListenerTotals()] * extent.listeners,
            *([row(number) for number in range(count)] for count in extent[1:]),
        )


def tallies_of(counters, bases=None):
    return Tallies(counters, Tables(counters), bases)


A, B = ("l", "a"), ("l", "b")


def test_a_number_that_is_given_again_begins_with_zero():
    counters = Counters({0: 7})
    tallies = tallies_of(counters)
    tallies.renumber(Numbers(), Numbers(slots={B: 0}))
    assert tallies.slot(0).sessions == 0
    counters.slots[0] = 9
    assert tallies.slot(0).sessions == 2
    assert tallies_of(counters, tallies.bases).slot(0).sessions == 2, "a successor says the same"
    assert counters.forgotten == [(Table.SLOTS, 0)], "its peaks and times were another's"


def test_a_number_that_stays_goes_on_and_one_that_goes_is_forgotten():
    counters = Counters({0: 7, 1: 3})
    tallies = tallies_of(counters)
    tallies.renumber(Numbers(), Numbers(slots={A: 0, B: 1}))
    tallies.renumber(Numbers(slots={A: 0, B: 1}), Numbers(slots={A: 0}))
    counters.slots[0] = 8
    assert tallies.slot(0).sessions == 1
    assert [number for number, _ in tallies.bases.slots] == [0]
    assert sorted(counters.forgotten) == [(Table.SLOTS, 0), (Table.SLOTS, 1)]


def test_a_number_that_nobody_had_needs_no_base():
    tallies = tallies_of(Counters())
    tallies.renumber(Numbers(), Numbers(slots={A: 0}))
    assert tallies.bases.slots == ()


def test_a_base_of_a_release_that_counted_less_takes_nothing_else_away():
    totals = Totals(*range(10, 20), chosen=5, response_errors=2)
    above = totals.above((1,) * 10)
    assert above[:10] == tuple(range(9, 19))
    assert (above.chosen, above.response_errors) == (5, 2)


def test_times_are_no_counts_and_nothing_is_taken_away_from_them():
    totals = Totals(*(9,) * 10, chosen=5, total_sum=700, total_max=40, last_session_s=8, samples=2)
    above = totals.above(tuple(totals))
    assert (above.sessions, above.chosen) == (0, 0)
    assert (above.total_sum, above.total_max, above.last_session_s, above.samples) == (
        *(700, 40, 8),
        2,
    )


@pytest.mark.parametrize(
    ("total", "samples", "average"),
    [
        (0, 0, 0),
        (700, 0, 0),
        (700, 2, 350),
        (701, 2, 351),
        (512_000, 512, 1000),
        (512_000, 9000, 1000),
    ],
)
def test_averages_are_of_the_samples_there_were_up_to_the_window(total, samples, average):
    totals = Totals(
        *(0,) * 10, queue_sum=total, connect_sum=total, total_sum=total, samples=samples
    )
    assert totals.averages == (average,) * 3
