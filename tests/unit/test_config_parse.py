"""Files, sections and defaults: how lines become one configuration."""

from __future__ import annotations

from pathlib import Path

from lbsplice.config.messages import Severity
from lbsplice.config.model import (
    AddressKind,
    Config,
    Endpoint,
    Place,
)
from lbsplice.config.parse import Outcome
from lbsplice.terms import Algorithm
from tests.unit.config_reading import alerts, config, listen, read

EXAMPLES = Path(__file__).parent / "data" / "examples"


class TestExamples:
    def test_old_configuration_with_keepalive_works_as_it_is(self) -> None:
        text = (EXAMPLES / "amqp-keepalive.cfg").read_text()
        outcome = read(text)
        assert outcome.config is not None
        assert [(m.severity, m.text) for m in outcome.messages] == [
            (
                Severity.WARNING,
                "please use the 'bind' keyword for listening addresses: write 'listen "
                "messagebroker_balancer' and, on a line of its own below it, "
                "'bind 172.19.19.91:5672'.",
            )
        ]
        proxy = outcome.config.proxies[0]
        assert proxy.binds[0].endpoint == Endpoint(AddressKind.IPV4, "172.19.19.91", 5672)
        assert proxy.client_keepalive.enabled
        assert not proxy.server_keepalive.enabled
        assert proxy.tcplog
        assert [log.facility for log in proxy.logs] == ["local3"]
        assert (proxy.retries, proxy.redispatch) == (3, -1)
        assert proxy.balance.algorithm is Algorithm.LEASTCONN
        assert proxy.timeouts.client == 200_000
        assert [(s.name, s.id, s.check.inter) for s in proxy.servers] == [
            ("s1", 1, 5000),
            ("s2", 2, 5000),
        ]
        assert outcome.config.global_.user == "haproxy"
        assert outcome.config.global_.daemon
        assert outcome.config.global_.debug

    def test_long_sessions_with_mark_down_work_without_a_word(self) -> None:
        outcome = read((EXAMPLES / "long-sessions.cfg").read_text())
        assert outcome.messages == ()
        assert outcome.config is not None
        proxy = outcome.config.proxies[0]
        assert all(s.shutdown_sessions_on_marked_down for s in proxy.servers)
        assert [(s.check.inter, s.check.rise, s.check.fall) for s in proxy.servers] == [
            (200, 1, 1)
        ] * 2
        assert proxy.timeouts.tunnel == 3_600_000
        assert outcome.config.global_.stats_sockets[0].mode == 0o600
        assert outcome.config.global_.stats_sockets[0].level == "admin"


class TestFilesAndSections:
    def test_nothing_is_a_configuration(self) -> None:
        assert read("") == Outcome(Config(config("").global_, ()), ())
        assert config("global\n").proxies == ()

    def test_several_files_are_one_configuration(self) -> None:
        both = config("defaults\n timeout client 7s\n", "frontend f\n bind :80\n")
        assert both.proxies[0].timeouts.client == 7000
        assert both.proxies[0].place == Place("2.cfg", 1)

    def test_a_section_ends_with_its_file(self) -> None:
        assert alerts("listen l\n", "bind :80\n")[0] == "unknown keyword 'bind' out of section."

    def test_all_errors_of_all_files_are_told_in_order(self) -> None:
        assert alerts("global\n bogus\n maxconn\n", "listen l\n xyz\n default_backend no\n") == [
            "unknown keyword 'bogus' in 'global' section",
            "'maxconn' expects an integer argument.",
            "Error(s) found in configuration file : 1.cfg",
            "unknown keyword 'xyz' in 'listen' section",
            "Error(s) found in configuration file : 2.cfg",
            "Proxy 'l': unable to find required default_backend: 'no'.",
            "Fatal errors found in configuration.",
        ]

    def test_last_line_without_newline_is_an_error(self) -> None:
        assert alerts("global\n daemon")[0] == (
            "Missing LF on last line, file might have been truncated at position 8."
        )

    def test_nul_is_an_error(self) -> None:
        assert alerts("global\n da\0emon\n")[0] == "Stray NUL character at position 4."

    def test_a_refused_section_is_told_once(self) -> None:
        assert alerts("resolvers r\n nameserver a 1.2.3.4:53\n hold x\nglobal\n")[:-2] == [
            "'resolvers' is not supported by lbsplice: not yet."
        ]

    def test_a_section_without_name_does_not_hide_its_errors(self) -> None:
        assert alerts("listen\n xyz\nbackend a/b\n uvw\n")[:-2] == [
            "'listen' expects an <id> argument",
            "unknown keyword 'xyz' in 'listen' section",
            "character '/' is not permitted in 'backend' name 'a/b'.",
            "unknown keyword 'uvw' in 'backend' section",
        ]

    def test_proxies_are_numbered_from_two_as_haproxy_does(self) -> None:
        text = "frontend f\nbackend b\nlisten l\n id 3\nlisten z\n disabled\ndefaults d\nlisten y\n"
        assert {p.name: p.id for p in config(text).proxies} == {
            "f": 2,
            "b": 4,
            "l": 3,
            "z": 6,
            "y": 7,
        }

    def test_servers_are_numbered_from_one_as_haproxy_does(self) -> None:
        servers = listen(
            "server x 1.2.3.4:1 id 5",
            "server y 1.2.3.4:1",
            "server z 1.2.3.4:1 id 1",
            "server q 1.2.3.4:1",
        ).servers
        assert [s.id for s in servers] == [5, 2, 1, 4]

    def test_environment_is_expanded_and_can_be_set(self) -> None:
        text = (
            "global\n setenv P 1000\n presetenv A no\n presetenv B 2000\n unsetenv C\n"
            'listen l\n bind "${A}:${P},:$B"\n description "${C}x${NOPE}"\n'
        )
        proxy = config(text, env={"A": "10.0.0.1", "C": "c"}).proxies[0]
        assert [b.endpoint for b in proxy.binds] == [
            Endpoint(AddressKind.IPV4, "10.0.0.1", 1000),
            Endpoint(AddressKind.ANY, "", 2000),
        ]
        assert proxy.description == "x"

    def test_resetenv_keeps_what_it_names(self) -> None:
        text = 'global\n resetenv A\nlisten l\n description "${A}${B-gone}"\n'
        assert config(text, env={"A": "a", "B": "b"}).proxies[0].description == "agone"

    def test_the_environment_of_the_caller_is_left_alone(self) -> None:
        env = {"A": "a"}
        config("global\n setenv A b\n resetenv\n", env=env)
        assert env == {"A": "a"}


