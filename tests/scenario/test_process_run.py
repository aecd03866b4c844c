"""`lbsplice run` as whoever starts and watches it sees it, with real sessions."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.command import DEADLINE_S, environment, start_lbsplice, wait_until
from tests.support.program import WORKER, family

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")


class Echo:
    """A server that sends back what it gets, until the end of the test."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                session, _ = self.listener.accept()
                threading.Thread(target=self._echo, args=(session,), daemon=True).start()

    @staticmethod
    def _echo(session):
        with session, contextlib.suppress(OSError):
            while piece := session.recv(65536):
                session.sendall(piece)


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.fixture
def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def run(tmp_path):
    """Start `lbsplice` with a configuration's text; ended by force after the test."""
    started = []
    tmp_path.chmod(0o755)

    def start(text, *words, **fields):
        path = tmp_path / "lb.cfg"
        path.write_text(text)
        process = start_lbsplice(*words, "-f", str(path), **fields)
        started.append(process)
        return process

    yield start
    for process in started:
        members = list(family(process.pid)) if process.poll() is None else []
        for pid in (process.pid, *members):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def config(bind, server_port, global_lines=""):
    return f"""\
global
 nbthread 1
 {global_lines}
defaults
 mode tcp
 timeout connect 2s
 timeout client 30s
 timeout server 30s
listen l
 {bind}
 server a 127.0.0.1:{server_port}
"""


def connect(port):
    """A session that has gone once through to the server and back."""

    def attempt():
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        return None

    client = wait_until(attempt, f"nobody listens on {port}")
    speaks(client)
    return client


def speaks(client, words=b"hello"):
    client.sendall(words)
    got = b""
    while len(got) < len(words):
        piece = client.recv(4096)
        assert piece, "the session ended"
        got += piece
    assert got == words


def is_reset(client):
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    return True


@pytest.mark.parametrize("words", [("run", "-db"), ("-db",), ("-d",), ()])
def test_it_serves_in_the_foreground(run, echo, free_port, words):
    process = run(config(f"bind 127.0.0.1:{free_port}", echo.port), *words)
    with connect(free_port):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert "ALERT" not in err


@pytest.mark.parametrize(
    ("number", "words", "status"),
    [
        (signal.SIGTERM, ("-db",), 0),
        (signal.SIGINT, ("-db",), 0),
        (signal.SIGTERM, ("-W", "-db"), 143),
        (signal.SIGINT, ("-Ws",), 130),
    ],
)
def test_a_stop_resets_the_sessions_and_leaves_nothing(run, echo, free_port, number, words, status):
    process = run(config(f"bind 127.0.0.1:{free_port}", echo.port), *words)
    with connect(free_port) as client:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert is_reset(client)
        # returns when the last holder of its standard streams is gone
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == status
        for child in family:
            wait_until(lambda child=child: not child.is_running(), f"{child} is left")


def test_a_soft_stop_keeps_the_session_and_refuses_new_ones(run, echo, free_port):
    process = run(config(f"bind 127.0.0.1:{free_port}", echo.port), "-db")
    with connect(free_port) as client:
        process.send_signal(signal.SIGUSR1)

        def refused():
            with socket.socket() as other:
                return other.connect_ex(("127.0.0.1", free_port)) != 0

        wait_until(refused, "still listens")
        speaks(client, b"x" * 100_000)
        assert process.poll() is None
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


def test_hard_stop_after_ends_what_is_left(run, echo, free_port):
    text = config(f"bind 127.0.0.1:{free_port}", echo.port, "hard-stop-after 300ms")
    process = run(text, "-db")
    with connect(free_port) as client:
        process.send_signal(signal.SIGUSR1)
        assert is_reset(client)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


def test_a_daemon_detaches_and_is_found_by_its_pid_file(run, echo, free_port, tmp_path):
    pidfile = tmp_path / "pid"
    text = config(f"bind 127.0.0.1:{free_port}", echo.port)
    process = run(text, "-D", "-p", str(pidfile))
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (0, "", "")
    daemon = psutil.Process(int(pidfile.read_text()))
    try:
        with socket.create_connection(("127.0.0.1", free_port), timeout=20) as client:
            speaks(client)  # at once: the starter came back when everything ran
            assert daemon.pid != process.pid
    finally:
        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: not daemon.is_running(), "the daemon does not end")


