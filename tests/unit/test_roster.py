"""The roster: what follows from checks and from the operator's wishes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbsplice.config.model import (
    AddressKind,
    Check,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.health.judge import CheckResult
from lbsplice.report.healthlog import Event, Tell, Usable, render
from lbsplice.roster import KillSessions, Publish, Roster
from lbsplice.terms import AdminState, CheckStatus

READY, DRAIN, MAINT = AdminState.READY, AdminState.DRAIN, AdminState.MAINT
PLACE = Place("t.cfg", 1)
A, B, C = ("b", "a"), ("b", "b"), ("b", "c")
PASSED = CheckResult(True, CheckStatus.L4_OK, 0)
FAILED = CheckResult(False, CheckStatus.L4_TIMEOUT, 200)
REFUSED = CheckResult(False, CheckStatus.L4_CONNECTION, 0, "no")


def server(name, *, rise=2, fall=3, check=True, kill=True, **words):
    return Server(
        PLACE,
        name,
        1,
        Endpoint(AddressKind.IPV4, "127.0.0.1", 1),
        check=Check(enabled=check, rise=rise, fall=fall),
        shutdown_sessions_on_marked_down=kill,
        **words,
    )


def roster(*servers, kind=ProxyKind.BACKEND, **words):
    return Roster(Config(Global(), (Proxy(PLACE, kind, "b", 2, servers=servers, **words),)))


def feed(it, key, *results, now=1.0):
    """Give results one after the other; what the last one caused."""
    actions = ()
    for result in results:
        actions = it.check_result(key, result, now)
    return actions


def events(actions):
    return [action.event for action in actions if isinstance(action, Tell)]


def orders(actions):
    return [action for action in actions if not isinstance(action, Tell)]


def test_a_server_starts_up_and_one_failure_from_down():
    it = roster(server("a"))
    assert it.state(A).status_text == "UP 1/3"
    assert it.state(A).check_status is CheckStatus.INITIALIZING
    assert it.weight(A) == 1
    feed(it, A, FAILED)
    assert it.state(A).status_text == "DOWN"
    assert it.weight(A) == 0


def test_down_publishes_then_kills_then_tells():
    it = roster(server("a"), server("b"))
    assert feed(it, A, FAILED) == (
        Publish("b"),
        KillSessions(A),
        Tell(Event.DOWN, A, Usable(1, 0), up=False, result=FAILED, score=it.state(A).score),
    )


def test_without_the_action_sessions_stay():
    it = roster(server("a", kill=False))
    assert orders(feed(it, A, FAILED)) == [Publish("b")]


def test_a_mark_down_fires_once():
    it = roster(server("a"))
    feed(it, A, FAILED)
    assert feed(it, A, FAILED, REFUSED, PASSED, FAILED) == ()
    assert it.state(A).down_transitions == 1


def test_failures_short_of_fall_change_nothing_but_the_display():
    it = roster(server("a"))
    feed(it, A, PASSED)
    assert feed(it, A, FAILED) == ()
    assert it.state(A).status_text == "UP 2/3"
    assert feed(it, A, FAILED) == ()
    assert it.state(A).status_text == "UP 1/3"
    assert it.weight(A) == 1


def test_a_server_that_rose_is_published_and_told_but_nothing_is_killed():
    it = roster(server("a"))
    feed(it, A, FAILED, PASSED)
    assert it.state(A).status_text == "DOWN 1/2"
    actions = feed(it, A, PASSED)
    assert orders(actions) == [Publish("b")]
    assert events(actions) == [Event.UP]
    assert it.state(A).status_text == "UP"


def test_the_last_usable_server_takes_the_backend_with_it():
    it = roster(server("a"), server("b"), server("c", backup=True))
    assert events(feed(it, A, FAILED)) == [Event.DOWN]
    assert events(feed(it, B, FAILED)) == [Event.DOWN]
    assert it.usable("b") == Usable(0, 1)
    assert events(feed(it, C, FAILED)) == [Event.DOWN, Event.NO_SERVER]


def test_a_backend_that_had_no_server_does_not_lose_its_last_one():
    it = roster(server("a", weight=0), server("b", disabled=True))
    actions = feed(it, A, FAILED)
    assert events(actions) == [Event.DOWN]
    assert orders(actions) == [KillSessions(A)]  # it never was in the plan


def test_unchecked_servers_count_as_usable_and_disabled_ones_do_not():
    it = roster(server("a", check=False), server("b", disabled=True))
    assert it.usable("b") == Usable(1, 0)
    assert it.state(A).status_text == "no check"
    assert it.state(B).status_text == "MAINT"
    assert (it.weight(A), it.weight(B)) == (1, 0)


def test_log_health_checks_tells_each_change_and_the_reason_only_once():
    it = roster(server("a"), server("b"), log_health_checks=True)
    assert events(feed(it, A, PASSED)) == [Event.CHECK]
    assert feed(it, A, PASSED) == ()  # nothing new
    assert events(feed(it, A, FAILED)) == [Event.CHECK]
    actions = feed(it, A, FAILED, FAILED)
    assert [type(action) for action in actions] == [Publish, KillSessions, Tell, Tell]
    check, down = actions[2:]
    assert (check.event, check.result, str(check.score)) == (Event.CHECK, FAILED, "0/2")
    assert (down.event, down.result) == (Event.DOWN, None)
    assert feed(it, A, FAILED) == ()
    assert events(feed(it, A, REFUSED)) == [Event.CHECK]  # another status


def test_only_failures_that_cost_health_are_counted():
    it = roster(server("a"))
    feed(it, A, PASSED, FAILED, FAILED, FAILED, FAILED, FAILED)
    assert it.state(A).failed_checks == 3


def test_a_result_that_says_nothing_about_the_server_changes_no_health():
    ours = CheckResult(False, CheckStatus.SOCKET_ERROR, 0, "Too many open files", counts=False)
    it = roster(server("a"))
    assert feed(it, A, *[ours] * 9) == ()
    assert it.state(A).status_text == "UP 1/3"
    assert it.state(A).failed_checks == 0
    assert it.state(A).check_status is CheckStatus.SOCKET_ERROR


def test_maintenance_kills_and_drain_does_not():
    it = roster(server("a"), server("b"))
    assert orders(it.set_admin(A, DRAIN, 1.0)) == [Publish("b")]
    assert orders(it.set_admin(B, MAINT, 1.0)) == [Publish("b"), KillSessions(B)]


def test_maintenance_of_a_drained_server_kills_though_the_plan_is_the_same():
    it = roster(server("a"), server("b"))
    it.set_admin(A, DRAIN, 1.0)
    assert orders(it.set_admin(A, MAINT, 2.0)) == [KillSessions(A)]


def test_maintenance_of_a_server_that_is_down_does_not_kill_again():
    it = roster(server("a"))
    feed(it, A, FAILED)
    actions = it.set_admin(A, MAINT, 2.0)
    assert (orders(actions), events(actions)) == ([], [Event.MAINT_WHILE_DOWN])
    assert it.state(A).down_transitions == 1


def test_a_drained_server_that_goes_down_is_killed_quietly():
    it = roster(server("a"), server("b"))
    feed(it, A, PASSED)
    it.set_admin(A, DRAIN, 1.0)
    assert it.state(A).status_text == "DRAIN"
    feed(it, A, FAILED)
    assert it.state(A).status_text == "DRAIN 2/3"
    actions = feed(it, A, FAILED, FAILED)
    assert orders(actions) == [KillSessions(A)]
    assert events(actions) == [Event.DOWN, Event.STILL_DRAINING]
    assert it.state(A).status_text == "DOWN"


def test_a_result_that_comes_during_maintenance_is_ignored():
    it = roster(server("a"))
    it.set_admin(A, MAINT, 1.0)
    before = it.state(A)
    assert feed(it, A, FAILED, PASSED) == ()
    assert it.state(A) == before


def test_after_maintenance_a_server_is_up_but_one_failure_from_down():
    it = roster(server("a"))
    feed(it, A, FAILED)
    it.set_admin(A, MAINT, 1.0)
    actions = it.set_admin(A, READY, 2.0)
    assert orders(actions) == [Publish("b")]
    assert it.state(A).status_text == "UP 1/3"
    assert events(feed(it, A, FAILED)) == [Event.DOWN, Event.NO_SERVER]


def test_asking_for_what_is_changes_nothing():
    it = roster(server("a"), server("b", disabled=True))
    assert it.set_admin(A, READY, 1.0) == ()
    assert it.set_admin(B, MAINT, 1.0) == ()


def test_draining_the_last_server_is_an_emergency():
    it = roster(server("a"))
    assert events(it.set_admin(A, DRAIN, 1.0)) == [Event.DRAIN, Event.NO_SERVER]


def test_times_of_change_and_outage():
    it = roster(server("a", rise=1))
    feed(it, A, FAILED, now=10.0)
    assert (it.state(A).changed_at, it.state(A).downtime(13.0)) == (10.0, 3.0)
    feed(it, A, PASSED, now=15.0)
    feed(it, A, FAILED, FAILED, FAILED, now=20.0)
    assert (it.state(A).changed_at, it.state(A).downtime(22.0)) == (20.0, 7.0)
    it.set_admin(A, MAINT, 30.0)
    it.set_admin(A, READY, 31.0)
    assert it.state(A).downtime(99.0) == 16.0


def test_an_unknown_server_is_a_key_error():
    with pytest.raises(KeyError):
        roster(server("a")).weight(("b", "x"))


def test_servers_of_frontends_are_nobodys():
    assert len(roster(server("a"), kind=ProxyKind.FRONTEND)) == 0


def lines(actions):
    return [
        (int(level), text) for level, text in (render(it) for it in actions if isinstance(it, Tell))
    ]


def test_a_story_reads_as_haproxy_told_it():
    """Each line is what HAProxy 2.6.12 printed in this situation."""
    it = roster(
        server("s1", fall=2),
        server("s2", fall=2),
        server("s3", check=False, backup=True),
        server("s4", disabled=True),
        kind=ProxyKind.LISTEN,
    )
    s1, s2, s3 = ("b", "s1"), ("b", "s2"), ("b", "s3")
    told = []
    told += it.check_result(s1, PASSED, 0.0)
    told += it.check_result(s2, PASSED, 0.0)
    told += it.check_result(s1, FAILED, 0.8)
    told += it.check_result(s1, FAILED, 1.2)
    told += it.set_admin(s2, MAINT, 2.7)
    told += it.set_admin(s2, MAINT, 3.0)
    told += it.set_admin(s2, DRAIN, 3.0)
    told += it.set_admin(s2, READY, 3.3)
    told += it.set_admin(s2, DRAIN, 3.6)
    told += it.check_result(s2, FAILED, 4.1)
    told += it.set_admin(s2, READY, 4.3)
    told += it.set_admin(s3, MAINT, 6.0)
    told += it.set_admin(s1, MAINT, 6.0)
    told += it.set_admin(s1, DRAIN, 6.3)
    tail = "0 sessions active, 0 requeued, 0 remaining in queue."
    online = "0 sessions requeued, 0 total in queue."
    assert lines(told) == [
        (
            1,
            "Server b/s1 is DOWN, reason: Layer4 timeout, check duration: 200ms. "
            f"1 active and 1 backup servers left. {tail}",
        ),
        (
            1,
            "Server b/s2 is going DOWN for maintenance. "
            f"0 active and 1 backup servers left. Running on backup. {tail}",
        ),
        (5, "Server b/s2 is UP/DRAIN (leaving forced maintenance)."),
        (5, "Server b/s2 remains in forced drain mode."),
        (5, "Server b/s2 is UP (leaving forced drain)."),
        (
            5,
            "Server b/s2 enters drain state. "
            f"0 active and 1 backup servers online. Running on backup. {online}",
        ),
        (
            5,
            "Server b/s2 is DOWN, reason: Layer4 timeout, check duration: 200ms. "
            f"0 active and 1 backup servers left. Running on backup. {tail}",
        ),
        (5, "Server b/s2 remains in forced drain mode."),
        (5, "Server b/s2 is DOWN (leaving forced drain)."),
        (
            1,
            "Backup Server b/s3 is going DOWN for maintenance. "
            f"0 active and 0 backup servers left. {tail}",
        ),
        (0, "proxy b has no server available!"),
        (5, "Server b/s1 was DOWN and now enters maintenance."),
        (5, "Server b/s1 is UP/DRAIN (leaving forced maintenance)."),
        (5, "Server b/s1 remains in forced drain mode."),
    ]


STEP = st.one_of(st.sampled_from([PASSED, FAILED, REFUSED]), st.sampled_from([READY, DRAIN, MAINT]))


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), STEP), max_size=60))
def test_whatever_happens_the_actions_follow_from_the_states(steps):
    it = roster(server("a"), server("b", rise=1, fall=1), server("c", check=False, backup=True))
    for now, (key, step) in enumerate(steps):
        before, usable = it.state(key), it.usable("b").total
        if isinstance(step, AdminState):
            actions = it.set_admin(key, step, now)
        else:
            actions = it.check_result(key, step, now)
        after = it.state(key)
        assert (Publish("b") in actions) == (after.weight != before.weight)
        served = before.admin is not MAINT and before.is_up
        serves = after.admin is not MAINT and after.is_up
        assert (KillSessions(key) in actions) == (served and not serves)
        assert after.down_transitions - before.down_transitions == (served and not serves)
        gone = bool(usable) and not it.usable("b").total
        assert (Event.NO_SERVER in events(actions)) == gone
        ranks = [(Publish, KillSessions, Tell).index(type(action)) for action in actions]
        assert ranks == sorted(ranks)
        assert it.usable("b").active == sum(it.weight(each) > 0 for each in (A, B))
        assert it.usable("b").backups == (it.weight(C) > 0)
