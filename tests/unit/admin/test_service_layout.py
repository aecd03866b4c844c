"""What of a view is the configuration's alone. The limits, numbers and addresses are those
that HAProxy 2.6 shows for the same file."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.admin.layout import Layout
from lbsplice.admin.page_rows import NO_COUNTS, page_rows
from lbsplice.dataplane.tables import Extent
from lbsplice.plan.inventory import Inventory
from tests.unit.config_reading import config

FILE = """\
defaults
 timeout connect 1s
 timeout client 1s
 timeout server 1s
frontend f1
 bind 127.0.0.1:29911
 default_backend b
frontend f2
 maxconn 33
 bind 127.0.0.1:29912
 default_backend b
backend b
 server s1 127.0.0.1:9
 server s2 127.0.0.1:9 backup
 server s3 unix@/run/nothing
 server s4 127.0.0.1
 server s5 [::1]:80
listen off
 disabled
 bind 127.0.0.1:29914
listen st
 mode http
 bind 127.0.0.1:29913
 stats enable
 stats uri /
frontend metrics
 mode http
 bind 127.0.0.1:29915
 http-request use-service prometheus-exporter
"""


def test_limits_numbers_and_addresses_are_those_of_haproxy():
    layout = Layout.of(Inventory.first(config(FILE)), 205)
    assert layout.order == ("f1", "f2", "b", "st", "metrics")
    assert [(f.name, f.iid, f.limit) for f in layout.frontends] == [("f1", 2, 205), ("f2", 3, 33)]
    (backend,) = layout.backends
    assert (backend.name, backend.iid, backend.limit) == ("b", 4, 24)
    assert [(s.sid, s.address, s.backup) for s in backend.servers] == [
        (1, "127.0.0.1:9", False),
        (2, "127.0.0.1:9", True),
        (3, "", False),
        (4, "127.0.0.1:0", False),
        (5, "[::1]:80", False),
    ]
    assert layout.extent == Extent(listeners=0, frontends=2, backends=1, slots=5)


def test_listeners_have_rows_where_they_are_wanted():
    text = (
        "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        "frontend f1\n bind 127.0.0.1:29911\n default_backend b\n"
        "frontend f2\n option socket-stats\n bind 127.0.0.1:29912\n"
        " bind 127.0.0.1:29913 name second maxconn 7\n bind [::1]:29914 id 9\n"
        " default_backend b\nbackend b\n server s 127.0.0.1:9\n"
    )
    layout = Layout.of(Inventory.first(config(text)), 205)
    assert [(each.name, each.lid, each.address, each.limit) for each in layout.listeners] == [
        ("sock-1", 1, "127.0.0.1:29912", 0),
        ("second", 2, "127.0.0.1:29913", 7),
        ("sock-9", 9, "[::1]:29914", 0),
    ]
    assert {(each.frontend, each.iid) for each in layout.listeners} == {("f2", 3)}


@dataclass
class Counts:
    now: int = 1
    max: int = 2
    total: int = 3
    requests: int = 4
    bytes_out: int = 61_586


def test_a_page_is_a_frontend_and_as_a_listen_a_backend_besides():
    pages = config(FILE).pages
    frontends, backends = page_rows(pages, [Counts(), NO_COUNTS], [(1, 2), (0, 0)], 205, True, 9)
    assert list(frontends) == ["st", "metrics"]
    assert list(backends) == ["st"]
    front, back = frontends["st"], backends["st"]
    assert (front.mode, front.iid, front.status, front.intercepted) == ("http", 6, "OPEN", 4)
    flow = front.sessions
    assert (flow.now, flow.max, flow.total, flow.limit) == (1, 2, 3, 205)
    assert (front.session_rate.now, front.session_rate.max) == (1, 2)
    assert (back.mode, back.status, back.sessions.limit, back.servers) == ("http", "UP", 21, ())
    assert (front.bytes_out, back.bytes_out) == (61_586, 61_586)


def test_a_page_that_is_stopped_or_full_says_so():
    pages = config(FILE).pages[:1]
    full = page_rows(pages, [Counts(now=205)], [(0, 0)], 205, True, 9)[0]["st"]
    stopped = page_rows(pages, [Counts()], [(0, 0)], 205, False, 9)[0]["st"]
    assert (full.status, stopped.status) == ("FULL", "STOP")
