"""Servers that refuse, vanish and come back; clients that leave; timeouts."""

from __future__ import annotations

from tests.support.sidebyside import Stage
from tests.support.situations import (
    DOWN_IN_DATA,
    KILLED,
    RESET_IS_SEEN,
    RESET_WHILE_CONNECTING,
    SERVER_RESET,
    UNREAD,
    situation,
)

ONE_SERVER = """\
listen l
 bind 127.0.0.1:{port}
 server s {a}
"""


@situation(
    "listen l\n bind 127.0.0.1:{port}\n retries 1\n timeout connect 500ms\n server s {dead}\n"
)
def a_refusing_server_is_tried_again_after_a_pause(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation("listen l\n bind 127.0.0.1:{port}\n retries 0\n server s {dead}\n")
def a_refusing_server_without_retries(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation(
    "listen l\n bind 127.0.0.1:{port}\n retries 0\n timeout connect 300ms\n server s {silent}\n",
    UNREAD,
)
def what_was_said_reached_nobody(s: Stage) -> None:
    s.client().says(b"data that nobody takes").hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 option redispatch
 timeout connect 300ms
 server dead {dead}
 server alive {a}
"""
)
def a_refused_session_goes_to_another_server(s: Stage) -> None:
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 retries 1
 timeout connect 300ms
 server one {dead1}
 server two {dead2}
 server three {dead3}
"""
)
def refused_by_all_without_redispatch(s: Stage) -> None:
    for _ in range(2):
        s.client().hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 balance source
 option redispatch
 retries 2
 timeout connect 200ms
 server one {dead1}
 server two {dead2}
"""
)
def a_hash_waits_and_redispatches_last(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation(
    "listen l\n bind 127.0.0.1:{port}\n retries 1\n timeout connect 200ms\n server s {silent}\n"
)
def a_silent_server_costs_the_connect_timeout(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 option redispatch
 timeout connect 200ms
 server silent {silent}
 server alive {a}
"""
)
def a_silent_server_is_left_for_another(s: Stage) -> None:
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(
    """\
listen l
 bind 127.0.0.1:{port}
 option redispatch 1
 retries 3
 timeout connect 200ms
 server dead {dead}
 server silent {silent}
 server alive {a} weight 1
"""
)
def redispatch_each_time(s: Stage) -> None:
    client, server = s.session("a")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation("listen l\n bind 127.0.0.1:{port}\n server s {silent}\n", RESET_WHILE_CONNECTING)
def a_client_leaves_while_connecting(s: Stage) -> None:
    s.client().stays(0.05).closes()
    s.ended(1)
    s.client().stays(0.05).resets()
    s.ended(2)
    s.client().says(b"some data").stays(0.05).resets()
    s.ended(3)


@situation("listen l\n bind 127.0.0.1:{port}\n option abortonclose\n server s {silent}\n")
def a_client_leaves_while_connecting_with_abortonclose(s: Stage) -> None:
    client = s.client()
    client.says(b"some data").stays(0.05).closes()
    s.ended()


@situation(
    "listen l\n bind 127.0.0.1:{port}\n timeout connect 500ms\n retries 0\n server s {silent}\n"
)
def a_client_leaves_words_while_connecting(s: Stage) -> None:
    s.client().says(b"some data").stays(0.05).closes()
    s.ended()


@situation(ONE_SERVER)
def sessions_end_in_every_order(s: Stage) -> None:
    s.note("a client resets in the middle")
    client, server = s.session("a")
    client.resets()
    server.hears_end().closes()
    s.ended()
    s.note("the client half closes and gets its answer")
    client, server = s.session("a")
    client.says(b"all of it").shuts()
    server.hears_end().says(b"answer" * 100).closes()
    client.hears_end().closes()
    s.ended()
    s.note("the server half closes and hears the rest")
    client, server = s.session("a")
    server.says(b"last words").shuts()
    client.hears_end().says(b"one more thing").closes()
    server.hears_end().closes()
    s.ended()
    s.note("a client says nothing and leaves")
    client = s.client()
    server = s.server("a").stays()
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(ONE_SERVER, SERVER_RESET)
def a_server_resets_in_the_middle_or_at_once(s: Stage) -> None:
    client, server = s.session("a")
    server.says(b"half of it")
    client.hears(10)
    server.resets()
    client.hears_end().closes()
    s.ended()

    client = s.client()
    s.server("a").stays().resets()
    client.hears_end().closes()
    s.ended()


