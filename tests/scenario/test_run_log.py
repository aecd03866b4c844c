"""What the program's log says of its sessions: each field, each option, each target."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.program import Program, Service, SessionLine
from tests.support.waiting import wait_until

HEAD = """\
global
 nbthread 2
 {globals}
defaults
 mode tcp
 log global
 timeout connect 2s
 timeout client 30s
 timeout server 30s
"""


def head(*global_lines: object) -> str:
    return HEAD.format(globals="\n ".join(str(line) for line in global_lines))


def date_of(text: str) -> float:
    """Seconds since 1970 of `06/Feb/2009:12:12:51.443`, local time."""
    return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S.%f").timestamp()


def asks_and_is_answered(lb: Program, server: Service, port: str = "front") -> str:
    """One session with 4 bytes there and 7 back, to its end; the client's address."""
    client = lb.connects(port)
    host, own_port = client.socket.getsockname()
    end = server.accepts()
    client.sends(b"ask!").shuts_output()
    end.reads(b"ask!").reads_end().sends(b"answer.").closes()
    client.reads(b"answer.").reads_end().closes()
    return f"{host}:{own_port}"


# ---- the two lines ----


def test_tcplog_line_has_every_field(lb):
    server = lb.server()
    lb.start(
        head(f"log {lb.log} local0")
        + f"""\
frontend www
 bind 127.0.0.1:{lb.port()}
 option tcplog
 default_backend app
backend app
 server s1 {server}
"""
    )
    before = time.time()
    client, end = lb.session(server)
    address = "{}:{}".format(*client.socket.getsockname())
    end.sends(b"0123456789")
    client.reads(b"0123456789").sees_nothing(0.12)
    client.closes()
    end.reads_end().closes()
    (line,) = lb.logs(" www ")
    after = time.time()
    assert line.severity == 6
    found = re.fullmatch(
        re.escape(address) + r" \[(.{24})\] www app/s1 0/(\d+)/(\d+) 10 -- 1/1/0/0/0 0/0", line.text
    )
    assert found, line
    assert before - 0.001 <= date_of(found[1]) <= after
    connect_ms, total_ms = int(found[2]), int(found[3])
    assert connect_ms <= total_ms
    assert 115 <= total_ms <= (after - before) * 1000 + 1
    lb.stops()


def test_concurrent_sessions_are_counted_where_they_are(lb):
    server = lb.server()
    lb.start(
        head(f"log {lb.log} local0")
        + "".join(
            f"""\
listen l{number}
 bind 127.0.0.1:{lb.port(f"l{number}")}
 option tcplog
 server a {server if number == 1 else f"127.0.0.1:{server.sessions.port}"}
"""
            for number in (1, 2)
        )
    )
    held = [lb.session(server, "l1") for _ in range(3)] + [lb.session(server, "l2")]
    for client, end in held:
        client.closes()
        end.reads_end().closes()
        lb.logs(r" 0/0$", held.index((client, end)) + 1)
    counts = [SessionLine.read(line).counts for line in lb.logs(r" 0/0$", 4)]
    # the session is still counted in process and frontend, no more in backend and server
    assert counts == [(4, 3, 2, 2), (3, 2, 1, 1), (2, 1, 0, 0), (1, 1, 0, 0)]
    lb.stops()


@pytest.mark.parametrize("bind", ["127.0.0.1:{port}", "*:{port}"])
def test_default_line_is_written_at_connect(lb, bind):
    server = lb.server()
    lb.start(
        head(f"log {lb.log} local0")
        + f"listen www\n bind {bind.format(port=lb.port())}\n server a {server}\n"
    )
    client, end = lb.session(server)
    (line,) = lb.logs("Connect")
    mine = "{}:{}".format(*client.socket.getsockname())
    assert line.text == f"Connect from {mine} to 127.0.0.1:{lb.port()} (www/TCP)"
    assert line.severity == 6
    client.closes()
    end.reads_end().closes()
    lb.stops()
    lb.says_no_more("127.0.0.1", 1)


# ---- options ----


def test_logasap_writes_at_connect_and_never_again(lb):
    server = lb.server()
    lb.start(
        head(f"log {lb.log} local0")
        + f"""\
listen www
 bind 127.0.0.1:{lb.port()}
 option tcplog
 option logasap
 server a {server}
"""
    )
    client, end = lb.session(server)
    (line,) = lb.logs(" www ")
    assert re.search(r" www www/a 0/\d+/\+\d+ \+0 -- 1/1/1/1/0 0/0$", line.text), line
    end.resets()
    client.reads_reset()
    lb.stops()
    lb.says_no_more(" www ", 1)


