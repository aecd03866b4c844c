"""The play of `lab failover`: which faults there are, which cases, and what is told about them.

A case sets a long session up through the proxy to one server, breaks that server, and watches what
the session's client is told. A second session, to the other server, must never notice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Proxy(Enum):
    """Which proxy plays the balancer."""

    LBSPLICE = "lbsplice"
    HAPROXY = "haproxy"


class Fault(Enum):
    """`--how`: what happens to the server or to the way there."""

    OUTPUT_DROP = "output-drop"
    FAR_DROP = "far-drop"
    REJECT = "reject"
    LINK_DOWN = "link-down"
    SERVER_KILLED = "server-killed"


class Case(Enum):
    """One run of the scene."""

    WITHOUT_ACTION = "without-action"
    WITH_ACTION = "with-action"
    BACK_IN_TIME = "back-in-time"

    @property
    def action(self) -> bool:
        """Whether the servers carry `on-marked-down shutdown-sessions`."""
        return self is Case.WITH_ACTION


CASE_TITLES = {
    Case.WITHOUT_ACTION: "without the action: nobody ends the session",
    Case.WITH_ACTION: "with the action: on-marked-down shutdown-sessions",
    Case.BACK_IN_TIME: "without the action, and the server is back in time",
}

FAULT_TITLES = {
    Fault.OUTPUT_DROP: "the balancer's firewall drops what goes to the server",
    Fault.FAR_DROP: "the server's firewall drops what arrives",
    Fault.REJECT: "the balancer's firewall answers with a reset in the server's name",
    Fault.LINK_DOWN: "the server's cable is out",
    Fault.SERVER_KILLED: "the server's process is killed, its kernel says so",
}

ASKS_MEANWHILE = {
    # Whether the client may speak while the fault lasts and still have its answer later. A packet
    # that vanishes is sent again; one that is answered with a reset ends the session.
    Fault.OUTPUT_DROP: True,
    Fault.FAR_DROP: True,
    Fault.REJECT: False,
    Fault.LINK_DOWN: True,
    Fault.SERVER_KILLED: False,
}


@dataclass(frozen=True)
class Settings:
    """What the operator asked for. `fall` is at least 1; `inter_ms` is the time between checks in
    milliseconds and, as in HAProxy, also what one check may take; `watch_s`, in seconds, is how
    long a silent session is watched before it counts as hanging."""

    proxy: Proxy = Proxy.LBSPLICE
    fault: Fault = Fault.OUTPUT_DROP
    fall: int = 2
    inter_ms: int = 200
    watch_s: float = 3.0


class Who(Enum):
    """Who speaks in the timeline."""

    CLIENT = "client"
    OTHER_CLIENT = "client 2"
    PROXY = "proxy"
    KERNEL = "kernel"
    CAPTURE = "capture"
    OPERATOR = "operator"
    TRANSFER = "transfer"
    LINES = "lines"
    IDLE = "idle"


class Tone(Enum):
    """How a line of the timeline is meant."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    FAULT = "fault"


@dataclass(frozen=True)
class Happening:
    """One line of the timeline. `since_fault_s` is None before the fault."""

    since_fault_s: float | None
    who: Who
    what: str
    tone: Tone = Tone.PLAIN


def expected_statuses(case: Case, fall: int) -> tuple[str, ...]:
    """The statuses of the broken server, in order, as `show stat` would call them.

    >>> expected_statuses(Case.WITHOUT_ACTION, 2)
    ('UP', 'UP 1/2', 'DOWN')
    """
    falling = tuple(f"UP {left}/{fall}" for left in range(fall - 1, 0, -1))
    back = ("UP",) if case is Case.BACK_IN_TIME else ()
    return ("UP", *falling, "DOWN", *back)


def seconds_to_down(fall: int, inter_ms: int) -> float:
    """The longest that checks can take to mark a silent server down, in seconds: each one of
    `fall` waits for its turn and then for an answer that does not come."""
    return 2 * fall * inter_ms / 1000
