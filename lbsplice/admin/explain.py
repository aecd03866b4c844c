"""Why a session is still open, and when it will end: from its record, from what the kernel
knows of its two sockets, from the state of its server and from the configuration.

Whoever asks wants to know what holds if nothing more happens, if one side turns out to be
gone, and if the server goes down now; each is an Ending. Times are milliseconds from now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lbsplice.admin import giving_up
from lbsplice.admin.giving_up import CLIENT, SERVER, SIDES, Given, System
from lbsplice.admin.kernel_leg import KernelLeg
from lbsplice.admin.kernel_words import in_vain, waits_for
from lbsplice.admin.session import SessionView
from lbsplice.admin.spans import bytes_text, many, span_text
from lbsplice.admin.view import ServerView
from lbsplice.config.model import Config, Proxy, Server
from lbsplice.health import schedule
from lbsplice.terms import AdminState
from lbsplice.units import format_duration

LAST_BYTES_MS = 1000
"""How long a session that is ended by order may take to deliver what it holds."""


@dataclass(frozen=True, slots=True)
class Question:
    """One session at one moment. `server` is None for one that has none, or whose server a
    reload has removed."""

    session: SessionView
    kernel: tuple[KernelLeg | None, KernelLeg | None]
    server: ServerView | None
    config: Config
    system: System


class Case(Enum):
    """What may happen from now on."""

    SILENCE = "silence"  # both sides are alive, and nothing moves any more
    CLIENT_GONE = "client gone"  # without a word: power, cable, a firewall that drops
    SERVER_GONE = "server gone"
    SERVER_DOWN = "server marked down"  # now, by its checks or by an operator


@dataclass(frozen=True, slots=True)
class Ending:
    """When the session ends in a case, at best and at worst, and what ends it. Two times of
    None: never. `note` is what else is worth knowing."""

    case: Case
    best_ms: int | None
    worst_ms: int | None
    what: str
    note: str = ""

    @property
    def never(self) -> bool:
        return self.worst_ms is None


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer that runs for a leg; `then` is what it does when nothing moves until then."""

    whose: str  # lbsplice or kernel
    name: str
    in_ms: int
    then: str


