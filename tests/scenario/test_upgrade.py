"""`lbsplice upgrade` and SIGUSR2: the supervisor becomes the program that is installed now,
or stays what it is and says why."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest

import lbsplice as package
from tests.support.command import lbsplice, wait_until

PACKAGE = Path(package.__file__).parent

HEAD = """\
global
 nbthread 1
 log {log} local0
defaults
 mode tcp
 log global
 option tcplog
 timeout connect 2s
 timeout client 30s
 timeout server 30s
"""

NOTES = """
import os, sys
with open({notes!r}, "a") as _notes:
    print(os.getpid(), sys.argv[1:2], file=_notes)
"""


class Installed:
    """A copy of the package, which is what `lb` runs and a test changes."""

    def __init__(self, lb, directory):
        self.lb = lb
        self.directory = directory / "installed"
        shutil.copytree(
            PACKAGE,
            self.directory / "lbsplice",
            ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.o"),
        )
        self.server = lb.server()
        self.path = directory / "lb.cfg"
        head = HEAD.format(log=lb.log)
        front = f"listen front\n bind 127.0.0.1:{lb.port()}\n server a {self.server}\n"
        self.text = head + front

    def start(self, *words, **fields):
        self.lb.start(self.text, *words, cwd=fields.pop("cwd", self.directory), **fields)
        return self

    def append(self, module, text):
        """Install another release, in which this module has some more at its end."""
        path = self.directory / "lbsplice" / f"{module}.py"
        before = path.read_text()
        beside = path.with_suffix(".new")
        beside.write_text(before + text)
        beside.replace(path)
        return lambda: path.write_text(before)

    def is_of_the_release_that_notes(self, notes):
        """Does the supervisor run a program that leaves its pid there?"""
        return notes.exists() and f"{self.lb.pid} ['run']" in notes.read_text().splitlines()

    def upgrade(self):
        return lbsplice("upgrade", "-f", str(self.path))


@pytest.fixture
def installed(lb, tmp_path):
    return Installed(lb, tmp_path)


class Session:
    def __init__(self, installed):
        self.client, self.end = installed.lb.session(installed.server)

    def goes_on(self):
        self.client.sends(b"ask")
        self.end.reads(b"ask").sends(b"answer")
        self.client.reads(b"answer")


def test_another_release_takes_over_in_the_same_process(installed, lb, tmp_path):
    installed.start()
    session, worker, vault = Session(installed), lb.worker_pid, lb.vault_pid
    started = psutil.Process(lb.pid).create_time()
    notes = tmp_path / "notes"
    installed.append("supervisor", NOTES.format(notes=str(notes)))
    done = installed.upgrade()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"lbsplice ({lb.pid}) runs the installed program" in done.stdout
    assert installed.is_of_the_release_that_notes(notes)
    assert psutil.Process(lb.pid).create_time() == started
    for pid in (worker, vault):
        wait_until(lambda pid=pid: not psutil.pid_exists(pid), "the old ones are gone")
    session.goes_on()
    Session(installed).goes_on()
    assert installed.upgrade().returncode == 0, "once more"
    session.goes_on()
    lb.stops()


def test_usr2_upgrades_if_the_program_is_another_one_and_else_reloads(installed, lb):
    installed.start()
    session, worker = Session(installed), lb.worker_pid
    installed.path.write_text(installed.text.replace("server a", "server b"))
    lb.signals(signal.SIGUSR2)
    wait_until(lambda: _server_of_a_new_session(installed) == "b", "the new configuration")
    assert lb.worker_pid == worker
    installed.append("__init__", "\n# another release\n")
    lb.signals(signal.SIGUSR2)
    wait_until(lambda: lb.worker_pid not in (None, worker), "a worker of the new program")
    session.goes_on()
    lb.stops()


def _server_of_a_new_session(installed):
    """Its name, by the log."""
    session = Session(installed)
    session.goes_on()
    port = session.client.socket.getsockname()[1]
    session.client.closes()
    session.end.closes()
    (line,) = installed.lb.logs(rf"^127.0.0.1:{port} ")
    return re.search(r" front/(\w+) ", line.text)[1]


@pytest.mark.parametrize(
    ("module", "text", "says"),
    [
        ("family", "\nthis is no Python\n", "does not start:"),
        ("console", "\nimport nothing_like_that\n", "nothing_like_that"),
        (
            "dataplane/ledger",
            "\ndef read(fd):\n    raise DataplaneError('the layout 2 is not known to it')\n",
            "the layout 2 is not known to it",
        ),
    ],
)
def test_a_program_that_does_not_start_is_not_upgraded_to(installed, lb, module, text, says):
    installed.start()
    session, worker = Session(installed), lb.worker_pid
    repair = installed.append(module, text)
    done = installed.upgrade()
    assert done.returncode == 1
    assert "upgrade refused" in done.stderr
    assert says in done.stderr
    assert lb.worker_pid == worker
    session.goes_on()
    repair()
    assert installed.upgrade().returncode == 0
    session.goes_on()
    lb.signals(signal.SIGTERM)
    assert says in lb.ends(), "it is told on standard error, too"


def test_a_configuration_that_the_new_program_refuses_is_told(installed, lb):
    installed.start()
    session = Session(installed)
    installed.path.write_text(f"{installed.text} nonsense\n")
    done = installed.upgrade()
    assert done.returncode == 1
    assert re.search(r"lb\.cfg:\d+\].*unknown keyword 'nonsense'", done.stderr)
    assert done.stderr.count("nonsense") == 1, "it is told once"
    installed.path.write_text(installed.text)
    session.goes_on()
    lb.signals(signal.SIGTERM).ends()


@pytest.mark.parametrize("how", ["refuses", "dies"])
def test_the_old_worker_carries_on_if_the_new_one_does_not_come_up(installed, lb, how):
    installed.start()
    session, worker = Session(installed), lb.worker_pid
    body = {
        "refuses": "raise LbspliceError('made to refuse')",
        "dies": "os.kill(os.getpid(), 9)",
    }[how]
    repair = installed.append("succession", f"\ndef _convert(birth):\n    {body}\n")
    done = installed.upgrade()
    assert done.returncode == 1, done
    assert "made to refuse" in done.stderr or how == "dies"
    assert lb.worker_pid == worker
    session.goes_on()
    Session(installed).goes_on()
    repair()
    assert installed.upgrade().returncode == 0
    assert lb.worker_pid != worker
    session.goes_on()
    lb.signals(signal.SIGTERM).ends()


def test_a_console_script_in_its_directory_is_found_again(installed, lb, tmp_path):
    script = installed.directory / "bin" / "lbsplice"
    script.parent.mkdir()
    script.write_text(
        "import sys; sys.path.insert(0, '.')\nfrom lbsplice.cli.main import main\nmain()\n"
    )
    lb.command = (sys.executable, "bin/lbsplice", "run")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    installed.start("-C", str(elsewhere))
    session, notes = Session(installed), tmp_path / "notes"
    assert Path(f"/proc/{lb.pid}/cwd").readlink() == elsewhere
    installed.append("supervisor", NOTES.format(notes=str(notes)))
    assert installed.upgrade().returncode == 0
    assert installed.is_of_the_release_that_notes(notes)
    assert Path(f"/proc/{lb.pid}/cwd").readlink() == elsewhere
    session.goes_on()
    lb.stops()


def test_what_the_configuration_sets_in_the_environment_is_not_left_to_the_next_program(
    installed, lb
):
    installed.text = installed.text.replace(
        " nbthread 1\n", " nbthread 1\n setenv TEST_NAME one\n"
    ).replace("server a ", 'server "$TEST_NAME" ')
    installed.start()
    installed.path.write_text(installed.text.replace("setenv TEST_NAME", "presetenv TEST_NAME"))
    assert installed.upgrade().returncode == 0
    installed.path.write_text(
        installed.text.replace("setenv TEST_NAME one", "presetenv TEST_NAME two")
    )
    assert installed.upgrade().returncode == 0
    assert _server_of_a_new_session(installed) == "two"
    lb.stops()
