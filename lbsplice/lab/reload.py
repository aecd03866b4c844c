"""One case of `lab reload`, played from an empty table to a swept one."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from contextlib import ExitStack, suppress

import psutil

from lbsplice.errors import LabError
from lbsplice.lab import proxies
from lbsplice.lab.cast import SETUP_S, Cast, check_rights
from lbsplice.lab.faults import Rule, find_program
from lbsplice.lab.loglines import read_status
from lbsplice.lab.processes import Child, Line, cleaned_up
from lbsplice.lab.reload_results import ReloadResult
from lbsplice.lab.reload_scene import (
    ReloadCase,
    ReloadObserved,
    ReloadSettings,
    expected_end,
    judge_reload,
    pids_text,
)
from lbsplice.lab.scene import Proxy, Tone, Who, seconds_to_down
from lbsplice.lab.stage import Report, Stage, noting
from lbsplice.lab.topology import (
    BALANCER,
    BYSTANDER,
    LISTEN_NAME,
    PORT,
    SERVERS,
    VICTIM,
    configuration,
)
from lbsplice.lab.traffic import ASK
from lbsplice.lab.verdict import End

_SLACK_S = 5.0
_RELOAD_S = 20.0
_BYSTANDER_EVERY_S = 0.1
_WORKER = "lbsplice-worker"
_STOPPED = f"Proxy {LISTEN_NAME} stopped"
"""What HAProxy's old process logs when it listens no more."""
_DEATH = Rule(BALANCER, "OUTPUT", f"-d {VICTIM.address} -p tcp --dport {PORT} -j DROP")


def check_machine(settings: ReloadSettings) -> None:
    """Raise EnvironmentLacks when the scene can not be played here: rights or programs."""
    check_rights()
    find_program("iptables")
    proxies.check_tools(settings.proxy)


def play(settings: ReloadSettings, case: ReloadCase, report: Report) -> ReloadResult:
    """Play one case and tell each happening to `report`.

    Returns what was seen and judged. Raises LabError when the scene can not be set up,
    EnvironmentLacks when the machine does not allow it."""
    note, timeline = noting(report)
    with cleaned_up() as stack:
        observed = _Play(settings, case, _ReloadStage(note), stack).run()
    claims = judge_reload(settings, case, observed)
    return ReloadResult(case, observed, claims, tuple(timeline))


