"""The statistics page before a real lbsplice with real servers, one of which dies."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.screens.browser import PATIENCE_S, Browser
from tests.support.program import Program, Service, program

ACTION = "check inter 500ms fall 4 rise 1 on-marked-down shutdown-sessions"


@pytest.fixture
def lb(tmp_path: Path) -> Iterator[Program]:
    with program(tmp_path) as made:
        yield made


def server(lb: Program) -> Service:
    """A server of which a slow machine's sessions are waited for."""
    made = lb.server()
    made.sessions.socket.settimeout(PATIENCE_S)
    return made


def configuration(lb: Program, *servers: str, page: str = "stats uri /stats") -> str:
    return f"""\
global
 nbthread 1
 log {lb.log} local0
defaults
 log global
 option tcplog
 timeout connect 2s
 timeout client 30s
 timeout server 30s
listen amqp
 bind 127.0.0.1:{lb.port()}
 {f"{chr(10)} ".join(servers)}
listen stats
 mode http
 bind 127.0.0.1:{lb.port("stats")}
 {page}
 stats refresh 200ms
 stats admin if LOCALHOST
 http-request use-service prometheus-exporter if {{ path /metrics }}
"""


def url(lb: Program, target: str) -> str:
    return f"http://127.0.0.1:{lb.port('stats')}{target}"


def fetched(lb: Program, target: str) -> str:
    with urllib.request.urlopen(url(lb, target), timeout=30) as answer:
        return str(answer.read().decode())


def test_a_server_dies_before_ones_eyes_and_its_sessions_are_told_of(
    lb: Program, chrome: Browser
) -> None:
    a, b = server(lb), server(lb)
    lb.start(configuration(lb, f"server a {a} {ACTION}", f"server b {b} {ACTION}"))
    clients = []
    for each in (a, b, a, b, a):  # round robin
        clients.append((lb.session(each)[0], each))
    chrome.opens(url(lb, "/stats"))
    chrome.sees_state("amqp/a", "UP")
    chrome.sees(f"{chrome.server('amqp/a')} .load", "3")
    chrome.driver.execute_script("window.same = true")
    a.dies()
    chrome.sees_state("amqp/a", "DOWN")
    chrome.sees("#timeline li", "amqp/a")
    chrome.sees("#timeline li", "3 sessions ended")
    chrome.sees("#sum-killed", "3")
    chrome.sees(f"{chrome.server('amqp/b')} .load", "2")
    a.returns()
    chrome.sees_state("amqp/a", "UP")
    assert chrome.runs("window.same") is True
    assert chrome.complaints() == []
    lb.stops()


def test_drain_by_click_and_ready_by_keyboard(lb: Program, chrome: Browser) -> None:
    a, b = server(lb), server(lb)
    lb.start(configuration(lb, f"server a {a} {ACTION}", f"server b {b} {ACTION}"))
    chrome.opens(url(lb, "/stats"))
    chrome.sees_state("amqp/a", "UP")
    chrome.clicks(f"{chrome.server('amqp/a')} .more")
    chrome.clicks("#ask[open] button[value=drain]")
    chrome.sees_state("amqp/a", "DRAIN")
    for _ in range(3):
        lb.session(b)
    chrome.presses("r")  # the focus is where it was
    chrome.sees_state("amqp/a", "UP")
    lb.stops()


def test_the_page_goes_on_when_the_worker_dies_and_over_a_reload(
    lb: Program, chrome: Browser
) -> None:
    a = server(lb)
    text = configuration(lb, f"server a {a} {ACTION}")
    lb.start(text)
    chrome.opens(url(lb, "/stats"))
    lb.kill_worker()
    chrome.sees("#sum-uptime", "crashed 1")
    chrome.sees("#live", "live")
    with_two = configuration(lb, f"server a {a} {ACTION}", f"server new {server(lb)} {ACTION}")
    (lb.directory / "lb.cfg").write_text(with_two)
    lb.signals(signal.SIGUSR2)
    chrome.sees_state("amqp/new", "UP")
    chrome.clicks(f"{chrome.server('amqp/new')} .more")  # with the new worker's token
    chrome.clicks("#ask[open] button[value=drain]")
    chrome.sees_state("amqp/new", "DRAIN")
    lb.stops()


def test_metrics_and_figures_of_a_running_program(lb: Program) -> None:
    a = server(lb)
    lb.start(configuration(lb, f"server a {a} {ACTION}"))
    lb.session(a)
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(fetched(lb, "/metrics"))
        for sample in family.samples
    }
    own = (("proxy", "amqp"), ("server", "a"))
    assert values[("haproxy_server_current_sessions", *own)] == 1
    assert values[("haproxy_server_status", *own, ("state", "UP"))] == 1
    assert values["haproxy_frontend_status", ("proxy", "stats"), ("state", "UP")] == 1
    rows = [line.split(",")[:2] for line in fetched(lb, "/stats;csv").splitlines()[1:]]
    assert ["amqp", "a"] in rows
    assert ["stats", "FRONTEND"] in rows
    lb.stops()
