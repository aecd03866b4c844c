"""What an operator's proxy meets in a year, each as a configuration and a conversation.

A situation tells which intended differences show in it: each is applied to what HAProxy
did, must change something there, and the result is what lbsplice has to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.support.sidebyside import Line, Play, Seen

HEAD = """\
global
 nbthread 1
 log {log} local0
 log-tag lb
defaults
 log global
 mode tcp
 option tcplog
 timeout connect 1s
 timeout client 3s
 timeout server 3s
"""


@dataclass(frozen=True)
class Difference:
    """Where lbsplice does not do what HAProxy does: patterns over the words of the notes,
    of the log, and of stderr."""

    reason: str
    notes: tuple[tuple[str, str], ...] = ()
    log: tuple[tuple[str, str], ...] = ()

    def applied(self, seen: Seen) -> Seen:
        """What is seen where lbsplice's way is gone."""

        def changed(text: str, rules: tuple[tuple[str, str], ...]) -> str:
            for pattern, instead in rules:
                text = re.sub(pattern, instead, text)
            return text

        lines = [Line(changed(line.text, self.log), line.times) for line in seen.log]
        return replace(
            seen,
            notes=[changed(note, self.notes) for note in seen.notes],
            log=[line for line in lines if line.text],
        )


ALWAYS = (
    Difference(
        "3.2 names the error of a check, 2.6 does not",
        log=((r'info: "Connection refused"', 'info: "ECONNREFUSED returned by OS (Connection refused)"'),),
    ),
    Difference("a proxy that HAProxy 2.6 makes for itself", log=((r".*<HTTPCLIENT>.*", ""),)),
)
"""What may show anywhere."""

SERVER_RESET = Difference(
    "the server's reset reaches the client: an answer that was cut does not look complete",
    notes=((r"^(client .*) FIN$", r"\1 RST"),),
)
KILLED = Difference(
    "the client of a killed session gets a reset: it can not take it for the answer's end",
    notes=((r"^(client .*) FIN$", r"\1 RST"),),
)


@dataclass(frozen=True)
class Situation:
    name: str
    text: str
    play: Play
    differs: tuple[Difference, ...]


SITUATIONS: list[Situation] = []


def situation(text: str, *differs: Difference, head: str = HEAD) -> Callable[[Play], Play]:
    """Register a conversation under the name of its function."""

    def register(play: Play) -> Play:
        name = play.__name__.replace("_", " ")
        SITUATIONS.append(Situation(name, head + text, play, differs))
        return play

    return register


# The situations register themselves.
from tests.support.situations import details, failures, services  # noqa: E402, F401