@dataclass(frozen=True, slots=True)
class LegExplained:
    side: str
    address: str
    idle_ms: int
    sent: int  # bytes that came from it and were delivered
    held: int  # that came from it and wait for the other leg
    ended: bool
    waits: str  # what the kernel waits for
    timers: tuple[Timer, ...]
    kernel: KernelLeg | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer; `why` are sentences."""

    session: SessionView
    server: ServerView | None
    why: tuple[str, ...]
    legs: tuple[LegExplained, LegExplained]
    endings: tuple[Ending, ...]

    def of(self, case: Case) -> Ending | None:
        return next((each for each in self.endings if each.case is case), None)


def explain(question: Question) -> Explanation:
    """All of it. Only an established session has endings that can be foretold case by case;
    one that is connecting or ending says how long that may still take in `why`."""
    session = question.session
    endings: tuple[Ending, ...] = ()
    if session.state == "established":
        endings = (_silence(question), _client_gone(question), _server_gone(question))
    if session.server is not None and session.state in ("connecting", "pausing", "established"):
        endings = (*endings, _marked_down(question))
    return Explanation(
        session,
        question.server,
        tuple(_why(question)),
        (_leg(question, CLIENT), _leg(question, SERVER)),
        endings,
    )


# ---- what the configuration says ----


def _proxy(question: Question) -> Proxy | None:
    name = question.session.backend
    return next((p for p in question.config.proxies if p.has_backend and p.name == name), None)


def _configured(question: Question) -> Server | None:
    proxy, key = _proxy(question), question.session.server
    if proxy is None or key is None:
        return None
    return next((server for server in proxy.servers if server.name == key[1]), None)


# ---- the endings ----


def _first(case: Case, ways: list[Ending], missing: str, note: str = "") -> Ending:
    """What comes first, at best and at worst."""
    if not ways:
        return Ending(case, None, None, missing, note)
    last = min(ways, key=lambda way: way.worst_ms or 0)
    best = min(way.best_ms or 0 for way in ways)
    return Ending(case, best, last.worst_ms, last.what, note or last.note)


def _by_timeouts(question: Question, case: Case) -> list[Ending]:
    timer = giving_up.ends_when_silent(question.session)
    if timer is None:
        return []
    return [
        Ending(
            case, timer.left_ms, timer.left_ms, f"{timer.setting} {format_duration(timer.limit_ms)}"
        )
    ]


def _by_kernel(question: Question, side: int, case: Case) -> list[Ending]:
    leg = question.kernel[side]
    given: Given | None = None if leg is None else giving_up.gives_up(leg, question.system)
    if given is None:
        return []
    return [Ending(case, given.in_ms, given.in_ms, f"the kernel, by {given.what}")]


def _silence(question: Question) -> Ending:
    """Whoever looks gone already is given up by the kernel, if it stays so."""
    ways = _by_timeouts(question, Case.SILENCE)
    for side, leg in enumerate(question.kernel):
        if leg is not None and leg.is_stalled:
            ways += _by_kernel(question, side, Case.SILENCE)
    return _first(Case.SILENCE, ways, "no timeout is set that would end it")


def _client_gone(question: Question) -> Ending:
    case = Case.CLIENT_GONE
    ways = [*_by_kernel(question, CLIENT, case), *_by_timeouts(question, case)]
    return _first(
        case,
        ways,
        "no keepalive and no timeout: `option clitcpka`, or `timeout client`, would notice it",
        _once_sent(question, CLIENT),
    )


def _server_gone(question: Question) -> Ending:
    case = Case.SERVER_GONE
    checked, note = _by_checks(question)
    ways = [*checked, *_by_kernel(question, SERVER, case), *_by_timeouts(question, case)]
    return _first(
        case,
        ways,
        "no check that ends sessions, no keepalive and no timeout: `check` with `on-marked-down"
        " shutdown-sessions` would notice it",
        note or ("" if checked else _once_sent(question, SERVER)),
    )


def _once_sent(question: Question, side: int) -> str:
    """What changes as soon as somebody says something to a side that is gone."""
    leg = question.kernel[side]
    if leg is None or leg.send_queue:
        return ""
    latest = span_text(giving_up.sends_in_vain(leg, question.system))
    stops = ", keepalive stops, and" if leg.keepalive is not None else ","
    return (
        f"if the {SIDES[1 - side]} says something to it{stops} the kernel gives that up within"
        f" {latest}"
    )


def _by_checks(question: Question) -> tuple[list[Ending], str]:
    """How checks end the session if the server goes silent now, and what to know of them."""
    server, proxy, view = _configured(question), _proxy(question), question.server
    case = Case.SERVER_GONE
    if server is None or proxy is None or view is None:
        return [], "its server is not in the configuration any more, and is checked as before"
    if not view.checked or view.admin is AdminState.MAINT:
        return [], ""
    if not view.is_up:
        return [], "its server is DOWN already; a mark-down ends sessions once"
    best, worst = _silent_span(question, server, proxy, view)
    if not server.shutdown_sessions_on_marked_down:
        return [], (
            f"its checks would mark the server down in {span_text(best)} to {span_text(worst)},"
            " but without `on-marked-down shutdown-sessions` that ends no session"
        )
    words = f"its checks mark the server down (`fall {server.check.fall}`), and that ends it"
    return [Ending(case, best, worst, words)], ""


def _silent_span(
    question: Question, server: Server, proxy: Proxy, view: ServerView
) -> tuple[int, int]:
    """When checks of this server, as its health is now, mark it down if it is silent."""
    check = server.check
    limit = schedule.connect_limit_ms(check, proxy.timeouts)
    fast = check.inter if check.fastinter is None else check.fastinter
    pause = schedule.interval_ms(check, view.health)
    failures = max(1, view.health - view.rise + 1)
    more = (failures - 1) * (fast + limit)
    spread = 1 + question.config.global_.spread_checks / 100
    return limit + more, round(pause * spread) + limit + round(more * spread)


def _marked_down(question: Question) -> Ending:
    """For a removed server the configuration that it was in holds, which is not known here."""
    session, server = question.session, _configured(question)
    case = Case.SERVER_DOWN
    if session.state != "established":
        return Ending(case, None, None, "it goes to another server, nothing has reached this one")
    if server is None:
        return Ending(
            case,
            None,
            None,
            "its server is not in the configuration any more, what it said counts",
        )
    if not server.shutdown_sessions_on_marked_down:
        return Ending(
            case,
            None,
            None,
            "`on-marked-down shutdown-sessions` is not set for its server",
            "`lbsplice kill server` would end it",
        )
    held = session.legs[SERVER].in_pipe
    client = question.kernel[CLIENT]
    queued = client.queued if client is not None else 0
    if held + queued:
        note = f"{bytes_text(held + queued)} that it already has for the client go out first"
        return Ending(case, 0, LAST_BYTES_MS, "both sides are reset", note)
    return Ending(case, 0, 0, "both sides are reset")


# ---- why it is open ----

_STATES = {
    "connecting": "It is being connected to its server.",
    "pausing": "A connect has failed; the next attempt follows after a pause.",
    "resetting": "It is being ended: what it holds is delivered to one side, which is then reset.",
    "closed": "It has ended; its record is about to be freed.",
}


def _why(question: Question) -> list[str]:
    session = question.session
    if session.state != "established":
        return [_STATES.get(session.state, f"It is {session.state}."), *_attempts(question)]
    sentences = [_openness(session), *_server_stands(question)]
    for side, name in enumerate(SIDES):
        leg, other = question.kernel[side], SIDES[1 - side]
        if session.legs[side].in_pipe:
            amount = bytes_text(session.legs[side].in_pipe)
            sentences.append(f"{amount} from the {name} wait for the {other} to take them.")
        if leg is None:
            continue
        if leg.is_stalled:
            sentences.append(
                f"The {name} looks gone: {in_vain(leg, other)}; it was last heard"
                f" {span_text(leg.last_ack_ms)} ago."
            )
        elif leg.timer == "probe" and not leg.probes:
            amount = bytes_text(leg.send_queue)
            sentences.append(f"The {name} is alive and does not read: {amount} are queued for it.")
    return sentences


def _openness(session: SessionView) -> str:
    ended = [name for name, leg in zip(SIDES, session.legs, strict=True) if leg.ended]
    if not ended:
        return "Neither side has ended its direction, and no timeout has come."
    if len(ended) == 1:
        (name,) = ended
        other = SIDES[1 - SIDES.index(name)]
        return f"The {name} has ended its direction; the {other} has not and may still send."
    return "Both sides have ended their directions; what is held is still delivered."


def _server_stands(question: Question) -> list[str]:
    view, key = question.server, question.session.server
    if key is None:
        return []
    name = "/".join(key)
    if view is None:
        return [f"Its server {name} is not in the configuration any more; the session stays."]
    if not view.checked:
        in_use = "" if view.admin is AdminState.READY else f", and is in {view.status}"
        return [f"Its server {name} is not checked{in_use}."]
    return [f"Its server {name} is {view.status} (last check: {view.check_status.value})."]


def _attempts(question: Question) -> list[str]:
    """How long an attempt, and all that are left, may still take."""
    session, proxy = question.session, _proxy(question)
    if session.state not in ("connecting", "pausing") or session.expires_ms is None:
        return []
    left = max(0, (proxy.retries if proxy is not None else 0) - session.retries)
    latest = session.expires_ms + left * session.timeout_connect
    what = "The attempt is given up" if session.state == "connecting" else "The pause ends"
    return [
        f"{what} in {span_text(session.expires_ms)}; with {many(left, 'retry', 'retries')} left"
        f" the session ends within {span_text(latest)} if no server answers."
    ]


# ---- the legs ----

_KERNEL_TIMERS = {
    "on": "retransmission",
    "keepalive": "keepalive probe",
    "probe": "window probe",
    "timewait": "time-wait",
}


def _leg(question: Question, side: int) -> LegExplained:
    session, kernel = question.session, question.kernel[side]
    leg = session.legs[side]
    timers: list[Timer] = []
    idle = giving_up.idle_timer(session, side) if session.state == "established" else None
    if idle is not None:
        name = f"{idle.setting} {format_duration(idle.limit_ms)}"
        timers.append(Timer("lbsplice", name, idle.left_ms, _when_idle(question, side)))
    if kernel is not None and kernel.timer not in (None, "off"):
        given = giving_up.gives_up(kernel, question.system)
        then = "asks it again" if given is None else f"gives it up after {span_text(given.in_ms)}"
        name = _KERNEL_TIMERS.get(str(kernel.timer), str(kernel.timer))
        timers.append(Timer("kernel", name, kernel.expires_ms, then))
    address = session.client if side == CLIENT else kernel.peer if kernel else ""
    return LegExplained(
        SIDES[side],
        address or (question.server.address if side == SERVER and question.server else ""),
        leg.idle_ms,
        leg.moved,
        leg.in_pipe,
        leg.ended,
        waits_for(kernel, SIDES[side]),
        tuple(timers),
        kernel,
    )


def _when_idle(question: Question, side: int) -> str:
    session = question.session
    timer = giving_up.idle_timer(session, side)
    assert timer is not None
    other = session.legs[1 - side]
    if timer.setting == "timeout tunnel" or other.ended:
        return "ends the session"
    if other.in_pipe:
        return "ends the session with a reset"
    return f"tells the {SIDES[1 - side]} that the {SIDES[side]} has ended"
