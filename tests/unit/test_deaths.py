"""Workers that die one after the other."""

from __future__ import annotations

import pytest

from lbsplice.deaths import MOST, Death, Deaths

AT_BIRTH = Death(adopted=False, ready_s=None, broke=False)
IN_BETWEEN = Death(adopted=True, ready_s=None, broke=False)
LATER = Death(adopted=True, ready_s=0.01, broke=False)
BROKE_AT_BIRTH = Death(adopted=False, ready_s=None, broke=True)
BROKE_IN_BETWEEN = Death(adopted=True, ready_s=None, broke=True)
BROKE_SOON = Death(adopted=True, ready_s=0.01, broke=True)
BROKE_LATER = Death(adopted=True, ready_s=60.0, broke=True)


def after(*noted):
    deaths = Deaths()
    for death in noted:
        deaths.note(death)
    return deaths


@pytest.mark.parametrize("death", [AT_BIRTH, BROKE_AT_BIRTH, BROKE_IN_BETWEEN])
def test_five_in_a_row_that_were_no_good_are_too_many(death):
    assert not after(*[death] * (MOST - 1)).too_many
    assert after(*[death] * MOST).too_many


@pytest.mark.parametrize("death", [IN_BETWEEN, LATER, BROKE_SOON, BROKE_LATER])
def test_those_that_were_some_good_never_add_up(death):
    assert not after(*[death] * 1000).too_many
    assert not after(AT_BIRTH, AT_BIRTH, death, AT_BIRTH, AT_BIRTH, AT_BIRTH).too_many


def test_one_that_is_ready_makes_up_for_all():
    deaths = after(*[AT_BIRTH] * (MOST - 1))
    deaths.one_is_ready()
    deaths.note(AT_BIRTH)
    assert not deaths.too_many
    assert not deaths.suspicious


def test_the_second_makes_something_new_suspicious():
    assert not after(AT_BIRTH).suspicious
    assert after(AT_BIRTH, BROKE_IN_BETWEEN).suspicious


@pytest.mark.parametrize(
    ("death", "pause_s"),
    [(BROKE_SOON, 1.0), (IN_BETWEEN, 0.1), (LATER, 0.0), (BROKE_LATER, 0.0)],
)
def test_only_a_loop_is_slowed_down(death, pause_s):
    assert after(*[death] * MOST).pause_s == 0.0
    assert after(*[death] * (MOST + 1)).pause_s == pause_s
    assert after(*[death] * (MOST + 1), LATER).pause_s == 0.0
