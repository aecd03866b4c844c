"""Torture from the start to the end: lbsplice is started, loaded, harmed, and everything
that is to hold is looked at."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.peers import Listener
from tests.support.program import TCPLOG, Program, program
from tests.support.torture import family, pauses
from tests.support.torture.figures import Figures, account_for
from tests.support.torture.harm import Done, Victim
from tests.support.torture.incidents import Incidents
from tests.support.torture.load import Load
from tests.support.torture.script import Kind, Pace

GROWN_KB = 12 * 1024
"""How much memory a process may have gained after the warm-up: caches of the
interpreter, not a leak."""

KILLS = {
    "KILL": signal.SIGKILL,
    "SEGV": signal.SIGSEGV,
    "ABRT": signal.SIGABRT,
    "BUS": signal.SIGBUS,
}
HARMS = (*KILLS, "STOP", "vault", "reload", "upgrade", "nothing")


@dataclass(frozen=True, slots=True)
class Settings:
    """`harms`: the share of each of HARMS. `kills` of a worker end it, or the time."""

    seed: int
    kills: int = 200
    seconds: float = 600.0
    every_s: float = 0.3  # between two harms, at a mean
    threads: int = 2
    harms: dict[str, float] = field(default_factory=lambda: dict.fromkeys((*KILLS, "STOP"), 1.0))
    counts: dict[Kind, int] = field(
        default_factory=lambda: {
            Kind.STREAM: 8,
            Kind.SLOW: 6,
            Kind.ECHO: 10,
            Kind.IDLE: 300,
            Kind.CLIENT_SHUT: 4,
            Kind.SERVER_SHUT: 4,
        }
    )
    shorts_per_s: float = 40.0
    pace: Pace = field(default_factory=Pace)
    probe: bool = True
    incidents: bool = False


@dataclass
class Result:
    """What happened, and what did not hold (`failures`, empty if all did)."""

    settings: Settings
    harms: list[Done] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    sessions: int = 0
    bytes: int = 0
    adoptions: list[tuple[int, float]] = field(default_factory=list)
    pauses: dict[str, list[float]] = field(default_factory=dict)
    grown_kb: dict[str, int] = field(default_factory=dict)
    memory_kb: dict[str, int] = field(default_factory=dict)

    @property
    def kills(self) -> int:
        """Of workers."""
        return sum(each.what.startswith("SIG") for each in self.harms)

    def by_kind(self) -> Counter[str]:
        return Counter(each.what for each in self.harms)


def configurations(
    lb: Program, threads: int, maxconn: int, servers: list[int], echo: int
) -> list[str]:
    """The one at the start and the others that reloads go through: a server more, another
    weight."""
    check = "check inter 1s fall 20 on-marked-down shutdown-sessions"

    def text(*lines: str) -> str:
        return (
            f"""\
global
 nbthread {threads}
 maxconn {maxconn}
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 timeout connect 10s
 timeout client 10m
 timeout server 10m
 timeout check 10s
frontend front
 bind 127.0.0.1:{lb.port()}
 default_backend farm
backend farm
 """
            + "\n ".join(lines)
            + f"""
listen probe
 bind 127.0.0.1:{lb.port("probe")}
 server echo 127.0.0.1:{echo}
