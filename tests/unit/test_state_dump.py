"""What SIGHUP writes, and lines that are said on standard error too."""

import os

import pytest

from lbsplice.report.healthlog import Busy, Usable, proxy_dump, server_dump
from lbsplice.report.hub import Hub
from lbsplice.terms import LogLevel
from tests.support.records import config


@pytest.mark.parametrize(
    ("usable", "words"),
    [
        (None, "has no servers."),
        (Usable(2, 1), "has 2 active servers and 1 backup servers available."),
        (Usable(0, 1), "is running on backup servers !"),
        (Usable(), "has no server available !"),
    ],
)
def test_a_proxy_says_what_it_runs_on(usable, words):
    assert proxy_dump("b", usable, Busy(1, 4), Busy(2, 5)) == (
        f"SIGHUP: Proxy b {words} Conn: act(FE+BE): 1+2, 0 pend (0 unass), tot(FE+BE): 4+5."
    )


def test_a_server_says_how_it_is():
    line = server_dump(("b", "s"), False, Busy(3, 9))
    assert line == "SIGHUP: Server b/s is DOWN. Conn: 3 act, 0 pend, 9 tot."


@pytest.mark.parametrize(
    ("level", "severity"),
    [(LogLevel.EMERG, "ALERT"), (LogLevel.ALERT, "WARNING"), (LogLevel.NOTICE, "WARNING")],
)
def test_a_line_about_a_proxy_is_said_aloud(capfd, level, severity):
    hub = Hub(config().global_, pid=12, aloud=True)
    hub.proxy_line("l", level, "Server l/a is DOWN.")
    assert hub.descriptors
    hub.close()
    assert capfd.readouterr().err == f"{f'[{severity}]':<10} (12) : Server l/a is DOWN.\n"


def test_a_hub_is_silent_unless_asked(capfd):
    hub = Hub(config().global_, pid=os.getpid())
    hub.proxy_line("l", LogLevel.ALERT, "Server l/a is DOWN.")
    hub.close()
    assert capfd.readouterr().err == ""