def test_a_busy_port_is_told_to_the_starter_of_a_daemon(run, echo, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        process = run(
            config(f"bind 127.0.0.1:{port}", echo.port), "-D", "-p", str(tmp_path / "pid")
        )
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert f"cannot bind socket (Address already in use) for [127.0.0.1:{port}]" in err
    assert not (tmp_path / "pid").exists()


def test_ws_notifies_when_sessions_can_begin(run, echo, free_port, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE_S)
        pidfile = tmp_path / "pid"
        process = run(
            config(f"bind 127.0.0.1:{free_port}", echo.port),
            "-Ws",
            "-p",
            str(pidfile),
            env=environment(NOTIFY_SOCKET=str(tmp_path / "notify")),
        )
        assert f"MAINPID={process.pid}\n" in systemd.recv(4096).decode()
        assert pidfile.read_text() == f"{process.pid}\n"
        with socket.create_connection(("127.0.0.1", free_port), timeout=20) as client:
            speaks(client)
        process.send_signal(signal.SIGTERM)
        assert "STOPPING=1" in systemd.recv(4096).decode()


def test_inherited_sockets_serve_those_who_wait_already(run, echo, free_port):
    with (
        socket.create_server(("127.0.0.1", 0)) as given,
        socket.create_connection(given.getsockname(), timeout=DEADLINE_S) as waiting,
    ):
        waiting.sendall(b"early")
        bind = 'bind "fd@${GIVEN}"\n bind "fd@${GIVEN}" name again'
        run(
            config(bind, echo.port),
            "-db",
            pass_fds=[given.fileno()],
            env=environment(GIVEN=str(given.fileno())),
        )
        assert waiting.recv(5, socket.MSG_WAITALL) == b"early"
        with connect(given.getsockname()[1]):
            pass


@needs_root
def test_it_serves_as_nobody_in_a_chroot(run, echo, free_port, tmp_path):
    jail = tmp_path / "jail"
    jail.mkdir()
    nobody = pwd.getpwnam("nobody").pw_uid
    text = config(f"bind 127.0.0.1:{free_port}", echo.port, f"chroot {jail}\n user nobody")
    process = run(text, "-db")
    with connect(free_port):
        for pid in family(process.pid):
            assert psutil.Process(pid).uids() == (nobody, nobody, nobody)
            assert Path(f"/proc/{pid}/root").readlink() == jail
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err


@needs_root
def test_a_daemon_goes_into_a_chroot_that_holds_nothing(run, echo, free_port, tmp_path):
    jail = tmp_path / "jail"
    jail.mkdir()
    pidfile = tmp_path / "pid"
    text = config(f"bind 127.0.0.1:{free_port}", echo.port, f"chroot {jail}\n user nobody\n daemon")
    process = run(text, "-p", str(pidfile))
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (0, "", "")
    daemon = psutil.Process(int(pidfile.read_text()))
    try:
        connect(free_port).close()
        for pid in (daemon.pid, *family(daemon.pid)):
            streams = {Path(f"/proc/{pid}/fd/{number}").readlink().name for number in (0, 1, 2)}
            assert streams == {"null"}
    finally:
        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: not daemon.is_running(), "the daemon does not end")


def test_a_file_without_a_proxy_runs(run):
    process = run("global\n maxconn 10\n", "-db", "-V")
    select.select([process.stderr], [], [], DEADLINE_S)
    assert "epoll" in process.stderr.readline()
    wait_until(lambda: WORKER in family(process.pid).values(), "no worker runs")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


def test_a_closed_standard_input_is_no_obstacle(run, echo, free_port):
    text = config(f"bind 127.0.0.1:{free_port}", echo.port)
    run(text, "-db", preexec_fn=lambda: os.close(0), stdin=None)
    connect(free_port).close()


def test_it_says_nothing_while_all_is_well(run, echo, free_port):
    process = run(config(f"bind 127.0.0.1:{free_port}", echo.port), stdin=subprocess.PIPE)
    connect(free_port).close()
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=DEADLINE_S) == ("", "")