OPTIONS = {
    # option: what of a silent, an answered, a greeted and a reset session is told, and as what
    "": {"silent": 6, "answered": 6, "greeted": 6, "reset": 6},
    "option dontlognull": {"answered": 6, "greeted": 6, "reset": 6},
    "option dontlog-normal": {"reset": 6},
    "option log-separate-errors": {"silent": 6, "answered": 6, "greeted": 6, "reset": 3},
    "option dontlog-normal\n option log-separate-errors": {"reset": 3},
    "log-tag other": {"silent": 6, "answered": 6, "greeted": 6, "reset": 6},
    "no log": {},
}


def test_options_choose_the_sessions_and_their_severity(lb):
    servers = {name: lb.server() for name in OPTIONS}
    lb.start(
        head(f"log {lb.log} local0")
        + "".join(
            f"""\
listen l{number}
 bind 127.0.0.1:{lb.port(name)}
 option tcplog
 {name or "description none"}
 server a {servers[name]}
"""
            for number, name in enumerate(OPTIONS)
        )
    )
    told: dict[str, dict[str, str]] = {}
    for name in OPTIONS:
        asks = told[name] = {}
        asks["answered"] = asks_and_is_answered(lb, servers[name], name)
        for kind in ("silent", "greeted", "reset"):
            client, end = lb.connects(name), servers[name].accepts()
            asks[kind] = "{}:{}".format(*client.socket.getsockname())
            if kind == "greeted":
                end.sends(b"220 hello")
                client.reads(b"220 hello")
            if kind == "reset":
                client.sends(b"x")
                end.reads(b"x").resets()
                client.reads_reset()
                client.closes()
            else:
                end.shuts_output()
                client.reads_end().closes()
                end.reads_end().closes()
    lb.stops()  # everything that is to be told is told by then
    for number, (name, expected) in enumerate(OPTIONS.items()):
        severities = {
            kind: line.severity
            for kind, client in told[name].items()
            for line in lb.log.lines
            if line.text.startswith(f"{client} [") and f" l{number} " in line.text
        }
        assert severities == expected, name


def test_each_target_has_its_format_and_its_levels(lb, tmp_path):
    server = lb.server()
    with udp() as rfc5424, udp() as errors, unix_reader(tmp_path / "log") as unix:
        lb.start(
            head(
                "log-tag balancer",
                "log-send-hostname lb1",
                f"log {address(rfc5424)} format rfc5424 local3",
                f"log {address(errors)} format raw local3 err",
                f"log {tmp_path}/log daemon",
                f"log {lb.log} local7 debug notice",
                "log stdout format raw local0 alert",
            )
            + f"""\
listen www
 bind 127.0.0.1:{lb.port()}
 option tcplog
 option log-separate-errors
 server a {server}
 server gone {lb.refusing_server()} backup check inter 50ms fall 1
"""
        )
        client = asks_and_is_answered(lb, server)
        body = re.escape(client) + r" \[.{24}\] www www/a .* 0/0"
        pid = lb.pid
        down = r"Backup Server www/gone is DOWN, .*"
        Reader(rfc5424).hears(rf"<158>1 {RFC3339} lb1 balancer {pid} - - {body}\n?")
        daemon = Reader(unix)
        daemon.hears(rf"<30>{DAY} balancer\[{pid}\]: {body}\n?")
        daemon.hears(rf"<25>{DAY} balancer\[{pid}\]: {down}\n?")
        Reader(errors).hears(rf"{down}\n?")
        # nothing is emphasized above its lower bound: alert becomes notice
        (line,) = lb.logs("is DOWN")
        assert line.severity == 5
        out = lb.process.stdout
        lb.process.stdout = None
        lb.stops()
        with out:
            assert re.fullmatch(rf"{down}\n", out.read())


RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d"
DAY = r"\w{3} [ \d]\d \d\d:\d\d:\d\d lb1"


def udp() -> socket.socket:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    return receiver


def unix_reader(path: Path) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.setblocking(False)
    return receiver


def address(receiver: socket.socket) -> str:
    return "{}:{}".format(*receiver.getsockname())


class Reader:
    """A datagram socket that takes the log."""

    def __init__(self, receiver: socket.socket) -> None:
        self._socket = receiver
        self._heard: list[str] = []

    def hears(self, pattern: str) -> None:
        """A datagram that is the pattern comes, or came already."""

        def found() -> bool:
            with suppress(BlockingIOError):
                self._heard.append(self._socket.recv(65536).decode())
            return any(re.fullmatch(pattern, line) for line in self._heard)

        try:
            wait_until(found, pattern)
        except AssertionError:
            raise AssertionError(f"not heard: {pattern!r} among {self._heard}") from None
