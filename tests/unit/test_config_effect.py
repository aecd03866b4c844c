"""What every keyword that is used does to a configuration."""

from __future__ import annotations

import pytest

from lbsplice.config.model import (
    AddressKind,
    Endpoint,
    LogTarget,
    Place,
    ProxyKind,
)
from lbsplice.config.model import (
    Source as SourceAddress,
)
from lbsplice.terms import Algorithm, HashMethod, LogFormat, LogLevel
from tests.unit.config_reading import alerts, config, listen, server


class TestGlobal:
    @pytest.mark.parametrize(
        ("line", "field", "value"),
        [
            ("maxconn 100", "maxconn", 100),
            ("maxconn 0", "maxconn", None),
            ("nbthread 4", "nbthread", 4),
            ("user www", "user", "www"),
            ("group www", "group", "www"),
            ("uid 33", "uid", 33),
            ("gid 33", "gid", 33),
            ("chroot /var/empty", "chroot", "/var/empty"),
            ("daemon", "daemon", True),
            ("master-worker", "master_worker", True),
            ("master-worker no-exit-on-failure", "master_worker", True),
            ("pidfile /run/x.pid", "pidfile", "/run/x.pid"),
            ("node lb-1.example", "node", "lb-1.example"),
            ("description the first one", "description", "the first one"),
            ("log-tag lb", "log_tag", "lb"),
            ("log-send-hostname", "log_send_hostname", ""),
            ("log-send-hostname lb1", "log_send_hostname", "lb1"),
            ("stats timeout 30s", "stats_timeout", 30_000),
            ("stats maxconn 20", "stats_maxconn", 20),
            ("ulimit-n 5000", "ulimit_n", 5000),
            ("maxpipes 500", "maxpipes", 500),
            ("tune.pipesize 64k", "pipesize", 65536),
            ("tune.maxaccept 50", "maxaccept", 50),
            ("tune.maxaccept -1", "maxaccept", None),
            ("spread-checks 10", "spread_checks", 10),
            ("hard-stop-after 30s", "hard_stop_after", 30_000),
            ("debug", "debug", True),
            ("quiet", "quiet", True),
            ("zero-warning", "zero_warning", True),
        ],
    )
    def test_keyword(self, line: str, field: str, value: object) -> None:
        assert getattr(config(f"global\n {line}\n").global_, field) == value

    def test_where_an_account_was_named_is_known(self) -> None:
        assert config("global\n user www\n").global_.place_of("user") == Place("1.cfg", 2)

    def test_stats_socket_is_kept_as_written(self) -> None:
        text = (
            "global\n stats socket /run/a.sock mode 660 user u group g level admin "
            "expose-fd listeners\n stats socket ipv4@127.0.0.1:9999\n"
        )
        first, second = config(text).global_.stats_sockets
        assert first.address == Endpoint(AddressKind.UNIX, "/run/a.sock")
        assert (first.mode, first.user, first.group, first.level) == (0o660, "u", "g", "admin")
        assert first.words[-2:] == ("expose-fd", "listeners")
        assert second.address == Endpoint(AddressKind.IPV4, "127.0.0.1", 9999)
        assert second.level == "operator"

    @pytest.mark.parametrize(
        ("line", "target", "host", "port"),
        [
            ("127.0.0.1 local0", LogTarget.UDP, "127.0.0.1", 514),
            ("127.0.0.1:5514 local0", LogTarget.UDP, "127.0.0.1", 5514),
            ("[::1]:5514 local0", LogTarget.UDP, "::1", 5514),
            ("udp@syslog.example local0", LogTarget.UDP, "syslog.example", 514),
            ("/dev/log local0", LogTarget.UNIX, "/dev/log", None),
            ("fd@3 local0", LogTarget.FD, "3", None),
        ],
    )
    def test_log_target(self, line: str, target: LogTarget, host: str, port: int | None) -> None:
        log = config(f"global\n log {line}\n").global_.logs[0]
        assert log.target is target
        assert log.address is not None
        assert (log.address.host, log.address.port) == (host, port)

    def test_log_with_everything(self) -> None:
        text = "global\n log stdout len 4096 format raw daemon notice err\n log stderr user\n"
        full, short = config(text).global_.logs
        assert (full.target, full.address, full.length) == (LogTarget.STDOUT, None, 4096)
        assert (full.format, full.facility) == (LogFormat.RAW, "daemon")
        assert (full.max_level, full.min_level) == (LogLevel.NOTICE, LogLevel.ERR)
        assert (short.max_level, short.min_level) == (LogLevel.DEBUG, LogLevel.EMERG)
        assert (short.format, short.length) == (None, 1024)

    @pytest.mark.parametrize("name", [f.value for f in LogFormat])
    def test_every_log_format(self, name: str) -> None:
        text = f"global\n log stdout format {name} local0\n"
        assert config(text).global_.logs[0].format is LogFormat(name)

    def test_no_log_forgets_the_logs_before_it(self) -> None:
        assert config("global\n log stdout local0\n no log\n").global_.logs == ()

    def test_log_global_stands_for_the_global_logs_wherever_they_are(self) -> None:
        text = "listen l\n log global\n log stderr local1\nglobal\n log stdout local0\n"
        assert [log.facility for log in config(text).proxies[0].logs] == ["local0", "local1"]


