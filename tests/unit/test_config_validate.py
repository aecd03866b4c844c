"""What is wrong with a configuration as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbsplice.config.messages import Severity
from tests.unit.config_reading import TIMEOUTS, alerts, config, read, warnings


class TestTheWhole:
    GOOD = f"frontend f\n bind :80\n{TIMEOUTS}"

    def test_missing_timeouts(self) -> None:
        missing = "timeouts are set to a non-zero value: 'client', 'connect', 'server'."
        for text, title in (
            ("listen l\n", "proxy 'l'"),
            ("frontend f\n bind :80\n", "frontend 'f'"),
            ("backend b\n server s 1.2.3.4:5\n", "backend 'b'"),
            ("backend b\n timeout connect 1s\n server s 1.2.3.4:5\n", "backend 'b'"),
        ):
            (text_of_it,) = warnings(text)
            assert text_of_it.startswith(f"missing timeouts for {title}.")
            assert text_of_it.endswith(missing)

    @pytest.mark.parametrize(
        "text",
        [
            "backend b\n",
            "backend b\n timeout connect 1s\n timeout tunnel 1s\n server s 1.2.3.4:5\n",
            "frontend f\n bind :80\n timeout client 1s\n",
            "listen l\n disabled\n",
        ],
    )
    def test_enough_timeouts(self, text: str) -> None:
        assert warnings(text) == []

    def test_frontend_without_bind(self) -> None:
        assert warnings("frontend f\n timeout client 1s\n") == [
            "frontend 'f' has no 'bind' directive. Please declare it as a backend if this was "
            "intended."
        ]

    def test_tcplog_without_log(self) -> None:
        for text in (
            "listen l\n timeout client 1s\n option tcplog\n",
            "listen l\n timeout client 1s\n log global\n option tcplog\n",
        ):
            assert warnings(text) == [
                "log format ignored for proxy 'l' since it has no log address."
            ]

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            (
                "frontend a\nfrontend a\n",
                "frontend 'a' has the same name as frontend 'a' declared at 1.cfg:1.",
            ),
            (
                "frontend a\nlisten a\n",
                "proxy 'a' has the same name as frontend 'a' declared at 1.cfg:1.",
            ),
            (
                "backend a\nlisten a\n",
                "proxy 'a' has the same name as backend 'a' declared at 1.cfg:1.",
            ),
            (
                "listen a\n id 7\nlisten b\n id 7\n",
                "proxy b reuses same custom id as proxy a (declared at 1.cfg:1).",
            ),
            (
                "listen a\n default_backend nope\n",
                "Proxy 'a': unable to find required default_backend: 'nope'.",
            ),
            (
                "frontend a\n default_backend a\n",
                "Proxy 'a': unable to find required default_backend: 'a'.",
            ),
            (
                "backend database\nlisten a\n default_backend databse\n",
                "Proxy 'a': unable to find required default_backend: 'databse'; did you mean "
                "'database' maybe ?.",
            ),
            (
                "backend b\n server s 1.2.3.4:5\n server s 1.2.3.4:5\n",
                "proxy 'b', another server named 's' was already defined at line 2, please use "
                "distinct names.",
            ),
            (
                "backend b\n server s 1.2.3.4 check\n",
                "proxy 'b': server 's' has neither service port nor check port.",
            ),
            (
                "backend b\n server s 1.2.3.4:+5 check\n",
                "proxy 'b': server 's' has neither service port nor check port.",
            ),
            (
                "backend b\n server s 1.2.3.4:5 id 3\n server t 1.2.3.4:5 id 3\n",
                "'server b/t' : 'id' : custom id 3 already used at 1.cfg:2 ('server s').",
            ),
            (
                "listen b\n bind :1 id 3\n bind :2 id 3\n",
                "'bind :2' in section 'listen' : 'id' : custom id 3 already used at 1.cfg:2",
            ),
        ],
    )
    def test_error(self, text: str, what: str) -> None:
        assert alerts(text)[0] == what

    def test_a_frontend_and_a_backend_may_share_a_name(self) -> None:
        assert alerts("frontend a\n default_backend a\nbackend a\n") == []

    @pytest.mark.parametrize("words", ["1.2.3.4 check port 5", "/run/db check", "1.2.3.4"])
    def test_server_that_can_be_checked(self, words: str) -> None:
        assert alerts(f"backend b\n server s {words}\n") == []

    def test_disabled_proxies_are_left_in_peace(self) -> None:
        assert alerts("listen l\n disabled\n default_backend no\n server s 1.2.3.4 check\n") == []

    def test_after_an_error_no_warning_about_the_whole(self) -> None:
        outcome = read("listen l\n bogus-word x\n")
        assert {m.severity for m in outcome.messages} == {Severity.ALERT}
        assert outcome.config is None

    def test_config_is_a_value(self) -> None:
        assert config(self.GOOD) == config(self.GOOD)
        whole = config(self.GOOD)
        assert replace(whole, proxies=()) != whole
