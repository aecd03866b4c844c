"""The vault: what it keeps, how small it is, whom it obeys and when it ends; and the taking
over of what it kept."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbsplice.dataplane import vault
from lbsplice.errors import DataplaneError
from tests.support.waiting import SOON_S, holds_for, wait_until


class Owner:
    """A process with a vault: a worker that does nothing."""

    def __init__(
        self,
        prepare: Callable[[], object] = lambda: None,
        then: Callable[[], object] = signal.pause,
    ) -> None:
        self.request, theirs = vault.request_pair()
        told, tells = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                self.request.close()
                os.close(told)
                prepare()
                os.write(tells, b"%d" % vault.start_vault(theirs))
                os.close(tells)
                then()
                signal.pause()
            finally:
                os._exit(1)
        theirs.close()
        os.close(tells)
        self.vault = int(os.read(told, 20))
        os.close(told)
        self.reaped: set[int] = set()

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.reap(pid)

    def reap(self, pid: int) -> int:
        self.reaped.add(pid)
        return os.waitpid(pid, 0)[1]

    def vault_lives(self) -> bool:
        return os.waitpid(self.vault, os.WNOHANG) == (0, 0)

    def close(self) -> None:
        self.request.close()
        for pid in {self.pid, self.vault} - self.reaped:
            self.kill(pid)


def has(it: Owner, number: int) -> bool:
    """Does its vault hand over this descriptor?"""
    fd = vault.take_one(None, it.request, number)
    if fd is not None:
        os.close(fd)
    return fd is not None


Make = Callable[..., Owner]


@pytest.fixture
def owner() -> Iterator[Make]:
    made: list[Owner] = []

    def make(*args: Any) -> Owner:
        made.append(Owner(*args))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_vault_is_a_child_of_its_owners_parent_and_has_a_name(owner: Make) -> None:
    it = owner()
    comm = Path(f"/proc/{it.vault}/comm")
    wait_until(lambda: comm.read_text() == "lbsplice-vault\n", "the vault has its name")
    fields = Path(f"/proc/{it.vault}/stat").read_text().rsplit(")")[1].split()
    assert int(fields[1]) == os.getpid()


def test_vault_keeps_a_few_pages_of_a_process_of_any_size(owner: Make) -> None:
    ballast: list[bytes] = []
    it = owner(lambda: ballast.append(os.urandom(64 << 20)))

    def kilobytes(name: str) -> int:
        for line in Path(f"/proc/{it.vault}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise AssertionError(f"no line {name}")

    wait_until(lambda: kilobytes("Rss") <= 32, "the vault has given its memory back")
    assert kilobytes("Private_Dirty") + kilobytes("Private_Clean") <= 32
    maps = Path(f"/proc/{it.vault}/maps").read_text().splitlines()
    assert len([line for line in maps if "vsyscall" not in line]) <= 4, maps


def test_what_the_owner_had_open_stays_open_until_the_vault_quits(owner: Make) -> None:
    ours, theirs = socket.socketpair()
    it = owner(ours.close)
    theirs.close()
    it.kill(it.pid)
    ours.settimeout(0.05)
    with pytest.raises(TimeoutError):
        ours.recv(1)
    vault.quit_vault(it.request)
    assert it.reap(it.vault) == 0
    ours.settimeout(SOON_S)
    assert ours.recv(1) == b""
    ours.close()


def test_it_shares_the_table_so_a_close_in_the_owner_closes(owner: Make) -> None:
    ours, theirs = socket.socketpair()

    def close_when_told() -> None:
        ours.close()
        theirs.recv(1)
        theirs.close()

    it = owner(lambda: None, close_when_told)
    theirs.close()
    ours.settimeout(SOON_S)
    ours.send(b"!")
    assert ours.recv(1) == b""
    assert it.vault_lives()
    ours.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV])
def test_no_signal_but_kill_ends_it(owner: Make, number: signal.Signals) -> None:
    it = owner()
    os.kill(it.vault, number)
    holds_for(it.vault_lives, "the vault lives", 0.05)


def test_it_outlives_its_owner_as_long_as_somebody_can_ask_it(owner: Make) -> None:
    it = owner()
    it.kill(it.pid)
    holds_for(it.vault_lives, "the vault lives", 0.05)
    assert has(it, 0)
    it.request.close()
    assert it.reap(it.vault) == 0


def test_without_anybody_to_ask_it_it_lives_as_long_as_its_owner(owner: Make) -> None:
    it = owner()
    it.request.close()
    holds_for(it.vault_lives, "the vault lives", 0.05)
    it.kill(it.pid)
    assert it.reap(it.vault) == 0


def test_the_end_is_read_only_when_nobody_has_the_table(owner: Make) -> None:
    it = owner()
    assert not vault.wait_released(it.request, 0.01)
    it.kill(it.pid)
    assert not vault.wait_released(it.request, 0.01)
    vault.quit_vault(it.request)
    assert vault.wait_released(it.request, SOON_S)


def test_it_survives_being_preempted(owner: Make) -> None:
    """What the C library registered with the kernel is gone with its memory: a vault that
    runs long enough to be preempted would die of it."""
    it = owner()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        assert not has(it, 900)
    assert it.vault_lives()


@pytest.mark.parametrize("by_pidfd", [True, False])
def test_one_descriptor_is_taken_or_is_not_there(owner: Make, by_pidfd: bool) -> None:
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    it = owner()
    theirs.close()
    pid = it.vault if by_pidfd else None
    fd = vault.take_one(pid, it.request, number)
    assert fd is not None
    with socket.socket(fileno=fd) as copy:
        copy.send(b"from a copy")
    assert ours.recv(20) == b"from a copy"
    ours.close()
    assert vault.take_one(pid, it.request, 1000) is None


def test_an_answer_that_its_asker_did_not_live_to_hear_is_passed_over(owner: Make) -> None:
    it = owner()
    child = os.fork()
    if not child:
        # Asks and dies: the answer stays in the queue.
        os.write(it.request.fileno(), b"G\0\0\0\1\0\0\0" + b"token..." + bytes(1000))
        os._exit(0)
    os.waitpid(child, 0)
    fd = vault.take_one(None, it.request, 2)
    assert fd is not None
    assert os.path.sameopenfile(fd, 2)
    os.close(fd)


def test_the_table_is_the_way_when_the_vault_is_stopped(owner: Make) -> None:
    it = owner()
    os.kill(it.vault, signal.SIGSTOP)
    fd = vault.take_one(it.vault, it.request, 2)
    assert fd is not None
    assert os.path.sameopenfile(fd, 2)
    os.close(fd)
    os.kill(it.vault, signal.SIGCONT)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes rights away")
def test_the_vault_is_the_way_where_the_kernel_refuses_the_table(owner: Make) -> None:
    it = owner()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setresuid(65534, 65534, 65534)
            with pytest.raises(DataplaneError, match="permitted"):
                vault.take_one(it.vault, None, 2)
            fd = vault.take_one(it.vault, it.request, 2)
            status = int(fd is None or not os.path.sameopenfile(fd, 2))
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_it_needs_no_free_descriptor(owner: Make) -> None:
    def no_more_descriptors() -> None:
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, limit[1]))

    assert has(owner(no_more_descriptors), 0)
