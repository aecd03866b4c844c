"""What a roster carries over a reload, and servers that are leaving."""

from __future__ import annotations

import pytest

from lbsplice.health.judge import CheckResult
from lbsplice.plan.inventory import Inventory
from lbsplice.report.healthlog import Event, Tell, render
from lbsplice.restore import carried_over, edited
from lbsplice.roster import KillSessions, Publish, Roster, RosterError
from lbsplice.terms import AdminState, CheckStatus
from tests.unit.config_reading import TIMEOUTS, config

PASSED = CheckResult(True, CheckStatus.L4_OK, 0)
FAILED = CheckResult(False, CheckStatus.L4_TIMEOUT, 200)
A, B = ("l", "a"), ("l", "b")
KILLS = "check on-marked-down shutdown-sessions"


def listen(*servers):
    return config(f"listen l\n{TIMEOUTS}" + "".join(f" server {each}\n" for each in servers))


class Reloads:
    """A roster and the inventory it belongs to."""

    def __init__(self, *servers):
        self.inventory = Inventory.first(listen(*servers))
        self.roster = Roster(self.inventory.config, 1.0)

    def reload(self, *servers, now=50.0):
        after = self.inventory.after(listen(*servers))
        known = carried_over(self.roster.states, self.inventory, after)
        self.inventory = after
        self.edits = list(edited(after.config, known))
        self.roster = Roster(after.config, now, leaving=after.leaving.servers, known=known)
        return self.roster

    def fails(self, key, times=1, now=10.0):
        for _ in range(times):
            actions = self.roster.check_result(key, FAILED, now)
        return actions


def test_a_server_that_is_down_stays_down_and_keeps_its_figures():
    it = Reloads("a 10.0.0.1:1 check", "b 10.0.0.2:1 check")
    it.fails(A, 3)
    before = it.roster.state(A)
    after = it.reload("b 10.0.0.2:1 check", "a 10.0.0.1:1 check weight 9").state(A)
    assert after.status_text == "DOWN"
    assert (after.changed_at, after.down_since, after.failed_checks) == (10.0, 10.0, 1)
    assert (after.last_check, after.down_transitions) == (before.last_check, 1)
    assert it.roster.usable("l").active == 1


def test_admin_state_and_weight_that_were_set_at_run_time_are_kept():
    it = Reloads("a 10.0.0.1:1 weight 5")
    it.roster.set_admin(A, AdminState.DRAIN, 2.0)
    it.roster.set_weight(A, 7)
    state = it.reload("a 10.0.0.1:1 weight 5").state(A)
    assert (state.admin, state.user_weight) == (AdminState.DRAIN, 7)
    assert not it.edits


def test_a_weight_that_was_edited_counts():
    it = Reloads("a 10.0.0.1:1 weight 5")
    it.roster.set_weight(A, 7)
    assert it.reload("a 10.0.0.1:1 weight 6").weight(A) == 6


def test_disabled_counts_when_it_was_edited():
    it = Reloads("a 10.0.0.1:1", "b 10.0.0.2:1 disabled")
    it.reload("a 10.0.0.1:1 disabled", "b 10.0.0.2:1")
    assert it.edits == [(A, AdminState.MAINT), (B, AdminState.READY)]


def test_a_server_that_the_operator_has_readied_is_not_disabled_again():
    it = Reloads("b 10.0.0.2:1 disabled")
    it.roster.set_admin(B, AdminState.READY, 2.0)
    assert it.reload("b 10.0.0.2:1 disabled").state(B).admin is AdminState.READY
    assert not it.edits


def test_a_server_that_is_no_more_checked_is_up():
    it = Reloads("a 10.0.0.1:1 check", "b 10.0.0.2:1 check")
    it.fails(A, 3)
    state = it.reload("a 10.0.0.1:1", "b 10.0.0.2:1").state(A)
    assert state.status_text == "no check"
    assert (state.weight, state.down_since, state.down_before) == (1, None, 40.0)
    again = it.reload("a 10.0.0.1:1 check", "b 10.0.0.2:1").state(A)
    assert again.status_text == "UP 1/3"
    assert again.down_before == 40.0


def test_a_new_server_starts_as_at_a_start():
    it = Reloads("a 10.0.0.1:1 check")
    it.fails(A, 3)
    state = it.reload("a 10.0.0.7:1 check").state(A)
    assert state.status_text == "UP 1/3"
    assert state.changed_at == 50.0


def test_a_leaving_server_gets_no_session_and_is_still_judged_and_killed():
    it = Reloads(f"a 10.0.0.1:1 {KILLS}", "b 10.0.0.2:1 check")
    it.reload("b 10.0.0.2:1 check")
    left = ("l", "a#0")
    assert it.roster.weight(left) == 0
    assert it.roster.usable("l").active == 1
    actions = it.fails(left)
    assert [one for one in actions if not isinstance(one, Tell)] == [KillSessions(left)]
    (tell,) = [one for one in actions if isinstance(one, Tell)]
    assert tell.event is Event.DOWN
    level, text = render(tell, sessions=4)
    assert text.startswith("Server l/a (no longer configured) is DOWN, reason: Layer4 timeout")
    assert text.endswith(
        "1 active and 0 backup servers left. 4 sessions active, 0 requeued, 0 remaining in queue."
    )
    assert level == 1


def test_a_leaving_server_that_comes_up_again_publishes_nothing():
    it = Reloads(f"a 10.0.0.1:1 {KILLS} rise 1", "b 10.0.0.2:1 check")
    it.reload("b 10.0.0.2:1 check")
    left = ("l", "a#0")
    it.fails(left)
    actions = it.roster.check_result(left, PASSED, 20.0)
    assert [type(one) for one in actions] == [Tell]


def test_a_set_weight_publishes_only_what_is_in_force():
    it = Reloads("a 10.0.0.1:1 check", "b 10.0.0.2:1 check disabled")
    publish, told = it.roster.set_weight(A, 0)
    assert publish == Publish("l")
    assert isinstance(told, Tell)
    assert told.event is Event.NO_SERVER
    assert it.roster.usable("l").active == 0
    assert it.roster.set_weight(A, 0) == ()
    assert it.roster.set_weight(A, 256) == (Publish("l"),)
    assert it.roster.usable("l").active == 1
    assert it.roster.set_weight(B, 9) == ()
    it.roster.set_admin(B, AdminState.READY, 3.0)
    assert it.roster.weight(B) == 9


@pytest.mark.parametrize("weight", [-1, 257])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(RosterError, match="out of range"):
        Reloads("a 10.0.0.1:1").roster.set_weight(A, weight)


def test_a_server_that_is_leaving_takes_no_weight():
    it = Reloads("a 10.0.0.1:1", "b 10.0.0.2:1")
    it.reload("b 10.0.0.2:1")
    with pytest.raises(RosterError, match="not in the configuration"):
        it.roster.set_weight(("l", "a#0"), 1)
