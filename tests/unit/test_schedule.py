"""When checks start and how long they may take."""

import pytest

from lbsplice.config.model import Check, Timeouts
from lbsplice.health import schedule

CHECK = Check(enabled=True, inter=2000, fastinter=300, downinter=5000, rise=2, fall=3)


@pytest.mark.parametrize(
    ("health", "expected"),
    [(4, 2000), (3, 300), (2, 300), (1, 300), (0, 5000)],
    ids=["up", "up 2/3", "up 1/3", "down 1/2", "down"],
)
def test_the_pause_follows_the_health(health, expected):
    assert schedule.interval_ms(CHECK, health) == expected


@pytest.mark.parametrize("health", range(5))
def test_without_fastinter_and_downinter_inter_is_for_all(health):
    assert schedule.interval_ms(Check(enabled=True, inter=700), health) == 700


def test_first_checks_are_spread_over_the_interval():
    checks = [Check(enabled=True, inter=2000)] * 4
    assert schedule.first_delays_ms(checks) == (0, 500, 1000, 1500)


def test_quick_checks_keep_to_their_own_interval():
    checks = [Check(enabled=True, inter=200)] * 2
    assert schedule.first_delays_ms(checks) == (0, 100)


def test_the_shortest_interval_of_a_second_or_more_stretches_the_quick_ones():
    checks = [Check(enabled=True, inter=inter) for inter in (200, 4000, 2000, 200)]
    assert schedule.first_delays_ms(checks) == (0, 1000, 1000, 1500)


def test_the_first_delay_uses_fastinter_because_nothing_is_known_yet():
    checks = [Check(enabled=True, inter=8000, fastinter=1000)] * 2
    assert schedule.first_delays_ms(checks) == (0, 500)


def test_no_checks_no_delays():
    assert schedule.first_delays_ms([]) == ()


@pytest.mark.parametrize(("draw", "expected"), [(0.0, 900), (0.5, 1000), (1.0, 1100)])
def test_spread_checks_moves_the_interval_both_ways(draw, expected):
    assert schedule.jittered_ms(1000, 10, draw) == pytest.approx(expected)


def test_without_spread_checks_nothing_moves():
    assert schedule.jittered_ms(1000, 0, 0.9) == 1000


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [
        (Timeouts(), 2000),
        (Timeouts(connect=500), 2000),
        (Timeouts(check=500), 2000),
        (Timeouts(check=9000, connect=500), 500),
        (Timeouts(check=100, connect=9000), 2000),
    ],
)
def test_the_connect_limit(timeouts, expected):
    assert schedule.connect_limit_ms(CHECK, timeouts) == expected
