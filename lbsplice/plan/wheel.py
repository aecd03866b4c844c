"""The order in which servers take turns: indices of servers, spread by weight.

A wheel of weights (5, 1, 1) has seven places, five of them server 0's. Two kinds are
made: `spread` keeps the turns of each server as evenly apart as they can be and serves
`roundrobin` and `random`; `hash_map` is the order that HAProxy gives `static-rr` and
map-based hashing, so that a client's address leads to the same server in both programs."""

from __future__ import annotations

from functools import lru_cache
from heapq import heappop, heappush
from math import gcd

from lbsplice.errors import PlanError

MAX_WEIGHT = 256

MAX_PLACES = 32_768
"""The longest wheel. Where the weights, divided by their greatest common divisor, add up
to more, they are scaled down to fit, and none to less than one place."""

_SHIFT = 44
_ORDER_BITS = 20


def reduced(weights: tuple[int, ...]) -> tuple[int, ...]:
    """How many places each server has on a wheel: the weights (each 1 to 256) in their
    smallest whole proportions, scaled down if they need more than MAX_PLACES.

    Raises PlanError for a weight out of range."""
    for weight in weights:
        if not 1 <= weight <= MAX_WEIGHT:
            raise PlanError(f"weight {weight} can not be on a wheel (1..{MAX_WEIGHT})")
    if not weights:
        return ()
    divisor = gcd(*weights)
    total = sum(weights) // divisor
    if total <= MAX_PLACES:
        return tuple(weight // divisor for weight in weights)
    room = MAX_PLACES - len(weights)
    return tuple(max(1, weight // divisor * room // total) for weight in weights)


@lru_cache(maxsize=32)
def spread(weights: tuple[int, ...]) -> tuple[int, ...]:
    """The smooth wheel: turn k of a server with w places stands at (k + 1/2)/w of the
    way round. Servers of equal weight go in order.

    As many places as `sum(reduced(weights))`. Raises PlanError as `reduced` does."""
    places = reduced(weights)
    if len(set(places)) <= 1:
        return tuple(range(len(places)))
    # A turn's position is a fixed-point number whose low bits are the server's index:
    # sorting plain integers, already in order for each server, is fast.
    keys: list[int] = []
    for index, count in enumerate(places):
        step = (1 << _SHIFT) // count << _ORDER_BITS
        first = (step >> 1) >> _ORDER_BITS << _ORDER_BITS
        keys.extend(range(first + index, first + index + step * count, step))
    keys.sort()
    mask = (1 << _ORDER_BITS) - 1
    return tuple(key & mask for key in keys)


@lru_cache(maxsize=32)
def hash_map(weights: tuple[int, ...]) -> tuple[int, ...]:
    """HAProxy's order. By place t (from 1) of T, a server with w places is owed
    floor(w * t / T) of them; the first by order among those that are owed most, less
    what they already have, gets the place.

    As many places as `sum(reduced(weights))`. Raises PlanError as `reduced` does."""
    places = reduced(weights)
    if len(set(places)) <= 1:
        return tuple(range(len(places)))
    total = sum(places)
    # due[t]: the servers whose debt grows by one at place t.
    due: list[list[int]] = [[] for _ in range(total + 1)]
    for index, count in enumerate(places):
        for turn in range(1, count + 1):
            due[-(-turn * total // count)].append(index)
    # level[d] is a heap of the servers with debt d; entries that are out of date are
    # dropped when they come up. Somebody always has a debt of 0 or more: the debts
    # without rounding add up to 1 before a place is given.
    debt = [0] * len(places)
    level: dict[int, list[int]] = {0: list(range(len(places)))}
    order: list[int] = []
    top = 0
    for growing in due[1:]:
        for index in growing:
            debt[index] += 1
            heappush(level.setdefault(debt[index], []), index)
            top = max(top, debt[index])
        while not (heap := level.get(top)) or debt[heap[0]] != top:
            if heap:
                heappop(heap)
            else:
                top -= 1
        chosen = heappop(heap)
        debt[chosen] -= 1
        heappush(level.setdefault(debt[chosen], []), chosen)
        order.append(chosen)
    return tuple(order)
