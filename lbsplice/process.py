"""What a daemon does to its own process: rights, limits, its place in the background,
the pid file. Nothing here knows of sessions; every failure is an EnvironmentLacks whose
text is one line that says what would help."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import grp
import os
import pwd
import resource
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from lbsplice.config.model import Global
from lbsplice.errors import EnvironmentLacks

_PROGRAM = "[lbsplice.main()]"


STARTED_S = time.monotonic()
"""When the program began, in its first process: forks have it from there."""

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_DUMPABLE, _PR_SET_NAME = 4, 15  # linux/prctl.h
_CLOSE_RANGE = 436  # its system call number, the same on all machines
_LAST_DESCRIPTOR = (1 << 32) - 1
_START_TIME = 19  # of the fields after the name in /proc/PID/stat (proc(5): the 22nd)


def set_name(name: str) -> None:
    """What ps and /proc show as this process's name (15 characters)."""
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def raise_core_limit() -> None:
    """`set-dumpable`, before the rights are given up: a core dump may be of any size."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    for limit in (resource.RLIM_INFINITY, hard):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
            return


def allow_core_dumps() -> None:
    """`set-dumpable`, after a change of user, which forbids core dumps. Where they go is
    kernel.core_pattern's to say."""
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def how_it_ended(status: int) -> str:
    """The end of a child as its wait status tells it: `was killed by signal 9 (SIGKILL)`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
    return f"was killed by signal {-code} ({name})"


def age_s(pid: int) -> float:
    """For how many seconds a process has been there; 0 if it is gone. An exec makes nobody
    younger."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    started = int(stat.rpartition(")")[2].split()[_START_TIME])
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, since_boot - started / os.sysconf("SC_CLK_TCK"))


def usable_cpus() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0))


# ---- signals and exit status ----


def exit_status(number: int, master: bool) -> int:
    """The status after a stop by this signal: 0, or 128 + its number as HAProxy's master."""
    return 128 + number if master and number != signal.SIGUSR1 else 0


def stop_quietly_while_starting(master: bool) -> None:
    """Let a stop signal that comes before the service runs end the process in order, with
    the status it would have later on."""

    def leave(number: int, _frame: object) -> NoReturn:
        sys.exit(exit_status(number, master))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, leave)
    for number in (signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


# ---- descriptors ----


def hold_standard_streams() -> None:
    """Give 0, 1 and 2 something to be if whoever started us closed them, so that no
    socket of ours ever gets such a number. Call before anything is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)


def leave_streams(null: int) -> None:
    """Point the standard streams at `null`: whoever waits for their end gets it."""
    for stream in (sys.stdout, sys.stderr):
        # closed already, or nobody reads it any more
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    for number in (0, 1, 2):
        os.dup2(null, number)


def move_up(descriptor: int, floor: int) -> int:
    """A copy of the descriptor at the first free number from `floor` on."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, floor)


def close_descriptors_but(kept: Iterable[int]) -> None:
    """Close all others. Of objects that own one of those nothing may be used any more,
    nor may they be freed: a number is soon somebody else's."""
    first = 0
    for number in sorted(set(kept)):
        if number > first:
            _close_range(first, number - 1)
        first = number + 1
    _close_range(first, _LAST_DESCRIPTOR)


def _close_range(first: int, last: int) -> None:
    numbers = ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0)
    if _libc.syscall(_CLOSE_RANGE, *numbers) == 0:
        return
    # Linux before 5.9, or a filter of system calls
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(first, min(last + 1, limit))


def raise_descriptor_limit(ulimit_n: int | None) -> int:
    """Raise RLIMIT_NOFILE to `ulimit-n`, or to what the hard limit allows, and return it.

    Raises EnvironmentLacks when `ulimit-n` is above the hard limit and we have not the
    right to raise that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if ulimit_n is None:
        wanted = hard
        if hard == unlimited:
            wanted = _most_descriptors()
    else:
        wanted = ulimit_n
    if wanted != soft:
        new_hard = hard if hard == unlimited or wanted <= hard else wanted
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, new_hard))
        except (ValueError, OSError) as why:
            raise EnvironmentLacks(
                f"{_PROGRAM} Cannot raise FD limit to {wanted}, limit is {hard}. Please lower "
                "'ulimit-n', or raise the limit of the service (LimitNOFILE=), or give it "
                "CAP_SYS_RESOURCE."
            ) from why
    return wanted


def descriptor_limit() -> int:
    """RLIMIT_NOFILE as it is."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _most_descriptors() -> int:
    return int(Path("/proc/sys/fs/nr_open").read_text())


# ---- the pid file ----


