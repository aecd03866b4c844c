"""The stats sockets themselves, and handing the listening ones to another program."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbsplice import getsocks
from lbsplice.admin.stats_sockets import StatsKey
from lbsplice.plan.sockaddr import abstract_name
from tests.support.admin import StandInControl
from tests.support.admin_socket import (
    ANSWERS_WITHIN_S,
    ask,
    connect,
    read_all,
    read_until,
    served,
)
from tests.support.waiting import wait_until
from tests.unit.config_reading import alerts, config

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        yield Path(name)


# ---- where they listen ----


def test_a_path_has_the_rights_that_its_line_says(directory):
    user = pwd.getpwuid(os.getuid()).pw_name
    path = directory / "s"
    with served(f"global\n stats socket {path} mode 640 user {user} gid {os.getgid()}\n"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert [each.name for each in directory.iterdir()] == ["s"]


def test_other_families():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = f"global\n stats socket abns@lbs{port} level user\n stats socket 127.0.0.1:{port}\n"
    with served(text):
        with socket.create_connection(("127.0.0.1", port), 5) as tcp:
            tcp.sendall(b"show cli sockets\n")
            shown = read_all(tcp).decode()
        assert shown == (
            f"# socket lvl processes\nabns@lbs{port} user all\n"
            f"ipv4@127.0.0.1:{port} operator all\n\n"
        )
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.connect(abstract_name(f"lbs{port}"))
            abstract.sendall(b"show cli level\n")
            assert read_all(abstract) == b"user\n\n"


def test_whoever_comes_over_tcp_is_named_by_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served(f"global\n stats socket 127.0.0.1:{port} level admin\n") as admin:
        with socket.create_connection(("127.0.0.1", port), 5) as tcp:
            ours = tcp.getsockname()[1]
            tcp.sendall(b"disable server l/s1\n")
            assert read_all(tcp) == b"\n"
        assert admin.control.asked[0][-1] == f"ipv4@127.0.0.1:{port} (127.0.0.1:{ours})"


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("/run/s", "unix@/run/s"),
        ("unix@/run/s", "unix@/run/s"),
        ("abns@s", "abns@s"),
        ("127.0.0.1:9", "ipv4@127.0.0.1:9"),
        ("*:9", "ipv4@0.0.0.0:9"),
        (":9", "ipv4@0.0.0.0:9"),
        ("ipv6@::1:9", "ipv6@[::1]:9"),
        ("fd@3", "fd@3"),
    ],
)
def test_how_an_address_is_shown(written, key):
    (line,) = config(f"global\n stats socket {written}\n").global_.stats_sockets
    assert StatsKey.of(line) == StatsKey(key)


def test_what_a_line_may_say():
    text = "global\n stats socket /s uid 1 gid 2 mode 640 backlog 9 level admin\n"
    text += " stats socket /t severity-output string expose-fd listeners\n"
    first, second = config(text).global_.stats_sockets
    assert (first.uid, first.gid, first.mode, first.backlog) == (1, 2, 0o640, 9)
    assert (first.level, first.severity_output, first.expose_listeners) == ("admin", "none", False)
    assert (second.level, second.severity_output) == ("operator", "string")
    assert second.expose_listeners


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "stats socket /s severity-output x",
            "'severity-output' only supports 'none', 'number', and 'string' (got 'x')",
        ),
        ("stats socket /s level x", "'level' only supports 'user', 'operator', and 'admin'"),
        ("stats socket /s expose-fd x", "'expose-fd' only supports 'listeners' (got 'x')"),
        ("stats socket /s backlog 0", "'backlog' : "),
        ("stats socket /s uid", "'uid' : missing value"),
        ("stats timeout 0", "'stats timeout' expects a positive value"),
    ],
)
def test_what_a_line_may_not_say(line, says):
    assert says in alerts(f"global\n {line}\n")[0]


# ---- over a reload ----


def test_a_reload_keeps_what_stays_and_its_conversations(directory):
    a, b, c = (directory / name for name in "abc")
    with served(f"global\n stats socket {a}\n stats socket {b}\n") as admin:
        kept = admin.sockets[StatsKey(f"unix@{a}")]
        with connect(b) as talking:
            talking.sendall(b"prompt\n")
            read_until(talking, b"> ")
            admin.reload(f"global\n stats socket {a} level admin mode 600\n stats socket {c}\n")
            assert admin.sockets[StatsKey(f"unix@{a}")] is kept
            talking.sendall(b"show cli sockets;quit\n")
            assert read_all(talking).decode() == (
                f"# socket lvl processes\nunix@{a} admin all\nunix@{c} operator all\n\n> "
            )
        assert ask(a, "show cli level\n") == "admin\n\n"
        assert stat.S_IMODE(a.stat().st_mode) == 0o600
        assert ask(c, "show cli level\n") == "operator\n\n"
        with pytest.raises(FileNotFoundError):
            connect(b)


def test_one_end_of_a_pair_can_be_served(directory):
    with served(f"global\n stats socket {directory}/s\n stats maxconn 1\n") as admin:
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWERS_WITHIN_S)

        async def serve() -> None:
            admin.server.serve(theirs, "admin", "root")

        with ours, connect(directory / "s") as one:
            one.sendall(b"prompt\n")
            read_until(one, b"> ")  # the only place is taken
            admin.on_loop(serve)
            ours.sendall(b"show cli level;disable server l/s1\n")
            assert read_all(ours) == b"admin\n\n\n"
        assert admin.control.asked[0][-1] == "root"


# ---- handing over the listening sockets ----


@contextlib.contextmanager
def listening(count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
            each.listen(8)
        yield sockets


@pytest.mark.parametrize("count", [0, 1, 252, 253, 600])
def test_the_listening_sockets_are_handed_over(directory, count):
    text = f"global\n stats socket {directory}/s level admin expose-fd listeners\n"
    with listening(count) as sockets:
        control = StandInControl(sockets=[("", each.fileno()) for each in sockets])
        with served(text, control):
            offered = getsocks.fetch(str(directory / "s"))
        ports = [each.socket.getsockname()[1] for each in offered]
        for each in offered:
            each.socket.close()
        assert ports == [each.getsockname()[1] for each in sockets]
        assert "the listening sockets are handed to unix@" in control.notes[0]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ("level admin", 0),
        ("level operator", 0),
        ("level admin expose-fd listeners", 1),
        ("level user expose-fd listeners", 1),
    ],
)
def test_the_line_of_the_socket_says_who_gets_them_whatever_the_level(directory, words, count):
    """As HAProxy 2.6 does it."""
    with listening(1) as sockets:
        control = StandInControl(sockets=[("", sockets[0].fileno())])
        with served(f"global\n stats socket {directory}/s {words}\n", control):
            told = ask(directory / "s", "_getsocks\n").encode()
        assert told[:4] == (count.to_bytes(4, "little") if count else b"")
        assert len(control.notes) == count


def test_a_taker_that_stops_in_the_middle_leaks_nothing(directory):
    text = f"global\n stats socket {directory}/s level admin expose-fd listeners\n"
    with listening(300) as sockets:
        control = StandInControl(sockets=[("", each.fileno()) for each in sockets])
        with served(text, control) as admin:
            before = open_descriptors()
            with connect(directory / "s") as sock:
                sock.sendall(b"_getsocks\n")
                assert sock.recv(4) == (300).to_bytes(4, "little")
            wait_until(lambda: not admin.server._conversations, "the conversation ended", 30)
            wait_until(lambda: open_descriptors() <= before, "the copies are closed", 30)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def answers(path: Path) -> bool:
    try:
        return "unix@" in ask(path, "show cli sockets\n")
    except OSError:
        return False


@pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy")
def test_haproxy_takes_the_sockets_from_us(directory):
    """`haproxy -x` goes on with our socket: a second one on that port would be refused,
    because ours does not share it."""
    assert HAPROXY is not None
    text = f"global\n stats socket {directory}/s level admin expose-fd listeners\n"
    with listening(1) as (sock,):
        port = sock.getsockname()[1]
        (directory / "h.cfg").write_text(
            f"global\n stats socket {directory}/h\ndefaults\n timeout connect 1s\n"
            f" timeout client 1s\n timeout server 1s\nlisten l\n bind 127.0.0.1:{port}\n"
        )
        command = [HAPROXY, "-db", "-f", str(directory / "h.cfg")]
        alone = subprocess.run(command, capture_output=True, timeout=20)
        assert b"Address already in use" in alone.stderr
        with served(text, StandInControl(sockets=[("", sock.fileno())])):
            errors = (directory / "errors").open("wb")
            with (
                errors,
                subprocess.Popen([*command, "-x", str(directory / "s")], stderr=errors) as haproxy,
            ):
                reaper = threading.Timer(20, haproxy.kill)
                reaper.start()
                try:
                    wait_until(lambda: answers(directory / "h"), "haproxy has started", 30)
                    said = (directory / "errors").read_bytes()
                    assert haproxy.poll() is None, said
                    assert b"already in use" not in said
                finally:
                    haproxy.terminate()
                    haproxy.wait(10)
                    reaper.cancel()
