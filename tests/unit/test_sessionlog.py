"""The session lines are those that HAProxy 2.6 printed for the same sessions."""

import socket
import time
from dataclasses import replace
from datetime import datetime

import pytest

from lbsplice.config.model import AddressKind, Bind, Endpoint, ProxyKind
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.slots import assign
from lbsplice.plan.tables import NO_SLOT
from lbsplice.report.record import PLAN_TAKEN
from lbsplice.report.sessionlog import LATEST_SECOND, SessionLog, one_line
from lbsplice.terms import Cause, LogLevel, Phase
from tests.support.records import (
    PLACE,
    config,
    connected,
    ended,
    ip,
    listen,
    refused,
    server,
    serverless,
    udp_log,
)


def log_of(*proxies):
    configuration = config(*proxies)
    return SessionLog(configuration, assign(configuration))


def text_of(record, **fields):
    line = log_of(listen(**fields)).line(record)
    return None if line is None else line.text


@pytest.fixture
def timezone(monkeypatch):
    def set_to(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


def after_date(text):
    return text.split("] ", 1)[1]


# ---- the tcplog line ----


def test_every_field_of_the_line_has_its_place(timezone):
    timezone("UTC")
    # Other seconds than the other tests', whose dates are remembered in their time zone.
    record = ended(
        accepted_wall_ms=1233922331_043,
        queue_ms=3,
        connect_ms=17,
        total_ms=5007,
        bytes_from_client=77,
        bytes_from_server=212,
        cause="c",
        phase="D",
        process_sessions=9,
        frontend_sessions=7,
        backend_sessions=5,
        slot_sessions=2,
        retries=4,
    )
    assert text_of(record, tcplog=True) == (
        "10.0.1.2:33312 [06/Feb/2009:12:12:11.043] www www/s1 3/17/5007 212 cD 9/7/5/2/4 0/0"
    )


def test_accept_date_is_local_time(timezone):
    timezone("Asia/Kolkata")
    text = text_of(ended(accepted_wall_ms=1795239324_988), tcplog=True)
    assert "[21/Nov/2026:11:05:24.988]" in text


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("phase", Phase)
def test_the_two_letters_are_printed_as_they_are(cause, phase):
    text = text_of(ended(cause=cause.value, phase=phase.value), tcplog=True)
    assert after_date(text) == f"www www/s1 0/1/25 5 {cause.value}{phase.value} 1/1/0/0/0 0/0"


def test_redispatch_puts_a_plus_before_the_retries():
    text = text_of(ended(retries=1, redispatched=1), tcplog=True)
    assert after_date(text) == "www www/s1 0/1/25 5 -- 1/1/0/0/+1 0/0"


def test_logasap_puts_a_plus_before_what_is_not_final():
    text = text_of(connected(), tcplog=True, logasap=True)
    assert after_date(text) == "www www/s1 0/1/+1 +0 -- 1/1/1/1/0 0/0"


def test_session_without_server():
    assert after_date(text_of(serverless(), tcplog=True)) == (
        "www www/<NOSRV> -1/-1/0 0 SC 1/1/0/0/0 0/0"
    )


def test_session_without_backend_shows_its_frontend_there():
    record = serverless(backend=NO_SLOT)
    text = text_of(record, tcplog=True, kind=ProxyKind.FRONTEND, servers=())
    assert after_date(text) == "www www/<NOSRV> -1/-1/0 0 SC 1/1/0/0/0 0/0"


def test_frontend_and_backend_have_their_own_names():
    front = listen("f", tcplog=True, kind=ProxyKind.FRONTEND, default_backend="b", servers=())
    back = listen("b", kind=ProxyKind.BACKEND, binds=(), servers=(server("s1"), server("s2")))
    log = log_of(front, back)
    assert after_date(log.line(ended(slot=1)).text).startswith("f b/s2 ")
    assert after_date(log.line(serverless()).text).startswith("f b/<NOSRV> ")


@pytest.mark.parametrize(
    "address",
    [
        "::1",
        "::",
        "2001:db8::1",
        "2001:db8:0:1:1:1:1:1",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "::1.2.3.4",
        "::1:2",
        "::ffff",
        "::ffff:0:1.2.3.4",
        "fe80::1",
        "1:0:0:2:0:0:0:3",
    ],
)
def test_ipv6_addresses_are_written_as_inet_ntop_does(address):
    text = text_of(ended(**ip(address)), tcplog=True)
    packed = socket.inet_pton(socket.AF_INET6, address)
    assert text.split(" ")[0] == socket.inet_ntop(socket.AF_INET6, packed) + ":33312"


def test_unix_client_shows_the_id_of_its_listener():
    unix = Bind(PLACE, Endpoint(AddressKind.UNIX, "/run/www.sock"))
    binds = (
        Bind(PLACE, Endpoint(AddressKind.IPV4, "127.0.0.1", 1)),  # 1
        replace(unix, id=7),
        replace(unix, id=2),
        unix,  # 3: 2 is taken
    )
    log = log_of(listen(tcplog=True, binds=binds))
    shown = [
        log.line(ended(client_family=int(socket.AF_UNIX), listener=number)).text.split(" ")[0]
        for number in range(4)
    ]
    assert shown == ["unix:1", "unix:7", "unix:2", "unix:3"]


# ---- the default line ----


def test_default_line_names_both_ends():
    record = connected(
        destination_family=int(socket.AF_INET),
        destination_ip=bytes((192, 168, 1, 100)).ljust(16, b"\0"),
        destination_port=81,
    )
    assert text_of(record) == "Connect from 10.0.1.2:33312 to 192.168.1.100:81 (www/TCP)"


def test_default_line_takes_the_bound_address_where_none_was_recorded():
    assert text_of(connected()) == "Connect from 10.0.1.2:33312 to 10.0.3.31:8012 (www/TCP)"


def test_default_line_of_a_unix_client():
    record = connected(client_family=int(socket.AF_UNIX))
    assert text_of(record) == "Connect to unix:1 (www/TCP)"


def test_default_line_comes_once_whether_the_session_connected_or_not():
    assert text_of(connected()) is not None
    assert text_of(ended()) is None
    assert text_of(refused()) is not None


def test_default_line_is_not_filtered_and_no_error():
    filters = {"dontlognull": True, "dontlog_normal": True, "log_separate_errors": True}
    log = log_of(listen(**filters))
    assert log.line(connected()).level == LogLevel.INFO
    assert log.line(refused()).level == LogLevel.INFO


# ---- which sessions have a line, and its level ----

NORMAL = {"tcplog": True}
ASAP = {"tcplog": True, "logasap": True}


@pytest.mark.parametrize(
    ("options", "record", "has_line"),
    [
        (NORMAL, ended(), True),
        (NORMAL, connected(), False),
        (NORMAL, refused(), True),
        (ASAP, connected(), True),
        (ASAP, ended(), False),
        (ASAP, ended(cause="D", phase="D"), False),
        (ASAP, refused(), True),
        (NORMAL | {"dontlognull": True}, ended(), True),
        (NORMAL | {"dontlognull": True}, ended(bytes_from_server=0), True),
        (NORMAL | {"dontlognull": True}, ended(bytes_from_client=0), True),
        (NORMAL | {"dontlognull": True}, ended(bytes_from_client=0, bytes_from_server=0), False),
        (NORMAL | {"dontlognull": True}, refused(), False),
        (NORMAL | {"dontlognull": True}, refused(bytes_from_client=2), True),
        (ASAP | {"dontlognull": True}, connected(), True),
        (ASAP | {"dontlognull": True}, refused(), False),
        (NORMAL | {"dontlog_normal": True}, ended(), False),
        (NORMAL | {"dontlog_normal": True}, ended(cause="L", phase="R"), False),
        (NORMAL | {"dontlog_normal": True}, ended(cause="c", phase="D"), True),
        (NORMAL | {"dontlog_normal": True}, ended(retries=1), True),
        (NORMAL | {"dontlog_normal": True}, ended(retries=1, redispatched=1), True),
        (ASAP | {"dontlog_normal": True}, connected(), False),
        (ASAP | {"dontlog_normal": True}, ended(), False),
        (ASAP | {"dontlog_normal": True}, ended(cause="C", phase="D"), True),
        (ASAP | {"dontlog_normal": True}, connected(retries=1), True),
        (ASAP | {"dontlog_normal": True}, ended(retries=1, cause="C", phase="D"), False),
        (NORMAL, ended(kind=PLAN_TAKEN), False),
        (NORMAL, ended(frontend=9), False),
        (NORMAL | {"logs": ()}, ended(), False),
    ],
)
def test_which_records_have_a_line(options, record, has_line):
    assert (text_of(record, **options) is not None) is has_line


@pytest.mark.parametrize(
    ("record", "level"),
    [
        (ended(), LogLevel.INFO),
        (ended(cause="L", phase="R"), LogLevel.INFO),
        (ended(retries=1), LogLevel.ERR),
        (ended(redispatched=1, retries=1), LogLevel.ERR),
        (ended(cause="C", phase="D"), LogLevel.ERR),
        (ended(cause="c", phase="D"), LogLevel.ERR),
        (ended(cause="D", phase="D"), LogLevel.ERR),
        (refused(), LogLevel.ERR),
    ],
)
def test_errors_are_told_apart_only_if_asked(record, level):
    apart = log_of(listen(tcplog=True, log_separate_errors=True))
    assert apart.line(record).level == level
    assert log_of(listen(tcplog=True)).line(record).level == LogLevel.INFO


# ---- reloads and odd input ----


def test_sessions_of_a_removed_proxy_keep_their_names():
    old = config(listen("old", tcplog=True), listen("stays", tcplog=True))
    new = config(listen("stays", tcplog=True), listen("new", tcplog=True))
    inventory = Inventory.first(old).after(new)
    after = SessionLog(new, inventory.numbers, leaving=inventory.leaving)
    texts = [
        after_date(after.line(ended(frontend=n, backend=n, slot=n, listener=n)).text)
        for n in range(3)
    ]
    assert [text.split(" ")[1] for text in texts] == ["old/s1", "stays/s1", "new/s1"]


def test_frontend_that_is_logged_no_more_has_no_lines():
    old, new = config(listen(tcplog=True)), config(listen(tcplog=True, logs=()))
    before = SessionLog(old, assign(old))
    after = SessionLog(new, assign(new), before)
    assert before.line(ended()) is not None
    assert after.line(ended()) is None


def test_batches_keep_their_order_and_leave_out_what_has_no_line():
    log = log_of(listen(tcplog=True, logs=(udp_log(),)))
    records = [ended(retries=1), connected(), ended(retries=2)]
    assert [line.text[-7:] for line in log.lines(records)] == ["0/1 0/0", "0/2 0/0"]


def test_dates_past_the_calendar_are_written_as_its_end():
    text = text_of(ended(accepted_wall_ms=2**64 - 1), tcplog=True)
    assert datetime.fromtimestamp(LATEST_SECOND).strftime("%d/%b/%Y") in text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Proxy www stopped.", "Proxy www stopped."),
        ("ends\r\n", "ends"),
        ("two\nlines", "two#0Alines"),
        ("\x1b[1mbold\x00", "#1B[1mbold#00"),
        ("\u2028", "#2028"),
        ("größer", "größer"),
    ],
)
def test_control_characters_do_not_reach_the_log(text, line):
    assert one_line(text) == line


def test_months_have_their_english_names(timezone):
    timezone("UTC")
    seconds = (1767225600 + 2_678_400 * month for month in range(12))
    texts = [text_of(ended(accepted_wall_ms=1000 * at), tcplog=True) for at in seconds]
    months = [text.split("/")[1] for text in texts]
    assert " ".join(months) == "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"
