"""Each process of the family dies; the others see to it, and at the end nothing is left."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import environment
from tests.support.crash import says, talks, text
from tests.support.program import Program, program
from tests.support.torture import family
from tests.support.torture.figures import Figures, account_for
from tests.support.torture.harm import Victim
from tests.support.waiting import holds_for, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
NOBODY = pwd.getpwnam("nobody")


def nothing_is_left(victim: Victim) -> None:
    for pid in victim.pids:
        wait_until(lambda pid=pid: not family.alive(pid), f"process {pid} is gone")


# ---- the worker ----


def test_kills_from_outside_never_stop_the_service(lb, victim):
    """However many, and soon after each other."""
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pair = lb.session(server)
    pid = lb.pid
    for _ in range(60):
        victim.kill(signal.SIGKILL)
    victim.settles()
    talks(*pair)
    talks(*lb.session(server))
    assert lb.pid == pid
    lb.stops()
    nothing_is_left(victim)


def test_descriptors_and_memory_stay_as_they_were(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    victim.crash()
    empty = Figures.at_rest(victim)
    pairs = [lb.session(server) for _ in range(20)]
    for _ in range(15):
        victim.crash()
    account_for(victim, empty, sessions=20, pipes=60)
    for pair in pairs:
        for peer in pair:
            peer.closes()
    account_for(victim, empty, sessions=0, pipes=60)
    for who, kb in Figures.of(victim).memory_kb.items():
        assert kb - empty.memory_kb[who] < 2048, f"the {who} has grown"
    lb.stops()
    nothing_is_left(victim)


def test_vault_is_a_few_pages_and_the_worker_is_called_so(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    assert family.name(victim.worker()) == "lbsplice-worker"
    assert family.name(victim.vault()) == "lbsplice-vault"
    assert family.memory(victim.vault()).private <= 64
    lb.stops()
    nothing_is_left(victim)


def test_crash_is_told_with_the_signal_and_the_time_it_took(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pairs = [lb.session(server) for _ in range(4)]
    dead = victim.worker()
    victim.crash(signal.SIGSEGV)
    (line,) = lb.logs(r"took over")
    assert f"worker {dead} " in line.text
    assert "signal 11 (SIGSEGV)" in line.text
    assert [count for count, _ in victim.adoptions()] == [len(pairs)]
    assert line.severity == 1, "alert"
    lb.stops()


# ---- rights ----


@needs_root
@pytest.mark.parametrize("jail", ["", "chroot /var/empty"], ids=["user", "user and chroot"])
def test_adoption_works_with_another_user_and_in_a_chroot(lb, victim, jail, tmp_path):
    jail = jail.replace("/var/empty", str(tmp_path))
    server = lb.server()
    rights = f"uid {NOBODY.pw_uid}\n gid {NOBODY.pw_gid}\n {jail}"
    lb.start(text(lb, f"server a {server}", globals_=rights))
    pair = lb.session(server)
    for _ in range(3):
        victim.crash()
        talks(*pair)
        talks(*lb.session(server))
        for pid in (victim.worker(), victim.vault()):
            status = Path(f"/proc/{pid}/status").read_text()
            assert f"Uid:\t{NOBODY.pw_uid}\t{NOBODY.pw_uid}\t" in status
    if jail:
        assert os.readlink(f"/proc/{victim.worker()}/root") == str(tmp_path)  # noqa: PTH115
    assert os.readlink(f"/proc/{victim.supervisor}/root") == "/"  # noqa: PTH115
    lb.stops()
    nothing_is_left(victim)


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_adoption_works_where_pidfd_getfd_is_refused(tmp_path, error):
    """As a container refuses it, or a kernel that has none."""
    refusing = (sys.executable, "-m", "tests.support.refusing", "pidfd_getfd", error)
    with program(tmp_path, command=(*refusing, *Program.command)) as lb:
        crashes_and_goes_on(lb)


@needs_root
def test_adoption_works_without_the_right_to_trace(tmp_path):
    """The worker is another user's than the supervisor, whom nothing allows to look in."""
    bound = ("setpriv", "--bounding-set", "-sys_ptrace", "--inh-caps", "-all")
    with program(tmp_path, command=(*bound, *Program.command)) as lb:
        crashes_and_goes_on(lb, f"uid {NOBODY.pw_uid}\n gid {NOBODY.pw_gid}")


