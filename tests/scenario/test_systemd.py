"""As a service of systemd: the unit, what it is told, sockets that it hands over."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

from tests.support.command import DEADLINE_S, environment, lbsplice, wait_until
from tests.support.peers import connected

UNIT = Path(__file__).parents[2] / "systemd" / "lbsplice.service"

HEAD = """\
global
 nbthread 1
defaults
 mode tcp
 timeout connect 2s
 timeout client 30s
 timeout server 30s
"""

# ---- the unit ----


def directives(text):
    """Section -> name -> all its values."""
    found = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[section][name].append(value)
    return found


def test_the_unit_says_what_keeps_sessions_alive():
    service = directives(UNIT.read_text())["Service"]
    capabilities = {word for line in service.pop("CapabilityBoundingSet") for word in line.split()}
    assert capabilities == {
        *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_NET_ADMIN"),
        *("CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT", "CAP_KILL"),
        *("CAP_SYS_PTRACE", "CAP_SYS_RESOURCE"),
        *("CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"),
    }
    assert {name: values for name, (*values,) in service.items()} == {
        "Type": ["notify"],
        "NotifyAccess": ["main"],
        "EnvironmentFile": ["-/etc/default/lbsplice"],
        "ExecStart": [
            "/usr/bin/lbsplice run -Ws -f /etc/lbsplice/lbsplice.cfg -p /run/lbsplice.pid "
            "$EXTRAOPTS"
        ],
        "ExecReload": ["/usr/bin/lbsplice reload -f /etc/lbsplice/lbsplice.cfg"],
        "SuccessExitStatus": ["143"],
        "KillMode": ["process"],
        "Restart": ["always"],
        "RestartSec": ["200ms"],
        "OOMPolicy": ["continue"],
        "WatchdogSec": ["30s"],
        "LimitNOFILE": ["1048576"],
        "NoNewPrivileges": ["yes"],
        "ProtectSystem": ["full"],
        "ProtectHome": ["yes"],
        "PrivateDevices": ["yes"],
        "ProtectKernelTunables": ["yes"],
        "ProtectKernelModules": ["yes"],
        "ProtectKernelLogs": ["yes"],
        "ProtectControlGroups": ["yes"],
        "ProtectClock": ["yes"],
        "ProtectHostname": ["yes"],
        "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"],
        "RestrictNamespaces": ["yes"],
        "RestrictRealtime": ["yes"],
        "RestrictSUIDSGID": ["yes"],
        "LockPersonality": ["yes"],
        "SystemCallArchitectures": ["native"],
        "SystemCallFilter": ["@system-service chroot pidfd_getfd"],
        "SystemCallErrorNumber": ["EPERM"],
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path):
    program = tmp_path / "lbsplice"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "lbsplice.service"
    unit.write_text(UNIT.read_text().replace("/usr/bin/lbsplice", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_documents_show_the_paths_of_the_unit():
    text = (UNIT.parents[1] / "docs" / "running.md").read_text()
    for word in ("/etc/lbsplice/lbsplice.cfg", "systemd/lbsplice.service", "/etc/default/lbsplice"):
        assert word in text


# ---- what it is told ----


class Manager:
    """systemd, as far as a service sees it: a socket that states are sent to."""

    def __init__(self, path):
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(DEADLINE_S)

    def environment(self, **more):
        return environment(NOTIFY_SOCKET=self.path, **more)

    def hears(self, *names):
        """The next message that has one of these names; others are passed over."""
        while True:
            message = dict(
                line.partition("=")[::2] for line in self._socket.recv(4096).decode().split("\n")
            )
            if any(name in message for name in names):
                return message

    def close(self):
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def configuration(lb, *global_lines, server="127.0.0.1:9"):
    lines = "\n ".join(global_lines)
    head = HEAD.replace("nbthread 1", f"nbthread 1\n {lines}")
    return f"{head}listen front\n bind 127.0.0.1:{lb.port()}\n server a {server}\n"


def test_a_service_tells_its_life(lb, manager, tmp_path):
    text = configuration(lb)
    lb.start(text, "-Ws", env=manager.environment())
    said = manager.hears("READY")
    assert said["READY"] == "1"
    assert said["MAINPID"] == str(lb.pid)
    lb.signals(signal.SIGHUP)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    said = manager.hears("RELOADING", "READY")
    assert said["RELOADING"] == "1"
    assert abs(int(said["MONOTONIC_USEC"]) - before) < DEADLINE_S * 1_000_000
    assert manager.hears("RELOADING", "READY")["READY"] == "1"
    lb.signals(signal.SIGTERM)
    assert manager.hears("READY", "STOPPING")["STOPPING"] == "1"
    lb.ends(143)


def test_a_reload_that_is_refused_ends_in_ready_with_the_reason(lb, manager, tmp_path):
    lb.start(configuration(lb), "-Ws", env=manager.environment())
    manager.hears("READY")
    (tmp_path / "lb.cfg").write_text("nonsense\n")
    done = lbsplice("reload", "-f", str(tmp_path / "lb.cfg"))
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert manager.hears("RELOADING", "READY")["RELOADING"] == "1"
    said = manager.hears("RELOADING", "READY")
    assert said["READY"] == "1"
    assert "failed" in said["STATUS"].lower() or "refused" in said["STATUS"].lower()
    lb.signals(signal.SIGTERM).ends(143)


def test_an_upgrade_keeps_the_main_pid(lb, manager, tmp_path):
    lb.start(configuration(lb), "-Ws", env=manager.environment())
    manager.hears("READY")
    worker = lb.worker_pid
    done = lbsplice("upgrade", "-f", str(tmp_path / "lb.cfg"))
    assert done.returncode == 0, done.stderr
    assert manager.hears("RELOADING", "READY")["RELOADING"] == "1"
    assert manager.hears("RELOADING", "READY")["MAINPID"] == str(lb.pid)
    assert lb.worker_pid != worker
    lb.signals(signal.SIGTERM)
    assert manager.hears("STOPPING")["STOPPING"] == "1"
    lb.ends(143)


def test_the_watchdog_is_fed_and_a_worker_that_hangs_is_succeeded(lb, manager):
    server = lb.server()
    lb.start(
        configuration(lb, server=server),
        "-Ws",
        env=manager.environment(WATCHDOG_USEC="2000000"),
    )
    client, end = lb.session(server)
    for _ in range(3):
        assert manager.hears("WATCHDOG")["WATCHDOG"] == "1"
    hung = lb.worker_pid
    os.kill(hung, signal.SIGSTOP)
    wait_until(lambda: lb.worker_pid not in (None, hung), "a successor")
    client.sends(b"ask")
    end.reads(b"ask").sends(b"answer")
    client.reads(b"answer")
    assert manager.hears("WATCHDOG")["WATCHDOG"] == "1"
    lb.signals(signal.SIGTERM).ends(143)


def test_nothing_is_told_to_a_watcher_of_another_process(lb, manager):
    lb.start(
        configuration(lb),
        "-Ws",
        env=manager.environment(WATCHDOG_USEC="100000", WATCHDOG_PID="1"),
    )
    manager.hears("READY")
    lb.signals(signal.SIGTERM)
    assert manager.hears("WATCHDOG", "STOPPING").get("WATCHDOG") is None
    lb.ends(143)


# ---- sockets that it hands over ----

ACTIVATED = """
import os, sys
for number, given in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(given, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(number - 2), LISTEN_FDNAMES="x")
os.execv(sys.executable, [sys.executable, "-m", "lbsplice", *sys.argv[2:]])
"""


@pytest.fixture
def activated(lb):
    """The addresses of two listening sockets that `lb` is started with, as 3 and 4."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    # above 3 and 4, which the one must not be overwritten by the other
    numbers = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 50) for sock in sockets]
    lb.command = (sys.executable, "-c", ACTIVATED, ",".join(map(str, numbers)), "run")
    lb.given = numbers
    yield [sock.getsockname() for sock in sockets]
    for sock in sockets:
        sock.close()
    for number in numbers:
        os.close(number)


