"""What should happen in the lab, and whether it did.

The table holds what lbsplice does. HAProxy ends a session whose server is gone with a plain FIN,
which the client can not tell from the end of an answer; lbsplice resets it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lbsplice.lab.scene import Case, Fault, Proxy, Settings, expected_statuses
from lbsplice.terms import Cause, Phase

TOLD_WITHIN_S = 1.0
"""How long after its reason a session's end may reach the client."""
CLOCK_SLACK_S = 0.1
"""The proxy's log line and the client's reset are read by two processes."""


class End(Enum):
    """What became of the session, as its client saw it."""

    HANGS = "hangs"
    RESET = "reset"
    FIN = "fin"
    ERROR = "error"
    GOES_ON = "goes-on"


class When(Enum):
    """What a session's end follows upon."""

    NEVER = "never"
    FAULT = "the fault"
    QUESTION = "the client's next line"
    DOWN = "the mark-down"


@dataclass(frozen=True)
class Expectation:
    end: End
    after: When


@dataclass(frozen=True)
class Observed:
    """What was seen in one case. Times are seconds after the fault; None: it did not happen."""

    statuses: tuple[str, ...]
    end: End
    ended_s: float | None = None
    down_s: float | None = None
    asked_s: float | None = None
    session_state: str | None = None
    """The two letters of the session's log line."""
    lines_answered: int = 0
    wrong_answers: int = 0
    bystander_answered: int = 0
    bystander_lives: bool = True
    left_behind: int = 0
    """Processes that the proxy left in its namespace after its stop."""


@dataclass(frozen=True)
class Claim:
    """One thing that should be so, whether it was, and what was seen."""

    text: str
    held: bool
    seen: str


_HANGS = Expectation(End.HANGS, When.NEVER)
_GOES_ON = Expectation(End.GOES_ON, When.NEVER)
_RESET_AT_DOWN = Expectation(End.RESET, When.DOWN)
_RESET_WHEN_ASKED = Expectation(End.RESET, When.QUESTION)
_FIN_AT_FAULT = Expectation(End.FIN, When.FAULT)

EXPECTED = {
    (Fault.OUTPUT_DROP, Case.WITHOUT_ACTION): _HANGS,
    (Fault.OUTPUT_DROP, Case.WITH_ACTION): _RESET_AT_DOWN,
    (Fault.OUTPUT_DROP, Case.BACK_IN_TIME): _GOES_ON,
    (Fault.FAR_DROP, Case.WITHOUT_ACTION): _HANGS,
    (Fault.FAR_DROP, Case.WITH_ACTION): _RESET_AT_DOWN,
    (Fault.FAR_DROP, Case.BACK_IN_TIME): _GOES_ON,
    (Fault.LINK_DOWN, Case.WITHOUT_ACTION): _HANGS,
    (Fault.LINK_DOWN, Case.WITH_ACTION): _RESET_AT_DOWN,
    (Fault.LINK_DOWN, Case.BACK_IN_TIME): _GOES_ON,
    # The reset comes only in answer to a packet: a session that is silent does not notice.
    (Fault.REJECT, Case.WITHOUT_ACTION): _RESET_WHEN_ASKED,
    (Fault.REJECT, Case.WITH_ACTION): _RESET_AT_DOWN,
    (Fault.REJECT, Case.BACK_IN_TIME): _GOES_ON,
    # A process that dies is closed by its kernel, and a FIN is carried across: no proxy is needed.
    (Fault.SERVER_KILLED, Case.WITHOUT_ACTION): _FIN_AT_FAULT,
    (Fault.SERVER_KILLED, Case.WITH_ACTION): _FIN_AT_FAULT,
    (Fault.SERVER_KILLED, Case.BACK_IN_TIME): _FIN_AT_FAULT,
}


def expectation(proxy: Proxy, fault: Fault, case: Case) -> Expectation:
    """What should become of the session to the broken server."""
    expected = EXPECTED[fault, case]
    if proxy is Proxy.HAPROXY and expected.end is End.RESET:
        return Expectation(End.FIN, expected.after)
    return expected


def judge(settings: Settings, case: Case, observed: Observed) -> tuple[Claim, ...]:
    """All claims about one case, each with whether it held. Never empty."""
    expected = expectation(settings.proxy, settings.fault, case)
    statuses = expected_statuses(case, settings.fall)
    claims = [
        Claim(
            f"the server's status goes {', '.join(statuses)}",
            observed.statuses == statuses,
            ", ".join(observed.statuses) or "no status",
        ),
        Claim(
            _end_text(settings, expected),
            observed.end is expected.end,
            observed.end.value,
        ),
        Claim(
            "every line that was answered was answered by the same server, byte for byte",
            observed.lines_answered > 0 and observed.wrong_answers == 0,
            f"{observed.lines_answered} answered, {observed.wrong_answers} wrong",
        ),
        Claim(
            "the session to the other server notices nothing",
            observed.bystander_lives and observed.bystander_answered > 0,
            f"{observed.bystander_answered} lines answered, "
            + ("alive" if observed.bystander_lives else "ended or silent"),
        ),
        Claim(
            "the proxy leaves no process behind",
            observed.left_behind == 0,
            f"{observed.left_behind} left",
        ),
    ]
    if expected.after is not When.NEVER:
        claims.insert(2, timing(expected.after, observed))
    if expected.after is When.DOWN:
        claims.insert(3, logged(settings.proxy, observed.session_state))
    return tuple(claims)


def _end_text(settings: Settings, expected: Expectation) -> str:
    if expected.end is End.HANGS:
        return f"the client is told nothing for {settings.watch_s:g} s"
    if expected.end is End.GOES_ON:
        return "the session goes on once the server is back"
    told = "a reset" if expected.end is End.RESET else "a clean end (FIN)"
    return f"the client is told: {told}"


def logged(proxy: Proxy, state: str | None) -> Claim:
    """Whether the log says that the session was ended for its server's sake. HAProxy's second
    letter differs from version to version; ours is one word of the log."""
    cause = Cause.DOWN.value
    if proxy is Proxy.HAPROXY:
        text, held = f"the session is logged with cause {cause}", (state or "")[:1] == cause
    else:
        text, held = (
            f"the session is logged as {cause}{Phase.DATA.value}",
            (state == cause + Phase.DATA.value),
        )
    return Claim(text, held, state or "not logged")


def timing(after: When, observed: Observed) -> Claim:
    """Whether the end came right after what it should follow upon."""
    moments = {
        When.FAULT: 0.0,
        When.QUESTION: observed.asked_s,
        When.DOWN: observed.down_s,
    }
    moment = moments[after]
    text = f"the end follows {after.value} within {TOLD_WITHIN_S:g} s"
    if moment is None:
        return Claim(text, False, f"{after.value} did not happen")
    if observed.ended_s is None:
        return Claim(text, False, "no end")
    delay = observed.ended_s - moment
    seen = f"{max(0.0, delay) * 1000:.0f} ms after it"  # two readers: the line may come second
    return Claim(text, -CLOCK_SLACK_S <= delay <= TOLD_WITHIN_S, seen)
