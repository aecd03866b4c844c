"""An operator's word against that of the checks. States and lines checked against HAProxy
2.6 (`set server ... health`, `disable health`)."""

from __future__ import annotations

import pytest

from lbsplice.health.judge import CheckResult
from lbsplice.report.healthlog import Event, Tell, render
from lbsplice.roster import KillSessions, Publish, Roster, RosterError
from lbsplice.terms import AdminState, Cause, CheckStatus
from tests.unit.config_reading import TIMEOUTS, config

PASSED = CheckResult(True, CheckStatus.L4_OK, 0)
FAILED = CheckResult(False, CheckStatus.L4_TIMEOUT, 200)
A, K = ("l", "a"), ("l", "k")
KILLS = "on-marked-down shutdown-sessions"


@pytest.fixture
def it():
    """`a` is checked, `k` is not."""
    servers = f" server a 10.0.0.1:1 check weight 10 {KILLS}\n server k 10.0.0.2:1 {KILLS}\n"
    return Roster(config(f"listen l\n{TIMEOUTS}{servers}"), 1.0)


def lines(actions, sessions=0):
    return [render(each, sessions=sessions)[1] for each in actions if isinstance(each, Tell)]


def test_a_server_that_is_set_down_loses_its_sessions(it):
    publish, kill, tell = it.set_health(A, False, 5.0)
    assert publish == Publish("l")
    assert kill == KillSessions(A, Cause.DOWN)
    assert lines([tell], 3) == [
        "Server l/a is DOWN, changed from CLI. 1 active and 0 backup servers left. "
        "3 sessions active, 0 requeued, 0 remaining in queue."
    ]
    state = it.state(A)
    assert (state.status_text, state.weight, state.down_transitions) == ("DOWN", 0, 1)


def test_a_server_that_is_set_up_is_fully_up(it):
    it.set_health(A, False, 5.0)
    assert lines(it.set_health(A, True, 9.0)) == [
        "Server l/a is UP, changed from CLI. 2 active and 0 backup servers online. "
        "0 sessions requeued, 0 total in queue."
    ]
    state = it.state(A)
    assert (state.status_text, state.weight) == ("UP", 10)
    assert state.downtime(20.0) == 4.0


def test_checks_have_the_last_word(it):
    it.set_health(A, False, 5.0)
    it.check_result(A, PASSED, 6.0)
    assert it.state(A).status_text == "DOWN 1/2"
    it.check_result(A, PASSED, 7.0)
    assert it.state(A).status_text == "UP"


def test_a_stopping_server_keeps_its_sessions_and_gets_no_new_ones(it):
    actions = it.set_health(A, None, 5.0)
    assert actions[0] == Publish("l")
    assert not [each for each in actions if isinstance(each, KillSessions)]
    assert lines(actions) == [
        "Server l/a is stopping, changed from CLI. 1 active and 0 backup servers online. "
        "0 sessions requeued, 0 total in queue."
    ]
    state = it.state(A)
    assert (state.status_text, state.weight, state.user_weight) == ("NOLB", 0, 10)
    assert (state.is_up, state.down_transitions) == (True, 0)


def test_a_check_that_succeeds_ends_stopping(it):
    it.set_health(A, None, 5.0)
    publish, tell = it.check_result(A, PASSED, 6.0)
    assert publish == Publish("l")
    assert tell.event is Event.UP
    assert (it.state(A).status_text, it.state(A).weight) == ("UP", 10)


def test_checks_that_fail_take_a_stopping_server_down(it):
    it.set_health(A, None, 5.0)
    for _ in range(3):
        actions = it.check_result(A, FAILED, 6.0)
    assert KillSessions(A) in actions
    assert it.state(A).status_text == "DOWN"
    assert not it.state(A).stopping


@pytest.mark.parametrize(
    ("up", "word", "weight"), [(False, "DOWN", 0), (None, "NOLB", 0), (True, "no check", 1)]
)
def test_a_server_without_checks_is_what_it_is_said_to_be(it, up, word, weight):
    it.set_health(K, up, 5.0)
    state = it.state(K)
    assert (state.status_text, state.weight) == (word, weight)


def test_the_same_again_says_nothing(it):
    it.set_health(A, None, 5.0)
    assert it.set_health(A, None, 6.0) == ()


def test_maintenance_ends_stopping(it):
    it.set_health(A, None, 5.0)
    it.set_admin(A, AdminState.MAINT, 6.0)
    assert it.set_health(A, True, 6.5) == ()
    it.set_admin(A, AdminState.READY, 7.0)
    assert (it.state(A).word, it.state(A).weight) == ("UP", 10)


def test_checks_that_are_off_say_nothing(it):
    it.set_checks(A, False)
    assert it.state(A).status_text == "no check"
    for _ in range(5):
        assert it.check_result(A, FAILED, 6.0) == ()
    it.set_checks(A, True)
    assert it.state(A).status_text == "UP 1/3"
    it.check_result(A, FAILED, 7.0)
    assert it.state(A).word == "DOWN"


def test_a_server_that_is_down_stays_so_without_its_checks(it):
    it.set_health(A, False, 5.0)
    it.set_checks(A, False)
    assert (it.state(A).status_text, it.state(A).weight) == ("DOWN", 0)


def test_checks_that_are_not_configured_can_not_go_on(it):
    it.set_checks(K, False)
    with pytest.raises(RosterError, match="has no checks"):
        it.set_checks(K, True)


def test_the_last_weight_that_goes_is_told(it):
    it.set_admin(K, AdminState.MAINT, 2.0)
    publish, tell = it.set_weight(A, 0)
    assert publish == Publish("l")
    assert lines([tell]) == ["proxy l has no server available!"]