class TestDefaults:
    def test_last_defaults_hold_and_a_new_one_starts_afresh(self) -> None:
        proxies = config(
            "defaults\n retries 7\n option nolinger\nlisten a\n"
            "defaults\n option allbackups\nlisten b\n"
        ).proxies
        assert [(p.retries, p.nolinger, p.allbackups) for p in proxies] == [
            (7, True, False),
            (3, False, True),
        ]

    def test_from_names_the_defaults_and_defaults_can_follow_defaults(self) -> None:
        proxies = config(
            "defaults base\n retries 7\n timeout client 1s\n"
            "defaults more from base\n timeout client 2s\n"
            "listen a from base\nlisten b from more\nlisten c\n"
        ).proxies
        assert [(p.retries, p.timeouts.client) for p in proxies] == [
            (7, 1000),
            (7, 2000),
            (7, 2000),
        ]

    def test_a_proxy_can_undo_what_its_defaults_say(self) -> None:
        text = (
            "defaults\n option clitcpka\n option redispatch\n option tcp-smart-accept\n"
            " log 127.0.0.1 local0\n disabled\n timeout client 5s\n"
            "listen a\n no option clitcpka\n no option redispatch\n no option tcp-smart-accept\n"
            " no log\n enabled\n timeout client 0\n"
            "listen b\n"
        )
        a, b = config(text).proxies
        assert not a.client_keepalive.enabled
        assert b.client_keepalive.enabled
        assert (a.redispatch, b.redispatch) == (0, -1)
        assert (a.smart_accept, b.smart_accept) == (False, True)
        assert (len(a.logs), len(b.logs)) == (0, 1)
        assert (a.disabled, b.disabled) == (False, True)
        assert (a.timeouts.client, b.timeouts.client) == (None, 5000)

    def test_default_prefix_forgets_what_was_said(self) -> None:
        text = "defaults\n option tcp-smart-accept\nlisten a\n default option tcp-smart-accept\n"
        assert not config(text).proxies[0].smart_accept

    def test_what_only_the_other_side_uses_is_left_out(self) -> None:
        text = (
            "defaults\n option tcpka\n retries 9\n timeout client 1s\n timeout server 2s\n"
            " maxconn 5\n option tcplog\n option abortonclose\n"
            "frontend f\nbackend b\n"
        )
        front, back = config(text).proxies
        assert (front.client_keepalive.enabled, front.server_keepalive.enabled) == (True, False)
        assert (back.client_keepalive.enabled, back.server_keepalive.enabled) == (False, True)
        assert (front.timeouts.client, front.timeouts.server) == (1000, None)
        assert (back.timeouts.client, back.timeouts.server) == (None, 2000)
        assert (front.retries, back.retries) == (3, 9)
        assert (front.maxconn, back.maxconn) == (5, None)
        assert (front.tcplog, back.tcplog) == (True, False)
        assert (front.abortonclose, back.abortonclose) == (False, True)

    def test_ambiguous_and_missing_defaults(self) -> None:
        assert alerts("defaults d\ndefaults d\nlisten a from d\nlisten b from other\n")[:2] == [
            "ambiguous defaults section name 'd' referenced by proxy 'a' exists at least at "
            "1.cfg:1 and 1.cfg:2.",
            "defaults section 'other' not found for proxy 'b'.",
        ]

    def test_default_server_adds_up_line_by_line(self) -> None:
        servers = listen(
            "server a 1.2.3.4:1",
            "default-server inter 5s weight 3 check",
            "default-server fall 7 backup on-marked-down shutdown-sessions",
            "server b 1.2.3.4:1",
            "server c 1.2.3.4:1 no-check no-backup weight 9",
        ).servers
        assert [
            (s.check.enabled, s.check.inter, s.check.fall, s.weight, s.backup) for s in servers
        ] == [
            (False, 2000, 3, 1, False),
            (True, 5000, 7, 3, True),
            (False, 5000, 7, 9, False),
        ]
        assert [s.shutdown_sessions_on_marked_down for s in servers] == [False, True, True]

    def test_default_server_of_defaults_is_not_changed_by_a_proxy(self) -> None:
        text = (
            "defaults\n default-server weight 3\n"
            "backend a\n default-server weight 5\n server s 1.2.3.4:1\n"
            "backend b\n server s 1.2.3.4:1\n"
        )
        assert [p.servers[0].weight for p in config(text).proxies] == [5, 3]
