"""Builds lbsplice with its C extension; everything else about it is in pyproject.toml."""

import platform
import sys


def unsupported():
    """Why lbsplice can not be built here, in one line; None if it can."""
    if not sys.platform.startswith("linux"):
        return "lbsplice runs on Linux only (splice, epoll, pidfd); this is " + sys.platform
    found = platform.python_implementation() + " " + platform.python_version()
    if platform.python_implementation() != "CPython" or sys.version_info < (3, 10):
        return "lbsplice needs CPython 3.10 or newer; this is " + found
    return None


reason = unsupported()
if reason:
    sys.exit(reason)

from setuptools import setup  # noqa: E402 (only where it can be of use)

setup(cffi_modules=["native/build.py:ffibuilder"])
