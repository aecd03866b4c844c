"""The frames are those that HAProxy 2.6 sent to a UDP receiver for the same line."""

import time

import pytest

from lbsplice.report.syslog import Framer, encode
from lbsplice.terms import FACILITIES, LogFormat, LogLevel
from tests.support.records import udp_log

LINE = b"Connect from 127.0.0.1:53204 to 127.0.0.1:37417 (www/TCP)"
NOW = 1795238402_733423_999


@pytest.fixture
def timezone(monkeypatch):
    def set_to(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


def framer(log_format=None, hostname=None, tag="haproxy", pid=8182, **fields):
    return Framer(udp_log(format=log_format, **fields), tag=tag, hostname=hostname, pid=pid)


@pytest.mark.parametrize(
    ("log_format", "hostname", "header"),
    [
        (None, None, b"<134>Nov 21 05:20:02 haproxy[8182]: "),
        (None, "vm", b"<134>Nov 21 05:20:02 vm haproxy[8182]: "),
        (LogFormat.RFC3164, None, b"<134>Nov 21 05:20:02 localhost haproxy[8182]: "),
        (LogFormat.RFC3164, "vm", b"<134>Nov 21 05:20:02 vm haproxy[8182]: "),
        (
            LogFormat.RFC5424,
            None,
            b"<134>1 2026-11-21T05:20:02.733423+00:00 - haproxy 8182 - - ",
        ),
        (
            LogFormat.RFC5424,
            "vm",
            b"<134>1 2026-11-21T05:20:02.733423+00:00 vm haproxy 8182 - - ",
        ),
        (LogFormat.SHORT, "vm", b"<6>"),
        (LogFormat.RAW, "vm", b""),
        (LogFormat.LOCAL, "vm", b"<134>Nov 21 05:20:02 haproxy[8182]: "),
        (LogFormat.TIMED, "vm", b"<6>2026-11-21T05:20:02.733423+00:00 "),
        (LogFormat.ISO, "vm", b"2026-11-21T05:20:02.733423+00:00 "),
        (LogFormat.PRIORITY, "vm", b"<134>"),
    ],
)
def test_header_of_each_format(timezone, log_format, hostname, header):
    timezone("UTC")
    assert framer(log_format, hostname).frame(LogLevel.INFO, LINE, NOW) == header + LINE + b"\n"


@pytest.mark.parametrize(
    ("zone", "now", "moment"),
    [
        ("Asia/Kolkata", 1795239324_988995_000, b"2026-11-21T11:05:24.988995+05:30"),
        ("America/St_Johns", 1795239326_796651_000, b"2026-11-21T02:05:26.796651-03:30"),
        ("Pacific/Chatham", 1795239328_000009_000, b"2026-11-21T19:20:28.000009+13:45"),
    ],
)
def test_times_are_local_and_say_so(timezone, zone, now, moment):
    timezone(zone)
    assert framer(LogFormat.ISO).frame(LogLevel.INFO, b"x", now) == moment + b" x\n"


def test_days_below_ten_are_padded_with_a_space(timezone):
    timezone("UTC")
    frame = framer(LogFormat.LOCAL).frame(LogLevel.INFO, b"x", 1793491200_000000_000)
    assert frame == b"<134>Nov  1 00:00:00 haproxy[8182]: x\n"


def test_header_follows_the_clock_in_both_directions(timezone):
    timezone("UTC")
    one = framer(LogFormat.LOCAL)
    seconds = [one.frame(LogLevel.INFO, b"", NOW + n * 10**9)[12:20] for n in (0, 1, 0, -2)]
    assert seconds == [b"05:20:02", b"05:20:03", b"05:20:02", b"05:20:00"]


@pytest.mark.parametrize(("number", "facility"), list(enumerate(FACILITIES)))
def test_priority_is_facility_and_severity(number, facility):
    one = framer(LogFormat.PRIORITY, facility=facility)
    for level in LogLevel:
        assert one.frame(level, b"x", NOW) == b"<%d>x\n" % (8 * number + level)


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_line_is_cut_to_its_length_and_still_ends(log_format):
    frame = framer(log_format, length=90).frame(LogLevel.INFO, b"y" * 90, NOW)
    assert len(frame) == 91
    assert frame.endswith(b"y\n")


def test_length_is_kept_exactly():
    one = framer(LogFormat.RAW, length=80)
    assert one.frame(LogLevel.INFO, b"z" * 80, NOW) == b"z" * 80 + b"\n"
    assert one.frame(LogLevel.INFO, b"z" * 81, NOW) == b"z" * 80 + b"\n"


def test_max_level_keeps_back_what_is_less_severe():
    one = framer(LogFormat.RAW, max_level=LogLevel.NOTICE)
    sent = [level for level in LogLevel if one.frame(level, b"x", NOW) is not None]
    assert sent == [level for level in LogLevel if level <= LogLevel.NOTICE]


def test_min_level_lowers_what_is_more_severe():
    one = framer(LogFormat.SHORT, min_level=LogLevel.ERR)
    sent = [one.frame(level, b"", NOW) for level in LogLevel]
    assert sent == [b"<3>\n"] * 4 + [b"<4>\n", b"<5>\n", b"<6>\n", b"<7>\n"]


def test_bytes_of_a_tag_go_out_as_they_came_in():
    tag = b"t\xff\xc3\xbc".decode("utf-8", "surrogateescape")
    frame = framer(LogFormat.LOCAL, tag=tag).frame(LogLevel.INFO, b"x", NOW)
    assert frame.endswith(b" t\xff\xc3\xbc[8182]: x\n")
    assert encode(tag) == b"t\xff\xc3\xbc"
