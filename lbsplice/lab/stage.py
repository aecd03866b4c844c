"""What is seen while a scene runs: the children's lines, read one after the other, kept in order.

The stage reads in the thread that runs the scene; there is nothing else to wait for."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lbsplice.errors import LabError
from lbsplice.lab.loglines import read_session, read_status
from lbsplice.lab.processes import Child, Inbox, Line
from lbsplice.lab.scene import Happening, Tone, Who
from lbsplice.lab.traffic import Event
from lbsplice.lab.verdict import End, Observed

Report = Callable[[Happening], None]
Reader = Callable[[Line], None]

_ENDS = {Event.FIN: End.FIN, Event.RESET: End.RESET, Event.ERROR: End.ERROR}
_END_TONES = {End.FIN: Tone.FAULT, End.RESET: Tone.GOOD, End.ERROR: Tone.BAD}
_END_TEXTS = {
    End.FIN: "told: end of file (FIN), as after a complete answer",
    End.RESET: "told: connection reset (ECONNRESET)",
    End.ERROR: "told: an error",
}


def noting(report: Report) -> tuple[Report, list[Happening]]:
    """A report that also keeps what it is told, and where it keeps it."""
    timeline: list[Happening] = []

    def note(happening: Happening) -> None:
        timeline.append(happening)
        report(happening)

    return note, timeline


@dataclass
class SessionSeen:
    """A session as its client tells it. Times are time.monotonic() seconds."""

    who: Who
    local: tuple[str, int] | None = None
    asked: int = 0
    asked_at: float | None = None
    answered: int = 0
    wrong: int = 0
    end: End | None = None
    ended_at: float | None = None
    error: str = ""
    logged_state: str | None = None
    logged_at: float | None = None
    took: list[tuple[float, float]] = field(default_factory=list)
    """Every answer's moment, and the milliseconds since its question."""

    @property
    def alive(self) -> bool:
        return self.local is not None and self.end is None


@dataclass
class StatusSeen:
    """A server's statuses as the proxy's log tells them, without repetitions."""

    statuses: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, status: str, at: float) -> bool:
        """Note a status; False when it is the one before."""
        if self.statuses and self.statuses[-1] == status:
            return False
        self.statuses.append(status)
        self.times.append(at)
        return True


