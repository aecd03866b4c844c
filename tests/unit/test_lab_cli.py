"""`lbsplice lab failover`: its options, and what it says when it can not play."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lbsplice.cli import lab as command
from lbsplice.lab import failover
from lbsplice.lab.scene import Case


def invoke(*arguments):
    return CliRunner().invoke(command.lab, ["failover", *arguments])


def test_help_shows_an_example():
    told = invoke("--help")
    assert told.exit_code == 0
    assert "sudo lbsplice lab failover --proxy haproxy" in told.output


def test_without_root_it_says_so_in_one_line(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    told = invoke()
    assert told.exit_code == 1
    assert told.output.count("\n") == 1
    assert "needs root" in told.output
    assert "sudo" in told.output


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("iptables", ["--how", "output-drop"]), ("haproxy", ["--proxy", "haproxy"])],
)
def test_a_missing_program_is_told_with_what_would_help(monkeypatch, missing, arguments):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        shutil, "which", lambda name, path=None: None if name == missing else f"/bin/{name}"
    )
    told = invoke(*arguments)
    assert told.exit_code == 1
    assert told.output == (
        f"Error: {missing} is not installed: `apt-get install {missing}` would help\n"
    )


def test_faults_that_are_no_firewall_rules_need_no_iptables(monkeypatch):
    played = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(
        failover, "play", lambda settings, case, report: played.append(case) or Seen
    )
    monkeypatch.setattr(command, "_show", lambda as_json: Silent())
    assert invoke("--how", "link-down").exit_code == 0
    assert played == list(Case)


class Seen:
    held = True


class Silent:
    def opens(self, settings, proxy_version): ...
    def case_opens(self, number, case): ...
    def happens(self, happening): ...
    def case_closes(self, result): ...
    def closes(self, results): ...


@pytest.mark.parametrize(
    ("arguments", "cases"),
    [
        ([], [Case.WITHOUT_ACTION, Case.WITH_ACTION, Case.BACK_IN_TIME]),
        (["--action"], [Case.WITH_ACTION]),
        (["--no-action"], [Case.WITHOUT_ACTION]),
        (["--back-in-time"], [Case.BACK_IN_TIME]),
        (["--no-action", "--back-in-time"], [Case.BACK_IN_TIME]),
    ],
)
def test_options_choose_the_cases(monkeypatch, arguments, cases):
    played = []
    monkeypatch.setattr(failover, "check_machine", lambda settings: None)
    monkeypatch.setattr(
        failover, "play", lambda settings, case, report: played.append(case) or Seen
    )
    monkeypatch.setattr(command, "_show", lambda as_json: Silent())
    assert invoke(*arguments).exit_code == 0
    assert played == cases


def test_back_in_time_with_the_action_makes_no_sense():
    told = invoke("--action", "--back-in-time")
    assert told.exit_code == 2
    assert "leave out --action" in told.output


def test_the_exit_status_is_1_when_something_else_happened(monkeypatch):
    class Wrong:
        held = False

    monkeypatch.setattr(failover, "check_machine", lambda settings: None)
    monkeypatch.setattr(failover, "play", lambda settings, case, report: Wrong)
    monkeypatch.setattr(command, "_show", lambda as_json: Silent())
    assert invoke().exit_code == 1


def test_the_command_line_alone_loads_no_netlink_library():
    told = subprocess.run(
        [sys.executable, "-c", "import lbsplice.cli.lab, sys; print('pyroute2' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "False\n"
