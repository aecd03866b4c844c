"""How sessions spread over servers, by real sessions: each algorithm's distribution."""

from __future__ import annotations

import random
import socket
from collections import Counter

import pytest

from lbsplice.terms import Algorithm
from tests.support.dataplane import Make, Rig
from tests.support.peers import Peer
from tests.support.waiting import wait_until


def opens(lb: Rig, count: int, source: str = "") -> list[Peer]:
    """Sessions that stay open, one after the other."""
    clients = []
    for _ in range(count):
        before = lb.live()
        if source:
            peer = Peer(socket.create_connection(lb.address, source_address=(source, 0)))
            clients.append(lb._keeps(peer))
        else:
            clients.append(lb.connects())
        wait_until(lambda was=before: lb.live() > was, "it is established")
    return clients


def spread(lb: Rig) -> list[int]:
    """How many sessions each server got so far."""
    return [lb.counters.slot(slot).sessions for slot in range(len(lb.servers))]


def order(lb: Rig) -> list[int]:
    """The servers in the order in which sessions came to them."""
    return [record.slot for record in sorted(lb.records(), key=lambda record: record.serial)]


@pytest.mark.parametrize("algorithm", [Algorithm.ROUNDROBIN, Algorithm.STATIC_RR])
def test_round_robin_is_exact_by_weight_in_every_round(rig: Make, algorithm: Algorithm) -> None:
    lb = rig(servers=3, weights=(5, 1, 2), algorithm=algorithm)
    for round_ in range(1, 5):
        opens(lb, 8)
        assert spread(lb) == [5 * round_, round_, 2 * round_]
    assert order(lb)[:8] == order(lb)[8:16]


def test_round_robin_of_several_threads_is_one(rig: Make) -> None:
    lb = rig(servers=4, threads=2, sessions=20)
    opens(lb, 40)
    assert spread(lb) == [10, 10, 10, 10]


def test_round_robin_does_not_send_runs_to_the_heaviest(rig: Make) -> None:
    lb = rig(servers=2, weights=(3, 1))
    opens(lb, 16)
    longest = max(len(run) for run in "".join(map(str, order(lb))).split("1"))
    assert longest <= 3


def test_leastconn_levels_what_is_open(rig: Make) -> None:
    lb = rig(servers=3, algorithm=Algorithm.LEASTCONN)
    clients = opens(lb, 30)
    assert spread(lb) == [10, 10, 10]
    gone = [c for c, r in zip(clients, order(lb), strict=True) if r == 1][:6]
    for client in gone:
        client.resets()
    wait_until(lambda: lb.counters.slot_sessions(1).now == 4, "six are gone")
    opens(lb, 6)
    assert [lb.counters.slot_sessions(slot).now for slot in range(3)] == [10, 10, 10]
    assert spread(lb) == [10, 16, 10]


def test_leastconn_heeds_weights(rig: Make) -> None:
    lb = rig(servers=2, weights=(3, 1), algorithm=Algorithm.LEASTCONN)
    opens(lb, 40)
    assert abs(spread(lb)[0] - 30) <= 1


def test_leastconn_does_not_send_a_cold_start_to_one_server(rig: Make) -> None:
    """Sessions that end at once leave all servers equal: they take turns."""
    lb = rig(servers=4, algorithm=Algorithm.LEASTCONN)
    for count in range(1, 41):
        client = lb.connects()
        wait_until(lambda: lb.live(), "it is established")
        client.resets()
        lb.ends(count)
    assert spread(lb) == [10, 10, 10, 10]


def test_first_takes_the_first_usable(rig: Make) -> None:
    lb = rig(servers=3, algorithm=Algorithm.FIRST)
    opens(lb, 5)
    lb.publish(usable=(1, 2))
    opens(lb, 5)
    assert spread(lb) == [5, 5, 0]


def test_random_spreads_by_weight(rig: Make) -> None:
    """One draw: a chi-square of 2 degrees of freedom is above 20 in 1 of 20,000 runs."""
    lb = rig(servers=3, weights=(1, 2, 3), algorithm=Algorithm.RANDOM, backend={"draws": 1})
    opens(lb, 300)
    wanted = [50, 100, 150]
    chi_square = sum((got - want) ** 2 / want for got, want in zip(spread(lb), wanted, strict=True))
    assert chi_square < 20, spread(lb)


def test_random_with_two_draws_is_nearer_to_level_than_chance(rig: Make) -> None:
    lb = rig(servers=4, algorithm=Algorithm.RANDOM, backend={"draws": 2})
    opens(lb, 200)
    assert max(spread(lb)) - min(spread(lb)) <= 12, spread(lb)


def test_random_goes_to_the_only_server(rig: Make) -> None:
    lb = rig(servers=2, usable=(1,), algorithm=Algorithm.RANDOM)
    opens(lb, 5)
    assert spread(lb) == [0, 5]


def test_source_map_is_a_function_of_address_and_weights(rig: Make) -> None:
    """The map of 3:1 has four places; the address's number, modulo four, picks one."""
    lb = rig(servers=2, weights=(3, 1), algorithm=Algorithm.SOURCE)
    wheel = lb.shape.plan(1).backends[0].wheel
    assert Counter(wheel) == {0: 3, 1: 1}
    for last in range(1, 9):
        opens(lb, 2, source=f"127.0.0.{last}")
    expected = [wheel[(0x7F000000 + last) % 4] for last in range(1, 9) for _ in range(2)]
    assert order(lb) == expected


def test_source_consistent_moves_only_the_clients_of_the_server_that_left(rig: Make) -> None:
    """The nearest key on the ring decides; keys that go leave all others where they were."""
    draw = random.Random(5)
    keys = {slot: [draw.randrange(1 << 32) for _ in range(40)] for slot in range(3)}

    def ring(usable: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        return tuple(sorted((key, slot) for slot in usable for key in keys[slot]))

    def publishes(usable: tuple[int, ...]) -> None:
        points = ring(usable)
        lb.publish(usable=usable, backend={"points": points, "avalanche": True})

    def asks() -> list[int]:
        before = len(order(lb))
        for last in range(1, 41):
            opens(lb, 1, source=f"127.0.1.{last}")
        return order(lb)[before:]

    lb = rig(servers=3, algorithm=Algorithm.SOURCE)
    publishes((0, 1, 2))
    first = asks()
    assert asks() == first, "the same client goes to the same server"
    assert set(first) == {0, 1, 2}
    publishes((0, 2))
    second = asks()
    for before, after in zip(first, second, strict=True):
        assert after == before or before == 1
        assert after != 1


def test_weight_zero_and_what_is_not_usable_gets_nobody(rig: Make) -> None:
    lb = rig(servers=3, weights=(1, 0, 1), usable=(0, 2))
    opens(lb, 10)
    assert spread(lb) == [5, 0, 5]
