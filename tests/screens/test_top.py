"""`lbsplice top` in a real terminal."""

import re
import shlex
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace

import pytest

from lbsplice.admin.view import Transition
from lbsplice.terms import AdminState
from tests.support.admin import backend_view, session_view, small_view
from tests.support.command import environment, lbsplice
from tests.support.program import program
from tests.support.running import start
from tests.support.terminal import HAVE_TMUX, WITHIN_S, Terminal
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not HAVE_TMUX, reason="needs tmux")

PROGRAM = (sys.executable, "-m", "lbsplice")


@pytest.fixture
def running(tmp_path):
    with ExitStack() as stack:
        yield start(stack, tmp_path)


@pytest.fixture
def top(tmp_path, running):
    words = (*PROGRAM, "top", "-f", str(running.file), "--interval", "200ms")
    with Terminal(tmp_path, words, env=environment()) as terminal:
        terminal.shows("l/s1", "q quit")
        yield terminal


def line_of(screen, name):
    return next(line for line in screen.splitlines() if line.startswith(name))


def selected(terminal, name):
    """The server's line is the one that is shown in reverse."""
    reverse = re.compile(rf"^\x1b\[(?:\d+;)*7m(?:\x1b\[\d+m)*{name} ")
    return any(map(reverse.search, terminal.screen(colours=True).splitlines()[1:]))


def test_top_shows_servers_and_leaves_the_terminal_as_it_was(top):
    screen = top.shows("server", "status", "traffic", "last transitions")
    assert line_of(screen, "l/s1").split()[1] == "UP"
    after = top.types("q").shows("ended: 0")
    assert "l/s1" not in after
    top.types("e", "c", "h", "o").shows("echo")  # what is typed is seen again


def test_top_shows_what_happens_while_it_watches(top, running):
    backend = backend_view("l")
    down = replace(backend.servers[0], status="DOWN", word="DOWN", is_up=False)
    running.control.shown = small_view(
        proxies=("l",),
        backends={"l": replace(backend, servers=(down, backend.servers[1]))},
        transitions=(Transition(1_700_000_000.0, ("l", "s1"), "UP", "DOWN", "Layer4 timeout", 12),),
    )
    screen = top.shows("l/s1  UP -> DOWN  ended 12 sessions  Layer4 timeout")
    assert line_of(screen, "l/s1").split()[1] == "DOWN"
    assert "b/s1" not in screen


def test_top_orders_what_its_keys_say(top, running):
    wait_until(lambda: selected(top, "l/s1"), "the first one is selected", WITHIN_S)
    top.types("Down")
    wait_until(lambda: selected(top, "l/s2"), "the second one is selected", WITHIN_S)
    top.types("d").shows("l/s2: drain")
    assert running.control.asked[-1][:3] == ("set_admin", ("l", "s2"), AdminState.DRAIN)
    top.types("m").shows("l/s2: put it into maintenance? y/n")
    top.types("y").shows("l/s2: maint")
    assert running.control.asked[-1][:3] == ("set_admin", ("l", "s2"), AdminState.MAINT)


def test_top_ends_sessions_once_that_is_confirmed(top, running):
    running.control.open_sessions = {number: session_view(number) for number in (1, 2)}
    top.types("K").shows("l/s1: end all its sessions? y/n")
    top.types("n").shows("nothing was done")
    assert len(running.control.open_sessions) == 2
    top.types("K").shows("y/n")
    top.types("y").shows("l/s1: ended 2 sessions")
    assert running.control.open_sessions == {}


def test_top_filters_and_sorts(top):
    top.types("/", "b", "/").shows("filter: b/")
    top.types("Enter")
    top.fits(lambda screen: "b/s1" in screen and "l/s1" not in screen, "only b is left")
    top.types("/", "Escape").shows("l/s1")
    top.types("s").shows("server▼")
    top.types("S").shows("server▲")
    top.fits(lambda screen: screen.index("l/s2") < screen.index("l/s1"), "the other way round")
    top.types("?").shows("end all its sessions", "filter by name or status")


def test_top_follows_the_size_of_the_terminal(top):
    top.resizes(60, 12)
    top.fits(
        lambda screen: "q quit" in screen.rstrip("\n").splitlines()[-1] and "l/s1" in screen,
        "it fits into the smaller one",
    )


def test_top_says_when_nobody_answers_and_goes_on_when_somebody_does(tmp_path):
    with ExitStack() as first, ExitStack() as second:
        made = start(first, tmp_path, meets=False)
        words = (*PROGRAM, "top", "--socket", str(made.path), "--interval", "200ms")
        with Terminal(tmp_path, words, env=environment()) as terminal:
            terminal.shows("l/s1", "q quit")
            first.close()
            made.path.unlink(missing_ok=True)
            terminal.shows("l/s1", "no answer: ")
            start(second, tmp_path, meets=False)
            terminal.shows("l/s1", "q quit")
            terminal.types("q").shows("ended: 0")


