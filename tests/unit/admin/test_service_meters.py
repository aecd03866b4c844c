"""Rates are HAProxy's: the running second, and of the one before what is not over yet."""

from __future__ import annotations

from lbsplice.admin.meters import Rates


def rates():
    peaks = {}
    return Rates(peaks, lambda kind, number, value: peaks.__setitem__((kind, number), value)), peaks


def test_a_rate_begins_with_what_there_was():
    meter, peaks = rates()
    assert meter.read(0.0, "x", [1000]) == [(0, 0)]
    meter.tick(0.0, {"x": [1000]})
    assert meter.read(0.1, "x", [1007]) == [(7, 7)]
    assert peaks == {("x", 0): 7}


def test_the_second_before_fades():
    meter, _ = rates()
    meter.tick(0.0, {"x": [0]})
    meter.tick(1.0, {"x": [100]})
    assert meter.read(1.0, "x", [100]) == [(100, 100)]
    assert meter.read(1.25, "x", [110]) == [(10 + 75, 100)]
    assert meter.read(2.0, "x", [110]) == [(10, 100)]
    meter.tick(2.0, {"x": [110]})
    meter.tick(3.0, {"x": [110]})
    assert meter.read(3.0, "x", [110]) == [(0, 100)]


def test_a_second_that_was_longer_is_no_higher_rate():
    meter, peaks = rates()
    meter.tick(0.0, {"x": [0]})
    meter.tick(4.0, {"x": [100]})
    assert peaks == {("x", 0): 25}


def test_a_number_that_comes_later_begins_with_what_there_is():
    meter, _ = rates()
    meter.tick(0.0, {"x": [5]})
    assert meter.read(0.5, "x", [5, 40]) == [(0, 0), (0, 0)]
    meter.tick(1.0, {"x": [5, 40]})
    assert meter.read(1.1, "x", [5, 42]) == [(0, 0), (2, 2)]


def test_peaks_of_before_hold():
    peaks = {("x", 0): 50}
    meter = Rates(peaks, lambda kind, number, value: peaks.__setitem__((kind, number), value))
    meter.tick(0.0, {"x": [0]})
    assert meter.read(0.5, "x", [20]) == [(20, 50)]
    assert meter.read(0.6, "x", [70]) == [(70, 70)]
