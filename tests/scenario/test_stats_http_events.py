"""What a browser that has the statistics page open is told: everything, then what changes."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import replace

from lbsplice.admin.view import View
from tests.support.admin import backend_view, small_view
from tests.support.stats_page import DEADLINE_S, ServedPage, page_of
from tests.support.waiting import wait_until

URI = "/stats"


def events(answer: bytes) -> list[tuple[str, dict[str, object]]]:
    """What a stream of events said, as (name, value)."""
    found = []
    for block in answer.split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in block.splitlines() if b": " in line)
        if b"event" in fields:
            found.append((fields[b"event"].decode(), json.loads(fields[b"data"])))
    return found


@contextlib.contextmanager
def watched(page: ServedPage) -> Iterator[socket.socket]:
    with contextlib.closing(stream(page)) as client:
        yield client


FAST = (f"stats uri {URI}", "stats refresh 200ms")


def stream(page: ServedPage, target: str = f"{URI};events") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", page.port), timeout=DEADLINE_S)
    client.sendall(f"GET {target} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    return client


def read_until(client: socket.socket, sought: bytes, so_far: bytes = b"") -> bytes:
    while sought not in so_far:
        data = client.recv(65536)
        assert data, so_far
        so_far += data
    return so_far


def down(view: View) -> View:
    backend = view.backends["l"]
    first = replace(backend.servers[0], status="DOWN", word="DOWN", is_up=False)
    return replace(
        view,
        backends={**view.backends, "l": replace(backend, servers=(first, *backend.servers[1:]))},
    )


def test_events_tell_everything_once_and_then_what_changes() -> None:
    with page_of(small_view(), *FAST) as page, watched(page) as client:
        got = read_until(client, b"\n\nevent: change")
        page.control.shown = down(page.control.shown)
        got = read_until(client, b'"status":"DOWN"', got)
        got = read_until(client, b"\n\n", got)
    told = events(got[: got.rindex(b"\n\n")])
    assert [name for name, _ in told[:2]] == ["token", "whole"]
    rows = told[1][1]["rows"]
    assert isinstance(rows, dict)
    assert list(rows) == ["F/l", "B/l", "S/l/s1", "S/l/s2", "F/f", "B/b", "S/b/s1"]
    changed = [value["rows"] for name, value in told[2:] if name == "change" and value["rows"]]
    assert [set(rows) for rows in changed] == [{"S/l/s1"}]
    assert changed[0]["S/l/s1"] == {"status": "DOWN", "look": "down"}  # nothing else of it


def test_who_comes_later_is_told_what_is_now() -> None:
    with page_of(small_view(), *FAST) as page, watched(page) as first:
        got = read_until(first, b"event: change")
        page.control.shown = down(page.control.shown)
        read_until(first, b'"status":"DOWN"', got)
        with watched(page) as second:
            got = read_until(second, b"event: change")
        (whole,) = [value for name, value in events(got) if name == "whole"]
    rows = whole["rows"]
    assert isinstance(rows, dict)
    assert rows["S/l/s1"]["status"] == "DOWN"
    assert rows["S/l/s1"]["address"]  # all of it


def test_a_token_comes_to_admins_alone() -> None:
    for lines, is_told in (((*FAST, "stats admin if LOCALHOST"), True), (FAST, False)):
        with page_of(small_view(), *lines) as page, watched(page) as client:
            told = events(read_until(client, b"event: whole"))
            assert bool(dict(told)["token"]) is is_told


def test_a_server_that_went_is_told_as_gone() -> None:
    with page_of(small_view(), *FAST) as page, watched(page) as client:
        got = read_until(client, b"event: whole")
        view = page.control.shown
        fewer = {"l": backend_view("l", 2, ("s1",)), "b": view.backends["b"]}
        page.control.shown = replace(view, backends=fewer)
        read_until(client, b'"gone":["S/l/s2"]', got)


def test_who_does_not_read_is_left_and_others_are_told() -> None:
    big = small_view(backends={"l": backend_view("l", 2, [f"s{n}" for n in range(2000)])})
    with page_of(big, *FAST) as page:
        assert page.server is not None
        with watched(page), watched(page) as client:
            got = read_until(client, b"event: whole")
            read_until(client, b"event: change", got)
        wait_until(
            lambda: page.server.counts["stats"].now == 0, "connections are forgotten", DEADLINE_S
        )  # type: ignore[union-attr]
