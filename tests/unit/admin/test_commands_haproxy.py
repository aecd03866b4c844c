"""The answers to commands that change nothing, or fail, beside those of a real HAProxy: the
same bytes, but for what is listed here with its reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.admin_socket import ask
from tests.support.program import reserved_port
from tests.support.waiting import wait_until

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy")

CONFIG = """\
global
 maxconn 100
 stats socket {path}/admin level admin
 stats socket {path}/operator
 stats socket {path}/user level user
 stats socket {path}/numbers level admin severity-output number
defaults
 timeout connect 1s
 timeout client 1s
 timeout server 1s
listen l
 bind 127.0.0.1:{ports[0]}
 server s1 127.0.0.1:1 check inter 1h
 server s2 127.0.0.1:1
frontend f
 bind 127.0.0.1:{ports[1]}
 default_backend b
backend b
 balance roundrobin
 server s1 127.0.0.1:1
"""


def answers(path: Path) -> bool:
    try:
        return ask(path / "user", "show cli level\n") == "user\n\n"
    except OSError:
        return False


@pytest.fixture(scope="module")
def haproxy() -> Iterator[Path]:
    """A directory with the sockets of a HAProxy at work."""
    assert HAPROXY is not None
    held = [reserved_port(), reserved_port()]
    with tempfile.TemporaryDirectory(prefix="lbs") as name:
        path = Path(name)
        ports = [each.getsockname()[1] for each in held]
        (path / "cfg").write_text(CONFIG.format(path=path, ports=ports))
        process = subprocess.Popen(
            [HAPROXY, "-db", "-q", "-f", str(path / "cfg")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: answers(path), "haproxy answers", 30)
            yield path
        finally:
            process.terminate()
            process.wait(10)
            for each in held:
                each.close()


ALIKE = (
    *("set server", "set server l", "set server q/s1 state ready", "set server l/q state ready"),
    *("set server l/s1 state", "set server l/s1 state bogus", "set server l/s1 health"),
    *("set server l/s1 health bogus", "set server l/s1 agent up", "set server l/s1 agent"),
    *("set server l/s1 weight", "set server l/s1 weight 300", "set server l/s1 weight -1"),
    *("set server l/s1 weight -5%", "set server l/s1 addr", "set server l/s1 fqdn x"),
    *("set server l/s1 ssl on", "set server l/s1 state ready", "set server l/s1 health up"),
    *("set weight", "set weight l/q 4", "set weight l/s1", "set weight b/s1 1", "set weight s1 4"),
    *("get weight", "get weight l", "get weight l/s1", "get weight q/s1", "get weight l/q"),
    *("enable server", "enable server l/s1", "enable server l/q", "enable server q/s1"),
    *("disable server l", "enable health", "enable health l/s1", "enable agent l/s1"),
    *("disable agent l/s1", "disable agent l/q", "disable health l/q"),
    *("enable frontend", "enable frontend q", "enable frontend b", "disable frontend q"),
    *("shutdown frontend", "shutdown frontend q", "shutdown session", "shutdown session 0"),
    *("shutdown session 0x55:", "shutdown session 55abc"),
    *("get\0weight l/s1", "get weight l/s1\0x", "get weight l/s1\0\r"),
    *("shutdown session xx", "shutdown session 0x55", "shutdown sessions server"),
    *("shutdown sessions server l/q", "shutdown sessions server l/s1"),
    *("set maxconn frontend", "set maxconn frontend l", "set maxconn frontend q 1"),
    *("set maxconn frontend l -4", "set maxconn frontend l 50", "set maxconn server"),
    *("set maxconn server l/s1", "set maxconn server l/q 3", "set maxconn global"),
    *("set rate-limit sessions global", "set rate-limit connections global 0"),
    *("clear counters", "clear counters all"),
    *("set timeout", "set timeout cli", "set timeout cli x", "set timeout cli 5s", "set timeout x"),
    *("set severity-output", "set severity-output bogus", "set severity-output string"),
    *("show cli level", "expert-mode", "expert-mode on;expert-mode", "experimental-mode"),
    *("operator;show cli level;user;show cli level;operator", "quit", "quit;show cli level"),
    *("get weight l/s1;get weight l/s2 ;get weight q/s1", r"get weight l\/s1", "get weight l/s1\r"),
    *(r"get weight l/s1\ x", r"get weight l/s1\;x", 'get weight "l/s1"', "\tget  weight\tl/s1 "),
    *("get weight #2/#1", "get weight #2/s2", "get weight l/#2", "get weight #3/s1"),
    *("get weight #9/#1", "get weight l/#7", "get weight #/s1", "get weight #02/#1x"),
    *("set server #2/#1 state ready", "set server #9/#1 state", "set weight #2/#1 1"),
    *("enable server #2/#1", "enable health #2/#1", "enable frontend #4", "enable frontend #9"),
    *("set maxconn frontend #3 50", "set maxconn server #2/#9 1"),
    *("shutdown sessions server #2/#1", "shutdown sessions server #2/#9"),
    *("get weight l/s1 <<\na\nb\n", "prompt\nget weight l/s1;set weight l/s1 1\nquit"),
    *("prompt\nset weight l/s1 x <<\n\nget weight l/q", "prompt\nget weight l/q <<\na\nb\n\nquit"),
)


@pytest.mark.parametrize("command", ALIKE)
def test_the_same_bytes(haproxy, say, command):
    theirs = ask(haproxy / "admin", command + "\n")
    ours = say(command)
    assert ours == _as_we_end(theirs)


def _as_we_end(answer: str) -> str:
    """HAProxy leaves out the empty line after some of its sentences; we do not."""
    return re.sub(r"((?:garbage|string)[^\n]*\n)(?!\n)", r"\1\n", answer)


@pytest.mark.parametrize("command", ["get weight l/q", "get weight l/s1", "show cli level"])
def test_the_same_severity(haproxy, say, command):
    assert say(command, "numbers") == ask(haproxy / "numbers", command + "\n")


@pytest.mark.parametrize("socket", ["operator", "user"])
@pytest.mark.parametrize(
    "command",
    [
        *("set server l/s1 state ready", "get weight l/s1", "set weight l/s1 1", "clear counters"),
        *("clear counters all", "enable frontend l", "shutdown session 0", "expert-mode on"),
        *("set maxconn global 5", "operator", "user", "set timeout cli 5", "show cli level"),
        *("disable agent l/s1", "shutdown sessions server l/s1", "add server l/n 127.0.0.1:1"),
        *("set severity-output none", "set rate-limit sessions global 0", "show cli level"),
    ],
)
def test_the_same_is_allowed(haproxy, say, command, socket):
    assert say(command, socket) == ask(haproxy / socket, command + "\n")


DIFFERENT: dict[str, Callable[[str, str], bool]] = {
    # 2.6 does not say the word; 2.7 and later do, as we do
    "bogus": lambda ours, theirs: (
        ours.startswith("Unknown command: 'bogus', but maybe one of the following")
        and theirs.startswith("Unknown command, but maybe one of the following")
    ),
    # 2.6 goes on with the next line, 3.x does not
    "show cli level\nshow cli level": lambda ours, theirs: theirs == 2 * ours,
    # a number that is none would switch the limit off
    "set maxconn frontend f x": lambda ours, theirs: (
        (ours, theirs) == ("Integer value expected.\n\n", "\n")
    ),
    # 2.6 has neither `echo` nor processes to choose from on this socket
    "echo a": lambda ours, theirs: ours == "a\n\n" and theirs.startswith("Unknown command"),
    "@1 get weight l/s1": lambda ours, theirs: (
        ours == "1 (initial 1)\n\n" and theirs.startswith("Unknown command")
    ),
}


@pytest.mark.parametrize("command", DIFFERENT)
def test_what_differs_and_why(haproxy, say, command):
    assert DIFFERENT[command](say(command), ask(haproxy / "admin", command + "\n"))


def test_help_looks_the_same(haproxy, say):
    """Each line of ours that HAProxy has as well begins at the same places."""
    theirs = dict(_usages(ask(haproxy / "admin", "help\n")))
    ours = dict(_usages(say("help")))
    both = theirs.keys() & ours.keys()
    assert {"help [<command>]", "quit", "show backend", "get weight <bk>/<srv>"} <= both
    for usage in both:
        assert ours[usage] == theirs[usage]


def test_help_is_in_words_of_our_own(haproxy, say):
    def meanings(text: str) -> set[str]:
        return {line.partition(": ")[2] for line in text.splitlines()[1:] if line}

    ours = meanings(say("help"))
    assert len(ours) > 40
    assert ours & meanings(ask(haproxy / "admin", "help\n")) == set()


def _usages(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines()[1:]:
        usage, colon, _ = line.partition(": ")
        if colon:
            yield usage.strip(), len(usage)
