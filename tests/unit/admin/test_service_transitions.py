"""The chronicle: who changed and why, how many sessions that ended, who had no server."""

from __future__ import annotations

import json

import pytest

from lbsplice.admin.history import MOST_TRANSITIONS, History
from lbsplice.admin.transitions import Chronicle
from lbsplice.health.judge import CheckResult
from lbsplice.roster import KillSessions, Roster
from lbsplice.terms import AdminState, Cause, CheckStatus
from tests.unit.config_reading import config

A, B = ("b", "a"), ("b", "b")
SLOTS = {A: 0, B: 1}
PASSED = CheckResult(True, CheckStatus.L4_OK, 1)
FAILED = CheckResult(False, CheckStatus.L4_TIMEOUT, 2000)
REFUSED = CheckResult(False, CheckStatus.L4_CONNECTION, 0, "ECONNREFUSED")


class Scene:
    """A backend `b` with servers a and b, and a clock that stands still."""

    def __init__(self, words="check fall 1 rise 1 on-marked-down shutdown-sessions", text=""):
        self.now = 1000.0
        self.killed = {0: 0, 1: 0}
        setup = config(
            f"backend b\n timeout connect 1s\n timeout server 1s\n"
            f" server a 127.0.0.1:1 {words}\n server b 127.0.0.1:2 {words}\n"
        )
        self.roster = Roster(setup, self.now)
        self.chronicle = self.made(text)

    def made(self, text, planned=None):
        return Chronicle(text, planned, clock=lambda: self.now, wall=lambda: self.now + 1e9)

    def check(self, key, result):
        self.note(self.roster.check_result(key, result, self.now))

    def admin(self, key, state):
        self.note(self.roster.set_admin(key, state, self.now))

    def note(self, orders):
        self.chronicle.note(orders, self.roster, SLOTS.__getitem__, self.killed.__getitem__)

    def ended(self, slot, count):
        self.killed[slot] += count
        self.chronicle.settle(self.killed.__getitem__)

    def rows(self):
        return [
            (each.key[1], each.before, each.after, each.why, each.ended)
            for each in self.chronicle.transitions
        ]


def test_a_check_is_the_reason_of_what_it_changes():
    scene = Scene()
    scene.check(A, PASSED)
    assert scene.rows() == [], "it was up"
    scene.check(A, FAILED)
    scene.check(B, REFUSED)
    scene.check(A, PASSED)
    assert scene.rows() == [
        ("a", "UP", "DOWN", "Layer4 timeout", 0),
        ("b", "UP", "DOWN", "Layer4 connection problem (ECONNREFUSED)", 0),
        ("a", "DOWN", "UP", "Layer4 check passed", 0),
    ]
    assert scene.chronicle.transitions[0].at == scene.now + 1e9


@pytest.mark.parametrize(("words", "up"), [("check fall 1", "UP"), ("", "no check")])
def test_an_operator_is_the_reason_of_the_rest(words, up):
    scene = Scene(words)
    for state in (AdminState.DRAIN, AdminState.MAINT, AdminState.READY, AdminState.DRAIN):
        scene.admin(A, state)
    scene.admin(A, AdminState.READY)
    assert [row[1:4] for row in scene.rows()] == [
        (up, "DRAIN", "set to drain"),
        ("DRAIN", "MAINT", "set to maintenance"),
        ("MAINT", f"{up}" if not words else "UP", "left maintenance"),
        (up, "DRAIN", "set to drain"),
        ("DRAIN", up, "left drain"),
    ]


def test_an_operator_s_word_against_the_checks_is_told_as_such():
    scene = Scene()
    for up in (None, True, False, True):
        scene.note(scene.roster.set_health(A, up, scene.now))
    scene.note(scene.roster.set_health(A, None, scene.now))
    scene.check(A, PASSED)
    assert [row[1:4] for row in scene.rows()] == [
        ("UP", "NOLB", "set to stopping"),
        ("NOLB", "UP", "set up"),
        ("UP", "DOWN", "set down"),
        ("DOWN", "UP", "set up"),
        ("UP", "NOLB", "set to stopping"),
        ("NOLB", "UP", "Layer4 check passed"),
    ]


def test_sessions_that_an_operator_ends_are_of_no_transition():
    scene = Scene()
    scene.check(A, FAILED)
    scene.now += 10
    scene.note([KillSessions(A, Cause.KILLED)])
    scene.ended(0, 5)
    assert scene.rows()[-1][-1] == 0


