"""One case of `lab keepalive`, played from an empty table to a swept one."""

from __future__ import annotations

import time
from contextlib import ExitStack

from lbsplice.errors import LabError
from lbsplice.lab import proxies
from lbsplice.lab.cast import SETUP_S, Cast, check_rights
from lbsplice.lab.faults import Rule, find_program
from lbsplice.lab.keepalive_capture import Capture, watch_leg
from lbsplice.lab.keepalive_results import KeepaliveResult
from lbsplice.lab.keepalive_scene import (
    Expected,
    KeepaliveCase,
    KeepaliveSettings,
    Side,
    configuration,
    expected,
    keepalive_lines,
    timeout_of,
)
from lbsplice.lab.keepalive_verdict import KeepaliveObserved, judge_keepalive
from lbsplice.lab.processes import Child, cleaned_up
from lbsplice.lab.scene import Tone, Who
from lbsplice.lab.stage import Report, Stage, noting
from lbsplice.lab.topology import CLIENT, PORT, VICTIM
from lbsplice.lab.traffic import ASK
from lbsplice.lab.verdict import End

_LOG_WITHIN_S = 2.0
_DEAD = {
    Side.SERVER: Rule(VICTIM, "INPUT", f"-p tcp --dport {PORT} -j DROP"),
    Side.CLIENT: Rule(CLIENT, "INPUT", f"-p tcp --sport {PORT} -j DROP"),
}


def check_machine(settings: KeepaliveSettings) -> None:
    """Raise EnvironmentLacks when the scene can not be played here: rights or programs."""
    check_rights()
    find_program("iptables")
    find_program("tcpdump")
    proxies.check_tools(settings.proxy)


def play(settings: KeepaliveSettings, case: KeepaliveCase, report: Report) -> KeepaliveResult:
    """Play one case and tell each happening to `report`.

    Returns what was seen and judged. Raises LabError when the scene can not be set up,
    EnvironmentLacks when the machine does not allow it."""
    note, timeline = noting(report)
    with cleaned_up() as stack:
        observed = _Play(settings, case, Stage(note), stack).run()
    claims = judge_keepalive(settings, case, observed)
    return KeepaliveResult(case, observed, claims, tuple(timeline))


class _Play:
    def __init__(
        self, settings: KeepaliveSettings, case: KeepaliveCase, stage: Stage, stack: ExitStack
    ) -> None:
        self._settings = settings
        self._case = case
        self._stage = stage
        self._cast = Cast(stage, stack)

    def run(self) -> KeepaliveObserved:
        stage, case, settings = self._stage, self._case, self._settings
        self._cast.server(VICTIM)
        proxy = self._cast.proxy(settings.proxy, configuration(case, settings))
        lines = (f"timeout client {timeout_of(case, settings)}", *keepalive_lines(case, settings))
        stage.say(Who.PROXY, "; ".join(lines))
        client = self._cast.session(stage.session, VICTIM)
        self._ask(client)
        capture = self._captured()
        self._ask(client)
        stage.fault_at = stage.session.took[-1][0]
        watch = self._cast.watch()
        self._cast.wait_for_rest(watch)
        for side, leg in self._cast.legs(watch):
            stage.say(Who.KERNEL, f"{side}  {leg.timer_text()}")
        # An acknowledgment may be late by 40 ms, a probe comes after a second at least.
        capture.quiet_from = stage.fault_at + settings.idle_s / 2
        if case.dies:
            rule = _DEAD[case.dies]
            stage.say(Who.OPERATOR, rule.text("-A"), Tone.FAULT)
            rule.put("-A", self._cast.network, self._cast.scratch)
        self._watch(expected(case, settings))
        end = stage.session.end or End.HANGS
        stage.let_go(client)
        capture.stop()
        left = self._cast.stop(proxy)
        return self._observed(end, capture, left)

    def _ask(self, client: Child) -> None:
        session, number = self._stage.session, self._stage.session.answered + 1
        client.tell(ASK)
        self._stage.need(
            lambda: session.answered == number or not session.alive, SETUP_S, "no line was answered"
        )

    def _captured(self) -> Capture:
        """Watch the leg that the case is about: the probed one, else the client's."""
        side = self._case.probed or Side.CLIENT
        for name, leg in self._cast.legs(self._cast.watch()):
            if name == f"{side.value} leg":
                return watch_leg(self._cast, self._stage, leg)
        raise LabError(f"the scene could not be set up: the session has no {side.value} leg")

    def _watch(self, wanted: Expected) -> None:
        stage, session = self._stage, self._stage.session
        assert stage.fault_at is not None, "the session has had its last byte"
        left_s = stage.fault_at + wanted.watched_s - time.monotonic()
        stage.wait(lambda: session.logged_at is not None or session.end is not None, left_s)
        if session.logged_at is None and session.end is None:
            text = f"not a byte, not an end, for {wanted.watched_s:g} s"
            stage.say(Who.CLIENT, text, Tone.BAD)
            return
        stage.wait(lambda: session.logged_at is not None, _LOG_WITHIN_S)
        if wanted.told is not End.HANGS:
            stage.wait(lambda: session.end is not None, _LOG_WITHIN_S)

    def _observed(self, end: End, capture: Capture, left: int) -> KeepaliveObserved:
        session = self._stage.session
        ended_at = session.ended_at if end is not End.HANGS else None
        since = self._stage.since_fault
        told_s, logged_s = since(ended_at), since(session.logged_at)
        over_s = told_s or logged_s or float("inf")
        probes = tuple(at for at in map(since, capture.probes) if at and at <= over_s)
        answers = [at for at in map(since, capture.answers) if at and at <= over_s]
        return KeepaliveObserved(
            told=end,
            told_s=told_s,
            state=session.logged_state,
            logged_s=logged_s,
            probes_s=probes,
            answers=len(answers),
            wrong_answers=session.wrong,
            left_behind=left,
        )