if YAMA.exists():

    @needs_root
    @pytest.mark.parametrize("scope", ["1", "2", "3"])
    def test_adoption_works_with_yama(lb, scope):
        before = YAMA.read_text()
        if scope == "3" or before.strip() > scope:
            pytest.skip("it could not be taken back")
        YAMA.write_text(scope)
        try:
            crashes_and_goes_on(lb)
        finally:
            YAMA.write_text(before)


def crashes_and_goes_on(lb: Program, globals_: str = "") -> None:
    victim = Victim(lb)
    server = lb.server()
    lb.start(text(lb, f"server a {server}", globals_=globals_))
    pairs = [lb.session(server) for _ in range(300)]
    for _ in range(2):
        victim.crash()
        for pair in pairs:
            talks(*pair)
        talks(*lb.session(server))
    lb.stops()
    nothing_is_left(victim)


# ---- the vault ----


def test_vault_that_was_killed_is_made_again(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pair = lb.session(server)
    before = victim.worker()
    for _ in range(3):
        victim.kill_vault()
        assert victim.worker() == before
        talks(*pair)
    victim.crash()
    talks(*pair)
    lb.stops()
    nothing_is_left(victim)


# ---- the supervisor ----


def test_traffic_goes_on_without_a_supervisor_and_a_new_one_takes_over(lb, victim, tmp_path):
    server = lb.server()
    configuration = text(lb, f"server a {server} check inter 200ms")
    lb.start(configuration)
    pairs = [lb.session(server) for _ in range(5)]
    old = lb.pid
    victim.settles()
    workers = victim.worker(), victim.vault()
    lb.process.kill()
    lb.process.wait()
    for pair in pairs:
        talks(*pair)
    holds_for(lambda: all(map(family.alive, workers)), "worker and vault live", 0.3)
    pairs.append(lb.session(server))
    assert says(lb, "Server l/a is DOWN") == 0
    lb.process.stdout.close()  # nobody reads what the orphans say
    lb.process.stderr.close()
    lb.start(configuration)
    assert lb.pid != old
    wait_until(lambda: not any(map(family.alive, workers)), "the old ones made way", 20)
    victim.worker()
    for pair in pairs:
        talks(*pair)
    pairs.append(lb.session(server))
    victim.crash()
    for pair in pairs:
        talks(*pair)
    lb.stops()
    nothing_is_left(victim)


def test_second_run_of_the_same_configuration_is_refused_and_harms_nobody(lb, victim):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    pair = lb.session(server)
    path = lb.directory / "lb.cfg"
    second = subprocess.run(
        [*lb.command, "-db", "-f", str(path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment(),
    )
    assert second.returncode == 1
    assert str(lb.pid) in second.stderr, "it names who is in the way"
    talks(*pair)
    lb.stops()
    nothing_is_left(victim)


# ---- the end ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_stop_leaves_nothing(lb, victim, number):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    lb.session(server)
    for _ in range(2):
        victim.crash()
    if number == signal.SIGUSR1:
        lb.stack.pop_all().close()
    lb.signals(number).ends()
    nothing_is_left(victim)


@pytest.mark.parametrize("delay_ms", [0, 2, 10, 30, 80])
def test_stop_in_the_middle_of_an_adoption_leaves_nothing(lb, victim, delay_ms):
    server = lb.server()
    lb.start(text(lb, f"server a {server}"))
    for _ in range(50):
        lb.session(server)
    victim.vault()
    victim.kill(signal.SIGKILL)
    since = time.monotonic()
    wait_until(lambda: time.monotonic() >= since + delay_ms / 1000, "a moment has passed")
    lb.signals(signal.SIGTERM)
    wait_until(lambda: lb.process.poll() is not None, "it ends", 20)
    lb.process.communicate(timeout=20)
    nothing_is_left(victim)
