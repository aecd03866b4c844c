"""The words of lbsplice that more than one module uses: closed sets, as enums.

Where a value is a letter or a word that operators see, the enum's value is that
letter or word."""

from __future__ import annotations

from enum import Enum, IntEnum


class Cause(Enum):
    """Why a session ended: the first letter of HAProxy's session state
    (configuration manual, section 8.5)."""

    NONE = "-"
    CLIENT = "C"  # the client aborted
    SERVER = "S"  # the server aborted or refused
    PROXY = "P"  # a rule of ours ended it
    LOCAL = "L"  # handled locally
    RESOURCE = "R"  # descriptors, memory or source ports ran out
    INTERNAL = "I"  # an error of ours
    DOWN = "D"  # the server was marked down
    UP = "U"  # a main server came back and the backup's sessions were ended
    KILLED = "K"  # an operator or hard-stop-after
    CLIENT_TIMEOUT = "c"
    SERVER_TIMEOUT = "s"


class Phase(Enum):
    """Where the session was when it ended: the second letter."""

    NONE = "-"
    REQUEST = "R"  # waiting for the client's first bytes
    QUEUE = "Q"
    CONNECT = "C"
    DATA = "D"
    LAST = "L"  # the last bytes were still on their way to the client
    TARPIT = "T"


class Algorithm(Enum):
    """`balance`: how a backend chooses a server."""

    ROUNDROBIN = "roundrobin"
    STATIC_RR = "static-rr"
    LEASTCONN = "leastconn"
    FIRST = "first"
    RANDOM = "random"
    SOURCE = "source"


class HashMethod(Enum):
    """`hash-type`, its first word."""

    MAP_BASED = "map-based"
    CONSISTENT = "consistent"


class AdminState(Enum):
    """What the operator wants of a server."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class CheckStatus(Enum):
    """The result of one health check, in the words of `show stat`'s check_status."""

    UNKNOWN = "UNK"
    INITIALIZING = "INI"
    SOCKET_ERROR = "SOCKERR"
    L4_OK = "L4OK"
    L4_TIMEOUT = "L4TOUT"
    L4_CONNECTION = "L4CON"
    L6_OK = "L6OK"
    L6_TIMEOUT = "L6TOUT"
    L6_RESPONSE = "L6RSP"
    L7_OK = "L7OK"
    L7_OK_CONDITIONALLY = "L7OKC"
    L7_TIMEOUT = "L7TOUT"
    L7_RESPONSE = "L7RSP"
    L7_STATUS = "L7STS"
    PROC_ERROR = "PROCERR"
    PROC_TIMEOUT = "PROCTOUT"
    PROC_OK = "PROCOK"


class LogLevel(IntEnum):
    """Syslog severities (RFC 5424, section 6.2.1); HAProxy's words are the lower-case names."""

    EMERG = 0
    ALERT = 1
    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


class LogFormat(Enum):
    """`log ... format`: the shape of a line on the wire."""

    RFC3164 = "rfc3164"
    RFC5424 = "rfc5424"
    SHORT = "short"
    RAW = "raw"
    LOCAL = "local"
    TIMED = "timed"
    ISO = "iso"
    PRIORITY = "priority"


# fmt: off
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news",
    "uucp", "cron", "auth2", "ftp", "ntp", "audit", "alert", "cron2",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)
# fmt: on
"""Syslog facility names; a name's index is its number (RFC 5424, section 6.2.1)."""

HAPROXY_VERSION = "3.2.0"
"""The version of HAProxy whose behaviour is followed where versions differ."""
