"""Supervisor, worker and vault, with real kills and a control plane that only tells what it
is told: who follows whom, who is told, when it is given up."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from functools import partial
from pathlib import Path

import pytest

from tests.scenario.test_process_supervisor import Daemon, is_gone
from tests.support.command import wait_until
from tests.support.program import VAULT, WORKER, comm, family


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


def is_complete(daemon):
    return sorted(family(daemon.process.pid).values()) == [VAULT, WORKER]


def member(daemon, name):
    """Once it is there: a vault gives itself its name."""
    wait_until(lambda: is_complete(daemon), "somebody is missing")
    return next(pid for pid, called in family(daemon.process.pid).items() if called == name)


def again(daemon, **changes):
    """What the configuration will be when it is read again."""
    Path(f"{daemon.told_in}.again").write_text(json.dumps(changes))


def ends_well(daemon):
    members = family(daemon.process.pid)
    status, _, err = daemon.signals(signal.SIGTERM).ends()
    assert status == 0
    assert "Traceback" not in err
    assert all(is_gone(pid) for pid in members), "somebody is left"
    return err


def has_another_vault(daemon, vault):
    return is_complete(daemon) and member(daemon, VAULT) != vault


# ---- deaths ----


def test_three_processes_have_their_names_and_the_vault_is_tiny(start):
    daemon = start()
    assert daemon.waits_for("start")["supervisor"] == daemon.process.pid
    assert member(daemon, WORKER) == daemon.waits_for("start")["pid"]
    assert comm(daemon.process.pid) == "lbsplice"
    assert ends_well(daemon) == ""


# A sanitizer takes the others for findings.
SIGNALS = (
    [signal.SIGKILL]
    if "ASAN_OPTIONS" in os.environ
    else [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]
)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_worker_that_is_killed_has_a_successor_that_knows_why(start, number):
    daemon = start(bind=True)
    first = daemon.waits_for("start")
    vault = member(daemon, VAULT)
    os.kill(first["pid"], number)
    second = daemon.waits_for("start", 2)
    why = f"worker {first['pid']} was killed by signal {int(number)} ({number.name})"
    assert second["reason"] == why
    assert not second["planned"]
    assert second["log_pid"] == daemon.process.pid
    assert second["ports"] == first["ports"]
    wait_until(lambda: is_gone(vault) and is_complete(daemon), "the old vault lives on")
    assert why in ends_well(daemon)


def test_signals_for_a_program_do_not_reach_the_worker(start):
    daemon = start()
    worker = daemon.waits_for("start")["pid"]
    assert os.getsid(worker) == worker
    for number in ("TERM", "INT", "QUIT", "USR1", "USR2", "PIPE", "TTIN", "TTOU"):
        os.kill(worker, signal.Signals[f"SIG{number}"])
    os.kill(worker, signal.SIGHUP)
    daemon.waits_for("dump")
    assert [one["what"] for one in daemon.told()] == ["start", "dump"]
    ends_well(daemon)


def test_a_worker_that_breaks_is_succeeded_and_tells_why(start):
    daemon = start(fail="run", once=True)
    assert daemon.waits_for("start", 2)["reason"].endswith("ended with status 1")
    assert "ended with status 1: a worker ended" in ends_well(daemon)


def test_workers_that_break_as_soon_as_they_work_do_not_burn_the_processor(start):
    daemon = start(fail="run")
    daemon.waits_for("start", 6)
    told = time.monotonic()
    daemon.waits_for("start", 8)
    assert time.monotonic() - told > 0.9
    assert daemon.process.poll() is None
    assert daemon.signals(signal.SIGTERM).ends()[0] == 0


def test_five_deaths_before_one_is_ready_end_the_loop(start, tmp_path):
    daemon = start(fail="die", settings={"master": True, "pidfile": str(tmp_path / "pid")})
    status, _, err = daemon.ends()
    assert status == 1
    assert err.count("was killed by signal 9 (SIGKILL)") == 6  # five, and the last word
    last = err.splitlines()[-1]
    assert "5 workers in a row died before one was ready" in last
    assert "set-dumpable" in last
    assert "ulimit -c" in last
    assert "core_pattern" in last
    assert not (tmp_path / "pid").exists()


def test_deaths_are_counted_anew_once_one_was_ready(start):
    daemon = start()
    for count in range(1, 13):
        os.kill(daemon.waits_for("start", count)["pid"], signal.SIGKILL)
    daemon.waits_for("start", 13)
    ends_well(daemon)


def test_a_vault_that_is_killed_is_made_again_and_keeps_the_sockets(start):
    daemon = start(bind=True)
    port = daemon.waits_for("start")["ports"][0]
    for _ in range(3):
        vault = member(daemon, VAULT)
        os.kill(vault, signal.SIGKILL)
        wait_until(partial(has_another_vault, daemon, vault), "no new vault")
    os.kill(member(daemon, WORKER), signal.SIGKILL)
    daemon.waits_for("start", 2)
    socket.create_connection(("127.0.0.1", port), timeout=20).close()
    ends_well(daemon)


def test_both_killed_at_once_is_a_new_beginning_with_the_same_listeners(start):
    daemon = start(bind=True)
    port = daemon.waits_for("start")["ports"][0]
    os.kill(daemon.process.pid, signal.SIGSTOP)  # so that it notices both at once
    for pid in family(daemon.process.pid):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not family(daemon.process.pid), "they do not die")
    os.kill(daemon.process.pid, signal.SIGCONT)
    assert "its sessions are lost" in daemon.waits_for("start", 2)["reason"]
    socket.create_connection(("127.0.0.1", port), timeout=20).close()
    wait_until(lambda: is_complete(daemon), "no vault")
    ends_well(daemon)


def test_a_successor_carries_on_with_a_soft_stop(start):
    daemon = start(sessions=True)
    worker = daemon.waits_for("start")["pid"]
    daemon.signals(signal.SIGUSR1).waits_for("soft_stop")
    os.kill(worker, signal.SIGKILL)
    daemon.waits_for("soft_stop", 2)
    ends_well(daemon)


def test_a_worker_that_dies_while_it_is_stopped_is_missed_by_nobody(start):
    daemon = start(stuck=True)
    worker = daemon.waits_for("start")["pid"]
    daemon.signals(signal.SIGTERM).waits_for("hard_stop")
    os.kill(worker, signal.SIGKILL)
    assert daemon.ends() == (0, "", "")
    assert len(daemon.told("start")) == 1


# ---- the supervisor ----


def test_a_worker_can_ask_for_what_only_the_supervisor_can_do(start):
    daemon = start(ask=["who", "reload", "dance"])
    daemon.waits_for("start")
    answers = [daemon.waits_for("answer", count)["answer"] for count in (1, 2, 3)]
    assert answers[0] == {"role": "supervisor", "pid": daemon.process.pid, "files": []}
    assert answers[1] == {"error": None, "messages": []}
    assert answers[2]["error"] == "'dance' is not known here"
    assert len(daemon.told("reload")) == 1
    ends_well(daemon)


# ---- a reload ----


def test_a_reload_takes_place_in_the_same_worker(start):
    daemon = start(bind=True)
    first = daemon.waits_for("start")
    again(daemon, frontends=["l", "other"], maxconn=100)
    reloaded = daemon.signals(signal.SIGHUP).waits_for("reload")
    assert reloaded["proxies"] == ["l", "other"]
    assert reloaded["maxconn"] == 100
    assert reloaded["pid"] == first["pid"]
    socket.create_connection(("127.0.0.1", reloaded["ports"][1]), timeout=20).close()
    os.kill(first["pid"], signal.SIGKILL)
    assert daemon.waits_for("start", 2)["ports"] == reloaded["ports"], "the new configuration"
    ends_well(daemon)


def test_a_socket_that_a_reload_takes_away_listens_no_more(start):
    daemon = start(bind=True)
    daemon.waits_for("start")
    again(daemon, frontends=["l", "other"])
    port = daemon.signals(signal.SIGHUP).waits_for("reload")["ports"][1]
    again(daemon, frontends=["l"])
    daemon.signals(signal.SIGHUP).waits_for("reload", 2)

    def refused():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) != 0

    wait_until(refused, "still listens")
    ends_well(daemon)


@pytest.mark.parametrize(
    ("wish", "changes", "why"),
    [
        ({}, {"error": "config : nonsense"}, "config : nonsense"),
        ({"fail": "reload"}, {"frontends": ["l", "new"]}, "the plan is refused"),
        ({}, {"ulimit_n": 0, "maxconn": 1, "maxpipes": 1 << 30}, "too low"),
    ],
)
def test_a_reload_that_is_refused_changes_nothing_and_says_why(start, wish, changes, why):
    daemon = start(bind=True, **wish)
    first = daemon.waits_for("start")
    again(daemon, **changes)
    daemon.signals(signal.SIGHUP)
    wait_until(lambda: not Path(f"{daemon.told_in}.again").exists(), "it is read")
    os.kill(first["pid"], signal.SIGKILL)
    assert daemon.waits_for("start", 2)["ports"] == first["ports"]
    err = ends_well(daemon)
    assert f"reload failed, nothing has changed: {why}" in err or why in err


def test_more_threads_take_another_worker_with_another_ledger(start):
    daemon = start(**{"global": {"nbthread": 1}})
    first = daemon.waits_for("start")
    again(daemon, nbthread=3)
    daemon.signals(signal.SIGHUP)
    daemon.waits_for("park")
    second = daemon.waits_for("start", 2)
    assert second["planned"]
    assert "number of threads" in second["reason"]
    assert (first["threads"], second["threads"]) == (1, 3)
    wait_until(lambda: is_gone(first["pid"]) and is_complete(daemon), "the old one lives on")
    os.kill(second["pid"], signal.SIGKILL)
    assert daemon.waits_for("start", 3)["threads"] == 3
    ends_well(daemon)


def test_a_configuration_that_kills_new_workers_is_left_for_the_one_before(start):
    daemon = start(fail="planned", **{"global": {"nbthread": 1}})
    daemon.waits_for("start")
    again(daemon, nbthread=2, maxconn=77)
    daemon.signals(signal.SIGHUP).waits_for("park")
    survivor = daemon.waits_for("start", 2)
    wait_until(lambda: is_complete(daemon), "nobody serves")
    assert not survivor["planned"]
    err = ends_well(daemon)
    assert "reload failed, nothing has changed: the new workers can not start" in err


# ---- systemd's watchdog ----


def test_a_worker_that_hangs_is_killed_and_succeeded(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        variables = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "500000"}
        daemon = start(
            popen={"env": {**os.environ, **variables}},
            settings={"master": True, "notify": True},
            fail="hang",
            once=True,
        )
        second = daemon.waits_for("start", 2)
        assert second["reason"].endswith("was killed by signal 9 (SIGKILL)")
        assert systemd.recv(4096).startswith(b"READY=1")
        for _ in range(5):
            assert systemd.recv(4096) == b"WATCHDOG=1\n"
        assert daemon.signals(signal.SIGTERM).ends()[0] == 143