def serves(address, server):
    client = connected(address)
    end = server.accepts()
    client.sends(b"ask")
    end.reads(b"ask").sends(b"answer")
    client.reads(b"answer").closes()


def activated_configuration(server, *numbers):
    binds = "".join(f" bind fd@{number}\n" for number in numbers)
    return f"{HEAD}listen front\n{binds} server a {server}\n"


def start_activated(lb, text, **fields):
    lb.start(text, pass_fds=lb.given, **fields)


def test_sockets_of_the_manager_are_served_through_reload_crash_and_upgrade(
    lb, activated, tmp_path
):
    server = lb.server()
    start_activated(lb, activated_configuration(server, 3))
    serves(activated[0], server)
    configuration_file = tmp_path / "lb.cfg"
    configuration_file.write_text(activated_configuration(server, 4, 3))
    done = lbsplice("reload", "-f", str(configuration_file))
    assert done.returncode == 0, done.stderr
    for address in activated:
        serves(address, server)
    lb.kill_worker(signal.SIGKILL)
    for address in activated:
        serves(address, server)
    done = lbsplice("upgrade", "-f", str(configuration_file))
    assert done.returncode == 0, done.stderr
    for address in activated:
        serves(address, server)
    assert "LISTEN_FDS" not in psutil.Process(lb.worker_pid).environ()
    lb.stops()
    with socket.socket() as client:  # the manager still listens; who connects waits for us
        assert client.connect_ex(activated[0]) == 0


def test_a_socket_that_no_bind_names_is_a_warning(lb, activated):
    server = lb.server()
    start_activated(lb, activated_configuration(server, 3))
    assert re.search(r"\[WARNING\].*descriptor 4 .*`bind fd@4`", lb.signals(signal.SIGTERM).ends())


def test_a_socket_that_was_not_handed_over_is_a_failed_start(tmp_path):
    path = tmp_path / "lb.cfg"
    path.write_text(activated_configuration("127.0.0.1:9", 3))
    done = lbsplice("run", "-db", "-f", str(path))
    assert done.returncode == 1
    assert "cannot use file descriptor '3'" in done.stderr
    assert ".socket unit" in done.stderr