"""
        )

    a, b = (f"127.0.0.1:{port}" for port in servers)
    return [
        text(f"server a {a} {check}", f"server b {b} {check}"),
        text(f"server a {a} {check} weight 3", f"server b {b} {check}", f"server c {a} {check}"),
        text(f"server a {a} {check}", f"server b {b} {check} weight 7"),
    ]


def last_words(lb: Program) -> str:
    """What the program said last: of itself, and of sessions that were cut."""
    lb.log.flush()
    texts = [line.text for line in lb.log.lines]
    sessions = [(text, TCPLOG.fullmatch(text)) for text in texts]
    cut = [text for text, found in sessions if found and found["frontend"] in ("front", "probe")]
    cut = [text for text in cut if " -- " not in text and " CD " not in text]
    told = [text for text, found in sessions if not found]
    said = (lb.directory / "stderr").read_text().splitlines()
    return "\n".join(["the log:", *told[-12:], *cut[-8:], "standard error:", *said[-12:]])


class Torture:
    """One run. `live` is called several times a second with the result so far; `popen` are
    words for the start of lbsplice. What is done to it others may say in the method `harm`."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        live: Callable[[Result, Load], None] | None = None,
        **popen: Any,
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.rng = random.Random(settings.seed)
        self.result = Result(settings)
        self.live = live or (lambda *_: None)
        self.incidents: Incidents | None = None
        self._popen = popen

    def run(self) -> Result:
        """What did not hold is in the result, also if it is an AssertionError."""
        began = time.monotonic()
        try:
            with program(self.directory) as lb:
                self._torture(lb)
        except AssertionError as error:
            self.result.failures.append(str(error))
        self.result.seconds = time.monotonic() - began
        return self.result

    def _torture(self, lb: Program) -> None:
        settings = self.settings
        for each in (listeners := [Listener() for _ in range(3)]):
            lb.stack.callback(each.closes)
        ports = [each.port for each in listeners]
        fds = [each.socket.fileno() for each in listeners]
        lasting = sum(settings.counts.values())
        texts = configurations(lb, settings.threads, lasting + 1000, ports[:2], ports[2])
        errors = lb.stack.enter_context((self.directory / "stderr").open("w+"))
        if settings.incidents:
            self.incidents = Incidents(lb)
            texts = [text + self.incidents.text for text in texts]
        lb.start(texts[0], stderr=errors, **self._popen)
        victim = Victim(lb, texts, self.rng)
        victim.kill(signal.SIGKILL)  # from here on every worker is a successor
        victim.settles()
        empty = Figures.at_rest(victim)
        probe = (lb.port("probe"), fds[2]) if settings.probe else None
        load = Load(
            lb.port(),
            fds[:2],
            settings.counts,
            settings.shorts_per_s,
            settings.seed,
            settings.pace,
            probe,
        )
        try:
            with self.incidents or contextlib.nullcontext():
                self.harm(victim, load)
            self._at_rest(victim, load, empty)
        except AssertionError as error:
            self.result.failures.append(f"{error}\n{self._last_harms()}\n{last_words(lb)}")
        finally:
            load.close()
            self._note(victim, load)
        if not self.result.failures:
            self._stop(victim, empty)

    # ---- the torture ----

    def harm(self, victim: Victim, load: Load) -> None:
        """What is done while the load is there."""
        settings = self.settings
        names, weights = zip(*settings.harms.items(), strict=True)
        deadline = time.monotonic() + settings.seconds
        kills = sum(name in KILLS or name == "STOP" for name in names)
        warm: Figures | None = None
        harms = 0
        while time.monotonic() < deadline and (not kills or self.result.kills < settings.kills):
            self.pass_time(load, self.rng.uniform(0, 2 * settings.every_s))
            self.result.harms.append(self._do(victim, self.rng.choices(names, weights)[0]))
            harms += 1
            self.live(self.result, load)
            if warm is None and harms >= settings.kills // 5:
                victim.settles()
                warm = Figures.of(victim)
        self.pass_time(load, pauses.LATE_S)
        victim.settles()
        if warm is not None:
            self._compare_memory(warm, Figures.of(victim))

    def _do(self, victim: Victim, name: str) -> Done:
        if name in KILLS:
            return victim.kill(KILLS[name])
        others: dict[str, Callable[[], Done]] = {
            "STOP": victim.freeze_and_kill,
            "vault": victim.kill_vault,
            "reload": victim.reload,
            "upgrade": victim.upgrade,
            "nothing": victim.nothing,
        }
        return others[name]()

    def pass_time(self, load: Load, seconds: float) -> None:
        """Let it run for so long, looking at the load."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
            self.check(load)
            self.live(self.result, load)

    def check(self, load: Load) -> None:
        """AssertionError if anything has gone wrong by now."""
        load.check()
        if self.incidents is not None:
            self.incidents.check()

    # ---- what holds ----

    def _compare_memory(self, warm: Figures, now: Figures) -> None:
        for who, kb in now.memory_kb.items():
            grown = kb - warm.memory_kb[who]
            self.result.grown_kb[who] = grown
            self.result.memory_kb[who] = kb
            assert grown <= GROWN_KB, f"the {who} has grown by {grown} KiB to {kb} KiB"

    def _at_rest(self, victim: Victim, load: Load, empty: Figures) -> None:
        """New sessions stop, then all end: every byte and descriptor is accounted for."""
        self.result.sessions = load.rests()
        victim.returns_to_first()
        account_for(victim, empty, load.lasting + load.with_probe, self._pipes())
        load.check()
        load.finishes()
        load.close()
        account_for(victim, empty, 0, self._pipes())

    def _pipes(self) -> int:
        """As many as there may be: one for each direction that ever had bytes at a time."""
        counts = self.settings.counts
        busy = sum(counts.values()) - counts.get(Kind.IDLE, 0)
        return 2 * (busy + int(self.settings.shorts_per_s) + 10)

    def _stop(self, victim: Victim, empty: Figures) -> None:
        """Nothing is left, and the counters have counted every connection."""
        try:
            lb = victim.program
            lb.signals(signal.SIGUSR1)
            lb.ends()
            said = (self.directory / "stderr").read_text()
            assert "Traceback" not in said, said[-4000:]
            lines = lb.logs(r"^Proxy (front|probe) stopped \(cumulated conns: FE: \d+", 2)
            counted = sum(int(line.text.split("FE: ")[1].split(",")[0]) for line in lines)
            assert counted == self.result.sessions, (
                f"{self.result.sessions} connections were made, {counted} were counted"
            )
            left = [pid for pid in victim.pids if family.alive(pid)]
            assert not left, f"processes are left: {left}"
        except AssertionError as error:
            self.result.failures.append(str(error))

    def _note(self, victim: Victim, load: Load) -> None:
        result = self.result
        result.bytes = load.bytes
        result.adoptions = victim.adoptions()
        if load.probe is not None:
            result.pauses = pauses.by_kind(load.probe.gaps, result.harms, time.monotonic())

    def _last_harms(self) -> str:
        now = time.monotonic()
        told = [f"{now - each.at:.3f} s before: {each.what}" for each in self.result.harms[-6:]]
        return "\n".join(["what was done last:", *told])
