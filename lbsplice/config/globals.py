"""The `global` section."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lbsplice.config.keyword_tables import GLOBAL
from lbsplice.config.keywords import Support
from lbsplice.config.logs import parse_log
from lbsplice.config.messages import Report
from lbsplice.config.model import Global, Place
from lbsplice.config.statement import Statement, integer_in, known
from lbsplice.config.stats import parse_stats_socket
from lbsplice.errors import ConfigError
from lbsplice.units import Fault, QuantityError, parse_duration, parse_size

MAX_THREADS = 64
_NODE = re.compile(r"[A-Za-z0-9._-]+\Z")
_NEGATABLE = (
    "log",
    "busy-polling",
    "set-dumpable",
    "strict-limits",
    "insecure-fork-wanted",
    "numa-cpu-mapping",
)
NO_NEGATION = (
    "negation/default currently supported only for options, log, busy-polling, set-dumpable, "
    "strict-limits, insecure-fork-wanted and numa-cpu-mapping."
)


class GlobalSection:
    """Reads the lines of every `global` section into one `Global`. `env` is changed by
    `setenv` and its kin, and so is what later lines expand to."""

    def __init__(self, report: Report, env: dict[str, str]) -> None:
        self.value = Global()
        self._report = report
        self._env = env
        self._seen: set[str] = set()

    def read(self, line: Statement) -> None:
        """Take one line in. Raises `ConfigError`."""
        if line.prefix and line.keyword not in _NEGATABLE:
            raise ConfigError(NO_NEGATION)
        name = line.keyword
        unknown = f"unknown keyword '{name}' in 'global' section"
        if line.prefix == "no" and name in GLOBAL and GLOBAL[name].support is Support.IGNORED:
            return
        if not known(GLOBAL, name, name, unknown, self._report, line.place):
            return
        _READERS[name](self, line)

    def _set(self, line: Statement, **values: Any) -> None:
        """Set fields that may be set only once."""
        if line.keyword in self._seen:
            raise ConfigError(f"'{line.keyword}' already specified. Continuing.")
        self._seen.add(line.keyword)
        self.value = replace(self.value, **values)

    def maxconn(self, line: Statement) -> None:
        self._set(line, maxconn=line.integer() or None)

    def ulimit_n(self, line: Statement) -> None:
        self._set(line, ulimit_n=line.integer() or None)

    def maxpipes(self, line: Statement) -> None:
        self._set(line, maxpipes=line.integer())

    def maxaccept(self, line: Statement) -> None:
        value = line.integer(low=-1)
        self._set(line, maxaccept=value if value > 0 else None)

    def nbthread(self, line: Statement) -> None:
        text = line.word(1)
        try:
            value = integer_in("", text, low=-(2**31), high=2**31)
        except ConfigError:
            raise ConfigError(
                f"'nbthread' passed a missing or unparsable integer value in '{text}'"
            ) from None
        if not 1 <= value <= MAX_THREADS:
            raise ConfigError(f"'nbthread' value must be between 1 and {MAX_THREADS} (was {value})")
        line.at_most(1)
        self.value = replace(self.value, nbthread=value)

    def pipesize(self, line: Statement) -> None:
        text = line.word(1)
        if not text:
            raise ConfigError("'tune.pipesize' expects an integer argument.")
        line.at_most(1)
        try:
            self._set(line, pipesize=parse_size(text) or None)
        except QuantityError as error:
            raise ConfigError(f"'tune.pipesize' : {error}") from None

    def user(self, line: Statement) -> None:
        """`user`, `uid`, `group` and `gid`. Names are looked up at start."""
        name, text = line.keyword, line.word(1)
        line.at_most(1)
        pair = ("user", "uid") if name in ("user", "uid") else ("group", "gid")
        if self._seen & set(pair):
            raise ConfigError(f"{pair[0]}/{pair[1]} already specified. Continuing.")
        value: str | int = text
        if name in ("uid", "gid"):
            if not (text.isascii() and text.isdigit() and len(text) <= 10):
                raise ConfigError(
                    f"{name}: string '{text}' is not a number.\n"
                    f"   | You might want to use the '{pair[0]}' parameter to use a system "
                    f"{pair[0]} name."
                )
            value = int(text)
        elif not text:
            raise ConfigError(f"cannot find {pair[0]} id for '' (0:Success)")
        self._set(line, **{name: value})
        self._remember(name, line.place)

    def _remember(self, name: str, place: Place) -> None:
        self.value = replace(self.value, places=(*self.value.places, (name, place)))

    def path(self, line: Statement) -> None:
        name = line.keyword
        what = "a directory as an argument" if name == "chroot" else "a file name as an argument"
        if not line.word(1):
            raise ConfigError(f"'{name}' expects {what}.")
        line.at_most(1)
        self._set(line, **{name: line.word(1)})

    def state_file(self, line: Statement) -> None:
        """`server-state-file` and `server-state-base`."""
        name = line.keyword
        if not line.word(1):
            what = "a file path" if name == "server-state-file" else "a directory path"
            expects = "expect" if name == "server-state-file" else "expects"
            raise ConfigError(f"'{name}' {expects} one argument: {what}.")
        line.at_most(1)
        self._set(line, **{name.replace("-", "_"): line.word(1)})

    def flag(self, line: Statement) -> None:
        line.at_most(0)
        switched: dict[str, Any] = {line.keyword.replace("-", "_"): True}
        self.value = replace(self.value, **switched)

    def set_dumpable(self, line: Statement) -> None:
        line.at_most(0)
        self.value = replace(self.value, set_dumpable=not line.prefix)

    def master_worker(self, line: Statement) -> None:
        if line.word(1) not in ("", "no-exit-on-failure"):
            raise ConfigError("'master-worker' only supports 'no-exit-on-failure' option.")
        line.at_most(1)
        self.value = replace(self.value, master_worker=True)

    def node(self, line: Statement) -> None:
        if not _NODE.match(line.word(1)):
            raise ConfigError(
                "'node' requires valid node name - non-empty string with digits(0-9), "
                "letters(A-Z, a-z), dot(.), hyphen(-) or underscode(_)."
            )
        line.at_most(1)
        self.value = replace(self.value, node=line.word(1))

    def description(self, line: Statement) -> None:
        if not line.word(1):
            raise ConfigError("'description' expects a string argument.")
        self.value = replace(self.value, description=" ".join(line.arguments))

    def log(self, line: Statement) -> None:
        if line.prefix == "no":
            if line.arguments:
                raise ConfigError("log : 'no log' does not expect arguments")
            self.value = replace(self.value, logs=())
            return
        log = parse_log(line, in_global=True)
        if log is not None:
            self.value = replace(self.value, logs=(*self.value.logs, log))

    def log_tag(self, line: Statement) -> None:
        self.value = replace(self.value, log_tag=parse_log_tag(line))

    def log_send_hostname(self, line: Statement) -> None:
        line.at_most(1)
        self._set(line, log_send_hostname=line.word(1))

    def spread_checks(self, line: Statement) -> None:
        text = line.word(1)
        if not text:
            raise ConfigError("'spread-checks' expects an integer argument (0..50).")
        line.at_most(1)
        try:
            value = integer_in("", text, low=0, high=50)
        except ConfigError:
            raise ConfigError("'spread-checks' needs a positive value in range 0..50.") from None
        self._set(line, spread_checks=value)

    def hard_stop_after(self, line: Statement) -> None:
        text = line.word(1)
        if not text:
            raise ConfigError("'hard-stop-after' expects <time> as argument.")
        line.at_most(1)
        self.value = replace(self.value, hard_stop_after=duration_argument(text, line.keyword))

    def stats(self, line: Statement) -> None:
        what = line.word(1)
        if what == "socket":
            socket = parse_stats_socket(line)
            self.value = replace(self.value, stats_sockets=(*self.value.stats_sockets, socket))
        elif what == "timeout":
            if not line.word(2):
                raise ConfigError("'stats timeout' expects <time> as argument.")
            line.at_most(2, "stats timeout")
            value = duration_argument(line.word(2), "stats timeout")
            if not value:
                raise ConfigError("'stats timeout' expects a positive value")
            self.value = replace(self.value, stats_timeout=value)
        elif what == "maxconn":
            line.at_most(2, "stats maxconn")
            try:
                count = integer_in("", line.word(2), low=1, high=2**31 - 1)
            except ConfigError:
                raise ConfigError("'stats maxconn' expects a positive value") from None
            self.value = replace(self.value, stats_maxconn=count)
        else:
            raise ConfigError(
                "'stats' only supports 'socket', 'maxconn', 'bind-process' and 'timeout' "
                f"(got '{what}')"
            )

    def environment(self, line: Statement) -> None:
        """`setenv`, `presetenv`, `unsetenv` and `resetenv`."""
        name = line.keyword
        if name in ("setenv", "presetenv"):
            if len(line.words) < 3:
                raise ConfigError(f"'{name}' expects a name and a value.")
            line.at_most(2)
            if name == "setenv" or line.word(1) not in self._env:
                self._env[line.word(1)] = line.word(2)
        elif name == "unsetenv":
            if not line.arguments:
                raise ConfigError("'unsetenv' expects at least one variable name.")
            for variable in line.arguments:
                self._env.pop(variable, None)
        else:
            kept = {n: v for n, v in self._env.items() if n in line.arguments}
            self._env.clear()
            self._env.update(kept)


def parse_log_tag(line: Statement) -> str:
    if not line.word(1):
        raise ConfigError("'log-tag' expects a tag for use in syslog.")
    line.at_most(1)
    return line.word(1)


def duration_argument(text: str, keyword: str, *, unit: str = "ms") -> int:
    """A duration after a keyword, in `unit`. Raises `ConfigError` in HAProxy's words."""
    try:
        return parse_duration(text, unit, unit)
    except QuantityError as error:
        if error.fault is Fault.OVERFLOW:
            days = "ms or ~24.8 days" if unit == "ms" else "s"
            raise ConfigError(
                f"timer overflow in argument '{text}' to '{keyword}' "
                f"(maximum value is 2147483647 {days})"
            ) from None
        raise ConfigError(
            f"unexpected character '{error.character}' in argument to <{keyword}>."
        ) from None


