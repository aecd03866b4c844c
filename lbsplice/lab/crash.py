"""`lab crash`, played from an empty table to a swept one, on loopback: no rights are needed."""

from __future__ import annotations

import math
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from lbsplice.errors import LabError
from lbsplice.lab.crash_results import CrashResult
from lbsplice.lab.crash_scene import (
    LINES,
    TRANSFER,
    CrashSettings,
    Kill,
    Ports,
    configuration,
    longest_within,
    planned,
)
from lbsplice.lab.crash_stage import CrashStage, Progress
from lbsplice.lab.crash_verdict import (
    CrashObserved,
    SessionFate,
    judge_crash,
    kills_seen,
    verdict_on,
)
from lbsplice.lab.crash_workers import Workers
from lbsplice.lab.processes import Child, cleaned_up
from lbsplice.lab.proxies import command
from lbsplice.lab.scene import Proxy, Tone, Who
from lbsplice.lab.stage import Report, SessionSeen
from lbsplice.lab.traffic import ASK
from lbsplice.lab.verdict import End

_SETUP_S = 10.0
_SUCCESSOR_WITHIN_S = 10.0
_LOST_WITHIN_S = 3.0
_ANSWER_WITHIN_S = 5.0
_LEAVE_S = 2.0
_LINE_EVERY_S = 0.02
_LOOK_EVERY_S = 0.002


def play_crash(settings: CrashSettings, report: Report, progress: Progress) -> CrashResult:
    """Play the scene; tell each happening to `report`, and to `progress` how far it is.

    Returns what was seen and judged. Raises LabError when the scene can not be set up,
    EnvironmentLacks when the machine does not allow it."""
    with cleaned_up() as stack:
        return _Play(settings, CrashStage(report, progress), stack).run()