class TestBind:
    @pytest.mark.parametrize(
        ("address", "endpoints"),
        [
            (":80", [Endpoint(AddressKind.ANY, "", 80)]),
            ("*:80", [Endpoint(AddressKind.ANY, "", 80)]),
            ("ipv4@:80", [Endpoint(AddressKind.ANY, "", 80)]),
            ("ipv6@:80", [Endpoint(AddressKind.IPV6, "::", 80)]),
            (":::80", [Endpoint(AddressKind.IPV6, "::", 80)]),
            ("[::1]:80", [Endpoint(AddressKind.IPV6, "::1", 80)]),
            ("::1:80", [Endpoint(AddressKind.IPV6, "::1", 80)]),
            ("10.0.0.1:80", [Endpoint(AddressKind.IPV4, "10.0.0.1", 80)]),
            ("localhost:80", [Endpoint(AddressKind.NAME, "localhost", 80)]),
            ("ipv6@localhost:80", [Endpoint(AddressKind.NAME, "localhost", 80, family=6)]),
            ("/run/x", [Endpoint(AddressKind.UNIX, "/run/x")]),
            ("unix@rel", [Endpoint(AddressKind.UNIX, "rel")]),
            ("abns@x", [Endpoint(AddressKind.ABSTRACT, "x")]),
            ("fd@07", [Endpoint(AddressKind.FD, "7")]),
            (
                ":1-3,10.0.0.1:5,/run/x",
                [
                    Endpoint(AddressKind.ANY, "", 1),
                    Endpoint(AddressKind.ANY, "", 2),
                    Endpoint(AddressKind.ANY, "", 3),
                    Endpoint(AddressKind.IPV4, "10.0.0.1", 5),
                    Endpoint(AddressKind.UNIX, "/run/x"),
                ],
            ),
        ],
    )
    def test_address(self, address: str, endpoints: list[Endpoint]) -> None:
        assert [bind.endpoint for bind in listen(f"bind {address}").binds] == endpoints

    def test_inherited_descriptor_can_come_from_the_environment(self) -> None:
        text = 'listen l\n bind "fd@${FD}"\n bind "fd@${FD}"\n'
        binds = config(text, env={"FD": "5"}).proxies[0].binds
        assert [b.endpoint for b in binds] == [Endpoint(AddressKind.FD, "5")] * 2

    def test_settings(self) -> None:
        bind = listen(
            "bind /run/x name n id 4 maxconn 5 backlog 6 interface eth0 mss -1400 tcp-ut 30s "
            "v4v6 v6only transparent defer-accept mode 660 user u group g uid 1 gid 2"
        ).binds[0]
        assert (bind.name, bind.id, bind.maxconn, bind.backlog) == ("n", 4, 5, 6)
        assert (bind.interface, bind.mss, bind.tcp_ut) == ("eth0", -1400, 30_000)
        assert (bind.v4v6, bind.v6only, bind.transparent, bind.defer_accept) == (True,) * 4
        assert (bind.mode, bind.user, bind.group, bind.uid, bind.gid) == (0o660, "u", "g", 1, 2)

    def test_each_address_of_a_list_has_the_settings(self) -> None:
        assert [b.maxconn for b in listen("bind :1-3 maxconn 7").binds] == [7, 7, 7]

    def test_too_many_addresses(self) -> None:
        assert "more than 65535 addresses" in alerts("listen l\n bind :1-65535,:1-65535\n")[0]
        assert "more than 65535 addresses" in alerts("listen l\n bind :1-65535\n bind :1\n")[0]


