"""What should happen in the lab, and what the judge says when it does not."""

from dataclasses import replace
from itertools import product

import pytest

from lbsplice.lab.results import CaseResult, as_object, milliseconds, moral, summary_row
from lbsplice.lab.scene import Case, Fault, Happening, Proxy, Settings, Who
from lbsplice.lab.verdict import EXPECTED, End, Observed, When, expectation, judge

LBSPLICE = Settings()
HAPROXY = Settings(proxy=Proxy.HAPROXY)
RESET_AT_DOWN = Observed(
    statuses=("UP", "UP 1/2", "DOWN"),
    end=End.RESET,
    ended_s=0.772,
    down_s=0.771,
    session_state="DD",
    lines_answered=1,
    bystander_answered=9,
)
HANGING = Observed(
    statuses=("UP", "UP 1/2", "DOWN"),
    end=End.HANGS,
    down_s=0.771,
    asked_s=0.772,
    lines_answered=1,
    bystander_answered=30,
)
SURVIVING = Observed(
    statuses=("UP", "UP 1/2", "DOWN", "UP"),
    end=End.GOES_ON,
    down_s=0.771,
    asked_s=0.772,
    lines_answered=3,
    bystander_answered=30,
)


def failed(settings, case, observed):
    return [claim.text for claim in judge(settings, case, observed) if not claim.held]


def test_every_fault_has_an_expectation_for_every_case():
    assert set(EXPECTED) == set(product(Fault, Case))


@pytest.mark.parametrize("fault", [Fault.OUTPUT_DROP, Fault.FAR_DROP, Fault.LINK_DOWN])
def test_a_silent_death_hangs_without_the_action_and_resets_with_it(fault):
    assert expectation(Proxy.LBSPLICE, fault, Case.WITHOUT_ACTION).end is End.HANGS
    cured = expectation(Proxy.LBSPLICE, fault, Case.WITH_ACTION)
    assert (cured.end, cured.after) == (End.RESET, When.DOWN)
    assert expectation(Proxy.LBSPLICE, fault, Case.BACK_IN_TIME).end is End.GOES_ON


def test_a_rejecting_firewall_is_noticed_when_the_client_speaks():
    expected = expectation(Proxy.LBSPLICE, Fault.REJECT, Case.WITHOUT_ACTION)
    assert (expected.end, expected.after) == (End.RESET, When.QUESTION)


@pytest.mark.parametrize("case", list(Case))
def test_a_killed_server_ends_its_sessions_by_itself(case):
    expected = expectation(Proxy.LBSPLICE, Fault.SERVER_KILLED, case)
    assert (expected.end, expected.after) == (End.FIN, When.FAULT)


@pytest.mark.parametrize(("fault", "case"), list(EXPECTED))
def test_haproxy_differs_only_in_saying_fin_for_reset(fault, case):
    ours, theirs = (expectation(proxy, fault, case) for proxy in (Proxy.LBSPLICE, Proxy.HAPROXY))
    assert theirs.after is ours.after
    assert theirs.end is (End.FIN if ours.end is End.RESET else ours.end)


@pytest.mark.parametrize(
    ("case", "observed"),
    [
        (Case.WITHOUT_ACTION, HANGING),
        (Case.WITH_ACTION, RESET_AT_DOWN),
        (Case.BACK_IN_TIME, SURVIVING),
    ],
)
def test_what_should_happen_is_accepted(case, observed):
    assert failed(LBSPLICE, case, observed) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"statuses": ("UP", "DOWN")}, "the server's status goes UP, UP 1/2, DOWN"),
        ({"end": End.FIN}, "the client is told: a reset"),
        ({"end": End.HANGS, "ended_s": None}, "the client is told: a reset"),
        ({"ended_s": 1.9}, "the end follows the mark-down within 1 s"),
        ({"ended_s": 0.4}, "the end follows the mark-down within 1 s"),
        ({"down_s": None}, "the end follows the mark-down within 1 s"),
        ({"session_state": "SD"}, "the session is logged as DD"),
        ({"session_state": None}, "the session is logged as DD"),
        ({"bystander_lives": False}, "the session to the other server notices nothing"),
        ({"bystander_answered": 0}, "the session to the other server notices nothing"),
        ({"left_behind": 1}, "the proxy leaves no process behind"),
        (
            {"wrong_answers": 1},
            "every line that was answered was answered by the same server, byte for byte",
        ),
    ],
)
def test_each_thing_that_goes_wrong_is_named(change, complaint):
    assert complaint in failed(LBSPLICE, Case.WITH_ACTION, replace(RESET_AT_DOWN, **change))


def test_a_session_that_survives_where_it_should_hang_is_named():
    seen = replace(HANGING, end=End.GOES_ON)
    assert failed(LBSPLICE, Case.WITHOUT_ACTION, seen) == ["the client is told nothing for 3 s"]


def test_haproxys_second_letter_is_its_own_affair():
    seen = replace(RESET_AT_DOWN, end=End.FIN, session_state="D-")
    assert failed(HAPROXY, Case.WITH_ACTION, seen) == []
    seen = replace(seen, session_state="SD")
    assert failed(HAPROXY, Case.WITH_ACTION, seen) == ["the session is logged with cause D"]


def result_of(settings, case, observed):
    return CaseResult(case, observed, judge(settings, case, observed), (), ())


def test_the_summary_gives_the_delay_after_the_fault_and_after_down():
    row = summary_row(result_of(LBSPLICE, Case.WITH_ACTION, replace(RESET_AT_DOWN, ended_s=0.781)))
    assert row == (
        "action",
        "UP, UP 1/2, DOWN",
        "reset",
        "781 ms",
        "10 ms",
        "lives",
        "yes",
    )


def test_an_end_long_before_the_mark_down_has_no_delay_after_it():
    row = summary_row(result_of(LBSPLICE, Case.WITH_ACTION, replace(RESET_AT_DOWN, ended_s=0.001)))
    assert row[4] == "-"
    assert row[-1] == "NO"


def test_the_moral_admits_a_failure():
    good = result_of(LBSPLICE, Case.WITH_ACTION, RESET_AT_DOWN)
    bad = result_of(LBSPLICE, Case.WITH_ACTION, replace(RESET_AT_DOWN, end=End.FIN))
    assert "reset" in moral(LBSPLICE, [good])
    assert moral(LBSPLICE, [good, bad]).startswith("Not all")


def test_the_object_for_programs_carries_the_verdict_and_the_timeline():
    result = result_of(LBSPLICE, Case.WITH_ACTION, RESET_AT_DOWN)
    timeline = [Happening(None, Who.CLIENT, "sends line 1"), Happening(0.5, Who.PROXY, "DOWN")]
    told = as_object(LBSPLICE, "lbsplice 1", [result], [timeline])
    assert told["held"] is True
    (case,) = told["cases"]
    assert (case["case"], case["end"], case["end_after_fault_ms"]) == ("with-action", "reset", 772)
    assert [line["since_fault_ms"] for line in case["timeline"]] == [None, 500]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0, "under 1 ms"), (0.0004, "under 1 ms"), (1.5, "1500 ms")],
)
def test_a_span_for_people(seconds, text):
    assert milliseconds(seconds) == text
