"""Stats sockets over the lives of a program's processes: they are opened once, and somebody
answers them from then on, whoever dies, reloads or is upgraded meanwhile."""

from __future__ import annotations

import contextlib
import grp
import os
import signal
import socket
import stat
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lbsplice import rendezvous
from tests.support.admin_program import Admin
from tests.support.command import DEADLINE_S, lbsplice
from tests.support.crash import talks
from tests.support.program import Program
from tests.support.waiting import wait_until

GROUP = grp.getgrgid(1).gr_name


@pytest.fixture
def admin(lb: Program) -> Iterator[Admin]:
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        yield Admin(lb, Path(name))


def info(admin: Admin) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in admin.say("show info").splitlines())


# ---- what is opened ----


def test_a_path_has_the_rights_of_its_line(lb, admin):
    a = lb.server()
    more = f"stats socket {admin.path}.group mode 660 group {GROUP} level operator"
    admin.start(f"server a {a}", globals_=more)
    found = Path(f"{admin.path}.group").stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, 1)
    said = admin.say("set server l/a state maint", Path(f"{admin.path}.group"))
    assert said == "Permission denied"
    lb.stops()
    assert not admin.path.exists()


def test_an_address_that_can_not_be_had_is_told_at_the_start(lb, admin):
    a = lb.server()
    admin.path = admin.path / "nowhere" / "admin"
    admin.line = f"stats socket {admin.path}"
    with pytest.raises(AssertionError, match="for proxy GLOBAL: cannot bind UNIX socket"):
        admin.start(f"server a {a}")


def test_a_tcp_address_is_served(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}", globals_=f"stats socket 127.0.0.1:{lb.port('stats')} level user")
    with socket.create_connection(("127.0.0.1", lb.port("stats")), DEADLINE_S) as sock:
        sock.sendall(b"show version\n")
        assert sock.recv(100).startswith(b"3.")
    lb.stops()


# ---- a crash ----


def test_the_socket_answers_again_after_a_crash_and_shows_the_same_pid(lb, admin, victim):
    a = lb.server()
    admin.start(f"server a {a}")
    inode, pid = admin.path.stat().st_ino, info(admin)["Pid"]
    assert pid == str(lb.pid)
    session = lb.session(a)
    for _ in range(3):
        victim.crash()
        assert info(admin)["Pid"] == pid
    assert admin.path.stat().st_ino == inode
    assert info(admin)["CurrConns"] == "1"
    talks(*session)
    lb.stops()


def test_who_connects_while_nobody_is_there_is_answered_by_the_successor(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}")
    worker = lb.worker_pid
    os.kill(worker, signal.SIGSTOP)
    answers: list[str] = []
    askers = [
        threading.Thread(target=lambda: answers.append(admin.say("show version"))) for _ in range(5)
    ]
    for asker in askers:
        asker.start()
    os.kill(worker, signal.SIGKILL)
    for asker in askers:
        asker.join(DEADLINE_S)
    assert answers == [admin.say("show version")] * 5
    lb.stops()


def test_a_worker_that_is_taken_over_by_another_supervisor_is_still_asked(lb, admin, victim):
    a = lb.server()
    admin.start(f"server a {a}")
    session = lb.session(a)
    worker = lb.worker_pid
    victim.pids.update((worker, lb.vault_pid))
    assert lb.process is not None
    assert lb.process.stdout is not None
    assert lb.process.stderr is not None
    lb.process.kill()
    lb.process.wait()
    assert admin.say("show version").startswith("3.")
    assert admin.say("show stat").count("\n") == 3
    assert admin.say("show proc").startswith("the supervisor is dead; start `lbsplice run`")
    assert admin.say("reload").startswith("Success=0\n--\nthe supervisor is dead")
    lb.process.stdout.close()  # nobody reads what the orphan says
    lb.process.stderr.close()
    lb.start(admin.text)
    wait_until(lambda: not psutil.pid_exists(worker), "another worker is there", DEADLINE_S)
    wait_until(lambda: info(admin)["Pid"] == str(lb.pid), "the pid is the new one's", DEADLINE_S)
    talks(*session)
    lb.stops()
    assert not admin.path.exists()


