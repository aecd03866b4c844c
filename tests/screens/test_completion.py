"""Tab completion in real shells, with the servers of a running process."""

import shutil
import stat
import sys
from contextlib import ExitStack

import pytest

from tests.support.admin import session_view
from tests.support.command import ROOT, environment, lbsplice
from tests.support.running import start
from tests.support.terminal import HAVE_TMUX, Terminal

pytestmark = pytest.mark.skipif(not HAVE_TMUX, reason="needs tmux")

SHELLS = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}
SETTINGS = {
    "bash": "",
    "zsh": "autoload -U compinit && compinit -u -d {directory}/zcompdump",
    "fish": "",
}


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path):
    """A shell in a terminal, which has read what `lbsplice completion` prints, and a running
    process."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    program = tmp_path / "bin" / "lbsplice"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lbsplice "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    script = tmp_path / f"completion.{name}"
    script.write_text(lbsplice("completion", name).stdout)
    env = environment(
        PATH=f"{program.parent}:{environment()['PATH']}",
        PYTHONPATH=str(ROOT),
        HOME=str(tmp_path),
        XDG_DATA_HOME=str(tmp_path),
        XDG_CONFIG_HOME=str(tmp_path),
    )
    with ExitStack() as stack:
        running = start(stack, tmp_path)
        terminal = stack.enter_context(Terminal(tmp_path, SHELLS[name], env=env))
        setting = SETTINGS[name].format(directory=tmp_path)
        for line in filter(None, (setting, f"source {script}", "echo it is; echo ready")):
            terminal.types(line, "Enter")
        terminal.fits(lambda screen: "\nready" in screen, "the shell is ready")
        yield terminal, running


def test_the_servers_of_the_running_process_are_completed(shell):
    terminal, running = shell
    terminal.types(f"lbsplice server -f {running.file} l/s", "Tab", "Tab")
    terminal.shows("l/s1", "l/s2")


def test_a_name_that_is_the_only_one_is_filled_in(shell):
    terminal, running = shell
    terminal.types(f"lbsplice kill server -f {running.file} b", "Tab")
    terminal.shows("b/s1")


def test_the_open_sessions_are_completed(shell):
    terminal, running = shell
    running.control.open_sessions = {n: session_view(n) for n in (0x1A1, 0x1A2)}
    terminal.types(f"lbsplice explain -f {running.file} 0x", "Tab")
    terminal.shows("0x1a")
    terminal.types("2", "Tab", "Enter").shows("session 0x1a2: ")


def test_status_completes_backends_and_servers(shell):
    terminal, running = shell
    terminal.types(f"lbsplice status -f {running.file} ", "Tab", "Tab")
    terminal.fits(
        lambda screen: {"l", "b", "l/s2", "b/s1"} <= set(screen.split()), "all are offered"
    )


def test_commands_are_completed(shell):
    terminal, _ = shell
    terminal.types("lbsplice expl", "Tab")
    terminal.shows("lbsplice explain")
