"""A HAProxy with two servers, one of which will die silently, and `lbsplice rescue` beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psutil

from lbsplice.lab.topology import BALANCER, SERVICE_ADDRESS, VICTIM
from lbsplice.stuck.line import HeldLine, LineLost, MasterLine
from lbsplice.stuck.statements import read_info, read_workers
from tests.support.deaths import Scene
from tests.support.waiting import holds_for, wait_until

ROOT = Path(__file__).resolve().parents[2]
RESCUE = [sys.executable, "-m", "lbsplice", "rescue"]
DYING, HEALTHY, WEB = 81, 82, 83
WITHIN_S = 30.0
HANGS_S = 1.5

CONFIG = f"""\
global
    log stdout format raw local0
    stats socket {{socket}} level admin
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen dying
    bind {SERVICE_ADDRESS}:{DYING}
    server v {VICTIM.address}:{DYING} check inter 200ms fall 2 rise 1
listen healthy
    bind {SERVICE_ADDRESS}:{HEALTHY}
    server w {VICTIM.address}:{HEALTHY} check inter 200ms fall 2 rise 1
"""


class Stage(Scene):
    """One HAProxy, a server that will die and one that will not."""

    def __enter__(self):
        super().__enter__()
        self.stats = str(self.scratch / "stats.sock")
        self.master = str(self.scratch / "master.sock")
        self.config = self.scratch / "haproxy.cfg"
        self.config.write_text(CONFIG.format(socket=self.stats))
        self.listen(DYING)
        self.listen(HEALTHY)
        return self

    def server_dies(self):
        self.rule(BALANCER, "OUTPUT", f"-d {VICTIM.address} -p tcp --dport {DYING} -j DROP")

    def is_down(self):
        self.watch(0.02)
        return "v" in {name.removeprefix("dying/") for name in self.marked_down}

    def told(self, session):
        """How a client was told of its session's end, or None."""
        self.watch(0.02)
        return session.told.get("client", (0, None))[1]

    def hangs(self, session):
        holds_for(lambda: self.told(session) is None, "the client is told nothing", HANGS_S)

    def works(self, session):
        """Whether a session still carries bytes to its server and back."""
        self.watch(0.02)
        if session.told:
            return False
        session.client.sendall(b"ping")
        return wait_until(lambda: _read(session.server) == b"ping", "the server hears")

    def rescue(self, *words):
        """What `lbsplice rescue --json` prints."""
        with self.network.entered(BALANCER):
            done = subprocess.run(
                [*RESCUE, *words, "--json"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def watches(self, *words, run_by=()):
        """A running `lbsplice rescue --watch`; returns how to read what it has said."""
        log = self.scratch / "rescue.log"
        command = [*run_by, *RESCUE, "--haproxy", self.stats, "--watch", *words]
        with self.network.entered(BALANCER), log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, stderr=output)

        def stop():
            process.terminate()
            assert process.wait(WITHIN_S) == 0, log.read_text()

        self._stack.callback(stop)
        wait_until(lambda: "following" in log.read_text(), "the watch has begun", WITHIN_S)
        return log.read_text

    def worker(self):
        """The pid of the worker that answers on the stats socket now, or None."""
        try:
            line = HeldLine(self.stats)
            with closing(line):
                info = read_info(line.ask("show info"))
        except LineLost:
            return None
        return None if info.stopping else info.pid

    def reload(self, master):
        """A new worker, which listens; the old one keeps its sessions."""
        old = wait_until(self.worker, "HAProxy answers", WITHIN_S)

        def at_work():  # before its loop runs, the master drops signals
            try:
                return old in read_workers(MasterLine(self.master).ask("show proc"))
            except LineLost:
                return False

        wait_until(at_work, "the master is at work", WITHIN_S)
        os.kill(master.pid, signal.SIGUSR2)

        def replaced():
            self.watch(0.02)
            return self.worker() not in (None, old)

        wait_until(replaced, "HAProxy has a new worker", WITHIN_S)
        return psutil.Process(old)


def _read(end):
    with suppress(BlockingIOError):
        return end.recv(64)
    return b""
