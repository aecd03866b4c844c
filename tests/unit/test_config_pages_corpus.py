"""Statistics pages as people write them: what a section is taken as, what is told of it, and
that nothing which opens or closes access is passed over."""

from __future__ import annotations

import pytest

from lbsplice.config.messages import Severity
from lbsplice.config.model import PageAction, StatsPage
from lbsplice.config.page_conditions import holds
from tests.unit.config_reading import TIMEOUTS, config, read

PROXY = f"listen pg\n mode tcp\n{TIMEOUTS} bind :5432\n server a 10.0.0.1:5432 check\n"
NEAR, FAR = "10.1.2.3", "192.0.2.9"

PLAIN = """\
listen stats
 bind *:9000
 mode http
 log global
 option dontlognull
 maxconn 10
 timeout client 100s
 timeout server 100s
 timeout connect 100s
 stats enable
 stats hide-version
 stats show-node
 stats show-legends
 stats show-desc the databases of the north
 stats refresh 30s
 stats realm Haproxy\\ Statistics
 stats auth admin:secret
 stats uri /haproxy?stats
"""

IN_DEFAULTS = """\
global
 log 127.0.0.1:514 local0
defaults
 log global
 mode http
 option httplog
 option dontlognull
 timeout connect 5000
 timeout client 50000
 timeout server 50000
 errorfile 503 /etc/haproxy/errors/503.http
listen stats
 bind :9000
 stats enable
 stats uri /
 stats admin if TRUE
 stats auth a:b
"""

AS_FRONTEND = """\
frontend stats
 mode http
 bind :8404
 description figures for the wall
 http-request use-service prometheus-exporter if { path /metrics }
 stats enable
 stats uri /stats
 stats refresh 10s
 no log
"""

GUARDED_BY_NAME = """\
frontend stats
 mode http
 bind :8404
 acl network_allowed src 10.0.0.0/8
 acl network_allowed src 172.16.0.0/12
 http-request deny unless network_allowed
 stats enable
 stats uri /stats
 monitor-uri /health
"""

GUARDED_IN_BRACES = """\
listen stats
 mode http
 bind :8404
 http-request deny if !{ src 10.0.0.0/8 } !LOCALHOST
 stats enable
 stats uri /stats
"""

OF_OLD = """\
listen stats
 mode http
 bind :1936
 bind-process 1
 option httpclose
 option http-server-close
 option http-use-htx
 option forwardfor
 option contstats
 timeout http-request 10s
 timeout http-keep-alive 10s
 timeout queue 1m
 balance roundrobin
 retries 3
 stats enable
 stats uri /
"""

METRICS_ALONE = """\
frontend prometheus
 bind :8405
 mode http
 http-request use-service prometheus-exporter
 no log
"""

DENIED_BUT_FOR_METRICS = """\
frontend prometheus
 bind :8405
 mode http
 http-request use-service prometheus-exporter if { path /metrics } { src 10.0.0.0/8 }
 http-request deny
 stats uri /stats
"""

HARMLESS = {
    "plain": (PLAIN, ()),
    "in defaults": (IN_DEFAULTS, ("errorfile", "option httplog")),
    "as frontend": (AS_FRONTEND, ()),
    "guarded by name": (GUARDED_BY_NAME, ()),
    "guarded in braces": (GUARDED_IN_BRACES, ()),
    "of old": (
        OF_OLD,
        (
            "bind-process", "option httpclose", "option http-server-close",
            "option http-use-htx", "option forwardfor",
            "timeout http-request", "timeout http-keep-alive", "timeout queue",
        ),
    ),
    "metrics alone": (METRICS_ALONE, ()),
    "denied but for metrics": (DENIED_BUT_FOR_METRICS, ()),
}  # fmt: skip


def page(text: str) -> StatsPage:
    (found,) = config(text + PROXY).pages
    return found


@pytest.mark.parametrize("name", HARMLESS)
def test_it_is_taken_and_what_is_lost_is_told(name: str) -> None:
    text, lost = HARMLESS[name]
    messages = read(text + PROXY).messages
    assert [m.text for m in messages if m.severity is Severity.ALERT] == []
    told = [m.text for m in messages if m.severity is Severity.WARNING]
    assert len(told) == len(lost), told
    assert all(any(f"'{word}'" in each for each in told) for word in lost), told


def denies(found: StatsPage, path: str, source: str) -> bool:
    """Whether the first rule that holds denies."""
    held = (rule.action for rule in found.rules if holds(rule.condition, path, source))
    return next(held, None) is PageAction.DENY


@pytest.mark.parametrize("text", [GUARDED_BY_NAME, GUARDED_IN_BRACES])
def test_who_is_kept_out_by_a_rule_is_kept_out(text: str) -> None:
    found = page(text)
    assert denies(found, "/stats", FAR)
    assert not denies(found, "/stats", NEAR)


def test_metrics_for_some_and_nothing_for_others() -> None:
    found = page(DENIED_BUT_FOR_METRICS)
    assert not denies(found, "/metrics", NEAR)
    assert denies(found, "/metrics", FAR)
    assert denies(found, "/stats", NEAR)


def test_the_rest_of_its_settings_are_kept() -> None:
    found = page(PLAIN)
    assert (found.uri, found.refresh, found.proxy.maxconn) == ("/haproxy?stats", 30_000, 10)
    assert found.accounts == (("admin", "secret"),)
    assert page(GUARDED_BY_NAME).monitor_uri == "/health"


@pytest.mark.parametrize(
    "line",
    [
        "http-request auth unless FALSE",
        "http-request tarpit if TRUE",
        "http-request reject if TRUE",
        "http-request return status 403 if TRUE",
        "http-request deny if { hdr(x-secret) y }",
        "http-request deny unless { http_auth(users) }",
        "acl ok http_auth(users)",
        "acl ok src -f /etc/networks",
        "stats http-request deny unless TRUE",
        "stats http-request auth unless TRUE",
        "stats admin if { http_auth_group(users) g }",
        "tcp-request connection reject if TRUE",
        "tcp-request content reject unless TRUE",
        "block if TRUE",
        "bind :8405 ssl crt /etc/pem",
        "bind :8405 accept-proxy",
    ],
)
def test_what_guards_and_can_not_be_obeyed_is_refused_at_its_line(line: str) -> None:
    text = f"frontend s\n mode http\n bind :8404\n stats enable\n {line}\n"
    alerts = [m for m in read(text + PROXY).messages if m.severity is Severity.ALERT]
    assert alerts
    assert any(m.place is not None and m.place.line == 5 for m in alerts)
