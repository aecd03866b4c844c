"""`mode http`: sections that are the statistics page and the metrics."""

from __future__ import annotations

import pytest

from lbsplice.config.messages import Severity
from lbsplice.config.model import PageTerm, PageTest, ProxyKind, StatsPage
from lbsplice.config.page_conditions import holds
from lbsplice.limits import PAGE_CONNECTIONS, fixed_descriptors
from lbsplice.plain import made, plain
from lbsplice.resolve import resolve
from tests.unit.config_reading import TIMEOUTS, alerts, config, read, warnings

PROXIES = f"listen a\n{TIMEOUTS} bind :1\nlisten z\n{TIMEOUTS} bind :2\n"


def text(*lines: str, head: str = "listen stats") -> str:
    body = "".join(f" {line}\n" for line in ("mode http", "bind :8404", *lines))
    return f"{head}\n{body}"


def page(*lines: str, head: str = "listen stats") -> StatsPage:
    (found,) = config(text(*lines, head=head)).pages
    return found


def test_a_page_is_no_proxy() -> None:
    read_in = config(text("stats enable") + PROXIES)
    assert [proxy.name for proxy in read_in.proxies] == ["a", "z"]
    assert [found.name for found in read_in.pages] == ["stats"]
    assert read_in.pages[0].uri == "/haproxy?stats"
    assert read_in.pages[0].rules == ()


@pytest.mark.parametrize("kind", ["listen", "frontend"])
def test_both_kinds_of_section_can_be_one(kind: str) -> None:
    found = page("stats enable", head=f"{kind} s")
    assert found.proxy.kind is ProxyKind(kind)
    assert found.proxy.binds[0].endpoint.port == 8404


def test_numbers_and_order_are_the_files() -> None:
    first, second = PROXIES.split("listen z")
    read_in = config(first + text("stats enable") + "listen z" + second)
    numbers = {proxy.name: proxy.id for proxy in read_in.proxies}
    assert (numbers, read_in.pages[0].iid) == ({"a": 2, "z": 4}, 3)
    names = [getattr(each, "name", None) for each in read_in.sections]
    assert names == ["a", "stats", "z"]
    assert [proxy.name for proxy in read_in.listening] == names


def test_every_setting_is_kept() -> None:
    found = page(
        "stats uri /lb", "stats refresh 5", "stats realm My\\ lb", "stats auth joe:a:b",
        "stats auth ann:", "stats scope a", "stats scope .", "stats hide-version",
        "stats show-legends", "stats show-desc some words", "stats show-node", "maxconn 9",
    )  # fmt: skip
    assert (found.uri, found.refresh, found.realm) == ("/lb", 5000, "My lb")
    assert found.accounts == (("joe", "a:b"), ("ann", ""))
    assert found.scope == ("a", ".")
    assert found.hide_version
    assert found.show_legends
    assert (found.show_desc, found.show_node) == ("some words", "")
    assert found.proxy.maxconn == 9


def test_metrics_alone_have_no_page() -> None:
    found = page("http-request use-service prometheus-exporter if { path /metrics }")
    assert found.uri is None
    assert found.rules[0].condition.terms == (PageTerm(PageTest.PATH, ("/metrics",)),)


def test_metrics_can_be_everywhere() -> None:
    (rule,) = page("http-request use-service prometheus-exporter").rules
    assert holds(rule.condition, "/any", "9.9.9.9")


def test_own_lines_replace_those_of_defaults() -> None:
    defaults = "defaults\n stats uri /d\n stats auth joe:x\n"
    inherited = config(defaults + text()).pages[0]
    assert (inherited.uri, inherited.accounts) == ("/d", (("joe", "x"),))
    own = config(defaults + text("stats refresh 2", "stats scope a")).pages[0]
    assert (own.uri, own.accounts, own.refresh) == ("/haproxy?stats", (), 2000)


def test_mode_may_come_from_defaults_and_be_taken_back() -> None:
    read_in = config(f"defaults\n mode http\n{TIMEOUTS}listen a\n mode tcp\n bind :1\n")
    assert [proxy.name for proxy in read_in.proxies] == ["a"]
    (told,) = [t for t in alerts("defaults\n mode http\nlisten a\n bind :1\n") if "mode" in t]
    assert "'mode http' is not supported by lbsplice" in told


@pytest.mark.parametrize("lines", [(), ("bind :2",), ("timeout client 1s",)])
def test_mode_http_without_a_page_is_refused_as_ever(lines: tuple[str, ...]) -> None:
    messages = read(text(*lines)).messages
    alert = next(m for m in messages if m.severity is Severity.ALERT)
    assert alert.text.endswith("Use 'mode tcp'.")
    assert alert.place is not None
    assert alert.place.line == 2


def test_a_backend_is_no_page() -> None:
    assert any("'mode http'" in t for t in alerts("backend b\n mode http\n stats enable\n"))


