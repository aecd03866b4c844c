"""What the statistics page shows of figures and times, and says to who hears it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lbsplice.admin.view import Transition
from tests.screens.browser import PATIENCE_S, Browser
from tests.screens.test_stats_page import LINES, S1, change
from tests.support.admin import backend_view, small_view
from tests.support.stats_page import ServedPage, page_of
from tests.support.waiting import wait_until

DAY_S = 86_400


@pytest.fixture
def page() -> Iterator[ServedPage]:
    with page_of(small_view(), *LINES) as served:
        yield served


def shows(page: ServedPage, *transitions: Transition) -> None:
    page.control.shown = replace(page.control.shown, transitions=transitions)


def test_the_weight_of_a_server_that_is_down_is_the_one_wished_for(
    page: ServedPage, chrome: Browser
) -> None:
    change(page, S1, weight=0, user_weight=42, status="DOWN", word="DOWN", is_up=False)
    chrome.opens(f"{page.url}/stats").sees_state("l/s1", "DOWN")
    assert chrome.text(f"{chrome.server('l/s1')} td:nth-child(8)") == "42"


def test_who_has_the_page_in_the_background_reads_of_trouble_in_its_title(
    page: ServedPage, chrome: Browser
) -> None:
    chrome.opens(f"{page.url}/stats")
    before = chrome.driver.title
    change(page, S1, status="DOWN", word="DOWN", is_up=False)
    wait_until(lambda: chrome.driver.title == f"(1 down) {before}", "the title tells", PATIENCE_S)
    change(page, S1, status="UP", word="UP", is_up=True)
    wait_until(lambda: chrome.driver.title == before, "the title is as it was", PATIENCE_S)


def test_times_have_24_hours_and_a_date_unless_it_is_today(
    page: ServedPage, chrome: Browser
) -> None:
    chrome.opens(f"{page.url}/stats")
    assert chrome.runs("moment(new Date(2031, 1, 3, 17, 4, 5) / 1000)") == "2031-02-03 17:04:05"
    today = "moment(new Date().setHours(0, 7, 9) / 1000)"
    assert chrome.runs(today) == "00:07:09"
    shows(page, Transition(time.time() - 2 * DAY_S, S1, "UP", "DOWN", "Layer4 timeout", 0))
    chrome.sees("#timeline time", "-")


def test_a_line_begins_with_its_third_point(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    made = (
        "(() => { const svg = spark(); draw(svg, %s);"
        " return svg.lastChild.getAttribute('points') })()"
    )
    assert chrome.runs(made % "[1, 2]") is None
    assert len(chrome.runs(made % "[1, 2, 3]").split()) == 3


def test_a_change_of_state_is_said_once_and_what_was_before_is_not(
    page: ServedPage, chrome: Browser
) -> None:
    now = time.time()
    first = Transition(now, S1, "UP", "DOWN", "Layer4 timeout", 41)
    shows(page, first)
    chrome.opens(f"{page.url}/stats").sees("#timeline li", "41 sessions")
    assert chrome.text("#news") == ""
    falling = Transition(now + 1, S1, "UP 3/3", "UP 2/3", "", 0)
    back = Transition(now + 2, S1, "DOWN", "UP", "", 0)
    shows(page, first, falling, back)
    chrome.sees("#news", "l/s1 is UP")
    assert chrome.text("#news") == "l/s1 is UP"
    assert chrome.runs("document.getElementById('news').getAttribute('role')") == "status"
    assert not chrome.all("[aria-live]")


def test_many_changes_at_once_are_said_in_few_words(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    at = time.time()
    many = [Transition(at + n, ("l", f"s{n}"), "UP", "DOWN", "", 0) for n in range(9)]
    back = Transition(at + 9, ("l", "s1"), "DOWN", "UP", "", 0)
    shows(page, Transition(at - 1, S1, "DOWN", "UP", "", 0))
    chrome.sees("#timeline li", "l/s1")
    shows(page, *many, back)
    chrome.sees("#news", "10 changes of state, 9 of them to down")


def test_figures_that_are_old_look_so(page: ServedPage, chrome: Browser) -> None:
    assert page.server is not None
    faint = "Number(getComputedStyle(document.getElementById('proxies')).opacity) < 1"
    chrome.opens(f"{page.url}/stats")
    assert chrome.runs(faint) is False
    page.run(page.server.replace({}))
    wait_until(lambda: chrome.runs(faint), "the figures are faint", PATIENCE_S)
    page.run(page.server.start({("stats", 0): page.listener}))
    chrome.sees("#live", "live")
    assert chrome.runs(faint) is False


def test_of_1000_servers_those_out_of_sight_cost_nothing_and_are_right_when_seen(
    chrome: Browser,
) -> None:
    names = [f"s{number}" for number in range(1000)]
    view = small_view(backends={"l": backend_view("l", 2, names)})
    last = ("l", "s999")
    with page_of(view, *LINES) as page:
        chrome.opens(f"{page.url}/stats").sees_state("l/s999", "UP")
        chrome.driver.execute_script(
            "window.touched = 0; new MutationObserver((seen) => { window.touched += seen.length })"
            ".observe(document.querySelector(arguments[0] + ' .load'), {subtree: true, "
            "childList: true, characterData: true, attributes: true})",
            chrome.server("l/s999"),
        )
        first = chrome.server("l/s0")
        change(page, last, retries=5, user_weight=77)
        change(page, ("l", "s0"), user_weight=78)
        wait_until(
            lambda: chrome.text(f"{first} td:nth-child(8)") == "78", "it is shown", PATIENCE_S
        )
        assert chrome.runs("window.touched") == 0
        assert chrome.text(f"{chrome.server('l/s999')} td:nth-child(8)") == "1"
        change(page, last, status="DOWN", word="DOWN", is_up=False)
        chrome.sees_state("l/s999", "DOWN")  # its state is right all the time
        chrome.presses("k")  # the last one
        wait_until(
            lambda: chrome.text(f"{chrome.server('l/s999')} td:nth-child(8)") == "77",
            "it is shown when it is seen",
            PATIENCE_S,
        )


def test_names_are_not_broken_where_there_is_room(page: ServedPage, chrome: Browser) -> None:
    width = f"document.querySelector('{chrome.server('l/s1')} .name').getBoundingClientRect().width"
    chrome.opens(f"{page.url}/stats")
    assert chrome.runs(width) >= 150