_READERS: dict[str, Callable[[GlobalSection, Statement], None]] = {
    "maxconn": GlobalSection.maxconn,
    "ulimit-n": GlobalSection.ulimit_n,
    "maxpipes": GlobalSection.maxpipes,
    "tune.maxaccept": GlobalSection.maxaccept,
    "tune.pipesize": GlobalSection.pipesize,
    "nbthread": GlobalSection.nbthread,
    "user": GlobalSection.user,
    "uid": GlobalSection.user,
    "group": GlobalSection.user,
    "gid": GlobalSection.user,
    "chroot": GlobalSection.path,
    "pidfile": GlobalSection.path,
    "server-state-base": GlobalSection.state_file,
    "server-state-file": GlobalSection.state_file,
    "daemon": GlobalSection.flag,
    "debug": GlobalSection.flag,
    "quiet": GlobalSection.flag,
    "set-dumpable": GlobalSection.set_dumpable,
    "zero-warning": GlobalSection.flag,
    "master-worker": GlobalSection.master_worker,
    "node": GlobalSection.node,
    "description": GlobalSection.description,
    "log": GlobalSection.log,
    "log-tag": GlobalSection.log_tag,
    "log-send-hostname": GlobalSection.log_send_hostname,
    "spread-checks": GlobalSection.spread_checks,
    "hard-stop-after": GlobalSection.hard_stop_after,
    "stats": GlobalSection.stats,
    "setenv": GlobalSection.environment,
    "presetenv": GlobalSection.environment,
    "unsetenv": GlobalSection.environment,
    "resetenv": GlobalSection.environment,
}
