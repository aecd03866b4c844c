"""What `-v` and `-vv` print, in HAProxy's layout: tools that read HAProxy's find its
version, target, options, features, pollers and services on lines of the same shape."""

from __future__ import annotations

import os
import platform
import sys

from lbsplice import __version__
from lbsplice.config.conditions import FEATURES
from lbsplice.limits import MOST_THREADS
from lbsplice.process import usable_cpus
from lbsplice.terms import HAPROXY_VERSION


def brief() -> str:
    """The lines of `-v`."""
    uname = os.uname()
    return (
        f"lbsplice version {__version__}\n"
        f"HAProxy version {HAPROXY_VERSION} is the one whose behaviour is followed (TCP mode)\n"
        f"Running on: {uname.sysname} {uname.release} {uname.version} {uname.machine}"
    )


def full() -> str:
    """The lines of `-vv`."""
    features = " ".join(
        f"{'+' if present else '-'}{name}" for name, present in sorted(FEATURES.items())
    )
    options = " ".join(f"USE_{name}=1" for name, present in sorted(FEATURES.items()) if present)
    return f"""\
{brief()}
Build options :
  TARGET  = linux-glibc
  CPU     = {platform.machine()}
  CC      = cc
  CFLAGS  = -std=c11 -Wall -Wextra -Werror -O2
  OPTIONS = {options}
  DEBUG   =

Feature list : {features}

Default settings :
  maxaccept = 64, pipesize = the system's, maxpipes = maxconn/4

Built with multi-threading support (MAX_THREADS={MOST_THREADS}, default={usable_cpus()}).
Built with {platform.python_implementation()} version : {platform.python_version()}
Running on {platform.python_implementation()} : {sys.executable}
Built with transparent proxy support using: IP_TRANSPARENT IPV6_TRANSPARENT
User data is moved with splice(2) and is never copied to memory of the process.

Available polling systems :
      epoll : pref=300,  test result OK
Total: 1 (1 usable), will use epoll.

Available multiplexer protocols :
(protocols marked as <default> cannot be specified using 'proto' keyword)
  <default> : mode=TCP  side=FE|BE  mux=PASS  flags=

Available services : none

Available filters : none"""
