"""The statistics page over HTTP: who may see and change what, and what the answers are."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lbsplice.terms import AdminState
from tests.scenario.test_stats_http_events import read_until, stream
from tests.support.admin import backend_view, frontend_view, small_view
from tests.support.stats_page import DEADLINE_S, Answer, ServedPage, page_of, stats_page
from tests.support.waiting import wait_until

URI = "/stats"
ADMIN = (f"stats uri {URI}", "stats admin if LOCALHOST")
DRAIN = {"s": "s1", "b": "l", "action": "drain"}


@pytest.fixture
def page() -> Iterator[ServedPage]:
    lines = (*ADMIN, "http-request use-service prometheus-exporter if { path /metrics }")
    with page_of(small_view(), *lines) as served:
        yield served


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# ---- what is served ----


def test_the_page_brings_its_own_scripts_and_nothing_from_elsewhere(page: ServedPage) -> None:
    answer = page.get(URI)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert f'src="{URI};page.js"' in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    for name, kind in (
        ("page.js", "javascript"),
        ("actions.js", "javascript"),
        ("page.css", "css"),
    ):
        part = page.get(f"{URI};{name}")
        assert part.status == 200
        assert kind in part.headers["Content-Type"]
        assert len(part.body) > 1000


def test_every_answer_is_fenced_in(page: ServedPage) -> None:
    for target in (URI, f"{URI};csv", f"{URI};page.js", "/nothing", "/metrics"):
        headers = page.get(target).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\r\n\r\n",
        b"GET /stats HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /stats HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so_and_learns_nothing(page: ServedPage, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", page.port), timeout=DEADLINE_S) as client:
        client.sendall(sent)
        head = read_until(client, b"\r\n\r\n")
    assert b" 400 " in head
    assert b"\r\nServer: lbsplice\r\n" in head
    assert b"nosniff" in head


def test_csv_json_and_typed_are_those_of_show_stat(page: ServedPage) -> None:
    csv = page.get(f"{URI};csv")
    assert csv.headers["Content-Type"].startswith("text/plain")
    lines = csv.text.splitlines()
    assert lines[0].startswith("# pxname,svname,")
    assert [line.split(",")[:2] for line in lines[1:4]] == [
        ["l", "FRONTEND"], ["l", "s1"], ["l", "s2"],
    ]  # fmt: skip
    assert json.loads(page.get(f"{URI};json").text)[0][0]["value"]["value"] == "l"
    assert ".pxname." in page.get(f"{URI};typed").text


def test_old_clients_and_askers_for_heads_are_answered(page: ServedPage) -> None:
    client = stream(page, f"{URI};csv")  # HTTP/1.0
    with contextlib.closing(client), client.makefile("rb") as answer:
        head, _, body = answer.read().partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert body.startswith(b"# pxname")
    for target in (URI, f"{URI};csv", "/metrics"):
        answered = page.get(target, "HEAD")
        assert (answered.status, answered.body) == (200, b"")
    assert page.get(URI, "DELETE").status == 405


def test_figures_of_many_servers_come_whole() -> None:
    big = small_view(backends={"l": backend_view("l", 2, [f"s{n}" for n in range(2000)])})
    with page_of(big, f"stats uri {URI}") as page:
        lines = page.get(f"{URI};csv").text.splitlines()
        assert len([line for line in lines if line.startswith("l,s")]) == 2000
        assert len(json.loads(page.get(f"{URI};json").text)) == len(lines) - 1


def test_addresses_are_shown_where_the_configuration_says_so() -> None:
    with page_of(small_view(), f"stats uri {URI}") as page:
        assert "127.0.0.1:8001" not in page.get(f"{URI};csv").text
    with page_of(small_view(), f"stats uri {URI}", "stats show-legends") as page:
        assert "127.0.0.1:8001" in page.get(f"{URI};csv").text


def test_refresh_is_told_to_readers_of_figures_and_norefresh_takes_it_back() -> None:
    with page_of(small_view(), f"stats uri {URI}", "stats refresh 5s") as page:
        assert page.get(f"{URI};csv").headers["Refresh"] == "5"
        assert "Refresh" not in page.get(f"{URI};csv;norefresh").headers
        assert "&quot;frozen&quot;: true" in page.get(f"{URI};norefresh").text


def test_the_usual_address_is_haproxys() -> None:
    with page_of(small_view(), "stats enable") as page:
        assert page.get("/haproxy?stats").status == 200
        assert page.get("/haproxy?stats;csv").text.startswith("# pxname")
        assert page.get("/haproxy").status == 404


def test_what_begins_with_the_address_is_the_page(page: ServedPage) -> None:
    assert page.get(f"{URI}/;csv").text.startswith("# pxname")
    assert page.get("/").status == 404


def test_where_the_page_is_is_not_told_to_who_asks_elsewhere(page: ServedPage) -> None:
    answer = page.get("/")
    assert answer.status == 404
    assert URI not in answer.text


def test_scope_hides_the_other_proxies() -> None:
    with page_of(small_view(), f"stats uri {URI}", "stats scope b") as page:
        names = {line.split(",")[0] for line in page.get(f"{URI};csv").text.splitlines()[1:]}
        assert names == {"b"}


def test_version_node_and_description_are_shown_as_said() -> None:
    odd = "stats show-desc a<b>&c"
    with page_of(
        small_view(), f"stats uri {URI}", odd, "stats show-node", "stats hide-version"
    ) as page:
        text = page.get(URI).text
        assert "a&lt;b&gt;&amp;c" in text
        assert "<b>lb1</b>" in text
        assert "<small></small>" in text
    with page_of(small_view(), f"stats uri {URI}", "stats show-desc {{settings}}") as page:
        assert "<span>{{settings}}</span>" in page.get(URI).text


def test_metrics_are_served_where_the_condition_holds(page: ServedPage) -> None:
    answer = page.get("/metrics?scope=server&proxy=b")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'haproxy_server_status{proxy="b",server="s1",state="UP"} 1\n' in answer.text
    assert "haproxy_process" not in answer.text
    assert page.get("/metrics?scope=bogus").status == 400
    assert page.get("/metricsandmore").status == 404


def test_metrics_can_be_for_some_networks_alone() -> None:
    line = "http-request use-service prometheus-exporter if { path /metrics } { src 10.0.0.0/8 }"
    with page_of(small_view(), line) as page:
        assert page.get("/metrics").status == 404
        assert page.get("/haproxy?stats").status == 404  # no stats line: no page


# ---- who may see it ----


def test_without_the_password_nothing_is_shown() -> None:
    with page_of(small_view(), *ADMIN, "stats auth joe:open:sesame", "stats realm lb") as page:
        for target in (URI, f"{URI};csv", f"{URI};events", f"{URI};page.js", f"{URI};token"):
            answer = page.get(target)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith('Basic realm="lb"')
            assert b"s1" not in answer.body
        for wrong in ("Basic !", "Bearer x", "Basic", basic("joe", "open"), basic("", "")):
            assert page.get(URI, Authorization=wrong).status == 401
        assert page.get(URI, Authorization=basic("joe", "open:sesame")).status == 200


# ---- who may change what ----


def test_haproxys_form_is_obeyed_with_the_token(page: ServedPage) -> None:
    answer = page.post(URI, DRAIN, X_Token=page.token(URI))
    assert (answer.status, answer.headers["Location"]) == (303, f"{URI};st=DONE")
    [(what, key, state, asker)] = page.control.asked
    assert (what, key, state) == ("set_admin", ("l", "s1"), AdminState.DRAIN)
    assert "127.0.0.1" in asker


def test_the_token_may_stand_in_the_form_and_the_backend_may_be_a_number(page: ServedPage) -> None:
    form = {**DRAIN, "b": "#4", "action": "maint", "token": page.token(URI)}
    assert page.post(URI, form).headers["Location"] == f"{URI};st=DONE"
    assert page.control.asked[0][1:3] == (("b", "s1"), AdminState.MAINT)


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("ready", ("set_admin", ("l", "s1"), AdminState.READY)),
        ("hrunn", ("set_health", ("l", "s1"), True)),
        ("hnolb", ("set_health", ("l", "s1"), None)),
        ("hdown", ("set_health", ("l", "s1"), False)),
        ("dhlth", ("set_checks", ("l", "s1"), False)),
        ("ehlth", ("set_checks", ("l", "s1"), True)),
        ("shutdown", ("kill_server_sessions", ("l", "s1"))),
    ],
)
def test_each_action_does_what_haproxys_does(
    page: ServedPage, action: str, asked: tuple[object, ...]
) -> None:
    page.post(URI, {**DRAIN, "action": action}, X_Token=page.token(URI))
    assert page.control.asked[0][: len(asked)] == asked


@pytest.mark.parametrize(
    ("form", "outcome"),
    [
        ({}, "NONE"),
        ({"s": "s1", "b": "l"}, "NONE"),
        ({**DRAIN, "action": "agent"}, "ERRP"),
        ({**DRAIN, "action": "dagent"}, "NONE"),
        ({**DRAIN, "b": "nobody"}, "ERRP"),
        ({**DRAIN, "s": "nobody"}, "ERRP"),
    ],
)
def test_a_form_without_sense_changes_nothing(
    page: ServedPage, form: dict[str, str], outcome: str
) -> None:
    answer = page.post(URI, form, X_Token=page.token(URI))
    assert answer.headers["Location"] == f"{URI};st={outcome}"
    assert page.control.asked == []


def test_a_refusal_is_told(page: ServedPage) -> None:
    page.control.refuses["set_admin"] = "Not now."
    answer = page.post(URI, DRAIN, X_Token=page.token(URI), Accept="application/json")
    assert json.loads(answer.text) == {"status": "ERRP", "text": "l/s1: Not now."}


def refused(page: ServedPage, answer: Answer) -> bool:
    return answer.status == 403 and page.control.asked == []


def test_no_change_without_the_token(page: ServedPage) -> None:
    assert refused(page, page.post(URI, DRAIN))
    assert refused(page, page.post(URI, DRAIN, X_Token="0" * 64))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},  # a name of theirs that leads to our address
    ],
)
def test_no_change_for_another_sites_page(page: ServedPage, headers: dict[str, str]) -> None:
    assert refused(page, page.post(URI, DRAIN, X_Token=page.token(URI), **headers))


def test_the_pages_own_requests_are_taken(page: ServedPage) -> None:
    own = {"Origin": page.url, "Sec_Fetch_Site": "same-origin", "X_Token": page.token(URI)}
    assert page.post(URI, DRAIN, **own).status == 303


def test_any_name_will_do_with_a_password() -> None:
    with page_of(small_view(), *ADMIN, "stats auth joe:x") as page:
        who = {"Authorization": basic("joe", "x")}
        named = {**who, "X_Token": page.token(URI, **who), "Host": "lb.example"}
        assert page.post(URI, DRAIN, **named).status == 303
        assert "joe" in page.control.asked[0][-1]


def test_a_token_is_for_one_user() -> None:
    with page_of(small_view(), *ADMIN, "stats auth joe:x", "stats auth ann:y") as page:
        joe, ann = {"Authorization": basic("joe", "x")}, {"Authorization": basic("ann", "y")}
        assert refused(page, page.post(URI, DRAIN, X_Token=page.token(URI, **joe), **ann))


@pytest.mark.parametrize(
    "lines",
    [(), ("stats admin if FALSE",), ("stats admin unless LOCALHOST",),
     ("stats admin if { src 10.0.0.0/8 }",)],
)  # fmt: skip
def test_without_stats_admin_nobody_is_one(lines: tuple[str, ...]) -> None:
    with page_of(small_view(), f"stats uri {URI}", *lines) as page:
        assert page.get(f"{URI};token").status == 403
        assert refused(page, page.post(URI, DRAIN, X_Token=""))


def test_the_scope_is_what_can_be_changed() -> None:
    with page_of(small_view(), *ADMIN, "stats scope b") as page:
        answer = page.post(URI, DRAIN, X_Token=page.token(URI))
        assert answer.headers["Location"].endswith("st=ERRP")
        assert page.control.asked == []


# ---- a reload ----


def test_a_reload_changes_the_page_and_keeps_its_socket(page: ServedPage) -> None:
    assert page.server is not None
    page.pages = (stats_page("stats uri /other"),)
    page.run(page.server.replace({("stats", 0): page.listener}))
    assert page.get("/other").status == 200
    assert page.get(URI).status == 404


def test_a_page_that_went_listens_no_more(page: ServedPage) -> None:
    assert page.server is not None
    with socket.create_connection(("127.0.0.1", page.port), timeout=DEADLINE_S) as client:
        wait_until(lambda: page.server.counts["stats"].now == 1, "it is in", DEADLINE_S)  # type: ignore[union-attr]
        page.pages = ()
        page.run(page.server.replace({}))
        assert client.recv(1) == b""


def test_its_own_frontend_is_a_row_like_others() -> None:
    view = small_view()
    view = replace(
        view,
        proxies=(*view.proxies, "stats"),
        frontends={**view.frontends, "stats": frontend_view("stats", 5, mode="http")},
    )
    with page_of(view, f"stats uri {URI}") as page:
        assert "\nstats,FRONTEND," in page.get(f"{URI};csv").text
