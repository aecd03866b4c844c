"""What passes from one program to the next: over exec, and from a worker process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from lbsplice import handover, program
from lbsplice.errors import EnvironmentLacks
from lbsplice.handover import Handover, Takeover
from lbsplice.listeners import open_listeners
from lbsplice.plain import plain
from lbsplice.rendezvous import Letter
from tests.support.command import environment
from tests.support.configs import bind, config, frontend

BEFORE_AND_AFTER = """
    import os, signal, socket, sys
    from lbsplice import handover
    from lbsplice.handover import Handover
    from lbsplice.listeners import Listeners, open_listeners
    from tests.support.configs import bind, config, frontend

    found = handover.received()
    print(os.environ.get("SET"), os.environ.get("LISTEN_FDS"))
    if found is None:
        os.environ["SET"] = "by a configuration"
        listeners = open_listeners(config(frontend(bind(), bind())), 10)
        caller, other = socket.socketpair()
        channel = os.memfd_create("channel")
        given = Handover(
            worker=os.getpid(), vault=7, channel=channel, request=-1, ledger=-1, journal=-1,
            listeners=listeners.held(), callers=(caller.fileno(),), configuration="{}",
        )
        os.chdir("/")
        print(len(sys.orig_argv), [s.getsockname() for s in listeners.sockets.values()])
        signal.signal(signal.SIGTERM, lambda *_: print("early"))
        handover.give(given)
    listeners = Listeners.of(found.listeners)
    print(len(sys.orig_argv), [s.getsockname() for s in listeners.sockets.values()])
    print(found.worker == os.getpid(), found.vault, found.configuration)
    print(os.readlink(f"/proc/self/fd/{found.channel}"), os.getcwd(), sys.argv[1:])
    print([os.get_inheritable(each) for each in found.descriptors()])
    print(handover.VARIABLE in os.environ)
    signal.signal(signal.SIGTERM, lambda *_: print("late"))
    os.kill(os.getpid(), signal.SIGTERM)
    print("blocked")
    handover.settled()
"""


def run_program(directory, text, *words):
    (directory / "program.py").write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "program.py", *words],
        cwd=directory,
        env=environment(LISTEN_FDS="1"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_next_program_gets_everything_and_no_signal_before_it_can_answer(tmp_path):
    said = run_program(tmp_path, BEFORE_AND_AFTER, "run", "-f", "x y")
    variables, before, same_variables, after, *rest = said
    assert (variables, same_variables) == ("None 1", "None None")
    assert before == after
    assert rest == [
        "True 7 {}",
        f"/memfd:channel (deleted) {tmp_path} ['run', '-f', 'x y']",
        "[False, False, False, False]",
        "False",
        "blocked",
        "late",
    ]


def test_an_exec_that_fails_changes_nothing(monkeypatch):
    here = Path.cwd()
    with socket.socket() as held:
        given = Handover(1, 2, held.fileno(), -1, -1, -1)
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        monkeypatch.setattr(program, "STARTED_IN", "/")
        with pytest.raises(EnvironmentLacks, match="cannot execute /nonexistent/python"):
            handover.give(given)
        assert not os.get_inheritable(held.fileno())
    assert Path.cwd() == here
    assert handover.VARIABLE not in os.environ
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def handed(monkeypatch, values):
    number = os.memfd_create("test")
    os.write(number, values if isinstance(values, bytes) else json.dumps(values).encode())
    monkeypatch.setenv(handover.VARIABLE, str(number))


def test_a_program_started_by_a_person_receives_nothing(monkeypatch):
    monkeypatch.delenv(handover.VARIABLE, raising=False)
    assert handover.received() is None


def test_what_another_release_adds_or_leaves_out_does_no_harm(monkeypatch):
    values = plain(Handover(1, 2, -1, -1, -1, -1, configuration="x"))
    del values["configuration"]
    handed(monkeypatch, {**values, "unheard": ["of"]})
    assert handover.received() == Handover(1, 2, -1, -1, -1, -1)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"format": 99}, "format is 99, not 1"),
        ({}, "is no Handover"),
        ([], "list"),
        (b"{", "Expecting"),
        (plain(Handover(1, 2, 99999, -1, -1, -1)), "Bad file descriptor"),
    ],
)
def test_what_can_not_be_understood_is_told(monkeypatch, values, said):
    handed(monkeypatch, values)
    with pytest.raises(EnvironmentLacks, match=f"is not understood: .*{said}"):
        handover.received()


# ---- a takeover ----


def test_a_takeover_names_its_descriptors_by_their_place():
    with closing(open_listeners(config(frontend(bind(), bind())), 10)) as listeners:
        given = Takeover(11, 12, 13, 14, listeners.held(), 15, maxconn=16, generation=2)
        values, numbers = given.letter()
        assert numbers == [13, 14, 15, *(held.descriptor for held in listeners.held())]
        moved = [each + 100 for each in numbers]
        taken = Takeover.of(Letter(json.loads(json.dumps(values)), tuple(moved)))
    assert (taken.worker, taken.vault, taken.maxconn, taken.generation) == (11, 12, 16, 2)
    assert [taken.ledger, taken.journal, taken.worker_rendezvous] == moved[:3]
    assert [held.descriptor for held in taken.listeners] == moved[3:]
    assert [held.address for held in taken.listeners] == [held.address for held in given.listeners]


@pytest.mark.parametrize("values", [{"error": "busy"}, {}, {"takeover": {"worker": 1}}])
def test_a_takeover_that_is_refused_keeps_no_descriptor(values):
    number = os.memfd_create("test")
    with pytest.raises(EnvironmentLacks, match=r"busy|not understood"):
        Takeover.of(Letter(values, (number,)))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


# ---- the program ----


def test_the_identity_changes_with_every_file_and_not_by_itself(tmp_path):
    (tmp_path / "sub").mkdir()
    first = tmp_path / "sub" / "a.py"
    first.write_text("1")
    identities = [program.identity(tmp_path), program.identity(tmp_path)]
    assert identities[0] == identities[1]
    os.utime(first, ns=(1, 1))
    identities.append(program.identity(tmp_path))
    (tmp_path / "x.abi3.so").write_text("")
    identities.append(program.identity(tmp_path))
    (tmp_path / "x.abi3.so").write_text("longer")
    identities.append(program.identity(tmp_path))
    first.unlink()
    identities.append(program.identity(tmp_path))
    (tmp_path / "x.pyc").write_text("a cache")
    assert len(set(identities)) == len(identities) - 1
    assert program.identity(tmp_path) == identities[-1]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (["-m", "where"], ["-m", "where"]),
        (["-X", "utf8", "-W", "error", "where.py"], ["-X", "utf8", "-W", "error", "where.py"]),
    ],
)
def test_other_words_come_behind_the_program_in_the_way_it_was_started(tmp_path, start, expected):
    (tmp_path / "where.py").write_text(
        "import json; from lbsplice import program\n"
        "print(json.dumps([program.same_words()[1:], program.other_words('a', 'b')[1:]]))"
    )
    words = [*start, "run", "-f", "lb.cfg"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=environment(), capture_output=True, check=True
    )
    assert json.loads(done.stdout) == [words, [*expected, "a", "b"]]
