"""docs/commands.md tells of what there is."""

import re
from pathlib import Path

from lbsplice.admin.own_commands import COMMANDS
from lbsplice.cli.main import commands
from lbsplice.cli.sessions import HEAD, KERNEL_HEAD
from lbsplice.cli.top_model import KEYS

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "commands.md").read_text()


def test_every_command_of_the_socket_is_told_of():
    for command in COMMANDS:
        assert f"| `{' '.join(command.words)}" in TEXT


def test_every_option_is_told_of():
    listed = {"status", "sessions", "explain", "server", "kill", "top", "completion"}
    for name in listed:
        assert f"`lbsplice {name}" in TEXT
    sessions = commands.get_command(None, "sessions")
    for parameter in sessions.params:
        for option in parameter.opts:
            assert option in TEXT, option


def test_the_columns_of_sessions_are_told_of():
    head = ("leg", *HEAD, *KERNEL_HEAD)
    assert f"\n{' '.join(head)}\n" in re.sub(" +", " ", TEXT)
    for column in head[1:]:
        assert re.search(rf"^\| [^|]*`{column}`", TEXT, re.M), column


def test_every_key_of_top_is_told_of():
    for keys, _ in KEYS:
        for key in keys.split():
            assert f"`{key}`" in TEXT or key in ("up", "down")
