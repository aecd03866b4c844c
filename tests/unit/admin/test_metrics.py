"""The metrics: HAProxy's names and labels, read by Prometheus's own parser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from time import thread_time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lbsplice.admin.metrics import Exposition, Query, QueryError
from lbsplice.admin.metrics_table import all_names
from lbsplice.admin.view import Flow, ListenerView, View
from lbsplice.terms import AdminState, CheckStatus
from tests.support.admin import backend_view, many_servers, server_view, small_view

DOCS = Path(__file__).parents[3] / "docs"
Sample = tuple[str, frozenset[tuple[str, str]]]

# What FEATURES A.17 lists, as its names are spelled out.
PROCESS = """build_info nbthread max_fds max_sockets max_connections hard_max_connections
current_connections connections_total max_pipes pipes_used_total pipes_free_total
current_connection_rate limit_connection_rate max_connection_rate current_session_rate
limit_session_rate max_session_rate current_tasks current_run_queue idle_time_percent stopping
jobs unstoppable_jobs listeners active_peers connected_peers dropped_logs_total
busy_polling_enabled failed_resolutions bytes_out_total spliced_bytes_out_total bytes_out_rate
uptime_seconds start_time_seconds node description"""
FRONTEND = """status current_sessions max_sessions limit_sessions sessions_total
limit_session_rate max_session_rate connections_total connections_rate_max bytes_in_total
bytes_out_total requests_denied_total request_errors_total denied_connections_total
denied_sessions_total intercepted_requests_total internal_errors_total"""
LISTENER = """status current_sessions max_sessions limit_sessions sessions_total bytes_in_total
bytes_out_total requests_denied_total request_errors_total denied_connections_total
denied_sessions_total internal_errors_total"""
BOTH = """status current_queue max_queue current_sessions max_sessions limit_sessions
sessions_total max_session_rate last_session_seconds connection_attempts_total bytes_in_total
bytes_out_total queue_time_average_seconds connect_time_average_seconds
response_time_average_seconds total_time_average_seconds max_queue_time_seconds
max_connect_time_seconds max_response_time_seconds max_total_time_seconds
connection_errors_total response_errors_total retry_warnings_total redispatch_warnings_total
client_aborts_total server_aborts_total weight uweight check_up_down_total
check_last_change_seconds downtime_seconds_total loadbalanced_total internal_errors_total"""
BACKEND = f"{BOTH} active_servers backup_servers agg_server_status agg_check_status"
SERVER = f"""{BOTH} active backup current_throttle queue_limit check_status check_code
check_duration_seconds check_failures_total used_connections_current"""


def scrape(view: View, query: str = "") -> dict[Sample, float]:
    """Name and labels of each sample, with its value; each sample stands once."""
    parameters = [tuple(each.partition("=")[::2]) for each in query.split("&") if each]
    text = Exposition().text(view, "9.9", "3.2.0", Query.of(parameters)).decode()
    found: dict[Sample, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


def names(found: dict[Sample, float]) -> set[str]:
    return {name for name, _ in found}


def view_with_all() -> View:
    listener = ListenerView("f", 3, 1, "sock-1", "127.0.0.1:80", "OPEN", Flow(1, 2, 3))
    view = small_view(listeners=(listener,))
    return replace(view, process=replace(view.process, kills={"D": 7, "K": 1}))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("process", PROCESS),
        ("frontend", FRONTEND),
        ("listener", LISTENER),
        ("backend", BACKEND),
        ("server", SERVER),
    ],
)
def test_the_exporters_names_are_there(kind: str, words: str) -> None:
    missing = {f"haproxy_{kind}_{word}" for word in words.split()} - names(scrape(view_with_all()))
    assert not missing


def test_every_family_of_the_table_is_served_and_nothing_else() -> None:
    assert names(scrape(view_with_all())) == set(all_names())


def test_figures_stand_at_their_names() -> None:
    server = server_view(("b", "s"), downs=3, killed=11, check_duration_ms=1500)
    view = small_view(backends={"b": replace(backend_view("b"), servers=(server,))})
    found = scrape(view)
    own = labels(proxy="b", server="s")
    assert found["haproxy_server_sessions_total", own] == 5
    assert found["haproxy_server_check_up_down_total", own] == 3
    assert found["lbsplice_server_killed_sessions_total", own] == 11
    assert found["haproxy_server_check_duration_seconds", own] == 1.5
    assert found["haproxy_server_max_connect_time_seconds", own] == 0.004
    assert found["haproxy_process_uptime_seconds", labels()] == 3725
    assert found["haproxy_process_build_info", labels(version="3.2.0")] == 1
    assert found["lbsplice_build_info", labels(version="9.9")] == 1


def test_own_ones_tell_of_kills_by_cause() -> None:
    found = scrape(view_with_all())
    assert found["lbsplice_sessions_killed_total", labels(cause="D")] == 7


@pytest.mark.parametrize(
    ("word", "changes", "state"),
    [
        ("UP", {}, "UP"),
        ("DOWN", {"is_up": False}, "DOWN"),
        ("MAINT", {"admin": AdminState.MAINT}, "MAINT"),
        ("MAINT (via b/x)", {"admin": AdminState.MAINT}, "MAINT"),
        ("DRAIN", {"admin": AdminState.DRAIN}, "DRAIN"),
        ("NOLB", {}, "NOLB"),
        ("no check", {"checked": False}, "UP"),
    ],
)
def test_a_server_has_one_state(word: str, changes: dict[str, object], state: str) -> None:
    server = server_view(("b", "s"), status=word, word=word, **changes)
    view = small_view(backends={"b": replace(backend_view("b"), servers=(server,))})
    found = scrape(view)
    states = ("DOWN", "UP", "MAINT", "DRAIN", "NOLB")
    values = {
        each: found["haproxy_server_status", labels(proxy="b", server="s", state=each)]
        for each in states
    }
    assert values == {each: float(each == state) for each in states}
    assert found["haproxy_backend_agg_server_status", labels(proxy="b", state=state)] == 1


def test_the_last_check_is_one_of_its_states() -> None:
    server = server_view(("b", "s"), check_status=CheckStatus.L4_TIMEOUT)
    view = small_view(backends={"b": replace(backend_view("b"), servers=(server,))})
    found = scrape(view, "scope=server")
    ones = [
        dict(own)["state"]
        for (name, own), value in found.items()
        if name == "haproxy_server_check_status" and value == 1
    ]
    assert ones == ["L4TOUT"]


def test_servers_without_checks_have_no_check_metrics() -> None:
    server = server_view(("b", "s"), checked=False)
    view = small_view(backends={"b": replace(backend_view("b"), servers=(server,))})
    assert "haproxy_server_check_code" not in names(scrape(view))


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("scope=frontend", {"haproxy_frontend"}),
        ("scope=server&scope=backend", {"haproxy_server", "haproxy_backend", "lbsplice_server"}),
        ("scope=global", {"haproxy_process", "lbsplice"}),
        ("scope=sticktable", set()),
        ("scope=", set()),
    ],
)
def test_scope_chooses_kinds(query: str, kinds: set[str]) -> None:
    found = {
        re.match(r"haproxy_(?:process|frontend|backend|server)|lbsplice_server|lbsplice", n)[0]  # type: ignore[index]
        for n in names(scrape(view_with_all(), query))
    }
    assert found == kinds


def test_all_scopes_are_everything() -> None:
    exposition, view = Exposition(), view_with_all()
    every = exposition.text(view, "1", "3.2.0", Query.of([("scope", "*")]))
    assert every == exposition.text(view, "1", "3.2.0")


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(QueryError, match="bogus"):
        Query.of([("scope", "bogus")])


def test_proxy_and_server_choose_rows() -> None:
    found = scrape(view_with_all(), "scope=server&proxy=l&server=s2")
    assert {own - labels(state="x") for _, own in found if ("server", "s2") not in own} == set()
    assert all(("proxy", "l") in own for _, own in found)


def test_metrics_chooses_and_leaves_out() -> None:
    only = scrape(view_with_all(), "metrics=haproxy_server_weight,haproxy_process_nbthread")
    assert names(only) == {"haproxy_server_weight", "haproxy_process_nbthread"}
    without = scrape(view_with_all(), "metrics=-haproxy_server_weight")
    assert names(scrape(view_with_all())) - names(without) == {"haproxy_server_weight"}


def test_no_maint_leaves_out_servers_in_maintenance() -> None:
    servers = (
        server_view(("b", "on")),
        server_view(("b", "off"), 2, word="MAINT", status="MAINT", admin=AdminState.MAINT),
    )
    view = small_view(backends={"b": replace(backend_view("b"), servers=servers)})
    found = scrape(view, "scope=server&no-maint")
    assert {dict(own)["server"] for _, own in found} == {"on"}


def test_odd_words_are_escaped() -> None:
    view = small_view()
    odd = 'a "quoted" 100% \\ thing'
    view = replace(view, process=replace(view.process, description=odd))
    assert scrape(view)["haproxy_process_description", labels(desc=odd)] == 1


def test_what_is_kept_from_the_scrape_before_is_never_stale() -> None:
    exposition = Exposition()
    views = [small_view(), many_servers(2, 3), small_view(), many_servers(2, 2)]
    for number, view in enumerate(views * 2):
        backends = {
            name: replace(
                backend,
                servers=tuple(replace(s, bytes_in=number, weight=number) for s in backend.servers),
            )
            for name, backend in view.backends.items()
        }
        changed = replace(view, backends=backends)
        assert exposition.text(changed, "1", "3.2.0") == Exposition().text(changed, "1", "3.2.0")


def test_a_scrape_of_1000_servers_is_cheap() -> None:
    """A quarter of a core at ten a second is 25 ms each; it takes about 5 of CPU time, and
    the best of many tries is free of what else the machine does."""
    exposition = Exposition()
    view = many_servers(10, 100)
    exposition.text(view, "1", "3.2.0")
    taken = []
    for number in range(15):
        backends = {
            name: replace(b, servers=tuple(replace(s, bytes_in=number) for s in b.servers))
            for name, b in view.backends.items()
        }
        changed = replace(view, backends=backends)
        start = thread_time()
        exposition.text(changed, "1", "3.2.0")
        taken.append(thread_time() - start)
    assert min(taken) < 0.025


# ---- what is written about them ----


def test_the_page_about_metrics_lists_them_all() -> None:
    listed = set(
        re.findall(r"^\| `((?:haproxy|lbsplice)_\w+)`", (DOCS / "metrics.md").read_text(), re.M)
    )
    assert listed == set(all_names())


def used_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:haproxy|lbsplice)_[a-z]\w+", text))


def test_alerts_use_metrics_that_there_are() -> None:
    text = (DOCS / "alerts.yml").read_text()
    expressions = " ".join(re.findall(r"expr: (.*(?:\n {10,}.*)*)", text))
    assert used_in(expressions)
    assert used_in(expressions) <= set(all_names())


def test_the_dashboard_uses_metrics_that_there_are() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    expressions = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    assert expressions
    assert used_in(" ".join(expressions)) <= set(all_names())
    assert all(used_in(expression) for expression in expressions)
