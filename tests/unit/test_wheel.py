"""Turns: exact shares, evenly apart, HAProxy's order where it matters."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.errors import PlanError
from lbsplice.plan import wheel

some_weights = st.lists(st.integers(1, 256), min_size=1, max_size=40).map(tuple)


def letters(order: tuple[int, ...]) -> str:
    return "".join(chr(ord("a") + index) for index in order)


@pytest.mark.parametrize("make", [wheel.spread, wheel.hash_map])
@given(weights=some_weights)
def test_each_server_has_its_share_of_the_places(make, weights):
    divisor = gcd(*weights)
    assert Counter(make(weights)) == {i: w // divisor for i, w in enumerate(weights)}


@given(some_weights)
def test_the_turns_of_a_server_are_evenly_apart(weights):
    order = wheel.spread(weights)
    total = len(order)
    for index, places in enumerate(wheel.reduced(weights)):
        turns = [at for at, chosen in enumerate(order) if chosen == index]
        for before, after in pairwise([*turns, turns[0] + total]):
            # Each other server fits at most one turn too many into the gap.
            assert after - before <= total / places + len(weights)


@pytest.mark.parametrize("make", [wheel.spread, wheel.hash_map])
def test_equal_weights_go_in_order(make):
    assert make((7, 7, 7)) == (0, 1, 2)


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((3, 1), "aaba"),
        ((5, 1, 1), "aaabcaa"),
        ((4, 2, 1), "abacaba"),
        ((2, 2, 1), "abcab"),
        ((5, 3, 2), "abcaabacba"),
    ],
)
def test_spread_is_smooth(weights, order):
    assert letters(wheel.spread(weights)) == order


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((1, 3, 2), "abcbbc"),
        ((3, 1), "aaab"),
        ((5, 1, 1), "aaabaac"),
        ((5, 3, 2), "aabacababc"),
        ((4, 2, 1), "aababac"),
    ],
)
def test_hash_map_has_the_order_that_haproxy_was_seen_to_use(weights, order):
    assert letters(wheel.hash_map(weights)) == order


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8).map(tuple))
def test_hash_map_follows_its_rule(weights):
    places = wheel.reduced(weights)
    total = sum(places)
    had = [0] * len(places)
    for turn, chosen in enumerate(wheel.hash_map(weights), start=1):
        owed = [w * turn // total - count for w, count in zip(places, had, strict=True)]
        if len(set(places)) > 1:
            assert chosen == owed.index(max(owed))
        had[chosen] += 1


@pytest.mark.parametrize("make", [wheel.spread, wheel.hash_map])
def test_the_largest_backend_fits_and_nobody_is_left_out(make):
    weights = tuple(index % 256 + 1 for index in range(4095))
    shares = Counter(make(weights))
    assert len(shares) == 4095
    assert sum(shares.values()) <= wheel.MAX_PLACES
    assert shares[255] > 10 * shares[0]


@pytest.mark.parametrize("make", [wheel.spread, wheel.hash_map])
def test_no_server_makes_no_wheel(make):
    assert make(()) == ()


@pytest.mark.parametrize("weight", [0, -1, 257])
def test_a_weight_out_of_range_is_an_error(weight):
    with pytest.raises(PlanError, match=r"1\.\.256"):
        wheel.reduced((1, weight))
