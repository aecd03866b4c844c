"""The packets of one idle leg, as tcpdump shows them while they pass."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from lbsplice.errors import LabError
from lbsplice.kernel.sockdiag import TcpSocket
from lbsplice.lab.cast import Cast
from lbsplice.lab.faults import find_program
from lbsplice.lab.processes import Child, Line
from lbsplice.lab.scene import Tone, Who
from lbsplice.lab.stage import Stage
from lbsplice.lab.topology import BALANCER

_READY_S = 10.0
_LOOK_EVERY_S = 0.01
_SEGMENT = re.compile(
    r"(?P<stamp>\d+\.\d+) (?P<text>IP (?P<source>\S+) > (?P<target>\S+): "
    r"Flags \[(?P<flags>[^]]*)\].*), length (?P<length>\d+)$"
)
_OPTIONS = re.compile(r", options \[[^]]*\]")


@dataclass(frozen=True)
class Segment:
    """A line of tcpdump's."""

    stamp: float
    """The wall clock's time, in seconds, when the packet passed."""
    source: str
    flags: str
    length: int
    text: str
    """What tcpdump says of it, without its clock and TCP's options."""

    @property
    def bare(self) -> bool:
        """Whether it carries nothing but an acknowledgment, as a probe and its answer do."""
        return self.length == 0 and self.flags == "."


def read_segment(line: str) -> Segment | None:
    """A TCP segment that tcpdump tells of, or None when the line is something else.

    >>> read_segment("12.5 IP 10.0.0.1.81 > 10.0.0.2.99: Flags [.], ack 7, win 9, length 0").bare
    True
    """
    found = _SEGMENT.match(line)
    if not found:
        return None
    return Segment(
        float(found["stamp"]),
        found["source"],
        found["flags"],
        int(found["length"]),
        f"{_OPTIONS.sub('', found['text'])}, length {found['length']}",
    )


@dataclass
class Capture:
    """What tcpdump saw of a leg, from `quiet_from` (time.monotonic() seconds) on. Times are
    time.monotonic() seconds."""

    stage: Stage
    child: Child
    near: str
    """The balancer's end of the leg, as tcpdump writes it."""
    probes: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    quiet_from: float | None = None

    def stop(self) -> None:
        """End tcpdump; what it has seen stays."""
        self.stage.read_with(self.child, lambda line: None)
        self.child.stop()

    def read(self, line: Line) -> None:
        if line.text is None:
            raise LabError(f"tcpdump ended: {line.source.last_words()}")
        segment = read_segment(line.text)
        if segment is None or not segment.bare or self.quiet_from is None:
            return
        at = segment.stamp - time.time() + time.monotonic()
        if at < self.quiet_from or not self.stage.session.alive:
            return
        if segment.source == self.near:
            self.probes.append(at)
            meaning = f"probe {len(self.probes)}"
        elif len(self.answers) < len(self.probes):
            self.answers.append(at)
            meaning = "its answer"
        else:
            return
        self.stage.say(Who.CAPTURE, f"{segment.text}  <- {meaning}", Tone.PLAIN, at)


def watch_leg(cast: Cast, stage: Stage, leg: TcpSocket) -> Capture:
    """Have tcpdump watch a leg in the balancer, until the cast leaves."""
    near = f"{leg.local[0]}.{leg.local[1]}"
    ports = f"port {leg.local[1]} and port {leg.peer[1]}"
    command = ["--immediate-mode", "-l", "-n", "-tt", "-s", "96", "-i", "eth0"]
    words = [find_program("tcpdump"), *command, f"tcp and host {leg.peer[0]} and {ports}"]
    child = cast.program(BALANCER, "tcpdump", words)
    capture = Capture(stage, child, near)
    stage.read_with(child, capture.read)
    deadline = time.monotonic() + _READY_S
    while "listening on" not in child.last_words():
        stage.wait(lambda: False, _LOOK_EVERY_S)
        if time.monotonic() > deadline:
            raise LabError(f"tcpdump did not listen: {child.last_words()}")
    return capture