class _Play:
    def __init__(self, settings: CrashSettings, stage: CrashStage, stack: ExitStack) -> None:
        self._settings = settings
        self._stage = stage
        self._stack = stack
        self._scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbslab-")))
        self._ports = {name: Ports(self._port(), self._port()) for name in (TRANSFER, LINES)}
        self._kills: list[Kill] = []

    def run(self) -> CrashResult:
        self._start_servers()
        proxy = self._start_proxy()
        workers = Workers(self._settings.proxy, proxy)
        self._stack.callback(workers.sweep)
        self._stack.callback(proxy.stop)
        lines, idle = self._open_sessions()
        self._begin_transfer()
        self._kill_until_over(workers)
        self._wait_for_adoption()
        fates = self._fate_of_lines(lines), self._fate_of_idle(idle)
        served, running = self._serves_new_session(), proxy.running()
        workers.look()
        self._stage.let_go(proxy)
        proxy.stop()
        seen = self._observed(fates, served, running, workers.left(_LEAVE_S))
        return CrashResult(seen, judge_crash(self._settings, seen))

    # -- the set-up

    def _port(self) -> int:
        """A port of loopback, held for whoever asks for it with SO_REUSEADDR."""
        held = self._stack.enter_context(closing(socket.socket()))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

    def _child(self, name: str, module: str, *words: str) -> Child:
        child = Child(name, [sys.executable, "-m", module, *words], self._stage.inbox)
        self._stack.callback(child.stop)
        return child

    def _start_servers(self) -> None:
        addresses = {name: f"127.0.0.1:{its.server}" for name, its in self._ports.items()}
        bulk = self._child("server", "lbsplice.lab.crash_traffic", "server", addresses[TRANSFER])
        lines = self._child("server", "lbsplice.lab.traffic", "server", addresses[LINES], LINES)
        self._stage.need(
            lambda: self._stage.listening(bulk) and self._stage.listening(lines),
            _SETUP_S,
            "the servers did not listen",
        )

    def _start_proxy(self) -> Child:
        file = self._scratch / "lab.cfg"
        file.write_text(configuration(self._ports))
        words = command(self._settings.proxy, file, master=True)
        proxy = Child(self._settings.proxy.value, words, self._stage.inbox)
        self._stage.follow_proxy(proxy)
        deadline = time.monotonic() + _SETUP_S
        try:
            while not self._accepts():
                self._stage.wait(lambda: self._stage.proxy_ended, _LOOK_EVERY_S)
                if self._stage.proxy_ended:
                    raise LabError(f"{proxy.name} ended: {proxy.last_words()}")
                if time.monotonic() > deadline:
                    raise LabError(f"{proxy.name} did not listen within {_SETUP_S:g} s")
        except LabError:
            proxy.stop()
            raise
        return proxy

    def _accepts(self) -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self._ports[LINES].front)) == 0

    def _open_session(self, session: SessionSeen, *options: str) -> Child:
        address = f"127.0.0.1:{self._ports[LINES].front}"
        words = ("client", address, LINES, *options)
        child = self._child(session.who.value, "lbsplice.lab.traffic", *words)
        self._stage.follow(child, session)
        self._stage.wait(lambda: session.local is not None or session.end is not None, _SETUP_S)
        return child

    def _open_sessions(self) -> tuple[Child, Child]:
        stage = self._stage
        lines = self._open_session(stage.lines, "--every", str(_LINE_EVERY_S))
        idle = self._open_session(stage.idle)
        idle.tell(ASK)
        stage.need(
            lambda: stage.idle.answered == 1 and stage.lines.answered > 0,
            _SETUP_S,
            "the sessions were not answered",
        )
        return lines, idle

    def _begin_transfer(self) -> None:
        settings, seen = self._settings, self._stage.transfer
        child = self._child(
            TRANSFER,
            "lbsplice.lab.crash_traffic",
            *("transfer", f"127.0.0.1:{self._ports[TRANSFER].front}"),
            *("--seed", str(settings.seed), "--size", str(settings.size)),
            *("--rate", str(settings.rate)),
        )
        self._stage.follow_transfer(child)
        self._stage.need(
            lambda: seen.began_at is not None or seen.over, _SETUP_S, "no transfer began"
        )
        if seen.began_at is None:
            raise LabError(f"no transfer began: {seen.error}")

    # -- the kills

    def _kill_until_over(self, workers: Workers) -> None:
        began = self._stage.transfer.began_at
        assert began is not None
        for at_s, number in planned(self._settings):
            if self._stage.over_by(began + at_s):
                return
            pid = self._kill_next(workers, number)
            if pid is None and self._stage.transfer.over:
                return
            if pid is None:
                text = f"no worker to be killed within {_SUCCESSOR_WITHIN_S:g} s"
                self._stage.say(Who.OPERATOR, text, Tone.BAD)
                self._stage.over_by(time.monotonic() + _LOST_WITHIN_S)
                return
            now = time.monotonic()
            self._kills.append(Kill(now - began, pid, number))
            self._stage.say(Who.OPERATOR, f"kill -{number.name[3:]} {pid}", Tone.FAULT, now)

    def _kill_next(self, workers: Workers, number: int) -> int | None:
        deadline = time.monotonic() + _SUCCESSOR_WITHIN_S
        while (pid := workers.kill_next(number)) is None and time.monotonic() < deadline:
            if self._stage.over_by(time.monotonic() + _LOOK_EVERY_S) or self._stage.proxy_ended:
                return None
        return pid

    def _wait_for_adoption(self) -> None:
        if self._settings.proxy is Proxy.LBSPLICE and self._kills:
            last = self._kills[-1].pid
            self._stage.wait(
                lambda: last in self._stage.adopted or self._stage.proxy_ended,
                _SUCCESSOR_WITHIN_S,
            )

    # -- what was seen

    def _fate_of_lines(self, child: Child) -> SessionFate:
        """Whether lines are still answered, now."""
        session, count = self._stage.lines, self._stage.lines.answered
        fate = self._fate(child, session, lambda: session.answered > count)
        if fate.end is End.GOES_ON:
            self._stage.say(Who.LINES, f"{fate.answered} lines answered, it goes on", Tone.GOOD)
        return fate

    def _fate_of_idle(self, child: Child) -> SessionFate:
        """Whether the session that said nothing is good for a line, now."""
        session = self._stage.idle
        if session.alive:
            child.tell(ASK)
        return self._fate(child, session, lambda: session.answered == 2)

    def _fate(self, child: Child, session: SessionSeen, answers: Callable[[], bool]) -> SessionFate:
        self._stage.wait(lambda: answers() or not session.alive, _ANSWER_WITHIN_S)
        self._stage.let_go(child)  # what it is told from here on is the stop's doing
        end = session.end or (End.GOES_ON if answers() else End.HANGS)
        return SessionFate(end, session.answered, session.wrong)

    def _serves_new_session(self) -> bool:
        session = SessionSeen(Who.CLIENT)
        child = self._open_session(session)
        if session.alive:
            child.tell(ASK)
        served = self._fate(child, session, lambda: session.answered > 0).end is End.GOES_ON
        if served:
            self._stage.say(Who.CLIENT, "a new session is served", Tone.GOOD)
        return served

    def _observed(
        self, fates: tuple[SessionFate, SessionFate], served: bool, running: bool, left: int
    ) -> CrashObserved:
        stage, seen = self._stage, self._stage.transfer
        sent, received = seen.digests
        pauses, waits = stage.pauses(), stage.waits()
        first = self._kills[0].at_s if self._kills else math.inf
        return CrashObserved(
            kills=kills_seen(self._kills, stage.adopted, pauses, waits),
            received=seen.received,
            verdict=verdict_on(seen.received, self._settings.size, seen.digests, seen.end),
            seconds=stage.since_fault(seen.over_at or time.monotonic()) or 0.0,
            sent_sha256=sent,
            received_sha256=received,
            end=seen.end,
            calm_ms=longest_within(pauses, 0.0, first),
            calm_answer_ms=longest_within(waits, 0.0, first),
            lines=fates[0],
            idle=fates[1],
            new_session=served,
            running=running,
            left_behind=left,
        )
