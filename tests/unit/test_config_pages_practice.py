"""Statistics sections as people have them in their files: taken as they stand, and nothing that
opens or closes them is passed over."""

from __future__ import annotations

import pytest

from lbsplice.admin.http_request import may_change, rule_for
from lbsplice.config.messages import Severity
from lbsplice.config.model import PageAction, StatsPage
from tests.unit.config_reading import alerts, config, read, warnings

DISTRIBUTION = """\
global
    log /dev/log local0
    maxconn 4096
defaults
    log global
    mode http
    option httplog
    option dontlognull
    option http-server-close
    option forwardfor except 127.0.0.0/8
    retries 3
    timeout http-request 10s
    timeout queue 1m
    timeout connect 5000
    timeout client 50000
    timeout server 50000
    timeout http-keep-alive 10s
    timeout check 10s
    errorfile 400 /etc/haproxy/errors/400.http
    errorfile 503 /etc/haproxy/errors/503.http
"""
AMQP = """\
listen amqp
    mode tcp
    bind :5672
    option tcplog
    balance leastconn
    server rabbit1 10.0.0.1:5672 check
"""

SECTIONS = {
    "plain": """\
listen stats
    bind :8404
    mode http
    stats enable
    stats uri /stats
    stats refresh 10s
""",
    "frontend form": """\
frontend stats
    mode http
    bind *:8404
    no log
    stats enable
    stats uri /stats
    stats refresh 10s
    stats admin if LOCALHOST
""",
    "with a password": """\
listen stats
    bind 127.0.0.1:9000
    mode http
    log global
    maxconn 10
    timeout client 100s
    timeout server 100s
    timeout connect 100s
    timeout queue 100s
    stats enable
    stats hide-version
    stats refresh 30s
    stats show-node
    stats auth admin:password
    stats uri /haproxy?stats
""",
    "legends": """\
listen admin
    bind *:8080
    mode http
    description Statistics of the message brokers
    stats enable
    stats show-legends
    stats show-node
    stats show-desc Brokers, second floor
    stats realm HAProxy\\ Statistics
    stats auth admin:AdMiN123
    stats admin if TRUE
""",
    "for a network": """\
listen stats
    bind :8404
    mode http
    acl network_allowed src 10.0.0.0/8
    acl network_allowed src 192.168.0.0/16
    http-request deny unless network_allowed
    stats enable
    stats uri /
""",
    "metrics beside": """\
frontend stats
    bind *:8404
    mode http
    http-request use-service prometheus-exporter if { path /metrics }
    stats enable
    stats uri /stats
    stats refresh 10s
""",
    "metrics alone": """\
frontend prometheus
    bind *:8405
    mode http
    no log
    http-request use-service prometheus-exporter
""",
    "old options": """\
listen stats
    bind :1936
    mode http
    bind-process 1
    option httpclose
    option http-use-htx
    option http-keep-alive
    balance roundrobin
    stats enable
    stats scope amqp
    stats uri /
""",
    "of an orchestration": """\
listen stats
    bind :29000
    mode http
    monitor-uri /healthz
    option dontlog-normal
    stats enable
    stats hide-version
    stats auth admin:admin
    stats admin if { src 10.1.0.0/16 } or LOCALHOST
""",
    "several doors": """\
listen stats
    bind 127.0.0.1:8404
    bind [::1]:8404
    bind unix@/run/lb/stats.sock mode 660
    mode http
    acl local src 127.0.0.0/8 ::1
    acl health path /ping
    http-request allow if health
    http-request deny deny_status 404 if !local { path_beg /stats }
    stats enable
    stats uri /stats
    stats http-request allow
""",
}


def taken(name: str) -> StatsPage:
    (page,) = config(DISTRIBUTION + AMQP + SECTIONS[name]).pages
    return page


@pytest.mark.parametrize("name", [name for name in SECTIONS if name != "several doors"])
def test_it_is_taken_as_it_stands(name: str) -> None:
    assert taken(name).proxy.binds
    assert [proxy.name for proxy in config(DISTRIBUTION + AMQP + SECTIONS[name]).proxies] == [
        "amqp"
    ]


def test_of_the_page_itself_nothing_is_warned_of_in_usual_sections() -> None:
    own = warnings(DISTRIBUTION + AMQP)
    for name in ("plain", "with a password", "metrics beside", "metrics alone"):
        more = [each for each in warnings(DISTRIBUTION + AMQP + SECTIONS[name]) if each not in own]
        assert more == [], name


def test_a_line_that_opens_or_closes_the_page_in_a_way_we_have_not_is_refused_at_its_line() -> None:
    text = DISTRIBUTION + AMQP + SECTIONS["several doors"]
    alert = next(m for m in read(text).messages if m.severity is Severity.ALERT)
    assert "'stats http-request' is not supported by lbsplice" in alert.text
    assert alert.place is not None
    assert text.splitlines()[alert.place.line - 1].strip() == "stats http-request allow"


def test_a_network_is_let_in_and_others_are_not() -> None:
    page = taken("for a network")
    assert rule_for(page, "/", "10.2.3.4").action is PageAction.ALLOW
    assert rule_for(page, "/", "192.168.9.9").action is PageAction.ALLOW
    assert rule_for(page, "/", "8.8.8.8").action is PageAction.DENY
    assert rule_for(page, "/", "").action is PageAction.DENY


def test_the_first_rule_that_holds_is_obeyed() -> None:
    section = SECTIONS["several doors"].replace("    stats http-request allow\n", "")
    (page,) = config(section).pages
    assert rule_for(page, "/ping", "8.8.8.8").action is PageAction.ALLOW
    denied = rule_for(page, "/stats", "8.8.8.8")
    assert (denied.action, denied.status) == (PageAction.DENY, 404)
    assert rule_for(page, "/stats", "::1").action is PageAction.ALLOW
    assert rule_for(page, "/other", "8.8.8.8").action is PageAction.ALLOW


def test_conditions_have_an_or() -> None:
    page = taken("of an orchestration")
    assert may_change(page, "/", "10.1.2.3")
    assert may_change(page, "/", "127.0.0.1")
    assert not may_change(page, "/", "10.2.2.3")
    assert page.monitor_uri == "/healthz"


@pytest.mark.parametrize(
    "line",
    ["acl x src 1.2.3.4", "http-request deny", "http-request allow", "monitor-uri /x"],
)
def test_such_a_line_in_a_proxy_is_refused_as_ever(line: str) -> None:
    told = alerts(AMQP + f"    {line}\n")[0]
    assert told.startswith(f"'{' '.join(line.split()[: 2 if 'http' in line else 1])}' is not")


def test_lines_of_http_in_defaults_change_nothing_of_a_proxy() -> None:
    (proxy,) = config(DISTRIBUTION + AMQP).proxies
    assert proxy.tcplog
    assert [server.name for server in proxy.servers] == ["rabbit1"]