@situation(
    """\
listen client
 bind 127.0.0.1:{port}
 timeout client 200ms
 server s {a}
listen server
 bind 127.0.0.1:{port2}
 timeout server 200ms
 server s {a}
listen both
 bind 127.0.0.1:{port3}
 timeout client 200ms
 timeout server 200ms
 server s {a}
listen tunnel
 bind 127.0.0.1:{port4}
 timeout tunnel 200ms
 server s {a}
listen client-fin
 bind 127.0.0.1:{port5}
 timeout client-fin 200ms
 server s {a}
listen server-fin
 bind 127.0.0.1:{port6}
 timeout server-fin 200ms
 server s {a}
"""
)
def every_timeout(s: Stage) -> None:
    client, server = s.session("a", port="port")
    server.hears_end().closes()
    client.hears_end().closes()
    s.ended()
    for port in ("port2", "port3", "port4"):
        client, server = s.session("a", port=port)
        client.hears_end().closes()
        server.hears_end().closes()
        s.ended()
    client, server = s.session("a", port="port5")
    server.shuts()
    client.hears_end()
    server.hears_end().closes()
    s.ended()
    client, server = s.session("a", port="port6")
    client.shuts()
    server.hears_end()
    client.hears_end().closes()
    s.ended()


@situation(ONE_SERVER.replace(" server", " timeout server 500ms\n server"), RESET_IS_SEEN)
def both_reset_after_half_closing(s: Stage) -> None:
    client, server = s.session("a")
    client.shuts()
    server.hears_end().says(b"more")
    client.hears(4).resets()
    s.ended()
    server.hears_end().closes()


CHECKED = """\
listen l
 bind 127.0.0.1:{port}
 balance first
 option log-health-checks
 default-server check inter 100ms fall 2 rise 2
 server a {a} on-marked-down shutdown-sessions
 server b {b}
"""


@situation(CHECKED, KILLED, DOWN_IN_DATA)
def a_server_dies_with_the_action_on(s: Stage) -> None:
    s.logs("succeeded", 2)
    client, _server = s.session("a")
    s.dies("a")
    client.hears_end().closes()
    s.logs("is DOWN")
    s.ended()


@situation(CHECKED.replace("shutdown-sessions", "shutdown-sessions disabled"))
def a_disabled_server_gets_no_session_and_no_check(s: Stage) -> None:
    s.logs("succeeded")
    client, server = s.session("b")
    client.closes()
    server.hears_end().closes()
    s.ended()


@situation(CHECKED.replace(" on-marked-down shutdown-sessions", ""))
def a_server_goes_and_comes_back_without_the_action(s: Stage) -> None:
    s.logs("succeeded", 2)
    client, server = s.session("a")
    s.dies("a")
    s.logs("is DOWN")
    s.returns("a")
    s.logs("is UP")
    client.says(b"still there")
    server.hears(11).closes()
    client.hears_end().closes()
    s.ended()


@situation("listen l\n bind 127.0.0.1:{port}\n server s {dead} check fall 1\n")
def all_servers_are_down(s: Stage) -> None:
    s.logs("no server available")
    s.client().hears_end().closes()
    s.ended()


@situation("frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n")
def a_backend_without_a_server(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation("frontend f\n bind 127.0.0.1:{port}\n")
def a_frontend_without_a_backend(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation(ONE_SERVER.replace("{a}", "{a} weight 0"))
def weight_zero_gets_nothing(s: Stage) -> None:
    s.client().hears_end().closes()
    s.ended()


@situation(CHECKED)
def states_are_dumped_on_a_hangup(s: Stage) -> None:
    s.logs("succeeded", 2)
    client, server = s.session("a")
    s.dumps()
    s.logs("Proxy l has 2 active servers")
    client.closes()
    server.hears_end().closes()
    s.ended()
    s.dies("a")
    s.logs("Server l/a is DOWN")
    s.dies("b")
    s.logs("Server l/b is DOWN")
    s.dumps()
    s.logs("Proxy l has no server available !")


@situation(
    """\
frontend f
 bind 127.0.0.1:{port}
 default_backend b
backend b
 server main {dead} check fall 1
 server spare {a} backup
backend empty
"""
)
def states_of_a_backend_on_its_backup(s: Stage) -> None:
    s.logs("is DOWN")
    s.dumps()
    s.logs("Proxy empty has no servers")
