"""`python -m tests.support.refusing CALL ERROR COMMAND...` runs the command in a world in
which that system call is refused with that error: a seccomp filter, which children keep."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "pidfd_getfd": {"x86_64": 438, "aarch64": 438},
    "pidfd_open": {"x86_64": 434, "aarch64": 434},
}

LOAD_NUMBER, IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # of a BPF program
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(call: str, error: str) -> None:
    """For this process from now on. OSError if the kernel has no seccomp filters."""
    number = NUMBERS[call][platform.machine()]
    steps = (
        (LOAD_NUMBER, 0, 0, 0),
        (IF_EQUAL, 0, 1, number),
        (RETURN, 0, 0, REFUSE | getattr(errno, error)),
        (RETURN, 0, 0, ALLOW),
    )
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(steps), ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 and libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


if __name__ == "__main__":
    refuse(sys.argv[1], sys.argv[2])
    os.execvp(sys.argv[3], sys.argv[3:])