@pytest.mark.parametrize(
    "line", ["server s 1.2.3.4:5", "default_backend b", "hash-type consistent", "source 1.2.3.4"]
)
def test_nothing_else_belongs_into_such_a_section(line: str) -> None:
    messages = read(text("stats enable", line)).messages
    alert = next(m for m in messages if m.severity is Severity.ALERT)
    assert f"'{line.split()[0]}' is not supported by lbsplice in 'mode http'" in alert.text
    assert alert.place is not None
    assert alert.place.line == 5


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stats bogus", "unknown stats parameter 'bogus'"),
        ("stats enabel", "did you mean 'enable' maybe ?"),
        ("stats refresh x", "unexpected character 'x'"),
        ("stats auth :x", "'auth' needs a user:password account."),
        ("stats enable now", "cannot handle unexpected argument 'now'"),
        ('stats realm "a\\"b"', "'realm' :"),
        ("stats admin if", "requires either 'if' or 'unless'"),
        ("stats admin if { src bogus }", "'bogus' is no address and no network"),
        ("stats admin if { path }", "'path' needs values"),
        ("stats admin if { path -i /x }", "takes no flags"),
        ("stats admin if { hdr(host) x }", "'hdr(host)' can not be asked here"),
        ("stats admin if { }", "'{ }' can not be asked here"),
        ("stats admin if { TRUE }", "'TRUE' can not be asked here"),
        ("stats admin if TRUE ||", "'||' has to stand between two conditions"),
        ("stats admin if or TRUE", "'or' has to stand between two conditions"),
        ("acl x", "'acl' expects a name, a test and values"),
        ("acl x hdr(host) y", "'acl x' : 'hdr(host)' can not be asked here"),
        ("acl x src -f /etc/networks", "takes no flags"),
        ("http-request deny if x", "'http-request deny' : 'x' can not be asked here"),
        ("http-request deny deny_status 99", "out of range (200..599)"),
        ("http-request auth", "'http-request auth' is not supported by lbsplice"),
        ("monitor-uri", "'monitor-uri' expects an URI"),
        ("stats admin if !", "'' can not be asked here"),
        ("http-request", "'http-request' is not supported by lbsplice"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(line: str, said: str) -> None:
    messages = read(text("stats enable", line)).messages
    alert = next(m for m in messages if m.severity is Severity.ALERT)
    assert said in alert.text
    assert alert.place is not None
    assert alert.place.line == 5


def test_rules_of_metrics_can_not_stand_in_defaults() -> None:
    (told, *_) = alerts("defaults\n http-request use-service prometheus-exporter\n")
    assert told == "'http-request' not allowed in 'defaults' section."


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("stats admin if TRUE",), "without 'stats auth'"),
        (("stats scope nobody",), "names 'nobody', which is no proxy"),
    ],
)
def test_what_is_risky_or_idle_is_warned_of(lines: tuple[str, ...], said: str) -> None:
    assert any(said in told for told in warnings(text(*lines)))
    assert not warnings(text("stats admin if TRUE", "stats auth joe:x", "stats scope ."))


def test_stats_of_a_tcp_proxy_are_ignored_with_haproxys_words() -> None:
    told = warnings(f"listen l\n{TIMEOUTS} bind :1\n stats enable\n")
    assert told == ["'stats' statement ignored for proxy 'l' as it requires HTTP mode."]
    told = warnings(
        f"listen l\n{TIMEOUTS} bind :1\n http-request use-service prometheus-exporter\n"
    )
    assert told == ["'http-request' rules ignored for proxy 'l' as they require HTTP mode."]


@pytest.mark.parametrize(
    ("words", "path", "source", "expected"),
    [
        ("if TRUE", "/", "9.9.9.9", True),
        ("unless TRUE", "/", "9.9.9.9", False),
        ("if FALSE", "/", "9.9.9.9", False),
        ("if !FALSE", "/", "9.9.9.9", True),
        ("if ! FALSE", "/", "9.9.9.9", True),
        ("if LOCALHOST", "/", "127.1.2.3", True),
        ("if LOCALHOST", "/", "::1", True),
        ("if LOCALHOST", "/", "::ffff:127.0.0.1", True),
        ("if LOCALHOST", "/", "9.9.9.9", False),
        ("if LOCALHOST", "/", "", False),
        ("if { src 10.0.0.0/8 2001:db8::/32 }", "/", "10.2.3.4", True),
        ("if { src 10.0.0.0/8 2001:db8::/32 }", "/", "2001:db8::1", True),
        ("if { src 10.0.0.0/8 }", "/", "11.2.3.4", False),
        ("if { src 10.0.0.0/8 }", "/", "", False),
        ("if !{ src 10.0.0.0/8 }", "/", "11.2.3.4", True),
        ("if { ! src 10.0.0.0/8 }", "/", "10.2.3.4", False),
        ("if { path /a /b }", "/b", "9.9.9.9", True),
        ("if { path /a }", "/ab", "9.9.9.9", False),
        ("if { path_beg /a }", "/ab", "9.9.9.9", True),
        ("if LOCALHOST { path /a }", "/a", "127.0.0.1", True),
        ("if LOCALHOST { path /a }", "/b", "127.0.0.1", False),
        ("unless LOCALHOST { path /a }", "/b", "127.0.0.1", True),
    ],
)
def test_conditions(words: str, path: str, source: str, expected: bool) -> None:
    (condition,) = page(f"stats admin {words}").admin
    assert holds(condition, path, source) is expected


def test_a_page_is_handed_over_as_it_is() -> None:
    found = page("stats auth joe:x", "stats admin if LOCALHOST", "stats refresh 3")
    assert made(StatsPage, plain(found)) == found


def test_names_in_its_addresses_are_resolved() -> None:
    text = "listen s\n mode http\n bind lb.example:80\n stats enable\n"
    resolved = resolve(config(text), lookup=lambda host, family: ["10.1.2.3"]).config
    assert resolved is not None
    assert resolved.pages[0].proxy.binds[0].endpoint.host == "10.1.2.3"


def test_descriptors_are_set_aside_for_its_connections() -> None:
    without, with_page = config(PROXIES), config(PROXIES + text("stats enable"))
    more = fixed_descriptors(with_page, 1) - fixed_descriptors(without, 1)
    assert more == PAGE_CONNECTIONS + 1
