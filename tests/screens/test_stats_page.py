"""The statistics page in a real browser, before figures that the test sets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lbsplice.admin.view import Flow, ServerView, Transition
from lbsplice.terms import AdminState
from tests.screens.browser import PATIENCE_S, Browser, Keys, browser
from tests.support.admin import small_view
from tests.support.stats_page import ServedPage, page_of
from tests.support.waiting import wait_until

LINES = ("stats uri /stats", "stats refresh 200ms", "stats admin if LOCALHOST")
S1 = ("l", "s1")


@pytest.fixture
def page() -> Iterator[ServedPage]:
    with page_of(small_view(), *LINES) as served:
        yield served


def change(page: ServedPage, key: tuple[str, str], **changes: object) -> None:
    """The server is another one from now on."""
    view = page.control.shown
    backend = view.backends[key[0]]

    def changed(server: ServerView) -> ServerView:
        return replace(server, **changes) if server.key == key else server  # type: ignore[arg-type]

    servers = tuple(map(changed, backend.servers))
    backends = {**view.backends, key[0]: replace(backend, servers=servers)}
    page.control.shown = replace(view, backends=backends)


def asked(page: ServedPage, count: int = 1) -> list[tuple[object, ...]]:
    """What was asked of the control, without who asked."""
    wait_until(lambda: len(page.control.asked) >= count, "something is asked", PATIENCE_S)
    return [each[:-1] for each in page.control.asked]


def focuses(chrome: Browser, name: str) -> None:
    """Walk to a server by keyboard."""
    for _ in range(10):
        chrome.presses("j")
        if chrome.runs(f"document.activeElement.matches('{chrome.server(name)}')"):
            return
    raise AssertionError(f"{name} is not reached")


def test_a_state_changes_before_ones_eyes_without_a_reload(
    page: ServedPage, chrome: Browser
) -> None:
    chrome.opens(f"{page.url}/stats").sees_state("l/s1", "UP")
    chrome.driver.execute_script("window.same = true")
    change(page, S1, status="DOWN", word="DOWN", is_up=False)
    chrome.sees_state("l/s1", "DOWN")
    chrome.sees("#sum-servers", "2 / 3")
    assert chrome.runs("window.same") is True
    assert chrome.complaints() == []


def test_the_timeline_tells_what_a_change_ended(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    assert chrome.runs("document.getElementById('quiet').hidden") is False
    passed = Transition(time.time(), S1, "UP", "DOWN", "Layer4 timeout", 41)
    page.control.shown = replace(page.control.shown, transitions=(passed,))
    chrome.sees("#timeline li", "41 sessions ended")
    chrome.sees("#timeline li", "l/s1")


def test_sessions_and_rates_have_lines(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    for now in (3, 9, 4):
        change(page, S1, sessions=Flow(now=now, max=9, total=20), bytes_out=now * 10_000)
        chrome.sees(f"{chrome.server('l/s1')} .load", str(now))
    points = chrome.driver.execute_script(
        "return document.querySelector(arguments[0]).getAttribute('points')",
        f"{chrome.server('l/s1')} .load polyline",
    )
    assert len(points.split()) >= 3
    assert len({point.split(",")[1] for point in points.split()}) >= 3


def test_drain_by_click(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    chrome.clicks(f"{chrome.server('l/s1')} .more")
    chrome.clicks("#ask[open] button[value=drain]")
    assert asked(page) == [("set_admin", S1, AdminState.DRAIN)]
    chrome.sees("#said", "Drain: l/s1")


def test_drain_by_keyboard_alone(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    focuses(chrome, "l/s2")
    chrome.presses("d")
    assert asked(page) == [("set_admin", ("l", "s2"), AdminState.DRAIN)]


def test_what_ends_sessions_is_asked_about_first(page: ServedPage, chrome: Browser) -> None:
    change(page, S1, sessions=Flow(now=7, max=9, total=20))
    chrome.opens(f"{page.url}/stats")
    focuses(chrome, "l/s1")
    chrome.presses("m")
    chrome.sees("#ask[open]", "7 open sessions")
    chrome.presses(Keys.ESCAPE)
    wait_until(lambda: not chrome.all("dialog[open]"), "the question is gone", PATIENCE_S)
    assert page.control.asked == []
    chrome.presses("K")
    chrome.clicks("#ask[open] button[value=yes]")
    wait_until(lambda: page.control.asked, "it is asked", PATIENCE_S)
    assert page.control.asked[0][:2] == ("kill_server_sessions", S1)


def test_several_servers_at_once(page: ServedPage, chrome: Browser) -> None:
    chrome.opens(f"{page.url}/stats")
    for name in ("l/s1", "b/s1"):
        chrome.clicks(f"{chrome.server(name)} .pick input")
    chrome.sees("#bar", "2 selected")
    chrome.clicks("#bar button[value=drain]")
    assert set(asked(page, 2)) == {
        ("set_admin", S1, AdminState.DRAIN),
        ("set_admin", ("b", "s1"), AdminState.DRAIN),
    }


def test_a_refusal_is_shown(page: ServedPage, chrome: Browser) -> None:
    page.control.refuses["set_admin"] = "Not now."
    chrome.opens(f"{page.url}/stats")
    focuses(chrome, "l/s1")
    chrome.presses("r")
    chrome.sees("#said", "Not done: l/s1: Not now.")


def test_who_is_no_admin_has_no_buttons(chrome: Browser) -> None:
    with page_of(small_view(), "stats uri /stats", "stats refresh 200ms") as page:
        chrome.opens(f"{page.url}/stats")
        assert not [each for each in chrome.all(".more, .pick input") if each.is_displayed()]
        focuses(chrome, "l/s1")
        chrome.presses("d")
        chrome.presses("/")
        chrome.presses("s2")  # the keys before this one have been handled
        wait_until(lambda: len(visible(chrome)) == 1, "the filter holds", PATIENCE_S)
        assert page.control.asked == []


def visible(chrome: Browser) -> list[str]:
    return [
        each.get_attribute("data-key") for each in chrome.all("tr.server") if each.is_displayed()
    ]


def test_filter_and_only_trouble(page: ServedPage, chrome: Browser) -> None:
    change(page, ("b", "s1"), status="DOWN", word="DOWN", is_up=False)
    chrome.opens(f"{page.url}/stats")
    chrome.presses("e")
    wait_until(lambda: visible(chrome) == ["S/b/s1"], "only the one that is down", PATIENCE_S)
    chrome.presses(Keys.ESCAPE)
    wait_until(lambda: len(visible(chrome)) == 3, "all again", PATIENCE_S)
    chrome.presses("/")
    chrome.presses("l/s")
    wait_until(lambda: visible(chrome) == ["S/l/s1", "S/l/s2"], "those of l", PATIENCE_S)


def test_words_of_a_server_are_text_and_no_markup(page: ServedPage, chrome: Browser) -> None:
    change(page, S1, check_text="<img src=x onerror=alert(1)><b>bold</b>")
    chrome.opens(f"{page.url}/stats")
    chrome.sees(f"{chrome.server('l/s1')} .check", "<b>bold</b>")
    assert chrome.all(f"{chrome.server('l/s1')} .check *") == []


def test_a_lost_connection_is_told_and_mended(page: ServedPage, chrome: Browser) -> None:
    assert page.server is not None
    chrome.opens(f"{page.url}/stats")
    page.run(page.server.replace({}))
    chrome.sees("#live", "connection lost")
    page.run(page.server.start({("stats", 0): page.listener}))
    chrome.sees("#live", "live")


def test_norefresh_stays_as_it_is(page: ServedPage, chrome: Browser) -> None:
    chrome.driver.get(f"{page.url}/stats;norefresh")
    chrome.sees("#live", "as of")
    chrome.sees_state("l/s1", "UP")
    assert page.server is not None
    counts = page.server.counts["stats"]
    requests = counts.requests
    change(page, S1, status="DOWN", word="DOWN", is_up=False)
    page.get("/stats;csv")
    assert counts.requests == requests + 1
    assert chrome.text(f"{chrome.server('l/s1')} .state") == "UP"


def test_a_telephone_needs_no_sideways_scrolling(page: ServedPage) -> None:
    with browser(360, 740) as chrome:
        chrome.opens(f"{page.url}/stats")
        chrome.sees_state("l/s1", "UP")
        assert chrome.runs("document.documentElement.scrollWidth") <= 360
        boxes = chrome.runs(
            "[...document.querySelectorAll('tr.server .more')].map((e) => {"
            "const b = e.getBoundingClientRect(); return [b.right, b.width, b.height]})"
        )
        assert boxes
        assert all(right <= 360 and width >= 44 and height >= 44 for right, width, height in boxes)
        chrome.clicks(f"{chrome.server('l/s2')} .more")
        chrome.clicks("#ask[open] button[value=drain]")
        assert asked(page) == [("set_admin", ("l", "s2"), AdminState.DRAIN)]


BACK = "getComputedStyle(document.body).backgroundColor"
INK = "getComputedStyle(document.body).color"


def brightness(colour: str) -> float:
    red, green, blue = (int(part) for part in colour[4:-1].split(",")[:3])
    return (red * 299 + green * 587 + blue * 114) / 1000


def test_dark_follows_the_system_and_can_be_chosen(page: ServedPage, chrome: Browser) -> None:
    with browser(dark=True) as dark:
        dark.opens(f"{page.url}/stats")
        assert brightness(dark.runs(BACK)) < 60 < 180 < brightness(dark.runs(INK))
    chrome.opens(f"{page.url}/stats")
    assert brightness(chrome.runs(BACK)) > 220
    chrome.clicks("#theme")
    assert chrome.text("#theme") == "Dark"
    assert brightness(chrome.runs(BACK)) < 60
    chrome.opens(f"{page.url}/stats")  # it is kept
    assert brightness(chrome.runs(BACK)) < 60
    chrome.clicks("#theme")
    chrome.clicks("#theme")
    assert chrome.text("#theme") == "Auto"
