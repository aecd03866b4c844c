"""HAProxy's command line, read word by word."""

from __future__ import annotations

import pytest

from lbsplice.cli.arguments import Arguments, Unsupported, UsageError, parse
from lbsplice.migration import Predecessors


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Arguments()),
        ("-f a.cfg -f dir", Arguments(files=("a.cfg", "dir"))),
        ("-f a.cfg -- b.cfg -c", Arguments(files=("a.cfg", "b.cfg", "-c"))),
        ("-c -f x", Arguments(files=("x",), check=True)),
        ("-c -V -f x", Arguments(files=("x",), check=True, verbose=True)),
        ("-cc streq(a,a)", Arguments(condition="streq(a,a)")),
        ("-v", Arguments(version=1)),
        ("-vv", Arguments(version=2)),
        ("-D", Arguments(daemon=True)),
        ("-db", Arguments(foreground=True)),
        ("-d", Arguments(foreground=True, debug=True)),
        ("-W", Arguments(master=True)),
        ("-Ws", Arguments(master=True, notify=True)),
        ("-q", Arguments(quiet=True)),
        ("-q -V", Arguments(verbose=True)),
        ("-dW", Arguments(zero_warning=True)),
        ("-p /run/x.pid", Arguments(pidfile="/run/x.pid")),
        ("-n 100 -N 10", Arguments(maxconn=100, proxy_maxconn=10)),
        ("-n 0", Arguments()),
        ("-sf", Arguments()),
        ("-x /run/h.sock", Arguments(before=Predecessors(socket="/run/h.sock"))),
        (
            "-sf 12 13 -st 14 -f a.cfg",
            Arguments(files=("a.cfg",), before=Predecessors((12, 13), (14,))),
        ),
        ("-sf 12 -D", Arguments(before=Predecessors((12,)), daemon=True)),
        ("-L peer -C /etc", Arguments(local_peer="peer", directory="/etc")),
        ("-p -c -f -d", Arguments(pidfile="-c", files=("-d",))),  # a value is a value
        ("-dM -dI -de -dp -dS -dR -dG -dV -dMno-merge,tag", Arguments()),
        (
            "-Ws -f /etc/h.cfg -p /run/h.pid",
            Arguments(files=("/etc/h.cfg",), pidfile="/run/h.pid", master=True, notify=True),
        ),
    ],
)
def test_words_mean_what_haproxy_means(line, expected):
    assert parse(line.split()) == expected


@pytest.mark.parametrize("line", ["-S /m", "-m 100", "-dr", "-dD", "-dKall", "-dt", "-dC"])
def test_what_only_haproxy_can_do_is_said_to_be_unsupported(line):
    with pytest.raises(Unsupported, match=f"'{line.split()[0]}'.*not supported yet"):
        parse(line.split())


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("-f", "'-f' needs a value"),
        ("-x", "'-x' needs a value"),
        ("-sf 0", "0 is not the number of a process"),
        ("-sf x", "unexpected word 'x'"),
        ("-cc", "'-cc' needs a value"),
        ("-n abc", "number of sessions"),
        ("-n -5", "number of sessions"),
        ("--bogus", "unknown option '--bogus'"),
        ("-zz", "unknown option"),
        ("lb.cfg", "unexpected word 'lb.cfg'"),
    ],
)
def test_nonsense_is_refused(line, what):
    with pytest.raises(UsageError, match=what):
        parse(line.split())
