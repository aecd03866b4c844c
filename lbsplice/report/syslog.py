"""How a line looks on the wire: the headers of `log ... format`, byte for byte HAProxy's.

`len` bounds the line without its end; what is longer is cut."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from lbsplice.config.model import Log
from lbsplice.report.sessionlog import LATEST_SECOND, MONTHS
from lbsplice.terms import FACILITIES, LogFormat, LogLevel

DEFAULT_TAG = "lbsplice"
"""The tag where `log-tag` gives none: as HAProxy's, the program's name."""

_NANOSECONDS = 1_000_000_000

_WITH_ISO_TIME = frozenset({LogFormat.RFC5424, LogFormat.TIMED, LogFormat.ISO})


class Framer:
    """Makes lines ready for one target of one proxy.

    `hostname` is what `log-send-hostname` sends, None without it: then a `log` without
    a format has no host field (HAProxy's `local`), with it that of RFC 3164."""

    def __init__(self, log: Log, *, tag: str, hostname: str | None, pid: int) -> None:
        self._log = log
        self._format = log.format or (LogFormat.LOCAL if hostname is None else LogFormat.RFC3164)
        self._iso = self._format in _WITH_ISO_TIME
        self._tag = tag
        self._hostname = hostname
        self._pid = pid
        self._length = log.length
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []

    def set_pid(self, pid: int) -> None:
        """The pid for the lines from now on."""
        self._pid = pid
        self._second = -1

    def frame(self, level: LogLevel, body: bytes, now_ns: int) -> bytes | None:
        """`body` (one line without its end) as it is sent at `now_ns` (wall clock, ns
        since 1970), or None if the target does not want lines of this level."""
        if level > self._log.max_level:
            return None
        second, fraction = divmod(now_ns, _NANOSECONDS)
        if second != self._second:
            self._headers = [self._header(each, second) for each in LogLevel]
            self._second = second
        before, after = self._headers[level]
        line = (
            b"%b%06d%b%b" % (before, fraction // 1000, after, body) if self._iso else before + body
        )
        if len(line) > self._length:
            line = line[: self._length]
        return line + b"\n"

    def _header(self, level: LogLevel, second: int) -> tuple[bytes, bytes]:
        """What stands before the microseconds and after them, or all of it in the first."""
        severity = max(level, self._log.min_level)
        priority = FACILITIES.index(self._log.facility) * 8 + severity
        tag, pid = self._tag, self._pid
        moment, offset = iso_second(second)
        before, after = {
            LogFormat.RFC3164: (
                f"<{priority}>{bsd_second(second)} {self._hostname or 'localhost'} {tag}[{pid}]: ",
                "",
            ),
            LogFormat.LOCAL: (f"<{priority}>{bsd_second(second)} {tag}[{pid}]: ", ""),
            LogFormat.RFC5424: (
                f"<{priority}>1 {moment}.",
                f"{offset} {self._hostname or '-'} {tag} {pid} - - ",
            ),
            LogFormat.SHORT: (f"<{severity:d}>", ""),
            LogFormat.PRIORITY: (f"<{priority}>", ""),
            LogFormat.TIMED: (f"<{severity:d}>{moment}.", f"{offset} "),
            LogFormat.ISO: (f"{moment}.", f"{offset} "),
            LogFormat.RAW: ("", ""),
        }[self._format]
        return encode(before), encode(after)


def encode(text: str) -> bytes:
    """Text of the configuration may hold any byte: those that are no UTF-8 go out as
    they came in."""
    return text.encode("utf-8", "surrogateescape")


@lru_cache(maxsize=2)
def bsd_second(second: int) -> str:
    """`Nov  1 05:20:02`, local time."""
    at = datetime.fromtimestamp(min(second, LATEST_SECOND))
    return f"{MONTHS[at.month - 1]} {at.day:2d} {at.hour:02d}:{at.minute:02d}:{at.second:02d}"


@lru_cache(maxsize=2)
def iso_second(second: int) -> tuple[str, str]:
    """`2026-11-21T05:20:02` and `+00:00`, local time."""
    text = datetime.fromtimestamp(min(second, LATEST_SECOND)).astimezone().isoformat()
    return text[:19], text[19:]
