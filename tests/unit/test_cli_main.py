"""The command: its answers to HAProxy's words, on standard output, error and as status."""

from __future__ import annotations

import re

import pytest

from tests.support.command import lbsplice

VALID = """\
defaults
 mode tcp
 timeout connect 1s
 timeout client 10s
 timeout server 10s
listen l
 bind 127.0.0.1:28080
 server a 127.0.0.1:9
"""
WITHOUT_TIMEOUTS = "listen l\n mode tcp\n bind 127.0.0.1:28080\n server a 127.0.0.1:9\n"
UNKNOWN_WORD = "listen l\n mode tcp\n bindd 127.0.0.1:28080\n server a 127.0.0.1:9\n"


@pytest.fixture
def files(tmp_path):
    """Three configurations: `valid.cfg`, `warns.cfg`, `fails.cfg`."""
    for name, text in (("valid", VALID), ("warns", WITHOUT_TIMEOUTS), ("fails", UNKNOWN_WORD)):
        (tmp_path / f"{name}.cfg").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "status", "out"),
    [
        ("-c -f valid.cfg", 0, ""),
        ("-c -V -f valid.cfg", 0, "Configuration file is valid\n"),
        ("-c -dW -f valid.cfg", 0, ""),
        ("-c -f warns.cfg", 0, "Warnings were found.\n"),
        ("-c -V -f warns.cfg", 0, "Warnings were found.\nConfiguration file is valid\n"),
        ("-c -q -f warns.cfg", 0, ""),
        ("-c -dW -f warns.cfg", 1, ""),
        ("-c -f fails.cfg", 1, ""),
        ("-c -V -f fails.cfg", 1, ""),
        ("-c -f valid.cfg -- fails.cfg", 1, ""),
        ("-c -f nosuch.cfg", 1, ""),
    ],
)
@pytest.mark.parametrize("prefix", [(), ("run",)])
def test_a_check_answers_with_its_status(files, prefix, words, status, out):
    ended = lbsplice(*prefix, *words.split(), cwd=files)
    assert (ended.returncode, ended.stdout) == (status, out)


def test_the_check_command_is_run_c_v(files):
    assert lbsplice("check", "valid.cfg", cwd=files).stdout == "Configuration file is valid\n"
    assert lbsplice("check", "valid.cfg", "fails.cfg", cwd=files).returncode == 1


def test_errors_are_told_in_haproxys_shape_and_first_who_tells_them(files):
    lines = lbsplice("-c", "-f", "fails.cfg", cwd=files).stderr.splitlines()
    pid = re.fullmatch(r"\[NOTICE\]   \((\d+)\) : lbsplice version is \S+", lines[0]).group(1)
    assert lines[1].startswith(f"[NOTICE]   ({pid}) : path to executable is /")
    assert lines[2].startswith(
        f"[ALERT]    ({pid}) : config : parsing [fails.cfg:3] : unknown keyword 'bindd'"
    )
    assert lines[-1] == f"[ALERT]    ({pid}) : config : Fatal errors found in configuration."


def test_a_valid_file_says_nothing_and_quiet_says_nothing_of_errors(files):
    assert lbsplice("-c", "-f", "valid.cfg", cwd=files).stderr == ""
    ended = lbsplice("-c", "-q", "-f", "fails.cfg", cwd=files)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


def test_zero_warning_says_why_it_ends(files):
    assert "'zero-warning' is set" in lbsplice("-c", "-dW", "-f", "warns.cfg", cwd=files).stderr


def test_another_directory_may_be_entered_first(files):
    assert lbsplice("-c", "-C", str(files), "-f", "valid.cfg", cwd="/").returncode == 0
    ended = lbsplice("-c", "-C", "/nonexistent", "-f", "valid.cfg")
    assert ended.returncode == 1
    assert "Could not change to directory /nonexistent : No such file" in ended.stderr


@pytest.mark.parametrize(
    ("condition", "status"),
    [("streq(a,a)", 0), ("streq(a,b)", 1), ("nonsense(a)", 2), ("version_atleast(3.0)", 0)],
)
def test_conditions_answer_with_the_status(condition, status):
    ended = lbsplice("-cc", condition)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ("Failed to evaluate condition" in ended.stderr) == (status == 2)


@pytest.mark.parametrize("words", [(), ("-c",), ("--", "-zz"), ("-zz",), ("-f",), ("junk",)])
def test_what_is_not_understood_is_no_success(words):
    assert lbsplice("run", *words).returncode == 1


def test_unknown_options_show_the_usage():
    ended = lbsplice("-zz")
    assert "unknown option '-zz'" in ended.stderr
    assert "Usage : lbsplice" in ended.stderr


def test_what_only_haproxy_can_do_is_told():
    ended = lbsplice("-S", "/run/master.sock", "-f", "x.cfg")
    assert ended.returncode == 1
    assert "'-S' (the master's command socket) is not supported yet" in ended.stderr


def test_version_has_haproxys_layout():
    brief = lbsplice("-v")
    assert brief.returncode == 0
    assert brief.stdout.startswith("lbsplice version ")
    full = lbsplice("-dM", "-dI", "-dW", "-vv").stdout
    lines = full.splitlines()
    assert full.startswith(brief.stdout.rstrip("\n"))
    # what scripts take from HAProxy's output, one line each
    for pattern in (
        r"HAProxy version 3\.2\.\d+ .*",
        r"  TARGET  = linux-glibc",
        r"  OPTIONS = .*USE_EPOLL=1.*",
        r"Feature list : .*\+EPOLL.*",
        r"Available services : .*",
        r"Total: 1 \(1 usable\), will use epoll\.",
    ):
        assert len([line for line in lines if re.fullmatch(pattern, line)]) == 1, pattern
    assert "-OPENSSL" in full


@pytest.mark.parametrize("words", [(), ("run",), ("check",)])
def test_every_command_has_help_with_an_example(words):
    ended = lbsplice(*words, "--help")
    assert ended.returncode == 0
    assert re.search(r"Examples?:\n\s+lbsplice ", ended.stdout)


def test_version_option_of_our_own():
    assert re.fullmatch(r"lbsplice version \S+\n", lbsplice("--version").stdout)
