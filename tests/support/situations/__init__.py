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
    errors: tuple[tuple[str, str], ...] = ()
    other_times: bool = False  # the times of the changed lines differ too

    def applied(self, seen: Seen) -> Seen:
        """What is seen where lbsplice's way is gone."""

        def changed(text: str, rules: tuple[tuple[str, str], ...]) -> str:
            for pattern, instead in rules:
                text = re.sub(pattern, instead, text)
            return text

        log = []
        for line in seen.log:
            text = changed(line.text, self.log)
            any_time = self.other_times and text != line.text
            if text:
                log.append(Line(text, None if any_time else line.times))
        notes = [changed(note, self.notes) for note in seen.notes]
        errors = [changed(error, self.errors) for error in seen.errors]
        return replace(seen, notes=notes, log=log, errors=[one for one in errors if one])


REFUSED = (
    (r'info: "Connection refused"', 'info: "ECONNREFUSED returned by OS (Connection refused)"'),
)
OWN_PROXY = ((r".*<HTTPS?CLIENT>.*", ""),)
ALWAYS = (
    Difference("3.2 names the error of a check, 2.6 does not", log=REFUSED, errors=REFUSED),
    Difference("a proxy that HAProxy 2.6 makes for itself", log=OWN_PROXY, errors=OWN_PROXY),
    Difference("stderr has the words of the log", errors=((r"(proxy|backend) '(\w+)'", r"\1 \2"),)),
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
DOWN_IN_DATA = Difference(
    "ended by a mark-down in the data phase is DD, as the manual has it",
    log=((r" (D-|DC) ", " DD "),),
)
UNREAD = Difference(
    "what the client said reached nobody: it gets a reset, not an end",
    notes=((r"^(client .*) FIN$", r"\1 RST"),),
)
RESET_WHILE_CONNECTING = Difference(
    "a client that resets before the server answered left in the connect phase",
    log=((r"( N/-N/N 0) CD ", r"\1 CC "),),
)
RESET_IS_SEEN = Difference(
    "a client that resets after its half-close is noticed at once, not at a timeout",
    log=((r" sD ", " CD "),),
    other_times=True,
)
NOLINGER_IS_GENTLE = Difference(
    "with nolinger too the client's end reaches the server as an end, and its answer comes",
    notes=((r"^(server .*) RST$", r"\1 FIN"),),
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