class _ReloadStage(Stage):
    """Also counts the checks that are logged, and sees HAProxy's old process stop listening."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.checks: Counter[str] = Counter()
        self.stopped = False

    def _read_log(self, text: str, at: float) -> None:
        if status := read_status(text):
            self.checks[status.server] += 1
        elif text.startswith(_STOPPED):
            self.stopped = True
        super()._read_log(text, at)


class _Play:
    def __init__(
        self, settings: ReloadSettings, case: ReloadCase, stage: _ReloadStage, stack: ExitStack
    ) -> None:
        self._settings = settings
        self._case = case
        self._stage = stage
        self._down_s = seconds_to_down(settings.fall, settings.inter_ms) + _SLACK_S
        self._cast = Cast(stage, stack, SETUP_S + self._down_s)

    def run(self) -> ReloadObserved:
        stage, settings = self._stage, self._settings
        for server in SERVERS:
            self._cast.server(server)
        text = configuration(
            settings.proxy, action=True, fall=settings.fall, inter_ms=settings.inter_ms
        )
        proxy = self._cast.proxy(settings.proxy, text, master=True)
        self._wait_for_checks(Counter())
        client = self._open_sessions()
        before = self._workers(proxy)
        stage.say(Who.PROXY, f"the sessions are in process {pids_text(before)}")
        if self._case is ReloadCase.AFTER:
            self._reload(proxy)
        after = self._workers(proxy)
        self._break()
        self._watch(client)
        end = stage.session.end or End.HANGS
        lives = self._bystander_lives()
        left = self._cast.stop(proxy)
        observed = stage.observed(VICTIM.name, end, bystander_lives=lives, left_behind=left)
        return ReloadObserved(observed, before, after)

    # -- the set-up

    def _wait_for_checks(self, before: Counter[str]) -> None:
        """A server starts one failure away from DOWN; its first success takes it to full UP."""
        self._stage.need(
            lambda: all(self._stage.checks[one.name] > before[one.name] for one in SERVERS),
            SETUP_S + self._down_s,
            "the servers were not checked",
        )

    def _open_sessions(self) -> Child:
        stage = self._stage
        self._cast.session(stage.bystander, BYSTANDER, "--every", str(_BYSTANDER_EVERY_S))
        client = self._cast.session(stage.session, VICTIM)
        client.tell(ASK)
        stage.need(
            lambda: stage.session.answered == 1 and stage.bystander.answered > 0,
            SETUP_S,
            "the sessions were not answered",
        )
        return client

    # -- the reload

    def _reload(self, proxy: Child) -> None:
        """Reload the proxy as its users do, and wait until it is done."""
        if self._settings.proxy is Proxy.LBSPLICE:
            self._reload_lbsplice(proxy)
        else:
            self._reload_haproxy(proxy)
        workers = pids_text(self._workers(proxy))
        self._stage.say(Who.PROXY, f"is reloaded; processes with sessions: {workers}")

    def _reload_lbsplice(self, proxy: Child) -> None:
        words = ["lbsplice", "reload", "--pid", str(proxy.pid)]
        self._stage.say(Who.OPERATOR, " ".join(words))
        said: list[str | None] = []

        def read(line: Line) -> None:
            said.append(line.text)

        child = self._cast.program(BALANCER, "lbsplice reload", [sys.executable, "-m", *words])
        self._stage.read_with(child, read)
        self._stage.need(lambda: None in said, _RELOAD_S, "lbsplice reload did not return")
        if len(said) < 2:
            raise LabError(f"lbsplice reload failed: {child.last_words()}")

    def _reload_haproxy(self, proxy: Child) -> None:
        stage, before = self._stage, Counter(self._stage.checks)
        stage.say(Who.OPERATOR, f"kill -USR2 {proxy.pid} (systemctl reload haproxy)")
        psutil.Process(proxy.pid).send_signal(signal.SIGUSR2)
        stage.need(lambda: stage.stopped, _RELOAD_S, "the old process did not stop listening")
        self._wait_for_checks(before)

    def _workers(self, proxy: Child) -> tuple[int, ...]:
        """The pids of the processes that hold sessions, the oldest first."""
        found = []
        for child in psutil.Process(proxy.pid).children():
            with suppress(psutil.NoSuchProcess):
                named = self._settings.proxy is Proxy.HAPROXY or child.name() == _WORKER
                if named and child.status() != psutil.STATUS_ZOMBIE:
                    found.append((child.create_time(), int(child.pid)))
        return tuple(pid for _, pid in sorted(found))

    # -- the server's death

    def _break(self) -> None:
        seen = self._stage.status_of(VICTIM.name).statuses
        self._stage.need(lambda: seen[-1:] == ["UP"], SETUP_S, f"{VICTIM.name} was not UP")
        self._stage.fault(_DEATH.text("-A"), VICTIM.name)
        _DEATH.put("-A", self._cast.network, self._cast.scratch)

    def _watch(self, client: Child) -> None:
        stage, session, watch_s = self._stage, self._stage.session, self._settings.watch_s
        stage.wait(lambda: "DOWN" in stage.statuses_since_fault(VICTIM.name), self._down_s)
        if expected_end(self._settings.proxy, self._case) is End.HANGS and session.alive:
            client.tell(ASK)
        if not stage.wait(lambda: not session.alive, watch_s):
            text = f"not a byte, not an end, for {watch_s:g} s: the session hangs"
            stage.say(Who.CLIENT, text, Tone.BAD)
            return
        stage.wait(lambda: session.logged_state is not None, _SLACK_S)

    def _bystander_lives(self) -> bool:
        """Whether the other session still answers, now."""
        session, seen = self._stage.bystander, self._stage.status_of(BYSTANDER.name)
        count = session.answered
        self._stage.wait(lambda: session.answered > count or not session.alive, _SLACK_S)
        lives = session.alive and session.answered > count and not session.wrong
        return lives and "DOWN" not in seen.statuses
