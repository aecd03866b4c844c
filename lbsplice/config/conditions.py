"""Conditions: `-cc EXPRESSION` and the `.if` blocks of a configuration.

    condition   = and-term ("||" and-term)*
    and-term    = term ("&&" term)*
    term        = "!" term | "(" condition ")" | integer | predicate "(" words ")"

Predicates: defined, feature, streq, strneq, strstr, version_atleast, version_before,
openssl_version_atleast, openssl_version_before and enabled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from lbsplice.config.messages import Report
from lbsplice.config.model import Place
from lbsplice.errors import ConfigError
from lbsplice.terms import HAPROXY_VERSION

_ABSENT = (
    "51DEGREES BACKTRACE CLOSEFROM CPU_AFFINITY CRYPT_H DEVICEATLAS DL ENGINE EVPORTS KQUEUE "
    "KTLS LIBATOMIC LIBCRYPT LINUX_CAP LUA MATH MEMORY_PROFILING NETFILTER NS OBSOLETE_LINKER "
    "OPENSSL OPENSSL_AWSLC OPENSSL_WOLFSSL OT PCRE PCRE2 PCRE2_JIT PCRE_JIT POLL PRCTL PROCCTL "
    "PROMEX PROXY QUIC QUIC_OPENSSL_COMPAT RT SHM_OPEN SLZ SSL STATIC_PCRE STATIC_PCRE2 TFO "
    "THREAD_DUMP WURFL ZLIB"
)
_PRESENT = "ACCEPT4 EPOLL GETADDRINFO LINUX_SPLICE LINUX_TPROXY SYSTEMD THREAD TPROXY"
FEATURES: Mapping[str, bool] = {
    **dict.fromkeys(_ABSENT.split(), False),
    **dict.fromkeys(_PRESENT.split(), True),
}
"""What HAProxy's builds can have, and whether lbsplice has it."""

ENABLED: Mapping[str, bool] = {
    "POLL": False,
    "EPOLL": True,
    "KQUEUE": False,
    "EVPORTS": False,
    "SPLICE": True,
    "GETADDRINFO": True,
    "REUSEPORT": False,
    "FAST-FORWARD": True,
    "SERVER-SSL-VERIFY-NONE": False,
}
"""What can be switched off at run time in HAProxy, and whether it is on here."""

