"""Every line, against what haproxy printed in the same situation.

Taken from HAProxy 2.6.12; only the `info:` of a refused connection is 3.2's, which names
the error (2.6: `Connection refused`)."""

import pytest

from lbsplice.health.judge import CheckResult, Score
from lbsplice.report.healthlog import DESCRIPTIONS, Event, Tell, Usable, render
from lbsplice.terms import CheckStatus, LogLevel

KEY = ("l", "s1")
REFUSED = CheckResult(
    False, CheckStatus.L4_CONNECTION, 0, "ECONNREFUSED returned by OS (Connection refused)"
)
TIMEOUT = CheckResult(False, CheckStatus.L4_TIMEOUT, 201)
PASSED = CheckResult(True, CheckStatus.L4_OK, 0)

LINES = [
    (
        Tell(Event.CHECK, KEY, result=REFUSED, score=Score(2, 3)),
        LogLevel.NOTICE,
        "Health check for server l/s1 failed, reason: Layer4 connection problem, info: "
        '"ECONNREFUSED returned by OS (Connection refused)", check duration: 0ms, status: 2/3 UP.',
    ),
    (
        Tell(Event.CHECK, KEY, up=False, result=TIMEOUT, score=Score(0, 2)),
        LogLevel.NOTICE,
        "Health check for server l/s1 failed, reason: Layer4 timeout, check duration: 201ms, "
        "status: 0/2 DOWN.",
    ),
    (
        Tell(Event.CHECK, KEY, backup=True, result=PASSED, score=Score(3, 3)),
        LogLevel.NOTICE,
        "Health check for backup server l/s1 succeeded, reason: Layer4 check passed, "
        "check duration: 0ms, status: 3/3 UP.",
    ),
    (
        Tell(Event.DOWN, KEY, Usable(0, 0), up=False, result=REFUSED),
        LogLevel.ALERT,
        "Server l/s1 is DOWN, reason: Layer4 connection problem, info: "
        '"ECONNREFUSED returned by OS (Connection refused)", check duration: 0ms. '
        "0 active and 0 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.DOWN, KEY, Usable(1, 1), up=False),
        LogLevel.ALERT,
        "Server l/s1 is DOWN. 1 active and 1 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.DOWN, KEY, Usable(0, 1), up=False, draining=True),
        LogLevel.NOTICE,
        "Server l/s1 is DOWN. 0 active and 1 backup servers left. Running on backup. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.DOWN, KEY, Usable(0, 0), up=False, backup=True),
        LogLevel.ALERT,
        "Backup Server l/s1 is DOWN. 0 active and 0 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.UP, KEY, Usable(1, 0), result=PASSED),
        LogLevel.NOTICE,
        "Server l/s1 is UP, reason: Layer4 check passed, check duration: 0ms. "
        "1 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.",
    ),
    (
        Tell(Event.UP, KEY, Usable(0, 1), draining=True),
        LogLevel.NOTICE,
        "Server l/s1 is UP. 0 active and 1 backup servers online. Running on backup. "
        "0 sessions requeued, 0 total in queue.",
    ),
    (
        Tell(Event.STILL_DRAINING, KEY, draining=True),
        LogLevel.NOTICE,
        "Server l/s1 remains in forced drain mode.",
    ),
    (
        Tell(Event.MAINT, KEY, Usable(0, 1), up=False),
        LogLevel.ALERT,
        "Server l/s1 is going DOWN for maintenance. 0 active and 1 backup servers left. "
        "Running on backup. 7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.MAINT, KEY, Usable(2, 0), up=False, draining=True),
        LogLevel.NOTICE,
        "Server l/s1 is going DOWN for maintenance. 2 active and 0 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.MAINT, KEY, Usable(1, 0), up=False, backup=True),
        LogLevel.ALERT,
        "Backup Server l/s1 is going DOWN for maintenance. 1 active and 0 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.MAINT_WHILE_DOWN, KEY, up=False),
        LogLevel.NOTICE,
        "Server l/s1 was DOWN and now enters maintenance.",
    ),
    (
        Tell(Event.MAINT_LEFT, KEY),
        LogLevel.NOTICE,
        "Server l/s1 is UP/READY (leaving forced maintenance).",
    ),
    (
        Tell(Event.MAINT_LEFT, KEY, draining=True),
        LogLevel.NOTICE,
        "Server l/s1 is UP/DRAIN (leaving forced maintenance).",
    ),
    (
        Tell(Event.DRAIN, KEY, Usable(0, 1), draining=True),
        LogLevel.NOTICE,
        "Server l/s1 enters drain state. 0 active and 1 backup servers online. "
        "Running on backup. 0 sessions requeued, 0 total in queue.",
    ),
    (
        Tell(Event.DRAIN, KEY, Usable(0, 0), up=False, draining=True),
        LogLevel.NOTICE,
        "Server l/s1 enters drain state. 0 active and 0 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.DRAIN_LEFT, KEY, draining=True),
        LogLevel.NOTICE,
        "Server l/s1 is UP (leaving forced drain).",
    ),
    (
        Tell(Event.DRAIN_LEFT, KEY, up=False, backup=True, draining=True),
        LogLevel.NOTICE,
        "Backup Server l/s1 is DOWN (leaving forced drain).",
    ),
    (
        Tell(Event.SET_UP, KEY, Usable(2, 0)),
        LogLevel.NOTICE,
        "Server l/s1 is UP, changed from CLI. 2 active and 0 backup servers online. "
        "0 sessions requeued, 0 total in queue.",
    ),
    (
        Tell(Event.SET_DOWN, KEY, Usable(1, 0), up=False),
        LogLevel.ALERT,
        "Server l/s1 is DOWN, changed from CLI. 1 active and 0 backup servers left. "
        "7 sessions active, 0 requeued, 0 remaining in queue.",
    ),
    (
        Tell(Event.SET_STOPPING, KEY, Usable(1, 0)),
        LogLevel.NOTICE,
        "Server l/s1 is stopping, changed from CLI. 1 active and 0 backup servers online. "
        "0 sessions requeued, 0 total in queue.",
    ),
    (Tell(Event.NO_SERVER, KEY), LogLevel.EMERG, "backend l has no server available!"),
    (Tell(Event.NO_SERVER, KEY, listen=True), LogLevel.EMERG, "proxy l has no server available!"),
]


@pytest.mark.parametrize(("tell", "level", "text"), LINES, ids=lambda it: getattr(it, "event", ""))
def test_the_line_is_haproxys(tell, level, text):
    assert render(tell, sessions=7) == (level, text)


def test_every_event_has_a_golden_line():
    assert {tell.event for tell, _, _ in LINES} == set(Event)


def test_every_check_status_has_a_description():
    assert set(DESCRIPTIONS) == set(CheckStatus)


def test_a_check_that_sent_nothing_has_no_duration():
    result = CheckResult(False, CheckStatus.SOCKET_ERROR, None, "x")
    _, text = render(Tell(Event.CHECK, KEY, result=result, score=Score(1, 1)))
    assert text == (
        'Health check for server l/s1 failed, reason: Socket error, info: "x", status: 1/1 UP.'
    )
