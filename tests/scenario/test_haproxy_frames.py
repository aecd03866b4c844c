"""Log lines on the wire are those of a real HAProxy, in every format."""

import os
import re
import shutil
import socket
import subprocess
import time

import pytest

from lbsplice.report.syslog import Framer
from lbsplice.terms import LogFormat, LogLevel
from tests.support.records import udp_log

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"


@pytest.fixture
def haproxys_frames(tmp_path):
    """HAProxy's default line of one session in every format, and its pid; each with and
    without a hostname."""
    processes = []

    def frames(global_line):
        receivers = {}
        for log_format in (None, *LogFormat):
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(20)
            receivers[log_format] = receiver
        listener = socket.create_server(("127.0.0.1", 0))
        logs = [
            f"log 127.0.0.1:{receiver.getsockname()[1]} len 120 "
            f"{f'format {log_format.value}' if log_format else ''} local3"
            for log_format, receiver in receivers.items()
        ]
        file = tmp_path / "haproxy.cfg"
        file.write_text(
            "\n".join(
                [
                    "global",
                    global_line,
                    *logs,
                    "listen www",
                    "log global",
                    f"bind fd@{listener.fileno()}",
                    "timeout client 1s",
                    "timeout server 1s",
                    "timeout connect 1s",
                    "",
                ]
            )
        )
        process = subprocess.Popen(
            [HAPROXY, "-db", "-f", str(file)],
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
        processes.append(process)
        with socket.create_connection(listener.getsockname(), 5) as client:
            found = {log_format: one.recv(9999) for log_format, one in receivers.items()}
            body = (
                f"Connect from 127.0.0.1:{client.getsockname()[1]} "
                f"to 127.0.0.1:{listener.getsockname()[1]} (www/TCP)"
            )
        for each in (listener, *receivers.values()):
            each.close()
        return process.pid, body.encode(), found

    yield frames
    for process in processes:
        process.terminate()
        process.wait(10)


def without_time(frame):
    frame = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", b"ISO", frame)
    return re.sub(rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d ", b"BSD ", frame)


@pytest.mark.skipif(not os.access(HAPROXY, os.X_OK), reason="needs haproxy")
@pytest.mark.parametrize("hostname", [None, "lb1"])
def test_frames_are_those_of_the_real_haproxy(haproxys_frames, hostname):
    pid, body, theirs = haproxys_frames(f"log-send-hostname {hostname}" if hostname else "")
    for log_format, frame in theirs.items():
        ours = Framer(
            udp_log(format=log_format, length=120, facility="local3"),
            tag="haproxy",
            hostname=hostname,
            pid=pid,
        ).frame(LogLevel.INFO, body, time.time_ns())
        assert without_time(ours) == without_time(frame)
