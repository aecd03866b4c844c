"""Whom lbsplice's own commands ask, and what they say when that does not work."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lbsplice import rendezvous
from lbsplice.cli.client import find_worker
from lbsplice.cli.control import NotFound
from lbsplice.rendezvous import SUPERVISOR, WORKER, Running, name_of, worker_name
from tests.support.admin import session_view
from tests.support.command import DEADLINE_S, environment


def running(file, pid, role=SUPERVISOR, answers=True):
    name = name_of([file])
    full = name if role is SUPERVISOR else worker_name(name)
    return Running(full, pid, role, (file,) if answers else (), answers)


ONE = [running("/a.cfg", 10), running("/a.cfg", 11, WORKER)]
TWO = [*ONE, running("/b.cfg", 20), running("/b.cfg", 21, WORKER)]


@pytest.mark.parametrize(
    ("there", "files", "pid", "meant"),
    [
        (ONE, (), None, "/a.cfg"),
        (TWO, ("/b.cfg",), None, "/b.cfg"),
        (TWO, (), 20, "/b.cfg"),
        (TWO, (), 11, "/a.cfg"),
        (ONE[1:], (), None, "/a.cfg"),  # its supervisor is dead
    ],
)
def test_the_worker_that_is_meant(there, files, pid, meant):
    assert find_worker(files, pid, there) == worker_name(name_of([meant]))


@pytest.mark.parametrize(
    ("there", "files", "pid", "status", "says"),
    [
        ([], (), None, 3, "lbsplice is not running"),
        (ONE, ("/c.cfg",), None, 3, "lbsplice is not running with /c.cfg"),
        (ONE, (), 99, 3, "lbsplice is not running as process 99"),
        (TWO, (), None, 2, "--pid 20  /b.cfg"),
        ([running("/a.cfg", 10, answers=False)], (), None, 1, "lbsplice (10) does not answer"),
    ],
)
def test_one_that_is_not_there_or_not_alone(there, files, pid, status, says):
    with pytest.raises(NotFound) as why:
        find_worker(files, pid, there)
    assert why.value.status == status
    assert says in str(why.value)


def test_the_rendezvous_needs_no_stats_socket(run, call):
    made = run(level=None)
    done = call("status", "-f", made.file)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "l/s1|UP\nl/s2|UP\nb/s1|UP\n"
    assert made.askers == ["rendezvous"]


def test_the_rendezvous_needs_no_supervisor(run, call):
    made = run(level=None, orphaned=True)
    assert call("status", "-f", made.file).exit_code == 0


def test_a_socket_that_is_given_is_asked(run, call):
    made = run()
    assert call("status", "--socket", made.path).stdout.startswith("l/s1|UP\n")
    assert made.askers == []


def test_a_socket_is_found_where_one_stands(run, call, monkeypatch):
    made = run()
    monkeypatch.chdir(made.path.parent)
    assert call("status", "--socket", made.path.name).stdout.startswith("l/s1|UP\n")
    assert call("status", "--socket", f"./{made.path.name}").stdout.startswith("l/s1|UP\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gone.sock", "'gone.sock' is no socket here, and has no port as HOST:PORT has"),
        ("localhost", "'localhost' is no socket here, and has no port as HOST:PORT has"),
        ("", "'' is no socket here"),
        ("run/gone.sock", "run/gone.sock: No such file or directory"),
    ],
)
def test_what_is_no_socket_is_told_as_such(call, monkeypatch, tmp_path, text, says):
    monkeypatch.chdir(tmp_path)
    done = call("status", "--socket", text)
    assert done.exit_code == 1
    assert done.stderr.startswith("lbsplice: ")
    assert says in done.stderr


def test_a_file_that_is_not_met_is_asked_by_its_stats_socket(run, call):
    made = run(meets=False)
    assert call("status", "-f", made.file).stdout.startswith("l/s1|UP\n")


def test_nobody_there_is_status_3(tmp_path, call):
    file = tmp_path / "lb.cfg"
    file.write_text("global\n    stats socket /nowhere/lb.sock\n")
    done = call("status", "-f", file)
    assert done.exit_code == 3
    assert f"lbsplice is not running with {file}" in done.stderr


def test_a_socket_that_nobody_serves_is_one_line(tmp_path, call):
    done = call("status", "--socket", tmp_path / "gone.sock")
    assert done.exit_code == 1
    assert done.stderr == f"lbsplice: {tmp_path}/gone.sock: No such file or directory\n"


def test_a_level_that_does_not_allow_it_is_said_so(run, call):
    made = run(level="user")
    assert call("status", "--socket", made.path).exit_code == 0
    done = call("sessions", "--socket", made.path)
    assert done.exit_code == 1
    assert "Permission denied: the socket's `level`" in done.stderr


def test_a_haproxy_is_not_lbsplice(tmp_path, call):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "haproxy.sock"))
        listener.listen(1)

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(
                    b"Unknown command: 'lbsplice', but maybe one of ...:\n  help\n\n"
                )

        thread = threading.Thread(target=answer)
        thread.start()
        done = call("status", "--socket", tmp_path / "haproxy.sock")
        thread.join()
    assert done.exit_code == 1
    assert "that is not lbsplice" in done.stderr


def test_a_socket_and_a_file_at_once_are_refused(run, call):
    made = run()
    assert call("status", "--socket", made.path, "-f", made.file).exit_code == 2


def test_a_worker_that_is_succeeded_meanwhile_is_waited_for(run, call, monkeypatch):
    made = run()
    asked = rendezvous.call
    fails = iter((True, True, False))

    def late(name, values, *rest, **options):
        if values["request"] == "admin" and next(fails):
            raise rendezvous.Unreachable("nobody answers (Connection refused)")
        return asked(name, values, *rest, **options)

    monkeypatch.setattr(rendezvous, "call", late)
    assert call("status", "-f", made.file).exit_code == 0


def test_many_sessions_come_as_a_whole(run, call):
    made = run()
    made.control.open_sessions = {number: session_view(number) for number in range(1, 2001)}
    done = call("sessions", "--quick", "-f", made.file)
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 1 + 3 * 2000


def test_an_output_that_is_full_is_one_line(run):
    made = run()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lbsplice", "status", "-f", str(made.file)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "lbsplice: No space left on device\n"
