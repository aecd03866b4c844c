"""The statistics page before those who are many, slow, or send what makes no sense."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.admin import many_servers, small_view
from tests.support.stats_page import ServedPage, page_of
from tests.support.waiting import wait_until

URI = "/stats"
ADMIN = (f"stats uri {URI}", "stats admin if LOCALHOST")
METRICS = "http-request use-service prometheus-exporter if { path /metrics }"


@pytest.fixture
def page() -> Iterator[ServedPage]:
    with page_of(small_view(), *ADMIN, METRICS) as served:
        yield served


def test_connections_and_requests_are_counted(page: ServedPage) -> None:
    page.get(URI)
    page.get(f"{URI};csv")
    assert page.server is not None
    counts = page.server.counts["stats"]
    assert (counts.total, counts.requests) == (2, 2)
    assert counts.bytes_out > 1000
    wait_until(lambda: counts.now == 0, "nobody is there any more")


def test_no_more_than_maxconn_are_served_at_once() -> None:
    with page_of(small_view(), f"stats uri {URI}", "maxconn 2") as page:
        silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(2)]
        assert page.server is not None
        counts = page.server.counts["stats"]
        wait_until(lambda: counts.now == 2, "two are in")
        with socket.create_connection(("127.0.0.1", page.port), timeout=20) as third:
            assert third.recv(1) == b""
        for each in silent:
            each.close()
        wait_until(lambda: counts.now == 0, "they have left")
        assert page.get(URI).status == 200


def test_who_asks_for_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lbsplice.admin.http_door.FIRST_REQUEST_S", 0.2)
    with page_of(small_view(), f"stats uri {URI}") as page:
        with socket.create_connection(("127.0.0.1", page.port), timeout=20) as client:
            client.sendall(b"GET /stats HTTP/1.1\r\nX: ")
            assert client.recv(1) == b""
        assert page.get(URI).status == 200


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a" * 70_000]
)
def test_garbage_hurts_nobody(page: ServedPage, garbage: bytes) -> None:
    client = socket.create_connection(("127.0.0.1", page.port), timeout=20)
    with client, contextlib.suppress(ConnectionError):
        client.sendall(garbage + b"\r\n\r\n")
        client.recv(65536)
    assert page.get(URI).status == 200


def answer(page: ServedPage, request: bytes) -> bytes:
    """The first line of what comes back."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=20) as client:
        client.sendall(request)
        with client.makefile("rb") as stream:
            return stream.readline()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Token: \xff", b"403"),
        (b"POST /stats HTTP/1.1\r\nHost: \xff\xfe", b"403"),
        (b"POST /stats HTTP/1.1\r\nHost: [::1\r\nOrigin: http://[::1", b"403"),
        (b"POST /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://[", b"403"),
        (b"GET /stats HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \xff", b"200"),
        (b"GET /stats HTTP/1.1", b"400"),
        (b"GET /%ff%zz HTTP/1.1\r\nHost: x", b"404"),
        (b"GET //[ HTTP/1.1\r\nHost: x", b"404"),
        (b"\x16\x03\x01", b"400"),
    ],
)
def test_what_is_no_text_is_refused_without_a_word_in_the_log(
    page: ServedPage, head: bytes, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert answer(page, head + b"\r\nConnection: close\r\n\r\n").split()[1] == status
    assert caplog.records == []


def test_conditions_are_about_what_was_sent_and_not_about_what_it_may_mean(
    page: ServedPage,
) -> None:
    for target, status in (
        (b"/metrics", b"200"),
        (b"/metrics?scope=global", b"200"),
        (b"http://any.name/metrics", b"200"),
        (b"http://any.name/stats", b"200"),
        (b"http://any.name", b"404"),
        (b"/%6detrics", b"404"),
        (b"/x/../metrics", b"404"),
        (b"//metrics", b"404"),
    ):
        request = b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert answer(page, request).split()[1] == status, target


def test_who_asks_for_all_metrics_and_does_not_read_them_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lbsplice.admin.http_stream.PATIENCE_S", 0.3)
    with page_of(many_servers(10, 100), *ADMIN, METRICS) as page, contextlib.ExitStack() as kept:
        for _ in range(20):
            client = kept.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", page.port))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert page.server is not None
        counts = page.server.counts["stats"]
        wait_until(lambda: counts.total == 20, "all have come")
        wait_until(lambda: counts.now == 0, "all are sent away")
        assert page.get("/metrics").text.count("\n") > 60_000


def test_a_form_that_comes_by_drops_is_waited_for_once(
    page: ServedPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbsplice.admin.http.FORM_S", 0.5)
    client = socket.create_connection(("127.0.0.1", page.port), timeout=20)
    with client:
        client.sendall(b"POST /stats HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\n")
        client.settimeout(0.05)
        told = b""
        for _ in range(200):
            client.send(b"x")
            with contextlib.suppress(TimeoutError):
                told = client.recv(100)
                break
        assert told.split()[1] == b"408"


def test_a_form_without_end_is_refused(page: ServedPage) -> None:
    answer = page.post(URI, {"s": "x" * 100_000}, X_Token=page.token(URI))
    assert answer.status == 413
