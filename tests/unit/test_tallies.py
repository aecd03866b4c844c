"""Counters go by number, and a number may have had another owner."""

from __future__ import annotations

from dataclasses import dataclass, field

from lbsplice.dataplane.counters import Totals
from lbsplice.plan.slots import Numbers
from lbsplice.tallies import Tallies


@dataclass
class Counters:
    """The workers', as a test sets them."""

    slots: dict[int, int] = field(default_factory=dict)

    def slot(self, number):
        return Totals(self.slots.get(number, 0), *(0,) * (len(Totals._fields) - 1))

    frontend = backend = slot


A, B = ("l", "a"), ("l", "b")


def test_a_number_that_is_given_again_begins_with_zero():
    counters = Counters({0: 7})
    tallies = Tallies(counters)
    tallies.renumber(Numbers(), Numbers(slots={B: 0}))
    assert tallies.slot(0).sessions == 0
    counters.slots[0] = 9
    assert tallies.slot(0).sessions == 2
    assert Tallies(counters, tallies.bases).slot(0).sessions == 2, "a successor says the same"


def test_a_number_that_stays_goes_on_and_one_that_goes_is_forgotten():
    counters = Counters({0: 7, 1: 3})
    tallies = Tallies(counters)
    tallies.renumber(Numbers(), Numbers(slots={A: 0, B: 1}))
    tallies.renumber(Numbers(slots={A: 0, B: 1}), Numbers(slots={A: 0}))
    counters.slots[0] = 8
    assert tallies.slot(0).sessions == 1
    assert [number for number, _ in tallies.bases.slots] == [0]


def test_a_number_that_nobody_had_needs_no_base():
    tallies = Tallies(Counters())
    tallies.renumber(Numbers(), Numbers(slots={A: 0}))
    assert tallies.bases.slots == ()
