"""State files between lbsplice and the real HAProxy: each reads what the other wrote."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from lbsplice.health.judge import CheckResult
from lbsplice.roster import Roster
from lbsplice.state_files import load_states
from lbsplice.statefile import parse, render, saved_states
from lbsplice.terms import AdminState, CheckStatus
from tests.support.crash import says
from tests.support.waiting import wait_until
from tests.unit.config_reading import config

PASSED = CheckResult(True, CheckStatus.L4_OK, 0)
FAILED = CheckResult(False, CheckStatus.L4_CONNECTION, 0)

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
needs_haproxy = pytest.mark.skipif(
    not Path(HAPROXY).exists(), reason="needs haproxy (apt-get install haproxy)"
)

TEXT = """\
global
 stats socket {directory}/admin.sock level admin
 server-state-file {directory}/states
defaults
 mode tcp
 timeout connect 500ms
 timeout client 5s
 timeout server 5s
 load-server-state-from-file global
backend b1
 server up 127.0.0.1:{alive} check inter {inter}
 server down 127.0.0.1:{dead} check inter {inter} fall 1
 server drained 127.0.0.1:{alive} check inter {inter}
 server maint 127.0.0.1:{alive} check inter {inter}
 server weighted 127.0.0.1:{alive} check inter {inter} weight 10
 server plain 127.0.0.1:{alive}
 server off 127.0.0.1:{alive} check inter {inter} disabled
"""


class HAProxy:
    """The real one with a configuration, for as long as a `with` lasts."""

    def __init__(self, directory: Path, text: str) -> None:
        self._socket = str(directory / "admin.sock")
        (directory / "h.cfg").write_text(text)
        self._words = [HAPROXY, "-db", "-f", str(directory / "h.cfg")]

    def __enter__(self) -> HAProxy:
        self._process = subprocess.Popen(self._words, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "HAProxy answers")
        return self

    def _answers(self) -> bool:
        try:
            return bool(self.asks("show info"))
        except OSError:
            return False

    def asks(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(self._socket)
            admin.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()

    def statuses(self) -> dict[str, str]:
        """Server -> status, as `show stat` has it."""
        rows = [line.split(",") for line in self.asks("show stat").splitlines()[1:] if line]
        return {row[1]: row[17] for row in rows if row[1] not in ("BACKEND", "FRONTEND")}

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def servers():
    """A port that answers and one that refuses."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as alive, socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        yield {"alive": alive.getsockname()[1], "dead": dead.getsockname()[1]}


EXPECTED = {
    "up": "UP",
    "down": "DOWN",
    "drained": "DRAIN",
    "maint": "MAINT",
    "weighted": "UP",
    "plain": "no check",
    "off": "MAINT",
}


@needs_haproxy
def test_states_that_haproxy_wrote_are_taken_up(tmp_path, servers):
    text = TEXT.format(directory=tmp_path, inter="100ms", **servers)
    with HAProxy(tmp_path, text) as theirs:
        theirs.asks("set server b1/drained state drain")
        theirs.asks("set server b1/maint state maint")
        theirs.asks("set weight b1/weighted 3")
        wait_until(lambda: theirs.statuses() == EXPECTED, lambda: str(theirs.statuses()))
        (tmp_path / "states").write_text(theirs.asks("show servers state"))
    setup, messages = load_states(config(text))
    assert not messages
    now = time.monotonic()
    roster = Roster(setup, now, known=saved_states(setup, now))
    assert {key[1]: roster.state(key).status_text for key in roster} == EXPECTED
    assert roster.weight(("b1", "weighted")) == 3
    # what HAProxy says of its servers is what we say of them
    theirs_again = parse((tmp_path / "states").read_text(), "file", set(roster)).servers
    ours = parse(render(setup, roster.states, now), "file", set(roster)).servers
    assert [(s.name, s.op_state, s.admin_state, s.user_weight) for s in ours] == [
        (s.name, s.op_state, s.admin_state, s.user_weight) for s in theirs_again
    ]


@needs_haproxy
def test_states_that_lbsplice_wrote_are_taken_up_by_haproxy(tmp_path, servers):
    text = TEXT.format(directory=tmp_path, inter="100s", **servers)
    setup = config(text)
    roster = Roster(setup, time.monotonic())
    roster.set_admin(("b1", "drained"), AdminState.DRAIN, 0.0)
    roster.set_admin(("b1", "maint"), AdminState.MAINT, 0.0)
    roster.set_weight(("b1", "weighted"), 3)
    for name in ("up", "drained", "weighted"):
        roster.check_result(("b1", name), PASSED, 0.0)
    roster.check_result(("b1", "down"), FAILED, 0.0)
    (tmp_path / "states").write_text(render(setup, roster.states, time.monotonic()))
    with HAProxy(tmp_path, text) as theirs:
        found = theirs.statuses()
        assert found == EXPECTED
        assert theirs.asks("get weight b1/weighted").startswith("3 (initial 10)")


def test_a_start_begins_with_the_states_of_its_file(lb):
    a, b = lb.server(), lb.server()
    path = lb.directory / "states"

    def text() -> str:
        check = "check inter 100s on-marked-down shutdown-sessions"
        return f"""\
global
 log {lb.log} local0
 server-state-file {path}
defaults
 mode tcp
 log global
 option tcplog
 load-server-state-from-file global
 timeout connect 1s
 timeout client 1m
 timeout server 1m
listen l
 bind 127.0.0.1:{lb.port()}
 server a {a} {check}
 server b {b} {check}
"""

    setup = config(text())
    roster = Roster(setup, time.monotonic())
    roster.set_admin(("l", "a"), AdminState.DRAIN, time.monotonic())
    path.write_text(render(setup, roster.states, time.monotonic()))
    lb.start(text())
    for _ in range(4):
        lb.session(b)
    lb.kill_worker()
    path.unlink()  # a successor knows
    for _ in range(4):
        lb.session(b)
    assert says(lb, "Server l/a") == 0
    lb.stops()
