"""What the lab reads from a proxy's log lines."""

import pytest

from lbsplice.lab.loglines import read_session, read_status

FAILED = "Health check for server long/a failed, reason: Layer4 timeout, check duration: 201ms, "
PASSED = "Health check for server long/a succeeded, reason: Layer4 check passed, check duration: "


@pytest.mark.parametrize(
    ("line", "status", "settled"),
    [
        (FAILED + "status: 1/2 UP.", "UP 1/2", True),
        (FAILED + "status: 2/3 UP.", "UP 2/3", True),
        (FAILED + "status: 0/1 DOWN.", "DOWN", False),
        (PASSED + "0ms, status: 2/2 UP.", "UP", True),
        (PASSED + "0ms, status: 1/3 DOWN.", "DOWN 1/3", True),
        ("Server long/a is DOWN. 1 active and 0 backup servers left.", "DOWN", True),
        (
            "Server long/a is DOWN, reason: Layer4 timeout, check duration: 2001ms. 0 active",
            "DOWN",
            True,
        ),
        ("Server long/a is UP. 2 active and 0 backup servers online.", "UP", True),
        ("[WARNING]  (12) : Server long/a is UP.", "UP", True),
    ],
)
def test_a_status_line_is_read_in_the_words_of_show_stat(line, status, settled):
    found = read_status(line)
    assert found is not None
    assert (found.server, found.status, found.settled) == ("a", status, settled)


def test_a_reason_with_commas_and_quotes_is_kept_whole():
    found = read_status(
        "Health check for server long/lbb-811tmjow failed, reason: Layer4 connection problem, "
        'info: "Connection refused", check duration: 0ms, status: 1/2 UP.'
    )
    assert found is not None
    assert found.server == "lbb-811tmjow"
    assert found.detail == (
        'Layer4 connection problem, info: "Connection refused", check duration: 0ms'
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "backend long has no server available!",
        "Server long/a is going DOWN for maintenance. 1 active and 0 backup servers left.",
        "Proxy long started.",
    ],
)
def test_other_lines_tell_no_status(line):
    assert read_status(line) is None


def test_a_session_line_gives_client_server_and_the_two_letters():
    found = read_session(
        "192.168.1.35:59264 [21/Nov/2024:05:20:11.127] long long/lbb-811tmjow "
        "1/0/812 38 DD 2/2/0/0/0 0/0"
    )
    assert found is not None
    assert found.client == ("192.168.1.35", 59264)
    assert (found.server, found.state) == ("lbb-811tmjow", "DD")


def test_a_session_that_reached_no_server_is_read_too():
    found = read_session("10.0.0.1:5 [x] f b/<NOSRV> -1/-1/5 0 SC 0/0/0/0/3 0/0")
    assert found is not None
    assert found.state == "SC"


def test_a_status_line_is_no_session_line():
    assert read_session(FAILED + "status: 1/2 UP.") is None
