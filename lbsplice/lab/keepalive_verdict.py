"""Whether in `lab keepalive` all happened that was computed, and when it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbsplice.lab.keepalive_scene import Expected, KeepaliveCase, KeepaliveSettings, expected
from lbsplice.lab.scene import Proxy
from lbsplice.lab.verdict import Claim, End

EARLY_S = 0.1
"""The clocks of the client, the proxy's log and the capture are read by different processes."""
LATE_S = 0.75
"""A busy machine's allowance."""
TIMER_SLACK = 1.125
"""The kernel's timers may come up to an eighth of their length late."""
_SHOWN = 8


@dataclass(frozen=True)
class KeepaliveObserved:
    """What was seen in one case. Times are seconds after the last byte; None: it did not
    happen."""

    told: End
    told_s: float | None = None
    """When the client was told of the end, if it was."""
    state: str | None = None
    """The two letters of the session's log line."""
    logged_s: float | None = None
    """When the proxy logged the session's end."""
    probes_s: tuple[float, ...] = ()
    """When the probes left, on the leg that was watched."""
    answers: int = 0
    wrong_answers: int = 0
    left_behind: int = 0

    @property
    def ended_s(self) -> float | None:
        """When the proxy ended the session: what its client was told, or the log says."""
        return self.logged_s if self.told_s is None else self.told_s


def within(measured_s: float, computed_s: float) -> bool:
    """Whether a measured time is the computed one."""
    return computed_s - EARLY_S <= measured_s <= computed_s * TIMER_SLACK + LATE_S


def judge_keepalive(
    settings: KeepaliveSettings, case: KeepaliveCase, seen: KeepaliveObserved
) -> tuple[Claim, ...]:
    """All claims about one case, each with whether it held. Never empty."""
    wanted = expected(case, settings)
    claims = [_ended(wanted, seen), _told(wanted, seen), *_probed(case, wanted, seen)]
    if wanted.cause is not None:
        claims.append(_logged(settings.proxy, wanted, seen))
    claims += [
        Claim(
            "the lines before were answered, byte for byte",
            seen.wrong_answers == 0,
            f"{seen.wrong_answers} wrong",
        ),
        Claim(
            "the proxy leaves no process behind",
            seen.left_behind == 0,
            f"{seen.left_behind} left",
        ),
    ]
    return tuple(claims)


def seconds(value: float | None) -> str:
    """A time for people: `3.504 s`, or `never`."""
    return "never" if value is None else f"{value:.3f} s"


def _ended(wanted: Expected, seen: KeepaliveObserved) -> Claim:
    if wanted.ended_s is None:
        text = f"nobody ends the session for {wanted.watched_s:g} s"
        return Claim(text, seen.ended_s is None, f"ended: {seconds(seen.ended_s)}")
    held = seen.ended_s is not None and within(seen.ended_s, wanted.ended_s)
    text = f"the session is ended {wanted.ended_s:g} s after its last byte"
    return Claim(text, held, seconds(seen.ended_s))


def _told(wanted: Expected, seen: KeepaliveObserved) -> Claim:
    texts = {
        End.HANGS: "the client is told nothing",
        End.FIN: "the client is told: a clean end (FIN)",
        End.RESET: "the client is told: a reset",
    }
    return Claim(texts[wanted.told], seen.told is wanted.told, seen.told.value)


def _probed(case: KeepaliveCase, wanted: Expected, seen: KeepaliveObserved) -> list[Claim]:
    count = len(seen.probes_s)
    shown = f"{count}, at {_listed([f'{at:.2f}' for at in seen.probes_s])} s" if count else "none"
    due = wanted.probes_s
    if not due:
        return [Claim("no probe is sent", count == 0, shown)]
    # One that was due just before the end of the watch may come just after it.
    limit = wanted.ended_s or wanted.watched_s
    needed = sum(at * TIMER_SLACK + EARLY_S <= limit for at in due)
    if case.probed is case.dies:
        needed = len(due)
    in_time = all(within(at, computed) for at, computed in zip(seen.probes_s, due, strict=False))
    text = f"probes leave at {_listed([f'{at:g}' for at in due])} s"
    answers = "all of them are answered" if wanted.answered else "none is answered"
    # The session may end between a probe and its answer.
    held = seen.answers in (count, count - 1) if wanted.answered else seen.answers == 0
    return [
        Claim(text, needed <= count <= len(due) and in_time, shown),
        Claim(answers, held and count >= needed, f"{seen.answers} of {count}"),
    ]


def _listed(times: Sequence[str]) -> str:
    """Some moments, in one line."""
    if len(times) > _SHOWN:
        times = [*times[: _SHOWN - 2], "...", times[-1]]
    return ", ".join(times)


def _logged(proxy: Proxy, wanted: Expected, seen: KeepaliveObserved) -> Claim:
    """HAProxy's second letter differs from version to version; ours is one word of the log."""
    assert wanted.cause is not None
    letter = wanted.cause.value
    if proxy is Proxy.HAPROXY:
        text, held = f"the end is logged with cause {letter}", (seen.state or "")[:1] == letter
    else:
        text, held = f"the end is logged as {letter}D", seen.state == f"{letter}D"
    return Claim(text, held, seen.state or "not logged")
