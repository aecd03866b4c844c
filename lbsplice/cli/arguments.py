"""HAProxy's command line, as one table. Its words have a single dash and may be several
letters long (`-db`, `-Ws`), or carry their value with them (`-dMno-merge`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from lbsplice.errors import LbspliceError
from lbsplice.migration import Predecessors


class UsageError(LbspliceError):
    """A command line that can not be understood."""


class Unsupported(LbspliceError):
    """A word that HAProxy has and lbsplice has not."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the command line asks for."""

    files: tuple[str, ...] = ()
    check: bool = False  # -c
    condition: str | None = None  # -cc
    version: int = 0  # -v: 1, -vv: 2
    verbose: bool = False  # -V
    quiet: bool = False  # -q
    daemon: bool = False  # -D
    foreground: bool = False  # -db, -d
    debug: bool = False  # -d
    master: bool = False  # -W, -Ws
    notify: bool = False  # -Ws
    zero_warning: bool = False  # -dW
    pidfile: str | None = None  # -p
    maxconn: int | None = None  # -n
    proxy_maxconn: int | None = None  # -N
    local_peer: str | None = None  # -L
    directory: str | None = None  # -C
    before: Predecessors = field(default_factory=Predecessors)  # -sf, -st, -x


_Take = Callable[[Arguments, str], Arguments]


def _flag(**fields: object) -> _Take:
    return lambda arguments, _value: replace(arguments, **fields)  # type: ignore[arg-type]


def _text(field: str) -> _Take:
    return lambda arguments, value: replace(arguments, **{field: value})  # type: ignore[arg-type]


def _count(word: str, field: str) -> _Take:
    def take(arguments: Arguments, value: str) -> Arguments:
        try:
            number = int(value)
        except ValueError:
            number = -1
        if number < 0:
            raise UsageError(f"'{word}' expects a number of sessions, not '{value}'")
        return replace(arguments, **{field: number or None})  # type: ignore[arg-type]

    return take


def _file(arguments: Arguments, value: str) -> Arguments:
    return replace(arguments, files=(*arguments.files, value))


def _socket(arguments: Arguments, value: str) -> Arguments:
    return replace(arguments, before=replace(arguments.before, socket=value))


_FLAGS: dict[str, _Take] = {
    "-c": _flag(check=True),
    "-v": _flag(version=1),
    "-vv": _flag(version=2),
    "-V": _flag(verbose=True, quiet=False),
    "-q": _flag(quiet=True),
    "-D": _flag(daemon=True),
    "-d": _flag(debug=True, foreground=True),
    "-db": _flag(foreground=True),
    "-W": _flag(master=True),
    "-Ws": _flag(master=True, notify=True),
    "-dW": _flag(zero_warning=True),
}

_VALUES: dict[str, _Take] = {
    "-f": _file,
    "-cc": _text("condition"),
    "-p": _text("pidfile"),
    "-n": _count("-n", "maxconn"),
    "-N": _count("-N", "proxy_maxconn"),
    "-L": _text("local_peer"),
    "-C": _text("directory"),
    "-x": _socket,
}

_PIDS = {"-sf": "finish", "-st": "terminate"}
"""Words that all numbers behind them belong to, which may be none."""

_HARMLESS = {
    "-de": "epoll is the only way lbsplice waits",
    "-dp": "poll is not used",
    "-dS": "the data plane is splice; it falls back by itself where the kernel can not",
    "-dR": "SO_REUSEPORT is not used",
    "-dG": "names are resolved at the start only",
    "-dV": "there is no TLS to verify",
    "-dI": "nothing is executed",
    "-dZ": "the data plane is splice",
    "-dF": "the data plane is splice",
}
"""Words that change nothing here, and why."""

_HARMLESS_PREFIXES = ("-dM",)  # memory debugging of HAProxy's own allocator

_UNSUPPORTED = {
    "-S": "the master's command socket",
    "-m": "limiting memory",
    "-dr": "ignoring names that do not resolve",
    "-dD": "diagnostics",
    "-dL": "listing loaded objects",
}

_UNSUPPORTED_PREFIXES = {
    "-dK": "listing keywords",
    "-dC": "printing the configuration",
    "-dt": "traces",
}


def parse(words: Sequence[str]) -> Arguments:
    """Read HAProxy's command line (without the program's name).

    Raises UsageError for what HAProxy does not know either, and Unsupported for what
    only HAProxy can do."""
    arguments = Arguments()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return replace(arguments, files=(*arguments.files, *rest))
        if word in _FLAGS:
            arguments = _FLAGS[word](arguments, "")
        elif word in _VALUES:
            if not rest:
                raise UsageError(f"'{word}' needs a value")
            arguments = _VALUES[word](arguments, rest.pop(0))
        elif word in _PIDS:
            arguments = _with_pids(arguments, _PIDS[word], rest)
        elif word not in _HARMLESS and not word.startswith(_HARMLESS_PREFIXES):
            raise _refusal(word)
    return arguments


def _with_pids(arguments: Arguments, field: str, rest: list[str]) -> Arguments:
    """Take the numbers at the beginning of `rest`."""
    pids = []
    while rest and rest[0].isascii() and rest[0].isdigit():
        pids.append(int(rest.pop(0)))
    if 0 in pids:
        raise UsageError("0 is not the number of a process")
    before = replace(arguments.before, **{field: tuple(pids)})  # type: ignore[arg-type]
    return replace(arguments, before=before)


def _refusal(word: str) -> LbspliceError:
    reason = _UNSUPPORTED.get(word)
    for prefix, what in _UNSUPPORTED_PREFIXES.items():
        if word.startswith(prefix):
            reason = what
    if reason is not None:
        return Unsupported(f"'{word}' ({reason}) is not supported yet; leave it out")
    if word.startswith("-"):
        return UsageError(f"unknown option '{word}'")
    return UsageError(f"unexpected word '{word}'; configuration files follow -f or --")


USAGE = """\
Usage : lbsplice [-f <cfgfile|cfgdir>]* [ -vdVD ] [ -n <maxconn> ] [ -N <maxpconn> ]
        [ -p <pidfile> ] [ -C <dir> ] [ -x <socket> ] [ -sf|-st <pid>* ]
        [-- <cfgfile>*]
        -v displays version ; -vv shows known build options.
        -d stays in the foreground and says more ; -db only stays in the foreground.
        -V enters verbose mode (disables quiet mode)
        -D goes daemon ; -C changes to <dir> before loading files.
        -W behaves as a master towards whoever starts it (pid file, exit status).
        -Ws the same, and notifies systemd.
        -q quiet mode : don't display messages
        -c check mode : only check config files and exit
        -cc check condition : evaluate a condition and exit
        -n sets the maximum total # of connections
        -N sets the default, per-proxy maximum # of connections
        -L set local peer name (default to hostname)
        -p writes the pid to this file (with -D, -W, -Ws or `daemon`)
        -x takes the listening sockets of the process with this stats socket
        -sf ends these processes once we serve, each after its last session
        -st ends these processes once we serve, at once
        -dW fails if any warning is emitted
        -de -dp -dS -dG -dR -dV -dI -dZ -dF -dM[...] are accepted and change nothing
"""