# ---- a reload ----


def test_a_reload_from_the_socket_says_how_it_went(lb, admin):
    a, b = lb.server(), lb.server()
    admin.start(f"server a {a}")
    assert admin.reload(f"server a {a}", f"server b {b}").splitlines()[:2] == ["Success=1", "--"]
    assert admin.row("b")["svname"] == "b"
    said = admin.reload("server a nonsense:x")
    assert said.startswith("Success=0\n--\n")
    assert "nonsense" in said
    assert admin.row("b")["svname"] == "b"
    lb.stops()


def test_sockets_come_and_go_with_a_reload(lb, admin):
    a = lb.server()
    second = Path(f"{admin.path}.second")
    admin.start(f"server a {a}")
    inode = admin.path.stat().st_ino
    admin.reload(f"server a {a}", globals_=f"stats socket {second} level user")
    assert admin.say("show version", second).startswith("3.")
    admin.reload(f"server a {a}")
    wait_until(lambda: not second.exists(), "the second one is gone")
    assert admin.path.stat().st_ino == inode
    assert admin.say("show version").startswith("3.")
    lb.stops()


def test_a_path_that_somebody_removed_is_back_after_a_reload(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}")
    admin.path.unlink()
    done = lbsplice("reload", "-f", str(lb.directory / "lb.cfg"))
    assert done.returncode == 0, done
    wait_until(admin.path.exists, "the path is back", DEADLINE_S)
    assert admin.say("show version").startswith("3.")
    lb.stops()
    assert not admin.path.exists()


def test_the_first_socket_comes_by_a_reload(lb, admin):
    a = lb.server()
    line, admin.line = admin.line, ""
    admin.start(f"server a {a}")
    path = lb.directory / "lb.cfg"
    path.write_text(admin.text.replace("nbthread 2", f"nbthread 2\n {line}"))
    done = lbsplice("reload", "-f", str(path))
    assert done.returncode == 0, done
    assert admin.say("show version").startswith("3.")
    lb.stops()


def test_another_number_of_threads_keeps_the_socket(lb, admin):
    """That takes another worker process."""
    a = lb.server()
    admin.start(f"server a {a}")
    session = lb.session(a)
    path = lb.directory / "lb.cfg"
    path.write_text(admin.text.replace("nbthread 2", "nbthread 1"))
    done = lbsplice("reload", "-f", str(path))
    assert done.returncode == 0, done
    assert info(admin)["Nbthread"] == "1"
    talks(*session)
    lb.stops()


# ---- an upgrade ----


def test_an_upgrade_keeps_the_socket_and_what_was_changed(lb, admin):
    a, b = lb.server(), lb.server()
    admin.start(f"server a {a}", f"server b {b}")
    inode = admin.path.stat().st_ino
    admin.does("set server l/a state drain")
    done = lbsplice("upgrade", "-f", str(lb.directory / "lb.cfg"))
    assert done.returncode == 0, done
    assert admin.path.stat().st_ino == inode
    admin.shows("a", status="DRAIN")
    assert info(admin)["Pid"] == str(lb.pid)
    lb.stops()


def test_the_page_is_served_again_after_a_crash_a_reload_and_an_upgrade(lb, admin, victim):
    a = lb.server()
    page = (
        f"listen page\n mode http\n bind 127.0.0.1:{lb.port('page')}\n stats enable\n"
        " stats uri /stats\n"
    )
    admin.start(f"server a {a}\n{page}")
    file = str(lb.directory / "lb.cfg")
    session = lb.session(a)

    def shows() -> None:
        address = f"http://127.0.0.1:{lb.port('page')}/stats;csv"
        with urllib.request.urlopen(address, timeout=DEADLINE_S) as answer:
            assert b"l,a," in answer.read()

    shows()
    victim.crash()
    shows()
    for what in ("reload", "upgrade"):
        done = lbsplice(what, "-f", file)
        assert done.returncode == 0, done
        shows()
    talks(*session)
    lb.stops()