@dataclass(slots=True)
class PidFile:
    """The file of `-p` or `pidfile`: opened while we still have the rights, written when
    it is known who we are. As HAProxy's, it stays when the daemon stops."""

    path: Path
    _descriptor: int
    _written: bool = False

    @classmethod
    def create(cls, path: str) -> PidFile:
        try:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
            return cls(Path(path).absolute(), os.open(path, flags, 0o644))
        except OSError as why:
            raise EnvironmentLacks(
                f"{_PROGRAM} Cannot create pidfile {path} ({why.strerror})"
            ) from why

    def write(self, pid: int) -> None:
        os.write(self._descriptor, f"{pid}\n".encode())
        os.close(self._descriptor)
        self._written = True

    def discard(self) -> None:
        """After a start that failed: leave no empty file behind."""
        if not self._written:
            os.close(self._descriptor)
            self._written = True
        with contextlib.suppress(OSError):
            self.path.unlink()


# ---- rights ----


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the process becomes. None: stays."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    chroot: str | None = None

    def take(self) -> None:
        """Enter the chroot, then give up the group, the supplementary groups and the
        user, in this order: each step needs the rights of the next one."""
        if self.chroot is not None:
            time.localtime()  # reads the zone's file while it can be found
            try:
                os.chroot(self.chroot)
                os.chdir("/")
            except OSError as why:
                raise EnvironmentLacks(
                    f"{_PROGRAM} Cannot chroot({self.chroot}). ({why.strerror}); the directory "
                    "must exist, and chroot needs root or CAP_SYS_CHROOT"
                ) from why
        if self.gid is not None and not self._is_gid():
            try:
                os.setgroups(self.groups)
                os.setresgid(self.gid, self.gid, self.gid)
            except OSError as why:
                raise EnvironmentLacks(
                    f"{_PROGRAM} Cannot set gid {self.gid}. ({why.strerror}); start as root, "
                    "or leave `group` and `gid` out"
                ) from why
        if self.uid is not None and os.getresuid() != (self.uid,) * 3:
            try:
                if self.gid is None and os.geteuid() == 0:
                    os.setgroups(self.groups)
                os.setresuid(self.uid, self.uid, self.uid)
            except OSError as why:
                raise EnvironmentLacks(
                    f"{_PROGRAM} Cannot set uid {self.uid}. ({why.strerror}); start as root, "
                    "or leave `user` and `uid` out"
                ) from why

    def _is_gid(self) -> bool:
        return os.getresgid() == (self.gid,) * 3 and set(os.getgroups()) <= {self.gid}


def identity(global_: Global) -> Identity:
    """Look up `user`, `group`, `uid` and `gid` (before a chroot hides the names)."""
    uid, gid = global_.uid, global_.gid
    if global_.user is not None:
        try:
            uid = pwd.getpwnam(global_.user).pw_uid
        except KeyError:
            raise EnvironmentLacks(
                f"cannot find user id for '{global_.user}'; create it, or name one that exists"
            ) from None
    if global_.group is not None:
        try:
            gid = grp.getgrnam(global_.group).gr_gid
        except KeyError:
            raise EnvironmentLacks(
                f"cannot find group id for '{global_.group}'; create it, or name one that exists"
            ) from None
    return Identity(uid, gid, () if gid is None else (gid,), global_.chroot)


# ---- the background ----


@dataclass(slots=True)
class Detachment:
    """Going to the background while whoever started us waits for the outcome.

    `begin()` returns in the daemon only. The starter waits inside it until the daemon
    says `succeed()`, and exits 0, or until the daemon dies, and exits as that did: a
    failed start is told on the starter's own stderr and in its exit status."""

    _report: int = field(default=-1)
    _null: int = field(default=-1)

    @classmethod
    def begin(cls) -> Detachment:
        heard, told = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        if os.fork() > 0:
            os.close(told)
            os._exit(_wait_for_outcome(heard))
        os.close(heard)
        os.setsid()
        if os.fork() > 0:
            os._exit(0)  # the session's leader goes, so that no terminal can be acquired
        # now: a chroot that comes next may have no /dev/null
        return cls(told, os.open(os.devnull, os.O_RDWR))

    @property
    def null(self) -> int:
        """/dev/null, for those who leave the starter's streams beside this process."""
        return self._null

    def succeed(self) -> None:
        """Let the starter go, and leave its streams."""
        leave_streams(self._null)
        os.close(self._null)
        self._null = -1
        self._tell(0)

    def fail(self, status: int) -> None:
        """The start failed and has been told on stderr: let the starter exit with `status`."""
        self._tell(status)

    def _tell(self, status: int) -> None:
        if self._report >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._report, bytes((status & 0xFF,)))
            os.close(self._report)
            self._report = -1


def _wait_for_outcome(heard: int) -> int:
    told = os.read(heard, 1)
    with contextlib.suppress(ChildProcessError):
        os.wait()
    return told[0] if told else 1