class Stage:
    """Reads the inbox, keeps what was seen and reports what matters as it happens."""

    def __init__(self, report: Report) -> None:
        self.inbox: Inbox = queue.SimpleQueue()
        self.session = SessionSeen(Who.CLIENT)
        self.bystander = SessionSeen(Who.OTHER_CLIENT)
        self.statuses: dict[str, StatusSeen] = {}
        self.fault_at: float | None = None
        self.proxy: Child | None = None
        self._statuses_before = 0
        self._report = report
        self._sessions: dict[Child, SessionSeen] = {}
        self._listening: set[Child] = set()
        self._leaving: set[Child] = set()
        self._readers: dict[Child, Reader] = {}

    def read_with(self, child: Child, reader: Reader) -> None:
        """Give a child's lines to this function, the one that says that they end, too."""
        self._readers[child] = reader

    def follow(self, child: Child, session: SessionSeen) -> None:
        """Read a child's lines as the events of this session."""
        self._sessions[child] = session

    def let_go(self, child: Child) -> None:
        """From now on this child may end."""
        self._leaving.add(child)

    def listening(self, child: Child) -> bool:
        return child in self._listening

    def status_of(self, server: str) -> StatusSeen:
        return self.statuses.setdefault(server, StatusSeen())

    def since_fault(self, at: float | None) -> float | None:
        return None if self.fault_at is None or at is None else at - self.fault_at

    def fault(self, what: str, server: str) -> None:
        """Report what breaks this server now. Its statuses are counted from here."""
        self._statuses_before = len(self.status_of(server).statuses)
        self.fault_at = time.monotonic()
        self.say(Who.OPERATOR, what, Tone.FAULT, self.fault_at)

    def statuses_since_fault(self, server: str) -> tuple[str, ...]:
        """The broken server's statuses, from the one it had when the fault came."""
        return ("UP", *self.status_of(server).statuses[self._statuses_before :])

    def observed(
        self, server: str, end: End, *, bystander_lives: bool, left_behind: int
    ) -> Observed:
        """What was seen of the two sessions and of the server that was broken."""
        session, statuses = self.session, self.statuses_since_fault(server)
        times = self.status_of(server).times[self._statuses_before :]
        timed = zip(times, statuses[1:], strict=True)
        down_at = next((at for at, status in timed if status == "DOWN"), None)
        return Observed(
            statuses=statuses,
            end=end,
            ended_s=self.since_fault(session.ended_at),
            down_s=self.since_fault(down_at),
            session_state=session.logged_state,
            lines_answered=session.answered,
            wrong_answers=session.wrong,
            bystander_answered=self.bystander.answered,
            bystander_lives=bystander_lives,
            left_behind=left_behind,
        )

    def say(self, who: Who, what: str, tone: Tone = Tone.PLAIN, at: float | None = None) -> None:
        """Report one line of the timeline, of now unless told otherwise."""
        moment = time.monotonic() if at is None else at
        self._report(Happening(self.since_fault(moment), who, what, tone))

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Read until the condition holds (True) or the time is over (False)."""
        deadline = time.monotonic() + seconds
        while not condition():
            try:
                line = self.inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return condition()
            self._read(line)
        return True

    def catch_up(self) -> None:
        """Read what is there already."""
        self.wait(lambda: False, 0)

    def need(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """As `wait`, for what the scene can not go on without: raises LabError."""
        if not self.wait(condition, seconds):
            told = f": {self.proxy.last_words()}" if self.proxy and self.proxy.last_words() else ""
            raise LabError(f"the scene could not be set up: {what} within {seconds:g} s{told}")

    def _read(self, line: Line) -> None:
        if line.source in self._readers:
            self._readers[line.source](line)
        elif line.text is None:
            if line.source is self.proxy and line.source not in self._leaving:
                raise LabError(f"{line.source.name} ended: {line.source.last_words()}")
            session = self._sessions.get(line.source)
            if session and session.end is None and line.source not in self._leaving:
                raise LabError(f"the lab's {session.who.value} ended: {line.source.last_words()}")
        elif line.source is self.proxy:
            self._read_log(line.text, line.at)
        else:
            self._read_event(line.source, json.loads(line.text))

    def _read_log(self, text: str, at: float) -> None:
        if status := read_status(text):
            seen = self.status_of(status.server)
            if status.settled and seen.add(status.status, at):
                tone = Tone.PLAIN if self.fault_at is None else _status_tone(status.status)
                detail = f"  {status.detail}" if status.detail else ""
                self.say(Who.PROXY, f"{status.server} is {status.status}{detail}", tone, at)
        elif ended := read_session(text):
            for session in (self.session, self.bystander):
                if session.local == ended.client:
                    session.logged_state, session.logged_at = ended.state, at
                    self.say(Who.PROXY, f"logs the session's end as {ended.state}", at=at)

    def _read_event(self, source: Child, told: dict[str, Any]) -> None:
        event, at = told["event"], told["at"]
        if event == Event.LISTENING:
            self._listening.add(source)
            return
        if source not in self._sessions:
            return
        session = self._sessions[source]
        if event == Event.CONNECTED:
            host, port = told["local"]
            session.local = (host, port)
            self.say(session.who, f"session to {told['server']} from {host}:{port}", at=at)
        elif event == Event.ASKED:
            session.asked, session.asked_at = told["number"], at
            self.say(session.who, f"sends line {session.asked}", at=at)
        elif event == Event.ANSWERED:
            session.answered += 1
            session.took.append((at, told["took_ms"]))
            if session is self.session:
                tone = Tone.GOOD if self.fault_at is not None else Tone.PLAIN
                took = f"after {told['took_ms']} ms"
                self.say(session.who, f"line {told['number']} is answered {took}", tone, at)
        elif event == Event.WRONG:
            session.wrong += 1
            self.say(session.who, f"a wrong answer: {told['got']}", Tone.BAD, at)
        elif event in _ENDS and source not in self._leaving:
            session.end, session.ended_at = _ENDS[event], at
            session.error = told.get("error", "")
            error = f": {session.error}" if session.error else ""
            tone = _END_TONES[session.end]
            self.say(session.who, _END_TEXTS[session.end] + error, tone, at)


def _status_tone(status: str) -> Tone:
    if status == "DOWN":
        return Tone.BAD
    return Tone.GOOD if status == "UP" else Tone.FAULT
