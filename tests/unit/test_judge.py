"""Rise and fall, against the displays that HAProxy shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.health import judge


def shown(health: int, rise: int, fall: int) -> str:
    word = "UP" if judge.is_up(health, rise) else "DOWN"
    steady = judge.is_steady(health, rise, fall)
    return word if steady else f"{word} {judge.score(health, rise, fall)}"


def walk(results: str, *, start: int, rise: int, fall: int) -> list[str]:
    health, seen = start, []
    for result in results:
        health = judge.judge(health, result == "+", rise, fall)
        seen.append(shown(health, rise, fall))
    return seen


def test_a_run_of_failures_and_successes_shows_as_haproxys():
    seen = walk("---+++", start=5, rise=3, fall=3)
    assert seen == ["UP 2/3", "UP 1/3", "DOWN", "DOWN 1/3", "DOWN 2/3", "UP"]


def test_a_success_while_up_restores_all():
    assert walk("--+", start=5, rise=3, fall=3)[-1] == "UP"


def test_a_failure_while_down_takes_all():
    assert walk("++-", start=0, rise=3, fall=3) == ["DOWN 1/3", "DOWN 2/3", "DOWN"]


def test_the_start_state_is_one_failure_from_down():
    assert shown(2, 2, 3) == "UP 1/3"
    assert walk("-", start=2, rise=2, fall=3) == ["DOWN"]
    assert walk("+", start=2, rise=2, fall=3) == ["UP"]


def test_fall_one_and_rise_one_have_nothing_in_between():
    assert walk("-+-", start=1, rise=1, fall=1) == ["DOWN", "UP", "DOWN"]


@pytest.mark.parametrize(("health", "rise", "fall", "text"), [(4, 3, 3, "2/3"), (1, 3, 2, "1/3")])
def test_the_score_counts_towards_the_next_change(health, rise, fall, text):
    assert str(judge.score(health, rise, fall)) == text


@given(
    rise=st.integers(1, 20),
    fall=st.integers(1, 20),
    results=st.lists(st.booleans(), max_size=80),
)
def test_down_needs_fall_failures_in_a_row_and_up_needs_rise_successes(rise, fall, results):
    health = judge.best(rise, fall)
    up, failures, successes = True, 0, 0
    for passed in results:
        health = judge.judge(health, passed, rise, fall)
        failures, successes = (0, successes + 1) if passed else (failures + 1, 0)
        if up and failures == fall:
            up, successes = False, 0
        elif not up and successes == rise:
            up, failures = True, 0
        assert 0 <= health <= judge.best(rise, fall)
        assert judge.is_up(health, rise) is up


@pytest.mark.parametrize(
    ("before", "health", "after", "shows"),
    [
        ((2, 3), 4, (5, 1), "UP"),
        ((2, 3), 0, (5, 1), "DOWN"),
        ((2, 3), 2, (2, 10), "UP 8/10"),  # two failures
        ((2, 3), 2, (2, 1), "UP"),  # no failure that counts would leave it up
        ((5, 3), 4, (2, 3), "DOWN 1/2"),  # one success is left to give
        ((5, 3), 1, (5, 9), "DOWN 1/5"),
    ],
)
def test_other_counts_turn_no_server(before, health, after, shows):
    assert shown(judge.rescaled(health, before, after), *after) == shows


@given(*[st.integers(1, 9)] * 4, st.data())
def test_any_other_counts_keep_up_up_and_steady_steady(rise, fall, new_rise, new_fall, data):
    health = data.draw(st.integers(0, judge.best(rise, fall)))
    new = judge.rescaled(health, (rise, fall), (new_rise, new_fall))
    assert 0 <= new <= judge.best(new_rise, new_fall)
    assert judge.is_up(new, new_rise) == judge.is_up(health, rise)
    if judge.is_steady(health, rise, fall):
        assert judge.is_steady(new, new_rise, new_fall)
    assert judge.rescaled(health, (rise, fall), (rise, fall)) == health
