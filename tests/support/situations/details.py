"""Limits, options and amounts."""

from __future__ import annotations

import socket

from tests.support.sidebyside import Stage
from tests.support.situations import HEAD, NOLINGER_IS_GENTLE, situation

ONE_SERVER = """\
listen l
 bind 127.0.0.1:{port}
 server s {a}
"""


def with_option(*lines: str) -> str:
    return ONE_SERVER.replace(" server", "".join(f" {line}\n" for line in lines) + " server")


@situation(with_option("maxconn 1"))
def the_one_too_many_waits_in_the_backlog(s: Stage) -> None:
    first, server = s.session("a")
    second = s.client().says(b"patience").stays()
    s.names.servers["a"].accepts_nobody()
    first.closes()
    server.hears_end().closes()
    s.ended(1)
    server = s.server("a").hears(8)
    server.closes()
    second.hears_end().closes()
    s.ended()


@situation(ONE_SERVER, head=HEAD.replace(" nbthread 1\n", " nbthread 1\n maxconn 1\n"))
def the_process_is_full(s: Stage) -> None:
    first, server = s.session("a")
    second = s.client().says(b"patience").stays()
    s.names.servers["a"].accepts_nobody()
    first.closes()
    server.hears_end().closes()
    s.ended(1)
    server = s.server("a").hears(8)
    server.closes()
    second.hears_end().closes()
    s.ended()


@situation(with_option("option dontlognull"))
def nothing_said_nothing_logged(s: Stage) -> None:
    client = s.client()
    server = s.server("a").stays()
    client.closes()
    server.hears_end().closes()
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended(1)


@situation(with_option("option dontlog-normal", "option log-separate-errors"))
def only_errors_and_louder(s: Stage) -> None:
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    client, server = s.session("a")
    client.resets()
    server.hears_end().closes()
    s.ended(1)


@situation(with_option("option logasap"))
def the_line_is_written_at_the_connection(s: Stage) -> None:
    client, server = s.session("a")
    s.ended()
    server.says(b"more")
    client.hears(4).closes()
    server.hears_end().closes()


@situation(with_option("option nolinger"), NOLINGER_IS_GENTLE)
def nolinger(s: Stage) -> None:
    client, server = s.session("a")
    server.says(b"bye").closes()
    client.hears_end().closes()
    s.ended()
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(with_option("option tcp-smart-connect", "option tcp-smart-accept"))
def smart_connect_keeps_the_conversation(s: Stage) -> None:
    client, server = s.session("a")
    client.says(b"x" * 50_000).shuts()
    server.hears_end().says(b"y" * 50_000).closes()
    client.hears_end().closes()
    s.ended()


@situation(with_option("timeout client 5s", "timeout server 5s"))
def four_megabytes_both_ways(s: Stage) -> None:
    client, server = s.session("a")
    for _ in range(32):
        client.says(bytes(1 << 17))
        server.hears(1 << 17).says(bytes(1 << 17))
        client.hears(1 << 17)
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 no log
 server heavy {a} weight 3
 server light {b} weight 1
 server none {c} weight 0
""",
    head=HEAD.replace(" option tcplog\n", ""),
)
def weights_are_shares_and_not_an_order(s: Stage) -> None:
    for _ in range(8):
        client = s.client(name="client").says(b"hi")
        s.any_server().hears(2).closes()
        client.hears_end().closes()
    s.seen.notes.sort()


@situation(
    """\
listen off
 disabled
 bind 127.0.0.1:{port2}  # off
 server s {b}
backend idle
 disabled
 server s {c}
listen l
 bind 127.0.0.1:{port}
 server s {a}
"""
)
def a_disabled_proxy(s: Stage) -> None:
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 default-server check inter 1s fall 1
 server main {dead}
 server first {a} backup
 server second {b} backup
 option allbackups
"""
)
def all_backups(s: Stage) -> None:
    s.logs("is DOWN")
    for _ in range(4):
        client = s.client().says(b"hi")
        s.any_server().hears(2).closes()
        client.hears_end().closes()
        s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{ports}
 server same 127.0.0.2
"""
)
def the_servers_port_is_the_clients(s: Stage) -> None:
    with socket.create_server(("127.0.0.2", s.names.port("ports") + 1)) as listening:
        client = s.client("ports", at=1)
        server, _ = listening.accept()
        server.close()
        client.hears_end().closes()
    s.ended()
