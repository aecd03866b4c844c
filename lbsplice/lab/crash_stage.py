"""What is seen while `lab crash` runs: the transfer, the two sessions beside it, the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lbsplice.errors import LabError
from lbsplice.lab.crash_scene import Gap
from lbsplice.lab.crash_traffic import COMPLETE, MOVED
from lbsplice.lab.loglines import read_adoption
from lbsplice.lab.processes import Child, Line
from lbsplice.lab.scene import Tone, Who
from lbsplice.lab.stage import Report, SessionSeen, Stage
from lbsplice.lab.traffic import Event
from lbsplice.lab.verdict import End

Progress = Callable[[int], None]
"""How many bytes are back."""

STANDSTILL_S = 8.0
"""A transfer of which so long nothing comes hangs."""

_ENDS = {Event.FIN: End.FIN, Event.RESET: End.RESET, Event.ERROR: End.ERROR}
_END_TEXTS = {
    End.FIN: "told: end of file (FIN), as after the last byte",
    End.RESET: "told: connection reset (ECONNRESET)",
    End.ERROR: "told: an error",
}


@dataclass
class TransferSeen:
    """The transfer as its client tells it. Times are time.monotonic() seconds."""

    began_at: float | None = None
    received: int = 0
    moved_at: float = 0.0
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """The longest times without a byte: from, until."""
    digests: tuple[str, str] = ("", "")
    end: End | None = None
    error: str = ""
    over_at: float | None = None

    @property
    def over(self) -> bool:
        return self.over_at is not None


class CrashStage(Stage):
    """A Stage whose two sessions are `lines` and `idle`, with a transfer beside them."""

    def __init__(self, report: Report, progress: Progress) -> None:
        super().__init__(report)
        self.lines = self.bystander = SessionSeen(Who.LINES)
        self.idle = self.session = SessionSeen(Who.IDLE)
        self.transfer = TransferSeen()
        self.adopted: dict[int, float] = {}
        """By the pid of the worker that died: how long its successor took, in milliseconds."""
        self.proxy_ended = False
        self._progress = progress

    def follow_proxy(self, child: Child) -> None:
        """Read a child's lines as the log; its end is an event as others are."""
        self.proxy = child
        self.read_with(child, self._read_proxy)

    def follow_transfer(self, child: Child) -> None:
        """Read a child's lines as the events of the transfer."""
        self.read_with(child, self._read_transfer)

    def over_by(self, moment: float) -> bool:
        """Watch until then (False), or until the transfer is over or stands still (True)."""
        seen = self.transfer
        while not seen.over and time.monotonic() < moment:
            until = min(moment, seen.moved_at + STANDSTILL_S)
            self.wait(lambda: seen.over, until - time.monotonic())
            if not seen.over and time.monotonic() >= seen.moved_at + STANDSTILL_S:
                seen.end, seen.over_at = End.HANGS, time.monotonic()
                text = f"not a byte, not an end, for {STANDSTILL_S:g} s: it hangs"
                self.say(Who.TRANSFER, text, Tone.BAD)
        return seen.over

    def pauses(self) -> list[Gap]:
        """The longest times without a byte of the transfer, after its start."""
        return [Gap(self._since(start), self._since(end)) for start, end in self.transfer.gaps]

    def waits(self) -> list[Gap]:
        """The times from each line to its answer, after the start of the transfer."""
        return [
            Gap(self._since(at) - took_ms / 1000, self._since(at))
            for at, took_ms in self.lines.took
        ]

    def _since(self, at: float) -> float:
        return at - (self.transfer.began_at or 0.0)

    def _read_proxy(self, line: Line) -> None:
        if line.text is None:
            if line.source in self._leaving:
                return
            self.proxy_ended = True
            last = line.source.last_words().rpartition(" | ")[2]
            self.say(Who.PROXY, f"has ended: {last}", Tone.BAD, line.at)
        elif adoption := read_adoption(line.text):
            self.adopted[adoption.worker] = adoption.took_ms
            self.say(Who.PROXY, line.text, Tone.GOOD, line.at)

    def _read_transfer(self, line: Line) -> None:
        seen = self.transfer
        if line.text is None:
            if not seen.over:
                raise LabError(f"the lab's transfer ended: {line.source.last_words()}")
            return
        told = json.loads(line.text)
        event, at = told["event"], told["at"]
        if event == Event.CONNECTED:
            seen.began_at = seen.moved_at = self.fault_at = at
            self.say(Who.TRANSFER, "begins", at=at)
        elif seen.over:
            return
        elif event == MOVED:
            seen.received, seen.moved_at = told["received"], at
            seen.gaps.append((told["gap_until"] - told["gap_s"], told["gap_until"]))
            self._progress(seen.received)
        elif event == COMPLETE:
            seen.received, seen.over_at = told["received"], at
            seen.digests = sent, received = told["sent_sha256"], told["received_sha256"]
            text, tone = ("equal", Tone.GOOD) if sent == received else ("DIFFER", Tone.BAD)
            self.say(Who.TRANSFER, f"all is back, the checksums are {text}", tone, at)
        elif event in _ENDS:
            seen.received, seen.over_at, seen.end = told["received"], at, _ENDS[event]
            seen.error = told.get("error", "")
            error = f": {seen.error}" if seen.error else ""
            text = f"{_END_TEXTS[seen.end]}{error}, after {seen.received} bytes"
            self.say(Who.TRANSFER, text, Tone.BAD, at)
