"""Configurations as people have them, for the services that they balance."""

from __future__ import annotations

from tests.support.sidebyside import Stage, timer
from tests.support.situations import HEAD, situation


@situation(
    """\
listen amqp
 bind 127.0.0.1:{port}
 option clitcpka
 clitcpka-idle 20s
 clitcpka-intvl 5s
 clitcpka-cnt 3
 option srvtcpka
 srvtcpka-idle 40s
 timeout client 3h
 timeout server 3h
 balance leastconn
 server rabbit1 {a} check inter 5s rise 2 fall 3
"""
)
def amqp_with_keepalives(s: Stage) -> None:
    client, server = s.session("a")
    for end, side in ((client, "client"), (server, "server")):
        mine, proxys = end.peer.socket.getsockname()[1], end.peer.socket.getpeername()[1]
        which, left = timer(proxys, mine)
        s.note(f"{side}'s leg: timer {which}, {round(left, -1):.0f} s")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
frontend mysql
 bind 127.0.0.1:{port}
 default_backend galera
backend galera
 option log-health-checks
 default-server check inter 100ms fall 1 rise 1
 server master {a}
 server slave {b} backup
"""
)
def mysql_master_with_a_backup(s: Stage) -> None:
    s.logs("succeeded", 2)
    client, master = s.session("a")
    client.closes()
    master.hears_end().closes()
    s.dies("a")
    s.logs("is DOWN")
    client, slave = s.session("b")
    slave.closes()
    client.hears_end().closes()
    s.ended()


@situation(
    """\
listen redis
 bind 127.0.0.1:{port}
 option tcpka
 balance first
 server one {a} check inter 10s
 server two {b} check inter 10s
"""
)
def redis_ping(s: Stage) -> None:
    client = s.client().says(b"PING\r\n")
    server = s.checked_server("a").hears(6).says(b"+PONG\r\n")
    client.hears(7).closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
listen mqtt
 bind 127.0.0.1:{port}
 timeout client 200ms
 timeout server 200ms
 timeout tunnel 1h
 server broker {a}
"""
)
def mqtt_with_a_long_tunnel(s: Stage) -> None:
    client, server = s.session("a")
    client.stays(0.4)
    server.says(b"publish")
    client.hears(7).shuts()
    server.hears_end().closes()
    client.hears_end().closes()
    s.ended()


@situation(
    """\
listen smtp
 bind 127.0.0.1:{port}
 option tcp-smart-accept
 server mx {a}
"""
)
def smtp_where_the_server_speaks_first(s: Stage) -> None:
    client = s.client()
    server = s.server("a").says(b"220 mx ESMTP\r\n")
    client.hears(14).says(b"QUIT\r\n")
    server.hears(6).says(b"221 bye\r\n").closes()
    client.hears_end().closes()
    s.ended()


@situation(
    """\
listen syslog
 bind 127.0.0.1:{port}
 timeout client 1h
 server collector {a}
"""
)
def syslog_where_only_the_client_speaks(s: Stage) -> None:
    client = s.client().says(b"<13>one\n" * 1000)
    server = s.server("a").hears(8000)
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
listen rdp
 bind 127.0.0.1:{port} defer-accept
 balance leastconn
 timeout client 1h
 timeout server 1h
 option redispatch
 retries 2
 server ts1 {a} weight 10
 server ts2 {b} weight 10
 server ts3 {c} weight 10
"""
)
def rdp_sessions_spread_by_their_number(s: Stage) -> None:
    ends = [s.session(name) for name in "abc"]
    ends[1][0].closes()
    ends[1][1].hears_end().closes()
    s.ended(1)
    ends.append(s.session("b"))
    for index in (0, 2, 3):
        ends[index][0].closes()
        ends[index][1].hears_end().closes()
        s.ended(2 if index == 0 else index + 1)


@situation(
    """\
listen ldap
 bind 127.0.0.1:{port}
 balance source
 server one {a}
 server two {b}
 server three {c}
"""
)
def ldap_clients_keep_their_server(s: Stage) -> None:
    for last in range(2, 12):
        client = s.client(source=f"127.0.0.{last}").says(b"bind")
        s.any_server().hears(4).closes()
        client.hears_end().closes()
        s.ended()


@situation(
    """\
listen tunnel
 bind unix@{dir}/in.sock mode 600
 bind 127.0.0.1:{port} name tcp
 server local unix@{dir}/out.sock
frontend behind
 bind {dir}/out.sock
 default_backend far
backend far
 server far {a}
"""
)
def stunnel_like_over_unix_sockets(s: Stage) -> None:
    client, server = s.session("a", path=f"{s.names['dir']}/in.sock")
    client.shuts()
    server.hears_end().says(b"bye").closes()
    client.hears_end().closes()
    s.ended(2)


@situation(
    """\
listen galera
 bind 127.0.0.1:{port}
 balance leastconn
 default-server check inter 1s fall 1
 server node1 {a} backup
 server node2 {dead} backup
 server node3 {b} disabled
"""
)
def galera_with_nothing_but_backups(s: Stage) -> None:
    s.logs("node2 is DOWN")
    client = s.client().says(b"select 1")
    server = s.checked_server("a").hears(8)
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
defaults short
 log {log} local1 notice
 log {log} local2
 mode tcp
 option tcplog
 timeout connect 1s
 timeout client 200ms
 timeout server 3s
defaults long from short
 timeout client 3s
listen quick from short
 bind 127.0.0.1:{port}
 server s {a}
listen patient from long
 bind 127.0.0.1:{port2}
 server s {b}
""",
    head="global\n log-tag lb\n nbthread 1\n",
)
def named_defaults(s: Stage) -> None:
    client, server = s.session("b", port="port2")
    quick, hurried = s.session("a")
    hurried.hears_end().closes()
    quick.hears_end().closes()
    s.logs("cD")
    client.says(b"still here").closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
defaults
 log global
 mode tcp
 option tcplog
 timeout connect 1s
 timeout client 3s
 timeout server 3s
listen one
 bind 127.0.0.1:{port}
 server s {a}
listen two
 bind 127.0.0.1:{port2}
 server s {b}
frontend three
 bind 127.0.0.1:{port3}
 default_backend shared
backend shared
 server s {c}
"""
)
def several_listens_share_defaults(s: Stage) -> None:
    for port, name in (("port", "a"), ("port2", "b"), ("port3", "c")):
        client, server = s.session(name, port=port)
        server.closes()
        client.hears_end().closes()
        s.ended()


@situation(
    """\
frontend many
 bind 127.0.0.1:{ports}
 bind 127.0.0.1:{port},127.0.0.1:{port2} name pair
 default_backend b
backend b
 server s {a}
"""
)
def port_ranges_and_lists_of_addresses(s: Stage) -> None:
    for port, at in (("ports", 0), ("ports", 2), ("port", 0), ("port2", 0)):
        client, server = s.session("a", port=port, at=at)
        client.closes()
        server.hears_end().closes()
        s.ended()


@situation(
    """\
listen plain
 bind 127.0.0.1:{port}
 server s {a}
listen unix
 bind unix@{dir}/in.sock
 server s {b}
""",
    head=HEAD.replace(" option tcplog\n", ""),
)
def the_line_without_tcplog(s: Stage) -> None:
    for name, where in (("a", {}), ("b", {"path": f"{s.names['dir']}/in.sock"})):
        client, server = s.session(name, **where)
        client.closes()
        server.hears_end().closes()
        s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 server s {a}
""",
    head=HEAD.replace(" log-tag lb\n", " log-tag lb-1\n log-send-hostname edge\n"),
)
def a_host_name_in_the_log(s: Stage) -> None:
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended()
