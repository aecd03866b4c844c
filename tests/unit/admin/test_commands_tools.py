"""What the tools that people have look for in the answers, cut as they cut it: scripts around
socat and nc, exporters, agents of monitoring systems, Ansible, hatop."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import pytest

from tests.support.admin import process_view, session_view, small_view
from tests.support.admin_socket import connect, read_all, read_until


def info(text: str) -> dict[str, str]:
    """As most cut it: lines that have exactly one `: `."""
    found = {}
    for line in text.splitlines():
        name, *values = line.split(": ")
        if len(values) == 1:
            found[name] = values[0]
    return found


def rows(text: str) -> list[dict[str, str]]:
    """As Ansible's module reads `show stat`."""
    return list(csv.DictReader(text.lstrip("# ").splitlines()))


def test_two_answers_are_parted_by_their_empty_lines_and_nothing_else(say):
    """Agents ask for both at once and split what comes at every empty line."""
    first, second, rest = say("show info;show stat").split("\n\n")
    assert first.startswith("Name: HAProxy\n")
    assert second.startswith("# pxname,svname,")
    assert rest == ""


def test_an_answer_is_whole_whether_or_not_the_client_says_that_it_is_done(say, admin, directory):
    with connect(directory / "admin") as sock:
        sock.sendall(b"show stat\r\n")
        assert read_all(sock).decode() == say("show stat")


def test_every_record_has_as_many_cells_as_the_header(say):
    """Strict readers of CSV refuse a file in which one has not."""
    lines = list(csv.reader(io.StringIO(say("show stat").rstrip("\n"))))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) > 119


def test_the_18th_column_is_the_status(say):
    """`cut -d, -f1,2,18`"""
    cut = [line.split(",") for line in say("show stat").splitlines()[1:] if line]
    shown = [(line[0], line[1], line[17]) for line in cut]
    assert shown[:2] == [("l", "FRONTEND", "OPEN"), ("l", "s1", "UP")]


def test_the_version_is_in_the_first_line_that_has_the_word_and_is_two_numbers(say):
    (line, *_) = [line for line in say("show info").splitlines() if "Version:" in line]
    major, minor, *_ = line.partition(":")[2].strip().split(".", 3)
    assert (int(major), int(minor)) >= (1, 5)


def test_what_a_full_screen_monitor_wants_of_show_info_is_there(say):
    text = say("show info")
    for name, value in {
        **dict.fromkeys(("Name", "Version", "node"), r"\S+"),
        "Release_date": r"\d{4}/\d\d/\d\d",
        "Uptime": r"\d+d \d+h\d\dm\d\ds",
        **dict.fromkeys(("Nbproc", "Process_num", "Pid", "Maxconn", "CurrConns"), r"\d+"),
        **dict.fromkeys(("Maxpipes", "PipesUsed", "PipesFree", "Tasks", "Run_queue"), r"\d+"),
    }.items():
        assert re.search(rf"^{name}:\s*{value}$", text, re.MULTILINE), name


@pytest.mark.parametrize("description", ["", "east: rack 4", "a\n\nb: c"])
def test_no_description_breaks_a_reader_of_show_info(say, admin, description):
    admin.control.shown = replace(small_view(), process=process_view(description=description))
    text = say("show info")
    assert text.endswith("\n\n")
    assert text.count("\n\n") == 1
    assert len(info(text)) == len(text.splitlines()) - 1


def test_numbers_that_agents_add_up_are_numbers(say):
    shown = info(say("show info"))
    words = {"Name", "Version", "Release_date", "Uptime", "node", "description", "Build info"}
    ours = {name for name in shown if name.startswith("lbsplice_")}
    for name in shown.keys() - words - ours:
        assert shown[name].isdigit(), name
    for name in ("SslFrontendSessionReuse_pct", "CompressBpsRateLim", "Idle_pct", "Hard_maxconn"):
        assert name in shown


def test_a_monitor_in_a_prompt_reads_to_the_prompt(admin, directory):
    """It sends `prompt`, lengthens the timeout and asks on and on."""
    with connect(directory / "admin") as sock:
        for command in (b"prompt", b"set timeout cli 100", b"show info", b"show stat -1 -1 -1"):
            sock.sendall(command + b"\n")
            answer = read_until(sock, b"\n> ")
        assert answer.startswith(b"# pxname")


def test_how_ansible_takes_a_server_out_and_in_again(say, admin):
    (backends, states) = (
        [row["pxname"] for row in rows(say("show stat")) if row["svname"] == "BACKEND"],
        [row["status"] for row in rows(say("show stat")) if row["svname"] == "s2"],
    )
    assert (backends, states) == (["l", "b"], ["UP"])
    said = say(
        "get weight l/s2; disable agent l/s2; disable health l/s2; disable server l/s2; "
        "shutdown sessions server l/s2"
    )
    assert said == "1 (initial 1)\n\n\n\n\n\n"
    said = say("get weight l/s2; enable server l/s2; enable health l/s2; set weight l/s2 50%")
    assert said == "1 (initial 1)\n\n\n\n\n"
    assert say("set server l/s2 state drain") == "\n"
    done = [each[0] for each in admin.control.asked]
    assert done == [
        *("set_checks", "set_admin", "kill_server_sessions"),
        *("set_admin", "set_checks", "set_weight", "set_admin"),
    ]


def test_a_session_is_named_as_the_list_names_it(say, admin):
    """`show sess | awk '{print $1}'`, with or without the colon cut off."""
    admin.control.open_sessions = {number: session_view(number) for number in (0x1A, 0x1B)}
    first, second = [line.split()[0] for line in say("show sess").splitlines() if line]
    assert (first, second) == ("0x1a:", "0x1b:")
    assert say(f"shutdown session {first}") == "\n"
    assert say(f"shutdown session {second.rstrip(':')}") == "\n"
    assert [each[1] for each in admin.control.asked] == [0x1A, 0x1B]