MAX_DEPTH = 64
"""Parentheses, negations and `.if` blocks may nest this deep."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_PREDICATE = re.compile(r"([a-z_]+)\(")
_VERSION = re.compile(r"(\d{1,9})?(?:\.(\d{1,9}))?(?:-dev(\d{1,9}))?(?:\.(\d{1,9}))?")
_RELEASE = 10**9  # a release comes after all of its development versions


def version_key(text: str) -> tuple[int, int, int, int]:
    """A version as something to compare: `2.4-dev19` comes before `2.4.0`."""
    match = _VERSION.match(text)
    assert match is not None
    major, minor, development, stable = match.groups()
    return (
        int(major or 0),
        int(minor or 0),
        _RELEASE if development is None else int(development),
        int(stable or 0),
    )


def _at_least(version: str) -> bool:
    return version_key(HAPROXY_VERSION) >= version_key(version)


_Check = Callable[[Mapping[str, str], list[str]], bool]
_PREDICATES: dict[str, tuple[int, _Check]] = {
    "defined": (1, lambda env, words: words[0] in env),
    "feature": (1, lambda env, words: FEATURES.get(words[0], False)),
    "streq": (2, lambda env, words: words[0] == words[1]),
    "strneq": (2, lambda env, words: words[0] != words[1]),
    "strstr": (2, lambda env, words: words[1] in words[0]),
    "version_atleast": (1, lambda env, words: _at_least(words[0])),
    "version_before": (1, lambda env, words: not _at_least(words[0])),
    "openssl_version_atleast": (1, lambda env, words: False),
    "openssl_version_before": (1, lambda env, words: False),
    "enabled": (1, lambda env, words: ENABLED.get(words[0].upper(), False)),
}


class ConditionError(ConfigError):
    """An expression that can not be read. `position` counts characters from 0."""

    def __init__(self, what: str, position: int) -> None:
        super().__init__(what)
        self.position = position


def evaluate(expression: str, env: Mapping[str, str]) -> bool:
    """Whether a condition holds; an empty one does not. Raises `ConditionError`."""
    return _Expression(expression, env).value()


class _Expression:
    def __init__(self, text: str, env: Mapping[str, str]) -> None:
        self.text = text
        self.env = env
        self.at = 0
        self.depth = 0

    def value(self) -> bool:
        if not self.text.strip():
            return False
        result = self._any()
        self._spaces()
        if self.at < len(self.text):
            raise ConditionError(
                f"unexpected character '{self.text[self.at]}' at the end of conditional "
                f"expression '{self.text}'",
                self.at,
            )
        return result

    def _spaces(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1

    def _follows(self, sign: str) -> bool:
        self._spaces()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def _any(self) -> bool:
        result = self._all()
        while self._follows("||"):
            right = self._all()
            result = result or right
        return result

    def _all(self) -> bool:
        result = self._term()
        while self._follows("&&"):
            right = self._term()
            result = result and right
        return result

    def _term(self) -> bool:
        start = self.at
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ConditionError("conditional expression nests too deep", start)
        try:
            if self._follows("!"):
                return not self._term()
            if self._follows("("):
                result = self._any()
                if not self._follows(")"):
                    raise ConditionError(
                        f"expected ')' after conditional expression '{self.text[start:]}'", start
                    )
                return result
            return self._simple()
        finally:
            self.depth -= 1

    def _simple(self) -> bool:
        number = _INTEGER.match(self.text, self.at)
        if number:
            self.at = number.end()
            return bool(number[0].strip("+-0"))
        predicate = _PREDICATE.match(self.text, self.at)
        if predicate and predicate[1] in _PREDICATES:
            name = predicate[1]
            self.at = predicate.end()
            count, check = _PREDICATES[name]
            return check(self.env, self._words(name, count))
        rest = self.text[self.at :] or self.text
        raise ConditionError(f"unparsable conditional expression '{rest}'", self.at)

    def _words(self, name: str, count: int) -> list[str]:
        """The words in the parentheses of a predicate, up to and over the closing one."""
        words = [""]
        quote = ""
        start = self.at
        while self.at < len(self.text):
            c = self.text[self.at]
            self.at += 1
            if quote:
                if c == quote:
                    quote = ""
                else:
                    words[-1] += c
            elif c in "\"'":
                quote = c
            elif c == ",":
                words.append("")
            elif c == ")":
                return self._counted(name, words, count, start)
            elif c == "\\" and self.at < len(self.text):
                words[-1] += self.text[self.at]
                self.at += 1
            else:
                words[-1] += c
        raise ConditionError(
            f"expected ')' in argument {len(words) - 1} of predicate '{name}' used in conditional "
            "expression",
            start,
        )

    def _counted(self, name: str, words: list[str], count: int, start: int) -> list[str]:
        if words == [""] and count > 1:
            words = []
        if len(words) < count:
            raise ConditionError(
                f"missing arguments (got {len(words)}/{count}), type 'string' expected in "
                f"argument {len(words) + 1} of predicate '{name}' used in conditional expression",
                start,
            )
        if len(words) > count:
            raise ConditionError(
                f"too many arguments (got {len(words)}/{count}) of predicate '{name}' used in "
                "conditional expression",
                start,
            )
        return words


class _Branch(Enum):
    """Where a block stands."""

    TAKEN = "taken"  # these lines count
    WAITING = "waiting"  # no branch was true yet
    DONE = "done"  # an earlier branch was true
    DEAD = "dead"  # the block stands in lines that do not count


@dataclass
class Blocks:
    """The `.if` blocks that are open at a line, and the other words with a dot."""

    report: Report
    _stack: list[_Branch] = field(default_factory=list)
    _else_seen: list[bool] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether the lines here count."""
        return not self._stack or self._stack[-1] is _Branch.TAKEN

    def finish(self, place: Place) -> None:
        """At the end of a file: every block must be closed."""
        if self._stack:
            self.report.alert("non-terminated '.if' block.", place)
            self._stack.clear()
            self._else_seen.clear()

    def directive(self, words: list[str], env: Mapping[str, str], place: Place) -> None:
        """Take a line in that starts with a dot. Raises `ConfigError`."""
        name = words[0]
        if name == ".if":
            if len(self._stack) >= MAX_DEPTH:
                raise ConfigError("too many nested '.if' blocks.")
            was_active = self.active
            self._stack.append(_Branch.DEAD)
            self._else_seen.append(False)
            if was_active:
                self._stack[-1] = self._branch(words, env)
        elif name in (".elif", ".else", ".endif"):
            self._continue(name, words, env)
        elif self.active:
            self._say(name, words, place)

    def _continue(self, name: str, words: list[str], env: Mapping[str, str]) -> None:
        if not self._stack:
            raise ConfigError(f"lone '{name}' with no matching '.if'.")
        if name != ".elif" and len(words) > 1:
            raise ConfigError(
                f"Unexpected argument '{words[1]}' for '{name}'. No argument is expected here."
            )
        if name == ".endif":
            self._stack.pop()
            self._else_seen.pop()
            return
        if self._else_seen[-1]:
            raise ConfigError(f"'{name}' after '.else' is not permitted.")
        self._else_seen[-1] = name == ".else"
        state = self._stack[-1]
        if state is _Branch.TAKEN:
            self._stack[-1] = _Branch.DONE
        elif state is _Branch.WAITING:
            self._stack[-1] = _Branch.DONE  # until the condition is known to be good
            self._stack[-1] = _Branch.TAKEN if name == ".else" else self._branch(words, env)

    def _branch(self, words: list[str], env: Mapping[str, str]) -> _Branch:
        expression = " ".join(words[1:])
        try:
            return _Branch.TAKEN if evaluate(expression, env) else _Branch.WAITING
        except ConditionError as error:
            raise ConfigError(
                f"{error} in '{words[0]}' at position {error.position + 1}:\n"
                f"  {words[0]} {expression}\n  {' ' * (len(words[0]) + 1 + error.position)}^"
            ) from None

    def _say(self, name: str, words: list[str], place: Place) -> None:
        tell = {
            ".notice": self.report.notice,
            ".warning": self.report.warn,
            ".alert": self.report.alert,
            ".diag": None,
        }
        if name not in tell:
            raise ConfigError(f"unknown keyword '{name}' in conditional block or message.")
        if len(words) > 2:
            raise ConfigError(
                f"Unexpected argument '{words[2]}' for '{name}'. Use quotes if the message should "
                "contain spaces."
            )
        said = tell[name]
        if said is not None:
            said(f"'{words[1] if len(words) > 1 else ''}'.", place)
