"""The play of `lab reload`: a session, a reload of the proxy, and then the server dies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lbsplice.lab.scene import Case, Proxy, expected_statuses
from lbsplice.lab.verdict import Claim, End, Observed, When, logged, timing


@dataclass(frozen=True)
class ReloadSettings:
    """What the operator asked for, as in scene.Settings. `fall` is at least 2."""

    proxy: Proxy = Proxy.LBSPLICE
    fall: int = 2
    inter_ms: int = 200
    watch_s: float = 3.0


class ReloadCase(Enum):
    """One run of the scene."""

    BEFORE = "no-reload"
    AFTER = "after-reload"


_TITLES = {
    ReloadCase.BEFORE: "no reload: on-marked-down shutdown-sessions ends the session",
    ReloadCase.AFTER: "a reload between the session's start and the server's death",
}


def title(case: ReloadCase) -> str:
    return _TITLES[case]


@dataclass(frozen=True)
class ReloadObserved:
    """What was seen in one case. The pids are those of the processes with sessions, before the
    reload and when it was done."""

    session: Observed
    workers_before: tuple[int, ...]
    workers_after: tuple[int, ...]


def expected_end(proxy: Proxy, case: ReloadCase) -> End:
    """What becomes of the session when its server is marked down. HAProxy's old process has
    stopped its checks, and the new one does not know the session."""
    if proxy is Proxy.LBSPLICE:
        return End.RESET
    return End.FIN if case is ReloadCase.BEFORE else End.HANGS


def judge_reload(
    settings: ReloadSettings, case: ReloadCase, seen: ReloadObserved
) -> tuple[Claim, ...]:
    """All claims about one case, each with whether it held. Never empty."""
    session = seen.session
    statuses = expected_statuses(Case.WITH_ACTION, settings.fall)
    lives = session.bystander_lives and session.bystander_answered > 0
    return (
        *([] if case is ReloadCase.BEFORE else [_processes(settings, seen)]),
        Claim(
            f"the server's status goes {', '.join(statuses)}",
            session.statuses == statuses,
            ", ".join(session.statuses) or "no status",
        ),
        *_ended(settings, case, session),
        Claim(
            "every line that was answered was answered by the same server, byte for byte",
            session.lines_answered > 0 and session.wrong_answers == 0,
            f"{session.lines_answered} answered, {session.wrong_answers} wrong",
        ),
        Claim(
            "the session to the other server notices nothing",
            lives,
            f"{session.bystander_answered} lines answered, "
            + ("alive" if session.bystander_lives else "ended or silent"),
        ),
        Claim(
            "the proxy leaves no process behind",
            session.left_behind == 0,
            f"{session.left_behind} left",
        ),
    )


def pids_text(pids: tuple[int, ...]) -> str:
    """Some processes, for people."""
    return " and ".join(map(str, pids)) or "none"


def _processes(settings: ReloadSettings, seen: ReloadObserved) -> Claim:
    before, after = seen.workers_before, seen.workers_after
    shown = f"{pids_text(before)} before, {pids_text(after)} after"
    if settings.proxy is Proxy.LBSPLICE:
        held = before == after and len(before) == 1
        return Claim("one process has all sessions, the one from before the reload", held, shown)
    text = "the old process stays, with its sessions, beside a new one"
    return Claim(text, set(before) < set(after), shown)


def _ended(settings: ReloadSettings, case: ReloadCase, session: Observed) -> list[Claim]:
    wanted = expected_end(settings.proxy, case)
    if wanted is End.HANGS:
        text = f"the client is told nothing for {settings.watch_s:g} s after the mark-down"
        return [Claim(text, session.end is End.HANGS, session.end.value)]
    word = "a reset" if wanted is End.RESET else "a clean end (FIN)"
    return [
        Claim(f"the client is told: {word}", session.end is wanted, session.end.value),
        timing(When.DOWN, session),
        logged(settings.proxy, session.session_state),
    ]
