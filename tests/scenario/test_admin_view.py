"""What the real program shows of itself: sessions through it, a server that dies, a crash;
and what a look at a thousand servers costs."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
import time

import pytest

from tests.support.admin_stage import AdminStage, at_work, does
from tests.support.crash import text
from tests.support.program import Program
from tests.support.waiting import SOON_S, wait_until

CHECK = "check inter 100ms fall 2 rise 2 on-marked-down shutdown-sessions"


class Shown:
    """What the program shows by its stats socket."""

    def __init__(self, path):
        self.path = str(path)

    def asks(self, command):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SOON_S)
            sock.connect(self.path)
            sock.sendall(command.encode() + b"\n")
            answer = bytearray()
            while piece := sock.recv(1 << 16):
                answer += piece
        return answer.decode()

    def stat(self, name):
        """A row of `show stat`, by its columns' names."""
        rows = csv.DictReader(io.StringIO(self.asks("show stat").removeprefix("# ").strip()))
        return next(row for row in rows if row["svname"] == name)

    def info(self):
        lines = self.asks("show info").splitlines()
        return dict(line.split(": ", 1) for line in lines if ": " in line)


@pytest.fixture
def shown(lb: Program, tmp_path):
    return Shown(tmp_path / "stats.sock")


def configured(lb, shown, *servers):
    return text(lb, *servers, globals_=f"stats socket {shown.path} level admin")


def ask_from(shown, name, *columns):
    row = shown.stat(name)
    return [int(row[column]) for column in columns]


