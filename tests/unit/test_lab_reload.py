"""`lab reload` on paper: what is expected of whom, and what is told."""

from dataclasses import replace

import pytest

from lbsplice.lab.reload_results import ReloadResult, as_object, summary
from lbsplice.lab.reload_scene import (
    ReloadCase,
    ReloadObserved,
    ReloadSettings,
    expected_end,
    judge_reload,
)
from lbsplice.lab.scene import Proxy
from lbsplice.lab.verdict import End, Observed

DOWN = ("UP", "UP 1/2", "DOWN")
ENDED = Observed(
    statuses=DOWN,
    end=End.RESET,
    ended_s=0.76,
    down_s=0.75,
    session_state="DD",
    lines_answered=1,
    bystander_answered=9,
)
HANGS = replace(ENDED, end=End.HANGS, ended_s=None, session_state=None)
LBSPLICE = ReloadObserved(ENDED, (7,), (7,))
HAPROXY = {
    ReloadCase.BEFORE: ReloadObserved(replace(ENDED, end=End.FIN, session_state="D-"), (7,), (7,)),
    ReloadCase.AFTER: ReloadObserved(HANGS, (7,), (7, 9)),
}


def failed(proxy, case, seen):
    settings = ReloadSettings(proxy=proxy)
    return [claim.text for claim in judge_reload(settings, case, seen) if not claim.held]


def with_session(seen, **changes):
    return replace(seen, session=replace(seen.session, **changes))


@pytest.mark.parametrize("case", ReloadCase)
def test_what_is_expected_holds(case):
    assert failed(Proxy.LBSPLICE, case, LBSPLICE) == []
    assert failed(Proxy.HAPROXY, case, HAPROXY[case]) == []


def test_only_haproxy_after_a_reload_leaves_a_session_hanging():
    hanging = [
        (proxy, case)
        for proxy in Proxy
        for case in ReloadCase
        if expected_end(proxy, case) is End.HANGS
    ]
    assert hanging == [(Proxy.HAPROXY, ReloadCase.AFTER)]


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (replace(LBSPLICE, session=HANGS), "told: a reset"),
        (with_session(LBSPLICE, end=End.FIN), "told: a reset"),
        (with_session(LBSPLICE, ended_s=2.5), "follows the mark-down"),
        (with_session(LBSPLICE, session_state="SD"), "logged as DD"),
        (with_session(LBSPLICE, statuses=("UP", "DOWN")), "status goes UP, UP 1/2, DOWN"),
        (with_session(LBSPLICE, bystander_lives=False), "the other server"),
        (with_session(LBSPLICE, wrong_answers=1), "byte for byte"),
        (with_session(LBSPLICE, left_behind=1), "no process behind"),
        (replace(LBSPLICE, workers_after=(7, 9)), "one process has all sessions"),
        (replace(LBSPLICE, workers_after=(9,)), "one process has all sessions"),
    ],
)
def test_what_is_otherwise_is_told(seen, says):
    text = failed(Proxy.LBSPLICE, ReloadCase.AFTER, seen)[0]
    assert says in text


def test_an_haproxy_that_ends_the_session_after_a_reload_is_a_surprise():
    seen = replace(HAPROXY[ReloadCase.BEFORE], workers_after=(7, 9))
    (text,) = failed(Proxy.HAPROXY, ReloadCase.AFTER, seen)
    assert "told nothing" in text


def shown(proxy, seen):
    settings = ReloadSettings(proxy=proxy)
    results = [
        ReloadResult(case, seen[case], judge_reload(settings, case, seen[case]), ())
        for case in ReloadCase
    ]
    return summary(settings, results), as_object(settings, "1", results)


def test_the_moral_of_each_proxy():
    told, _ = shown(Proxy.HAPROXY, HAPROXY)
    assert told.held
    assert told.rows[1] == ("after-reload", "7 and 9", ", ".join(DOWN), "hangs", "-", "yes")
    assert "checks no more: the hang is back" in told.moral
    told, _ = shown(Proxy.LBSPLICE, dict.fromkeys(ReloadCase, LBSPLICE))
    assert "it is reset as before" in told.moral
    assert told.rows[1][-2:] == ("10 ms", "yes")


def test_programs_get_the_processes_and_the_times():
    _, told = shown(Proxy.HAPROXY, HAPROXY)
    case = told["cases"][1]
    assert (case["workers_before"], case["workers_after"]) == ([7], [7, 9])
    assert (case["end"], case["down_after_fault_ms"]) == ("hangs", 750.0)
    assert case["end_after_fault_ms"] is None
