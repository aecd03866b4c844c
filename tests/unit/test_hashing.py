"""From an address to a server: known values, and what a change of servers moves."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.errors import PlanError
from lbsplice.plan import hashing

keys = st.integers(0, 0xFFFFFFFF)


def test_an_ipv4_address_is_its_number():
    assert hashing.source_key(IPv4Address("127.0.1.2")) == 0x7F000102


def test_an_ipv6_address_is_the_xor_of_its_words():
    address = ip_address("2001:db8:0:1:a:b:c:d")
    assert hashing.source_key(address) == 0x20010DB8 ^ 0x00000001 ^ 0x000A000B ^ 0x000C000D


@pytest.mark.parametrize(
    ("key", "result"),
    # Checked through HAProxy's choices (tests/scenario/test_haproxy_balance.py), kept
    # here so that the C side can be held to the same numbers.
    [(0, 0xAB4ED927), (1, 0x348681B6), (0x7F000001, 0x8A1B584B), (0xFFFFFFFF, 0x7E64C182)],
)
def test_avalanche_gives_known_values(key, result):
    assert hashing.avalanche(key) == result


@given(keys)
def test_avalanche_stays_within_32_bits_and_is_applied_when_asked(key):
    mixed = hashing.source_key(IPv4Address(key), mixed=True)
    assert mixed == hashing.avalanche(key)
    assert 0 <= mixed <= 0xFFFFFFFF


def test_avalanche_loses_nothing():
    assert len({hashing.avalanche(key) for key in range(100_000)}) == 100_000


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (100, 1),
        (149, 1),
        (150, 1),  # equally near: the lower one
        (151, 2),
        (200, 2),
        (0, 1),
        (0xFFFFFFFF, 1),  # round the end: 101 to the right, far to the left
        (2**31 + 149, 2),
        (2**31 + 151, 1),
    ],
)
def test_the_nearer_neighbour_is_taken(key, slot):
    assert hashing.nearest([(100, 1), (200, 2)], key) == slot


def test_a_single_point_has_all_keys():
    assert hashing.nearest([(100, 7)], 0) == hashing.nearest([(100, 7)], 2**32 - 1) == 7


def test_points_are_sixteen_a_weight_sorted_and_unique():
    points = hashing.circle(((1, 3, 10), (2, 1, 11))).of([10, 11])
    assert Counter(slot for _, slot in points) == {10: 48, 11: 16}
    ring = [key for key, _ in points]
    assert ring == sorted(set(ring))


def test_points_follow_the_id_and_not_the_slot_or_the_order():
    one = hashing.circle(((5, 2, 10), (9, 1, 11))).of([10, 11])
    two = hashing.circle(((9, 1, 40), (5, 2, 30))).of([30, 40])
    assert [(key, {10: 30, 11: 40}[slot]) for key, slot in one] == list(two)


@given(st.lists(keys, min_size=1, max_size=50))
def test_a_server_that_leaves_moves_only_its_own_clients(clients):
    servers = hashing.circle(tuple((number, 2, number) for number in range(1, 8)))
    before, after = servers.of(range(1, 8)), servers.of([1, 2, 3, 5, 6, 7])
    for client in clients:
        chosen = hashing.nearest(before, client)
        moved = hashing.nearest(after, client)
        assert moved != 4
        assert moved == chosen or chosen == 4


def test_the_lowest_id_has_a_point_that_several_servers_share():
    crowded = hashing.Circle(((5, 1), (5, 2), (5, 3), (9, 2)), crowded=(5,))
    assert crowded.of([1, 2, 3]) == ((5, 1), (9, 2))
    assert crowded.of([2, 3]) == ((5, 2), (9, 2))
    assert crowded.of([3]) == ((5, 3),)
    assert crowded.of([]) == ()


def test_ids_that_differ_by_a_round_of_numbers_share_all_their_points():
    # The avalanche maps no two numbers to one key; ids a million apart wrap round.
    circle = hashing.circle(((1 + (1 << 20), 1, 10), (1, 1, 11), (2, 1, 12)))
    assert len(circle.crowded) == 16
    assert Counter(slot for _, slot in circle.of([10, 11, 12])) == {11: 16, 12: 16}
    assert Counter(slot for _, slot in circle.of([10, 12])) == {10: 16, 12: 16}


def test_shares_follow_the_weights():
    points = hashing.circle(((1, 100, 1), (2, 50, 2), (3, 50, 3))).of([1, 2, 3])
    shares = Counter(hashing.nearest(points, key << 14) for key in range(1 << 18))
    assert shares[1] / (1 << 18) == pytest.approx(0.5, abs=0.05)
    assert shares[2] / (1 << 18) == pytest.approx(0.25, abs=0.05)


def test_too_many_points_are_an_error_that_says_what_would_do():
    servers = tuple((number, 256, number) for number in range(1, 300))
    with pytest.raises(PlanError, match="smaller weights"):
        hashing.circle(servers)
