"""`lbsplice reload` and `lbsplice upgrade`: whom they ask, and what they tell."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from lbsplice import rendezvous
from lbsplice.cli.control import NotFound, find
from lbsplice.cli.main import commands
from lbsplice.rendezvous import SUPERVISOR, WORKER, Outcome, Running, name_of, worker_name


@contextmanager
def supervisor(files, outcome, role=SUPERVISOR):
    """A process that answers as one; what it was asked is in the list."""
    asked = []

    def obey(letter):
        if letter.request == rendezvous.WHO:
            return rendezvous.introduction(role, os.getpid(), files), ()
        asked.append(letter.request)
        return outcome.values(), ()

    name = name_of(files)
    listener = rendezvous.listen(worker_name(name) if role == WORKER else name)
    loop = asyncio.new_event_loop()
    loop.call_soon(rendezvous.serve, loop, listener, obey)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield asked
    finally:
        loop.call_soon_threadsafe(rendezvous.unserve, loop, listener)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        listener.close()


@pytest.fixture
def files(tmp_path):
    return [str(tmp_path / "lb.cfg")]


def call(*words):
    return CliRunner().invoke(commands, list(words))


@pytest.mark.parametrize("request_", ["reload", "upgrade"])
def test_a_command_reaches_the_process_of_its_file(files, request_):
    with supervisor(files, Outcome(None, ("[WARNING] one",))) as asked:
        done = call(request_, "-f", files[0])
    assert done.exit_code == 0
    assert asked == [request_]
    assert done.stderr == "[WARNING] one\n"
    assert f"lbsplice ({os.getpid()})" in done.stdout


def test_a_refusal_is_told_with_all_its_reasons(files):
    told = Outcome("the configuration has errors", ("[ALERT] lb.cfg:3: no", "[ALERT] lb.cfg:4: no"))
    with supervisor(files, told):
        done = call("reload", "-f", files[0])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        *told.messages,
        f"lbsplice ({os.getpid()}): reload refused: the configuration has errors",
    ]


def test_nobody_there_is_status_3(files):
    done = call("reload", "-f", files[0])
    assert done.exit_code == 3
    assert f"lbsplice is not running with {files[0]}" in done.stderr


def test_a_worker_without_its_supervisor_is_named(files):
    with supervisor(files, Outcome(), WORKER):
        done = call("reload", "-f", files[0])
    assert done.exit_code == 3
    assert f"its worker process {os.getpid()} serves on" in done.stderr


def test_one_who_does_not_answer_is_given_up(files):
    listener = rendezvous.listen(name_of(files))
    done = call("reload", "-f", files[0], "--timeout", "50ms")
    listener.close()
    assert done.exit_code == 1
    assert "no answer within 0.05 s" in done.stderr


def test_a_duration_that_is_none_is_refused():
    done = call("reload", "--timeout", "soon")
    assert done.exit_code == 2
    assert "'soon' is no duration" in done.stderr


ONE = Running("lbsplice/1", 11, SUPERVISOR, ("/etc/a.cfg",))
ITS_WORKER = Running("lbsplice/1/worker", 12, WORKER, ("/etc/a.cfg",))
OTHER = Running("lbsplice/2", 21, SUPERVISOR, ("/etc/b.cfg", "/etc/c.cfg"))
ALONE = Running("lbsplice/3/worker", 32, WORKER, ("/etc/d.cfg",))


@pytest.mark.parametrize(
    ("pid", "there"),
    [
        (None, [ONE]),
        (None, [ONE, ITS_WORKER]),
        (None, [ONE, ITS_WORKER, ALONE]),
        (11, [ONE, ITS_WORKER, OTHER]),
        (12, [ONE, ITS_WORKER, OTHER]),
    ],
)
def test_the_only_one_or_the_one_of_the_pid_is_found(pid, there):
    assert find((), pid, there) is ONE


@pytest.mark.parametrize(
    ("pid", "there", "status", "says"),
    [
        (None, [], 3, "lbsplice is not running"),
        (99, [ONE], 3, "not running as process 99"),
        (None, [ALONE], 3, "process 32 serves on"),
        (None, [ONE, OTHER], 2, "  --pid 11  /etc/a.cfg\n  --pid 21  /etc/b.cfg /etc/c.cfg"),
    ],
)
def test_none_or_several_are_told(pid, there, status, says):
    with pytest.raises(NotFound) as told:
        find((), pid, there)
    assert told.value.status == status
    assert says in str(told.value)