class TestServer:
    @pytest.mark.parametrize(
        ("address", "endpoint"),
        [
            ("1.2.3.4", Endpoint(AddressKind.IPV4, "1.2.3.4")),
            ("1.2.3.4:0", Endpoint(AddressKind.IPV4, "1.2.3.4")),
            ("1.2.3.4:80", Endpoint(AddressKind.IPV4, "1.2.3.4", 80)),
            ("1.2.3.4:+80", Endpoint(AddressKind.IPV4, "1.2.3.4", 80, True)),
            ("1.2.3.4:-80", Endpoint(AddressKind.IPV4, "1.2.3.4", -80, True)),
            ("[fe80::1]:80", Endpoint(AddressKind.IPV6, "fe80::1", 80)),
            ("fe80::1", Endpoint(AddressKind.IPV6, "fe80::1")),
            ("fe80::1:80", Endpoint(AddressKind.IPV6, "fe80::1", 80)),
            ("db.example:80", Endpoint(AddressKind.NAME, "db.example", 80)),
            ("ipv4@db.example", Endpoint(AddressKind.NAME, "db.example", family=4)),
            ("/run/db", Endpoint(AddressKind.UNIX, "/run/db")),
            ("abns@db", Endpoint(AddressKind.ABSTRACT, "db")),
        ],
    )
    def test_address(self, address: str, endpoint: Endpoint) -> None:
        assert listen(f"server s {address}").servers[0].endpoint == endpoint

    def test_defaults_are_haproxys(self) -> None:
        s = server("")
        assert (s.check.enabled, s.check.inter, s.check.rise, s.check.fall) == (False, 2000, 2, 3)
        assert (s.check.fastinter, s.check.downinter, s.weight, s.backup) == (None, None, 1, False)

    def test_check(self) -> None:
        check = server(
            "check inter 5s fastinter 1s downinter 10s rise 4 fall 5 port 81 addr 10.0.0.9"
        ).check
        assert check.enabled
        assert (check.inter, check.fastinter, check.downinter) == (5000, 1000, 10_000)
        assert (check.rise, check.fall, check.port) == (4, 5, 81)
        assert check.address == Endpoint(AddressKind.IPV4, "10.0.0.9")

    def test_addr_can_bring_the_port(self) -> None:
        check = server("check addr 10.0.0.9:90").check
        assert (check.address, check.port) == (Endpoint(AddressKind.IPV4, "10.0.0.9"), 90)

    @pytest.mark.parametrize(
        ("words", "field", "value"),
        [
            ("weight 0", "weight", 0),
            ("weight 256", "weight", 256),
            ("backup", "backup", True),
            ("backup no-backup", "backup", False),
            ("disabled", "disabled", True),
            ("disabled enabled", "disabled", False),
            ("on-marked-down shutdown-sessions", "shutdown_sessions_on_marked_down", True),
            ("tcp-ut 5s", "tcp_ut", 5000),
            ("tcp-ut 0", "tcp_ut", None),
            ("id 9", "id", 9),
        ],
    )
    def test_keyword(self, words: str, field: str, value: object) -> None:
        assert getattr(server(words), field) == value

    def test_source(self) -> None:
        source = server("source 10.0.0.1:1000-2000 interface eth0 check")
        assert source.check.enabled
        assert source.source == SourceAddress(
            Endpoint(AddressKind.IPV4, "10.0.0.1"), 1000, 2000, "eth0"
        )
        assert server("source 10.0.0.1:7").source == SourceAddress(
            Endpoint(AddressKind.IPV4, "10.0.0.1"), 7, 7
        )
        assert server("source 10.0.0.1").source == SourceAddress(
            Endpoint(AddressKind.IPV4, "10.0.0.1")
        )