def test_a_server_that_was_down_enters_maintenance_from_there():
    scene = Scene()
    scene.check(A, FAILED)
    scene.admin(A, AdminState.MAINT)
    assert scene.rows()[-1][1:3] == ("DOWN", "MAINT")


def test_sessions_that_end_for_some_time_afterwards_belong_to_the_transition():
    scene = Scene()
    scene.killed[0] = 7
    scene.check(A, FAILED)
    scene.ended(0, 2)
    scene.now += 1
    scene.ended(0, 1)
    assert scene.rows()[-1][-1] == 3
    scene.now += 10
    scene.ended(0, 0)
    scene.ended(0, 5)
    assert scene.rows()[-1][-1] == 3, "that was long after it"


def test_the_sessions_of_a_second_transition_are_not_those_of_the_first():
    scene = Scene()
    scene.check(A, FAILED)
    scene.ended(0, 2)
    scene.check(A, PASSED)
    scene.check(A, FAILED)
    scene.ended(0, 4)
    assert [row[-1] for row in scene.rows()] == [2, 0, 4]


def test_a_backend_is_down_when_it_has_no_server_left():
    scene = Scene()
    began = scene.now
    past = scene.chronicle.backend("b")
    assert (past.changed_at, past.downs, past.downtime(scene.now)) == (began, 0, 0.0)
    scene.now += 10
    scene.check(A, FAILED)
    assert scene.chronicle.backend("b").downs == 0
    scene.admin(B, AdminState.DRAIN)
    past = scene.chronicle.backend("b")
    assert (past.changed_at, past.downs) == (began + 10, 1)
    scene.now += 5
    assert past.downtime(scene.now) == 5
    scene.check(A, PASSED)
    scene.now += 5
    past = scene.chronicle.backend("b")
    assert (past.changed_at, past.downs, past.downtime(scene.now)) == (began + 15, 1, 5.0)


def test_only_the_last_transitions_are_kept():
    scene = Scene()
    for _ in range(MOST_TRANSITIONS):
        scene.check(A, FAILED)
        scene.check(A, PASSED)
    assert len(scene.chronicle.transitions) == MOST_TRANSITIONS


def test_a_successor_knows_all_of_it_and_goes_on_counting():
    scene = Scene()
    scene.check(A, FAILED)
    scene.ended(0, 1)
    scene.chronicle.peaked("server", 0, 9)
    scene.chronicle.dropped(4)
    began = scene.chronicle.began
    before = scene.rows()
    text = scene.chronicle.text
    assert not scene.chronicle.is_dirty
    scene.now += 1
    scene.chronicle = scene.made(text, planned=False)
    assert scene.rows() == before
    assert scene.chronicle.is_dirty, "it has one more crash to tell"
    assert (scene.chronicle.crashes, scene.chronicle.adoptions) == (1, 1)
    assert scene.chronicle.began == began
    assert scene.chronicle.peaks["server", 0] == 9
    scene.chronicle.dropped(3)
    assert scene.chronicle.dropped_logs == 7
    scene.ended(0, 1)
    assert scene.rows()[-1][-1] == 2
    scene.chronicle = scene.made(scene.chronicle.text, planned=True)
    assert (scene.chronicle.crashes, scene.chronicle.adoptions) == (1, 2)


def test_text_is_written_anew_only_when_something_has_changed():
    scene = Scene()
    first = scene.chronicle.text
    scene.check(A, PASSED)
    scene.ended(0, 1)
    assert scene.chronicle.text is first
    scene.check(A, FAILED)
    assert scene.chronicle.is_dirty
    assert json.loads(scene.chronicle.text)["transitions"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"began": "x"}'])
def test_what_can_not_be_read_is_as_if_it_had_not_been_written(text):
    assert History.from_text(text) is None
    assert Scene(text=text).chronicle.began == 1000.0


def test_what_is_gone_is_forgotten():
    scene = Scene()
    scene.check(A, FAILED)
    scene.admin(B, AdminState.MAINT)
    scene.chronicle.base_checks(0, scene.roster.state(A))
    scene.chronicle.keep(frozenset(), frozenset())
    assert scene.chronicle.backend("b").downs == 0
    assert not scene.chronicle.checks


def test_the_time_from_an_order_to_the_last_answer_is_kept():
    scene = Scene()
    scene.chronicle.obeyed(scene.now - 0.025)
    assert scene.chronicle.kill_latency_s == pytest.approx(0.025)
