"""One case of `lab failover`, played from an empty table to a swept one.

Set up the network, the servers, the proxy and two sessions; break one server; watch; take it all
down again, whatever happened."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import replace

from lbsplice.kernel.sockdiag import SocketWatch
from lbsplice.lab import faults, proxies
from lbsplice.lab.cast import SETUP_S, Cast, check_rights
from lbsplice.lab.faults import Breakage
from lbsplice.lab.processes import Child, cleaned_up
from lbsplice.lab.proxies import RunningProxy
from lbsplice.lab.results import CaseResult, Leg
from lbsplice.lab.scene import ASKS_MEANWHILE, Case, Settings, Tone, Who, seconds_to_down
from lbsplice.lab.stage import Report, Stage
from lbsplice.lab.topology import (
    BYSTANDER,
    SERVERS,
    VICTIM,
)
from lbsplice.lab.traffic import ASK
from lbsplice.lab.verdict import End, Observed, judge

_SILENCE_S = 1.0
_SLACK_S = 5.0
_RECOVERY_S = 20.0
_BYSTANDER_EVERY_S = 0.1


def check_machine(settings: Settings) -> None:
    """Raise EnvironmentLacks when the scene can not be played here: rights or programs."""
    check_rights()
    faults.check_tools(settings.fault)
    proxies.check_tools(settings.proxy)


def play(settings: Settings, case: Case, report: Report) -> CaseResult:
    """Play one case and tell each happening to `report`.

    Returns what was seen and judged. Raises LabError when the scene can not be set up,
    EnvironmentLacks when the machine does not allow it."""
    with cleaned_up() as stack:
        return _Play(settings, case, Stage(report), stack).run()


class _Play:
    def __init__(self, settings: Settings, case: Case, stage: Stage, stack: ExitStack) -> None:
        self._settings = settings
        self._case = case
        self._stage = stage
        self._stack = stack
        self._setup_s = SETUP_S + seconds_to_down(settings.fall, settings.inter_ms)
        self._cast = Cast(stage, stack, self._setup_s)
        self._victim_server: Child | None = None

    def run(self) -> CaseResult:
        self._start_servers()
        proxy = self._start_proxy()
        client = self._open_sessions()
        watch = self._cast.watch()
        self._cast.wait_for_rest(watch)
        legs_before = self._show_legs(watch)
        self._show_stat(proxy)
        breakage = Breakage(
            self._settings.fault,
            self._cast.network,
            self._cast.scratch,
            self._kill_victim,
            self._start_victim,
        )
        self._break(breakage)
        self._watch_down(proxy)
        if self._case is Case.BACK_IN_TIME:
            self._mend(breakage, client)
        elif self._case is Case.WITHOUT_ACTION:
            self._ask_and_wait(client)
        else:
            self._wait_for_end()
        end = self._end()
        legs_after = self._show_legs(watch) if self._stage.session.alive else ()
        lives = self._bystander_lives()
        left = self._cast.stop(proxy.child)
        observed = self._observed(end, lives, left)
        claims = judge(self._settings, self._case, observed)
        return CaseResult(self._case, observed, claims, legs_before, legs_after)

    # -- the set-up

    def _start_servers(self) -> None:
        self._start_victim()
        self._cast.server(BYSTANDER)

    def _start_victim(self) -> None:
        self._victim_server = self._cast.server(VICTIM)

    def _kill_victim(self) -> None:
        assert self._victim_server is not None
        self._victim_server.kill()

    def _start_proxy(self) -> RunningProxy:
        proxy = RunningProxy(
            self._settings, self._case, self._cast.network, self._cast.scratch, self._stage.inbox
        )
        self._stack.callback(proxy.child.stop)
        self._stage.proxy = proxy.child
        if self._settings.fall > 1:
            # A server starts one failure away from DOWN; its first success takes it to full UP.
            self._stage.need(
                lambda: all(self._stage.status_of(host.name).statuses for host in SERVERS),
                self._setup_s,
                "the servers were not checked",
            )
        return proxy

    def _open_sessions(self) -> Child:
        stage = self._stage
        every = str(_BYSTANDER_EVERY_S)
        self._cast.session(stage.bystander, BYSTANDER, "--every", every)
        client = self._cast.session(stage.session, VICTIM)
        client.tell(ASK)
        stage.need(
            lambda: stage.session.answered == 1 and stage.bystander.answered > 0,
            self._setup_s,
            "the sessions were not answered",
        )
        return client

    # -- the fault and after

    def _break(self, breakage: Breakage) -> None:
        seen = self._stage.status_of(VICTIM.name).statuses
        self._stage.need(
            lambda: seen[-1:] in ([], ["UP"]), self._setup_s, f"{VICTIM.name} was not UP"
        )
        self._stage.fault(breakage.apply_text(), VICTIM.name)
        breakage.apply()

    def _watch_down(self, proxy: RunningProxy) -> None:
        limit = time.monotonic() + _SLACK_S
        limit += seconds_to_down(self._settings.fall, self._settings.inter_ms)
        shown = self._statuses()
        while "DOWN" not in shown and time.monotonic() < limit:
            self._wait_for_status_after(shown, limit)
            shown = self._statuses()
            self._show_stat(proxy)

    def _wait_for_status_after(self, shown: tuple[str, ...], limit: float) -> None:
        self._stage.wait(lambda: self._statuses() != shown, limit - time.monotonic())

    def _ask(self, client: Child) -> None:
        stage = self._stage
        number = stage.session.asked + 1
        client.tell(ASK)
        stage.wait(lambda: stage.session.asked >= number or not stage.session.alive, _SLACK_S)

    def _ask_and_wait(self, client: Child) -> None:
        stage = self._stage
        if stage.session.alive:
            self._ask(client)
            stage.wait(self._answered_or_ended, self._settings.watch_s)
        if stage.session.alive and not self._answered_or_ended():
            text = f"not a byte, not an end, for {self._settings.watch_s:g} s: the session hangs"
            stage.say(Who.CLIENT, text, Tone.BAD)

    def _wait_for_end(self) -> None:
        if not self._stage.wait(lambda: not self._stage.session.alive, self._settings.watch_s):
            text = f"told nothing for {self._settings.watch_s:g} s after the mark-down"
            self._stage.say(Who.CLIENT, text, Tone.BAD)
            return
        self._stage.wait(lambda: self._stage.session.logged_state is not None, _SLACK_S)

    def _mend(self, breakage: Breakage, client: Child) -> None:
        stage = self._stage
        if stage.session.alive and ASKS_MEANWHILE[self._settings.fault]:
            self._ask(client)
            if not stage.wait(self._answered_or_ended, _SILENCE_S):
                stage.say(Who.CLIENT, f"no answer for {_SILENCE_S:g} s", Tone.BAD)
        stage.say(Who.OPERATOR, breakage.lift_text(), Tone.GOOD)
        breakage.lift()
        stage.wait(lambda: self._statuses()[-1] == "UP", _RECOVERY_S)
        stage.wait(self._answered_or_ended, _RECOVERY_S)
        if stage.session.alive:
            self._ask(client)
            stage.wait(self._answered_or_ended, _RECOVERY_S)

    def _answered_or_ended(self) -> bool:
        session = self._stage.session
        return session.answered >= session.asked or not session.alive

    # -- what was seen

    def _end(self) -> End:
        session = self._stage.session
        if session.end is not None:
            return session.end
        # A session that was not asked anything since the fault has shown no sign of life.
        answered = session.asked > 1 and session.answered >= session.asked
        return End.GOES_ON if answered else End.HANGS

    def _bystander_lives(self) -> bool:
        """Whether the other session still answers, now."""
        session, seen = self._stage.bystander, self._stage.status_of(BYSTANDER.name)
        count = session.answered
        self._stage.wait(lambda: session.answered > count or not session.alive, _SLACK_S)
        lives = session.alive and session.answered > count and not session.wrong
        lives = lives and "DOWN" not in seen.statuses
        text = f"{session.answered} lines answered, the session lives" if lives else "it is broken"
        self._stage.say(Who.OTHER_CLIENT, text, Tone.GOOD if lives else Tone.BAD)
        return lives

    def _observed(self, end: End, bystander_lives: bool, left: int) -> Observed:
        stage = self._stage
        observed = stage.observed(
            VICTIM.name, end, bystander_lives=bystander_lives, left_behind=left
        )
        asked_at = stage.session.asked_at if stage.session.asked > 1 else None
        return replace(observed, asked_s=stage.since_fault(asked_at))

    def _statuses(self) -> tuple[str, ...]:
        return self._stage.statuses_since_fault(VICTIM.name)

    def _show_legs(self, watch: SocketWatch) -> tuple[Leg, ...]:
        legs = []
        for side, found in self._cast.legs(watch):
            local, peer = (f"{host}:{port}" for host, port in (found.local, found.peer))
            legs.append(Leg(side, local, peer, found.timer_text()))
        for leg in legs:
            self._stage.say(Who.KERNEL, f"{leg.side}  {leg.local} - {leg.peer}  {leg.timer}")
        return tuple(legs)

    def _show_stat(self, proxy: RunningProxy) -> None:
        with suppress(OSError):  # a proxy that does not answer is not what is tested here
            row = proxy.stat(VICTIM.name)
            self._stage.catch_up()
            if row:
                text = f"show stat: {VICTIM.name} {row['status']}, {row['scur']} sessions"
                self._stage.say(Who.PROXY, text)