class TestProxy:
    @pytest.mark.parametrize(
        ("line", "field", "value"),
        [
            ("mode tcp", "kind", ProxyKind.LISTEN),
            ("maxconn 5", "maxconn", 5),
            ("backlog 5", "backlog", 5),
            ("retries 0", "retries", 0),
            ("id 77", "id", 77),
            ("description a b", "description", "a b"),
            ("disabled", "disabled", True),
            ("log-tag t", "log_tag", "t"),
            ("option dontlognull", "dontlognull", True),
            ("option dontlog-normal", "dontlog_normal", True),
            ("option logasap", "logasap", True),
            ("option log-separate-errors", "log_separate_errors", True),
            ("option log-health-checks", "log_health_checks", True),
            ("option nolinger", "nolinger", True),
            ("option socket-stats", "socket_stats", True),
            ("no option socket-stats", "socket_stats", False),
            ("option contstats", "nolinger", False),
            ("no option contstats", "nolinger", False),
            ("option abortonclose", "abortonclose", True),
            ("option allbackups", "allbackups", True),
            ("option tcp-smart-connect", "smart_connect", True),
            ("option tcp-smart-accept", "smart_accept", True),
            ("option redispatch", "redispatch", -1),
            ("option redispatch 0", "redispatch", 0),
            ("option redispatch 3", "redispatch", 3),
            ("option splice-auto", "nolinger", False),
            ("option splice-request", "nolinger", False),
            ("no option splice-response", "nolinger", False),
            ("source 10.0.0.1", "source", SourceAddress(Endpoint(AddressKind.IPV4, "10.0.0.1"))),
        ],
    )
    def test_keyword(self, line: str, field: str, value: object) -> None:
        assert getattr(listen(line), field) == value

    @pytest.mark.parametrize(
        "name", ["connect", "client", "server", "tunnel", "client-fin", "server-fin", "check"]
    )
    def test_timeout(self, name: str) -> None:
        proxy = config(f"listen l\n timeout {name} 3m\n").proxies[0]
        assert getattr(proxy.timeouts, name.replace("-", "_")) == 180_000

    def test_tcplog_with_a_log(self) -> None:
        assert listen("log 127.0.0.1 local0", "option tcplog").tcplog

    @pytest.mark.parametrize(
        ("words", "algorithm", "draws"),
        [
            ("", Algorithm.ROUNDROBIN, 2),
            ("roundrobin", Algorithm.ROUNDROBIN, 2),
            ("static-rr", Algorithm.STATIC_RR, 2),
            ("leastconn", Algorithm.LEASTCONN, 2),
            ("first", Algorithm.FIRST, 2),
            ("source", Algorithm.SOURCE, 2),
            ("random", Algorithm.RANDOM, 2),
            ("random(5)", Algorithm.RANDOM, 5),
        ],
    )
    def test_balance(self, words: str, algorithm: Algorithm, draws: int) -> None:
        balance = listen(f"balance {words}").balance
        assert (balance.algorithm, balance.draws) == (algorithm, draws)

    def test_no_balance_line_means_roundrobin(self) -> None:
        assert listen().balance.algorithm is Algorithm.ROUNDROBIN

    @pytest.mark.parametrize(
        ("words", "method", "function", "avalanche"),
        [
            ("map-based", HashMethod.MAP_BASED, "sdbm", False),
            ("consistent", HashMethod.CONSISTENT, "sdbm", True),
            ("consistent sdbm", HashMethod.CONSISTENT, "sdbm", False),
            ("consistent djb2 avalanche", HashMethod.CONSISTENT, "djb2", True),
            ("map-based crc32", HashMethod.MAP_BASED, "crc32", False),
            ("map-based none", HashMethod.MAP_BASED, "none", False),
        ],
    )
    def test_hash_type(
        self, words: str, method: HashMethod, function: str, avalanche: bool
    ) -> None:
        balance = listen("balance source", f"hash-type {words}").balance
        assert (balance.hash_method, balance.hash_function) == (method, function)
        assert balance.avalanche is avalanche
        assert balance.algorithm is Algorithm.SOURCE

    def test_keepalive_in_seconds(self) -> None:
        proxy = listen(
            "option clitcpka",
            "clitcpka-idle 10",
            "clitcpka-intvl 5000ms",
            "clitcpka-cnt 3",
            "srvtcpka-idle 2m",
            "srvtcpka-intvl 0",
            "srvtcpka-cnt 0",
        )
        client, upstream = proxy.client_keepalive, proxy.server_keepalive
        assert (client.enabled, client.idle, client.interval, client.count) == (True, 10, 5, 3)
        assert (upstream.enabled, upstream.idle) == (False, 120)
        assert (upstream.interval, upstream.count) == (None, None)

    def test_tcpka_is_both_sides(self) -> None:
        proxy = listen("option tcpka")
        assert proxy.client_keepalive.enabled
        assert proxy.server_keepalive.enabled

    def test_backend_of_a_frontend(self) -> None:
        whole = config("frontend f\n default_backend b\nbackend b\nlisten l\nfrontend g\n")
        f, b, both, g = whole.proxies
        assert whole.backend_of(f) == b
        assert whole.backend_of(both) == both
        assert whole.backend_of(g) is None

    def test_a_listen_that_names_itself(self) -> None:
        whole = config("listen l\n default_backend l\n")
        assert whole.backend_of(whole.proxies[0]) == whole.proxies[0]
