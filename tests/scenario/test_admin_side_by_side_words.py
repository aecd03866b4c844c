"""Who may look, and what a command that is wrong is answered with: HAProxy's sentences, to the
byte where the version that is followed has not changed them."""

from __future__ import annotations

import pytest

from tests.support.side_by_side import Record, both_sides
from tests.support.sidebyside import haproxy_is_the_oracle

pytestmark = pytest.mark.skipif(not haproxy_is_the_oracle(), reason="needs HAProxy 2.6")

WRONGLY = "wrongly"
LEVELS = ("user", "operator")
LOOKS = (
    *("show stat", "show info", "show sess", "show sess 0x1", "show servers state"),
    *("show servers conn", "show backend", "show errors", "show env", "show version"),
    *("show startup-logs", "show activity", "show fd", "show events", "show threads"),
    *("show tasks", "show pools", "show libs", "show resolvers", "show peers", "show table"),
    *("show schema json", "show cli sockets", "show cli level"),
)

WRONG = (
    *("show stat nope 4 -1", "show servers state nope", "show servers conn nope"),
    *("show env LBSPLICE_HAS_NO_SUCH", "show sess 0x12", "show errors nope"),
    *("show events nope", "show events buf0 -x", "show table x", "show resolvers x"),
    *("show peers x",),
    *("set server", "set server b", "set server b/s1", "set server nope/s1 state ready"),
    *("set server b/nope state ready", "set server b/s1 state", "set server b/s1 state wat"),
    *("set server b/s1 health", "set server b/s1 health wat", "set server b/s3 health up"),
    *("set server b/s1 weight", "set server b/s1 weight x", "set server b/s1 weight 257"),
    *("set server b/s1 weight -1", "set server b/s1 addr"),
    *("set server b/s1 addr wat/", "set server b/s1 wat", "set server b/s1 agent up"),
    *("get weight", "get weight nope/s1", "get weight b/nope", "get weight b"),
    *("set weight", "set weight b/s1", "set weight b/nope 1", "set weight b/s1 x"),
    *("set weight b/s1 300", "set weight b/s1 -1"),
    *("enable server", "enable server b/nope", "enable server nope/s1", "disable server b"),
    *("enable health b/nope", "disable health b/s3", "enable health b/s3"),
    *("enable agent b/s1", "disable agent b/s1", "enable frontend nope", "enable frontend"),
    *("enable frontend f", "disable frontend", "disable frontend nope", "disable frontend b"),
    *("shutdown frontend", "shutdown frontend nope", "shutdown session"),
    *("shutdown session 0x12", "shutdown sessions server", "shutdown sessions server b/nope"),
    *("set maxconn", "set maxconn frontend", "set maxconn frontend nope 1"),
    *("set maxconn frontend f", "set maxconn server"),
    *("set maxconn server b/nope 1", "set maxconn server b/s1", "set maxconn global"),
    *("get weight #3/#1", "get weight #4/x", "get weight b/#3", "get weight #2/s1"),
    *("get weight #9/s1", "get weight b/#9", "set server #3/#9 state ready"),
    *("set server #3/s1 state", "enable frontend #3", "shutdown frontend #9"),
    *("show stat #9 4 -1", "show stat domain wat", "show servers state #2", "show errors #9"),
    *("set rate-limit", "set rate-limit connections", "set rate-limit connections global"),
    *("set rate-limit wat global 1", "set rate-limit connections wat 1"),
    "set rate-limit sessions global -1",
    *("set timeout", "set timeout cli", "set timeout cli x", "set timeout wat 1"),
    *("set severity-output", "set severity-output wat", "del server b/nope", "del server b/s1"),
    *("del server b", "add server", "add server b", "add server b/s1 127.0.0.1:1"),
)

NO_NEWLINE = "HAProxy 2.6 forgets the newline of the sentence"
FEWER = "what lbsplice does not have is not offered"
DIFFERENT_SENTENCES = {
    "set server b/s1": FEWER,
    "set server b/s1 wat": FEWER,
    "set rate-limit": FEWER,
    "set rate-limit connections": FEWER,
    "set rate-limit wat global 1": FEWER,
    "set rate-limit connections wat 1": FEWER,
    "show events nope": NO_NEWLINE,
    "show events buf0 -x": NO_NEWLINE,
    "set server b/s1 weight x": NO_NEWLINE,
    "set weight b/s1 x": NO_NEWLINE,
    "del server b/nope": NO_NEWLINE,
    "del server b/s1": NO_NEWLINE,
    "del server b": NO_NEWLINE,
    "add server": NO_NEWLINE,
    "add server b": NO_NEWLINE,
}
"""Commands whose answer is not HAProxy 2.6's to the byte, and why."""


@pytest.fixture(scope="module")
def record() -> Record:
    """Everything that both answered."""
    made = Record()
    with both_sides() as sides:
        for side in sides:
            side.until("s1", "UP")
            side.until("s2", "UP")
            for command in LOOKS:
                for level in LEVELS:
                    made.answers[side.program, level, command] = side.plain(command, level)
            for command in WRONG:
                made.answers[side.program, WRONGLY, command] = side.plain(command)
    return made


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_same_level_is_needed_to_look(record, level, command):
    theirs, ours = record.both(level, command)
    denied = "Permission denied\n\n"
    assert (ours == denied) == (theirs == denied)
    assert not ours.startswith("Unknown command")
    assert ours.endswith("\n")


def unknown(text: str) -> str:
    """An unknown command is answered with a list of those most like it, which depends on
    what commands there are; the first words of its title are the same in all versions."""
    return "Unknown command" if text.startswith("Unknown command") else text


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_is_answered_with_haproxys_sentence(record, command):
    theirs, ours = map(unknown, record.both(WRONGLY, command))
    if command in DIFFERENT_SENTENCES:
        assert ours != theirs, "a difference that is no more"
        assert ours[:14] == theirs[:14]
    else:
        assert ours == theirs