PATIENT = f"""
from lbsplice.cli import client, main
client.WITHIN_S = {6 * WITHIN_S}
main.main()
"""


def test_top_obeys_its_keys_while_nobody_answers(tmp_path, running):
    asked, answers, look = threading.Event(), threading.Event(), running.control.view

    def late():
        asked.set()
        answers.wait(6 * WITHIN_S)
        return look()

    # It waits for an answer far longer than we do for what its keys show.
    words = (sys.executable, "-c", PATIENT, "top", "-f", str(running.file), "--interval", "200ms")
    with Terminal(tmp_path, words, env=environment()) as top:
        top.shows("l/s1", "q quit")
        running.control.view = late
        try:
            assert asked.wait(WITHIN_S)
            top.types("?").shows("end all its sessions", "filter by name or status")
            top.types("?", "q").shows("ended: 0")
        finally:
            answers.set()


def test_top_sees_a_real_server_die_and_its_sessions_end(tmp_path):
    with program(tmp_path) as lb:
        dies, stays = lb.server(), lb.server()
        lb.start(f"""
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    default-server inter 200ms fall 1 rise 1 on-marked-down shutdown-sessions
listen l
    bind 127.0.0.1:{lb.port()}
    balance first
    server dies {dies} check
    server stays {stays} check
""")
        sessions = [lb.session(dies) for _ in range(3)]
        words = (*PROGRAM, "top", "-f", str(tmp_path / "lb.cfg"), "--interval", "200ms")
        with Terminal(tmp_path, words, env=environment()) as terminal:
            # status, weight, sessions
            terminal.fits(re.compile(r"^l/dies +UP +1 +3 ", re.M).search, "it has three")
            dies.dies()
            terminal.shows("l/dies  UP -> DOWN  ended 3 sessions")
            screen = terminal.fits(re.compile(r"^l/dies +DOWN +0 +0 ", re.M).search, "it has none")
            assert line_of(screen, "l/stays").split()[1] == "UP"
            for client, _ in sessions:
                client.reads_reset()
            terminal.types("q").shows("ended: 0")
        lb.stops()


def test_top_follows_the_size_at_once_however_seldom_it_looks(tmp_path, running):
    words = (*PROGRAM, "top", "-f", str(running.file), "--interval", "1h")
    with Terminal(tmp_path, words, env=environment()) as terminal:
        terminal.shows("l/s1", "traffic", "q quit")
        terminal.resizes(60, 12)
        terminal.fits(
            lambda screen: (
                "q quit" in screen.rstrip("\n").splitlines()[-1]
                and "traffic" not in screen
                and "l/s1" in screen
            ),
            "it fits into the smaller one",
        )


def test_top_leaves_the_terminal_as_it_was_when_it_is_ended_from_outside(top):
    top.signals("TERM", "lbsplice top").shows("ended: 143")
    assert "l/s1" not in top.types("e", "c", "h", "o").shows("echo")


def test_top_leaves_the_screen_while_it_is_stopped(tmp_path, running):
    with Terminal(tmp_path, ("bash", "--norc", "--noprofile"), env=environment()) as terminal:
        terminal.types("PS1=ready-; set -m", "Enter").shows("ready-")
        command = f"{shlex.join(PROGRAM)} top -f {running.file}"
        terminal.types(command, "Enter").shows("l/s1", "q quit")
        stopped = terminal.types("C-z").shows("Stopped")
        assert "l/s1" not in stopped
        terminal.types("echo se''en", "Enter").shows("seen")
        terminal.types("fg", "Enter").shows("l/s1", "q quit")
        terminal.types("q").fits(lambda screen: "l/s1" not in screen, "it has ended")


def test_a_key_that_top_does_not_know_does_nothing(top):
    top.types("PPage", "F5", "Home", "/", "x", "PPage", "F5", "y").shows("filter: xy▏")


def test_top_ends_at_an_interrupt(top):
    top.types("C-c").shows("ended: 0")


def test_top_needs_a_terminal(running):
    done = lbsplice("top", "-f", str(running.file))
    assert done.returncode == 1
    assert done.stderr == (
        "lbsplice: top needs a terminal; `lbsplice status` tells the same as text\n"
    )


def test_top_needs_a_terminal_that_can_place_text(tmp_path, running):
    words = ("env", "TERM=dumb", *PROGRAM, "top", "-f", str(running.file))
    with Terminal(tmp_path, words, env=environment()) as terminal:
        terminal.shows("TERM=dumb", "ended: 1")
