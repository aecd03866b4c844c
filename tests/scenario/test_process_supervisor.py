"""The process around the service, with real signals and a service that only tells what it
is told: who it is, what it leaves behind, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import DEADLINE_S, ROOT, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")


class Daemon:
    """One run of the fake service."""

    def __init__(self, directory, wish, **popen):
        self.told_in = directory / f"told-{len(list(directory.iterdir()))}"
        wish = {"tell": str(self.told_in), **wish}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fake_service", json.dumps(wish)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"stdin": subprocess.DEVNULL, **popen},
        )

    def told(self, what=None):
        if not self.told_in.exists():
            return []
        lines = self.told_in.read_text().splitlines()
        return [one for one in map(json.loads, lines) if what in (None, one["what"])]

    def waits_for(self, what, count=1):
        """The record of that kind that is told as the so manieth."""

        def ended():
            return f"never told '{what}': {self.told()} {self.process.poll()}"

        return wait_until(lambda: self.told(what)[count - 1 :], ended)[0]

    def signals(self, number):
        self.process.send_signal(number)
        return self

    def ends(self):
        """(exit status, standard output, standard error), once nothing holds them open."""
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out, err

    def end_by_force(self):
        for record in self.told("start"):
            for pid in (record["supervisor"], record["pid"]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path):
    tmp_path.chmod(0o755)
    daemons = []

    def start_one(popen=None, **wish):
        daemons.append(Daemon(tmp_path, wish, **(popen or {})))
        return daemons[-1]

    yield start_one
    for daemon in daemons:
        daemon.end_by_force()


def is_gone(pid):
    return not Path(f"/proc/{pid}").exists()


# ---- the end ----


@pytest.mark.parametrize(
    ("number", "master", "status"),
    [
        (signal.SIGTERM, False, 0),
        (signal.SIGINT, False, 0),
        (signal.SIGTERM, True, 143),
        (signal.SIGINT, True, 130),
        (signal.SIGUSR1, False, 0),
        (signal.SIGUSR1, True, 0),
    ],
)
def test_exit_status_tells_how_it_was_stopped(start, number, master, status):
    daemon = start(settings={"master": master})
    daemon.waits_for("start")
    assert daemon.signals(number).ends() == (status, "", "")


def test_stop_signals_end_all_sessions_with_cause_killed(start):
    daemon = start(sessions=True)
    daemon.waits_for("start")
    daemon.signals(signal.SIGTERM).ends()
    assert [one.get("cause") for one in daemon.told("hard_stop")] == ["K"]
    assert daemon.told()[-1]["what"] == "stopped"


def test_soft_stop_waits_for_the_sessions_and_a_stop_signal_ends_it(start):
    daemon = start(sessions=True)
    daemon.waits_for("start")
    daemon.signals(signal.SIGUSR1).waits_for("soft_stop")
    assert daemon.told("hard_stop") == []
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0
    assert [one["what"] for one in daemon.told()] == ["start", "soft_stop", "hard_stop", "stopped"]


def test_hard_stop_after_bounds_a_soft_stop(start):
    daemon = start(sessions=True, **{"global": {"hard_stop_after": 200}})
    daemon.waits_for("start")
    began = time.monotonic()
    assert daemon.signals(signal.SIGUSR1).ends()[0] == 0
    assert time.monotonic() - began >= 0.2
    assert [one.get("cause") for one in daemon.told("hard_stop")] == ["K"]


def test_a_second_stop_signal_waits_for_nothing(start):
    daemon = start(stuck=True)
    daemon.waits_for("start")
    daemon.signals(signal.SIGTERM).waits_for("hard_stop")
    began = time.monotonic()
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0
    assert time.monotonic() - began < 3  # not the five seconds of patience


def test_workers_that_never_end_are_left_after_a_while(start):
    daemon = start(stuck=True)
    daemon.waits_for("start")
    status, _, err = daemon.signals(signal.SIGTERM).ends()
    assert status == 0
    assert "the workers do not end" in err


def test_a_service_that_breaks_during_a_soft_stop_ends_it(start):
    daemon = start(fail="soft_stop")
    daemon.waits_for("start")
    status, _, err = daemon.signals(signal.SIGUSR1).ends()
    assert status == 1
    assert "the plan is refused" in err.splitlines()[-1]


def test_other_signals_do_not_stop_it(start):
    daemon = start()
    daemon.waits_for("start")
    for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE):
        daemon.signals(number)
    for count in (1, 2):
        daemon.signals(signal.SIGHUP if count == 1 else signal.SIGUSR2)
        daemon.waits_for("reload", count)
    assert daemon.signals(signal.SIGTERM).ends() == (0, "", "")


def test_listeners_close_with_the_soft_stop_while_sessions_live_on(start):
    daemon = start(sessions=True, bind=True)
    port = daemon.waits_for("start")["ports"][0]
    socket.create_connection(("127.0.0.1", port), timeout=20).close()
    daemon.signals(signal.SIGUSR1).waits_for("soft_stop")

    def refused():
        with socket.socket() as client:
            client.settimeout(20)
            return client.connect_ex(("127.0.0.1", port)) != 0

    wait_until(refused, lambda: "still listens")
    assert daemon.process.poll() is None


# ---- who it is ----


def test_the_started_pid_is_the_log_lines_and_stdin_may_be_a_pipe(start):
    daemon = start(popen={"stdin": subprocess.PIPE})
    assert daemon.waits_for("start")["log_pid"] == daemon.process.pid
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_closed_standard_streams_are_filled(start, closed):
    def close():
        for number in closed:
            os.close(number)

    daemon = start(bind=True, popen={"preexec_fn": close})
    assert daemon.waits_for("start")["stdin"] == os.devnull
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0


def test_a_master_writes_its_pid_file_and_leaves_it(start, tmp_path):
    path = tmp_path / "pid"
    daemon = start(settings={"master": True, "pidfile": str(path)})
    daemon.waits_for("start")
    assert path.read_text() == f"{daemon.process.pid}\n"
    daemon.signals(signal.SIGTERM).ends()
    assert path.exists()


def test_in_the_foreground_there_is_no_pid_file(start, tmp_path):
    path = tmp_path / "pid"
    daemon = start(settings={"pidfile": str(path)})
    daemon.waits_for("start")
    assert not path.exists()


@pytest.mark.parametrize("said_in", ["settings", "global"])
def test_a_daemon_goes_to_the_background_once_it_runs(start, tmp_path, said_in):
    path = tmp_path / "pid"
    daemon = start(
        settings={"pidfile": str(path), "daemon": said_in == "settings"},
        bind=True,
        **{"global": {"daemon": said_in == "global"}},
    )
    assert daemon.ends() == (0, "", "")  # its streams are not held open either
    started = daemon.waits_for("start")
    pid = int(path.read_text())
    assert started["supervisor"] == pid == started["log_pid"] != daemon.process.pid
    assert os.getsid(pid) != os.getsid(0)
    socket.create_connection(("127.0.0.1", started["ports"][0]), timeout=20).close()
    os.kill(pid, signal.SIGTERM)
    daemon.waits_for("stopped")
    wait_until(lambda: is_gone(pid), lambda: "the daemon is still there")


@pytest.mark.parametrize(
    "fields",
    [
        {"settings": {"daemon": True, "foreground": True}},
        {"global": {"daemon": True, "debug": True}},
    ],
)
def test_foreground_and_debug_win_over_daemon(start, fields):
    daemon = start(**fields)
    assert daemon.waits_for("start")["supervisor"] == daemon.process.pid


@pytest.mark.parametrize("daemon_mode", [False, True])
def test_a_start_that_fails_is_told_to_the_starter(start, tmp_path, daemon_mode):
    path = tmp_path / "pid"
    daemon = start(settings={"daemon": daemon_mode, "pidfile": str(path)}, fail="start")
    status, out, err = daemon.ends()
    assert (status, out) == (1, "")
    assert "[NOTICE]" in err.splitlines()[0]
    assert "the workers can not start" in err.splitlines()[-1]
    assert not path.exists()


def test_a_pid_file_that_can_not_be_made_is_told_in_one_line(start):
    daemon = start(settings={"master": True, "pidfile": "/nonexistent/x"})
    status, _, err = daemon.ends()
    assert status == 1
    assert "Cannot create pidfile /nonexistent/x (No such file or directory)" in err


# ---- rights and limits ----


@needs_root
def test_it_runs_as_the_user_it_was_told_to(start):
    nobody = pwd.getpwnam("nobody")
    daemon = start(bind=True, **{"global": {"user": "nobody", "gid": nobody.pw_gid}}, proc=False)
    started = daemon.waits_for("start")
    assert started["uid"] == [nobody.pw_uid] * 3
    assert started["gid"] == [nobody.pw_gid] * 3
    assert set(started["groups"]) <= {nobody.pw_gid}
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0


@needs_root
def test_a_chroot_hides_the_rest_of_the_machine(start, tmp_path):
    jail = tmp_path / "jail"
    jail.mkdir()
    daemon = start(**{"global": {"chroot": str(jail), "user": "nobody"}}, proc=False)
    assert daemon.waits_for("start")["directory"] == []
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"user": "no-such-user"}, "cannot find user id for 'no-such-user'"),
        ({"group": "no-such-group"}, "cannot find group id for 'no-such-group'"),
        ({"chroot": "/nonexistent"}, "Cannot chroot(/nonexistent)"),
        ({"ulimit_n": 1 << 30}, "Cannot raise FD limit to"),
        ({"ulimit_n": 20}, "FD limit (20) too low"),
    ],
)
def test_what_the_machine_lacks_is_told_in_one_line(start, fields, what):
    status, _, err = start(**{"global": fields}).ends()
    assert status == 1
    alerts = [line for line in err.splitlines() if line.startswith("[ALERT]")]
    assert len(alerts) == 1
    assert what in alerts[0]


def test_maxconn_beyond_the_limit_is_lowered_with_a_warning(start):
    daemon = start(**{"global": {"ulimit_n": 400, "maxconn": 5000}})
    assert daemon.waits_for("start")["maxconn"] < 200
    _, _, err = daemon.signals(signal.SIGTERM).ends()
    assert "FD limit (400) too low for maxconn=5000" in err


def test_quiet_says_nothing(start):
    assert start(quiet=True, fail="start").ends() == (1, "", "")


# ---- systemd ----


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_ready_and_stopping(start, tmp_path, abstract):
    name = f"@lbsplice-notify-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0") if abstract else name)
        systemd.settimeout(DEADLINE_S)
        daemon = start(
            settings={"master": True, "notify": True},
            popen={"env": {**os.environ, "NOTIFY_SOCKET": name}},
        )
        ready = systemd.recv(4096).decode()
        assert "READY=1\n" in ready
        assert f"MAINPID={daemon.process.pid}\n" in ready
        daemon.signals(signal.SIGTERM)
        assert "STOPPING=1" in systemd.recv(4096).decode()
        assert daemon.ends()[0] == 143


def test_without_ws_systemd_is_told_nothing(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        daemon = start(settings={"master": True}, popen={"env": environment})
        daemon.waits_for("start")
        daemon.signals(signal.SIGTERM).ends()
        with pytest.raises(BlockingIOError):
            systemd.recv(4096)


def test_a_notify_socket_nobody_serves_is_no_obstacle(start):
    daemon = start(
        settings={"notify": True}, popen={"env": {**os.environ, "NOTIFY_SOCKET": "/nonexistent"}}
    )
    daemon.waits_for("start")
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_during_the_start_is_obeyed_after_it(start, number):
    daemon = start(slow_start=True)
    daemon.waits_for("starting")
    daemon.signals(number)
    daemon.told_in.with_name(daemon.told_in.name + ".go").touch()
    assert daemon.ends() == (0, "", "")
    assert [one["what"] for one in daemon.told()][:2] == ["starting", "start"]