def test_sessions_states_and_transitions_are_shown_as_they_are(lb, shown):
    a, b = lb.server(), lb.server()
    lb.start(configured(lb, shown, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    doomed, spared = lb.session(a), lb.session(b)
    for name, sessions in (("FRONTEND", 2), ("BACKEND", 2), ("a", 1), ("b", 1)):
        assert ask_from(shown, name, "scur", "smax", "stot") == [sessions] * 3, name
    assert shown.stat("a")["status"] == "UP"
    a.dies()
    for peer in doomed:
        peer.reads_reset()
    lb.logs("Server l/a is DOWN")
    assert shown.stat("a")["status"] == "DOWN"
    assert ask_from(shown, "a", "chkdown", "chkfail", "scur") == [1, 2, 0]
    assert ask_from(shown, "BACKEND", "act", "chkdown", "scur") == [1, 0, 1]
    info = shown.info()
    assert (info["Pid"], info["CurrConns"], info["CumConns"]) == (str(lb.pid), "1", "2")
    assert 0 < int(info["BootTime_ms"]) < 60_000
    for peer in spared:
        peer.sees_nothing()
    lb.stops()


def test_a_crash_of_the_worker_changes_nothing_of_what_was_counted(lb, shown):
    a, b = lb.server(), lb.server()
    lb.start(configured(lb, shown, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    began = time.monotonic()
    doomed, spared = lb.session(a), lb.session(b)
    wait_until(lambda: time.monotonic() > began + 0.05, "averages have milliseconds")
    a.dies()
    for peer in doomed:
        peer.reads_reset()
    lb.logs("Server l/a is DOWN")
    wait_until(lambda: ask_from(shown, "a", "scur") == [0], "its session is counted")
    columns = (
        "stot",
        "smax",
        "lbtot",
        "chkdown",
        "chkfail",
        "ttime",
        "ttime_max",
        "bin",
        "connect",
    )
    before = {name: ask_from(shown, name, *columns) for name in ("a", "b")}
    assert before["a"][5] > 0
    rate = ask_from(shown, "FRONTEND", "rate_max")
    assert rate[0] > 0
    started = shown.info()["Start_time_sec"]
    seen = time.monotonic()  # the journal may be half a second behind with what decides nothing
    wait_until(lambda: time.monotonic() > seen + 1, "the journal is written")
    lb.kill_worker()
    wait_until(lambda: shown.info()["lbsplice_crashes"] == "1", "the successor answers")
    assert {name: ask_from(shown, name, *columns) for name in ("a", "b")} == before
    assert shown.stat("a")["status"] == "DOWN"
    assert ask_from(shown, "FRONTEND", "rate_max") == rate
    info = shown.info()
    assert (info["Pid"], info["Start_time_sec"]) == (str(lb.pid), started)
    assert (info["CurrConns"], info["CumConns"], info["lbsplice_adoptions"]) == ("1", "2", "1")
    spared[0].sends(b"ask")
    spared[1].reads(b"ask")
    lb.stops()


def test_what_was_told_at_the_start_can_be_read_again(lb, shown):
    a = lb.server()
    lb.start(configured(lb, shown, "timeout queue 5s", f"server a {a} {CHECK}"))
    told = shown.asks("show startup-logs")
    assert "[WARNING]" in told
    assert "'timeout queue' ignored" in told
    warnings = told.count("[WARNING]")
    assert int(shown.info()["TotalWarnings"]) == warnings
    a.dies()
    lb.logs("Server l/a is DOWN")
    wait_until(lambda: int(shown.info()["TotalWarnings"]) > warnings, "that is a warning")
    assert shown.asks("show startup-logs") == told
    lb.kill_worker()
    wait_until(lambda: shown.info()["lbsplice_crashes"] == "1", "the successor answers")
    assert shown.asks("show startup-logs") == told
    lb.stops()


def test_sessions_that_filled_the_process_are_counted(lb, shown):
    a = lb.server()
    lb.start(
        text(lb, f"server a {a}", globals_=f"stats socket {shown.path} level admin\n maxconn 2")
    )
    first = lb.session(a)
    assert shown.info()["MaxconnReached"] == "0"
    second = lb.session(a)
    wait_until(lambda: shown.info()["MaxconnReached"] == "1", "it is full")
    for peer in (*first, *second):
        peer.closes()
    lb.stops()


# ---- what it costs ----


class Crowd(AdminStage):
    """A stage with so many servers that nobody connects to."""

    def __init__(self, count):
        self.count = count
        super().__init__(1)

    def configured(self, words="", more=""):
        lines = "".join(f" server s{n} 127.0.0.1:9 {words}\n" for n in range(self.count))
        return super().configured(words, lines + more)


def seconds_of(work, times=9):
    """The least that it took: what else the machine does is not its own."""
    spent = []
    for _ in range(times):
        began = time.thread_time()
        work()
        spent.append(time.thread_time() - began)
    return min(spent)


def test_a_look_at_a_thousand_servers_costs_little_more_than_to_read_their_counters(capsys):
    """A single row is read by Counters.slot; a thousand of them that way would take as long
    as several looks."""
    stage = Crowd(1000)
    try:

        async def run():
            async with at_work(stage) as (service, plane):

                def look():
                    service.changed()
                    return service.view()

                def one_by_one():
                    for slot in range(1000):
                        plane.workers.counters.slot(slot)

                assert len(look().backends["l"].servers) == 1001
                ours, theirs = seconds_of(look), seconds_of(one_by_one)
                again = seconds_of(service.view)
                with capsys.disabled():
                    print(
                        f"\n1,000 servers: a view in {ours * 1000:.1f} ms "
                        f"(counters one by one: {theirs * 1000:.1f} ms)"
                    )
                assert ours < theirs
                assert again < ours / 20, "twice within 50 ms is made once"

        asyncio.run(run())
    finally:
        stage.close()


def test_a_call_for_fewer_places_takes_less_time():
    """What `show sess` relies on when it gives the loop to others between two pieces."""
    stage = AdminStage()
    try:

        async def run():
            async with at_work(stage) as (service, _):
                for _ in range(80):
                    await stage.session()
                everyone = seconds_of(lambda: service.sessions(0, 256))
                some = seconds_of(lambda: service.sessions(0, 8))
                assert some < everyone
                found = (await does(lambda: service.sessions(0, 256)))[0]
                assert found

        asyncio.run(run())
    finally:
        stage.close()