# ---- who is there ----


def processes(admin: Admin) -> list[list[str]]:
    rows = admin.say("show proc").splitlines()
    return [row.split() for row in rows if row and not row.startswith("#")]


def test_show_proc_tells_the_processes_and_counts_reloads(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}")
    master, worker = processes(admin)[:2]
    assert master[:3] == [str(lb.pid), "master", "0"]
    assert worker[:3] == [str(lb.worker_pid), "worker", "0"]
    admin.reload(f"server a {a}")
    admin.reload("server a nonsense:x")
    master, worker = processes(admin)[:2]
    assert master[2:5] == ["1", "[failed:", "1]"]
    assert worker[2] == "1"
    lb.stops()


# ---- the rendezvous ----


def converse(lb: Program, command: str) -> str:
    """Ask by the worker's rendezvous, with no stats socket at all."""
    name = rendezvous.worker_name(rendezvous.name_of([str(lb.directory / "lb.cfg")]))
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            request = {"request": rendezvous.ADMIN}
            letter = rendezvous.call(name, request, DEADLINE_S, given=[theirs.fileno()])
        assert letter.values["error"] is None
        ours.settimeout(DEADLINE_S)
        ours.sendall(command.encode() + b"\n")
        answer = b""
        while piece := ours.recv(65536):
            answer += piece
    return answer.decode().rstrip("\n")


def test_the_rendezvous_leads_to_the_command_language(lb, admin, victim):
    a = lb.server()
    admin.line = ""
    admin.start(f"server a {a}")
    assert converse(lb, "show version").startswith("3.")
    assert converse(lb, "set server l/a state drain") == ""
    lb.logs(rf"set server l/a state drain, asked by uid {os.geteuid()} pid {os.getpid()}")
    victim.crash()
    assert ",DRAIN," in converse(lb, "show stat")
    lb.stops()


@pytest.mark.parametrize("count", [0, 2])
def test_the_rendezvous_wants_one_socket(lb, admin, count):
    a = lb.server()
    admin.start(f"server a {a}")
    name = rendezvous.worker_name(rendezvous.name_of([str(lb.directory / "lb.cfg")]))
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(one) for one in socket.socketpair()]
        given = [one.fileno() for one in pair[:count]]
        letter = rendezvous.call(name, {"request": "admin"}, DEADLINE_S, given=given)
    assert letter.values["error"] == "one socket has to come along"
    lb.stops()


def test_what_is_no_socket_is_refused(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}")
    name = rendezvous.worker_name(rendezvous.name_of([str(lb.directory / "lb.cfg")]))
    with Path(os.devnull).open("rb") as null:
        letter = rendezvous.call(name, {"request": "admin"}, DEADLINE_S, given=[null.fileno()])
    assert "no socket" in str(letter.values["error"])
    lb.stops()


# ---- the end ----


def test_a_soft_stop_closes_the_socket_and_the_rendezvous_still_answers(lb, admin):
    """HAProxy closes its stats sockets as well."""
    a = lb.server()
    admin.start(f"server a {a}")
    client, server = lb.session(a)
    lb.signals(signal.SIGUSR1)
    wait_until(lambda: not admin.path.exists(), "the path is gone")
    wait_until(lambda: "Stopping: 1" in converse(lb, "show info"), "what is shown is fresh again")
    talks(client, server)
    client.closes()
    server.reads_end().closes()
    lb.ends()


def test_nobody_pays_for_a_page_that_is_not_configured(lb, admin):
    a = lb.server()
    admin.start(f"server a {a}")
    admin.say("show stat")
    for pid in (lb.pid, lb.worker_pid):
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "aiohttp" not in maps, f"{sys.executable} has loaded its extension"
    lb.stops()
