"""Which sessions a rescue is about, when, and at which rate: no socket is opened here."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from lbsplice.cli.main import commands
from lbsplice.errors import UnitError
from lbsplice.kernel.sockdiag import TcpSocket, destroy_refused
from lbsplice.kernel.tcpinfo import SIZE, TcpInfo
from lbsplice.stuck.downs import Downs, Pace
from lbsplice.stuck.owners import Owner, is_login
from lbsplice.stuck.pairing import pairs
from lbsplice.stuck.selection import Endpoint, Selection, parse_endpoint
from lbsplice.stuck.session import Stuck
from lbsplice.stuck.show import as_json, span_text
from lbsplice.stuck.statements import ServerState, SessionLine

LEG = TcpSocket(
    local=("192.168.1.39", 40000),
    peer=("192.168.1.29", 81),
    state="ESTABLISHED",
    timer="probe",
    expires_ms=800,
    retransmits=0,
    probes=2,
    send_queue=3000,
    unsent=3000,
    last_data_received_ms=61_000,
    last_ack_ms=5000,
    inode=7,
    identity=b"\x02server",
)
CLIENT = replace(
    LEG, local=("192.168.1.100", 81), peer=("192.168.1.35", 5000), inode=8, identity=b"\x02client"
)
DST = Endpoint("192.168.1.29", 81)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.168.1.29:81", Endpoint("192.168.1.29", 81)),
        ("192.168.1.29", Endpoint("192.168.1.29", None)),
        (":81", Endpoint(None, 81)),
        ("[2001:db8::1]:81", Endpoint("2001:db8::1", 81)),
        ("[2001:db8::1]", Endpoint("2001:db8::1", None)),
        ("2001:DB8:0::1", Endpoint("2001:db8::1", None)),
        ("::ffff:10.0.0.1", Endpoint("10.0.0.1", None)),
    ],
)
def test_an_endpoint_is_read(text, endpoint):
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "missing"),
        (":", "port should stand"),
        ("[]", "missing"),
        ("0.0.0.0", "every address"),
        ("0.0.0.0:81", "every address"),
        ("[::]:81", "every address"),
        ("::ffff:0.0.0.0", "every address"),
        ("10.0.0.1:", "port should stand"),
        ("10.0.0.1:0", "is not a port"),
        ("10.0.0.1:65536", "is not a port"),
        ("10.0.0.1:http", "is not a port"),
        ("10.0.0.1:²", "is not a port"),
        ("example.org:81", "not an IP address"),
        ("10.0.0.0/8", "not an IP address"),
        ("[2001:db8::1", "is not [ADDRESS]:PORT"),
        ("[2001:db8::1]81", "is not [ADDRESS]:PORT"),
        ("[2001:db8::1]:", "is not [ADDRESS]:PORT"),
    ],
)
def test_what_is_no_endpoint_is_refused(text, says):
    with pytest.raises(UnitError) as caught:
        parse_endpoint(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "every session of this machine"),
        ({"stalled": True, "idle_ms": 0}, "every session of this machine"),
        ({"dst": DST, "states": ("LISTEN",)}, "can not be asked for"),
        ({"dst": DST, "states": ("TIME_WAIT",)}, "can not be asked for"),
        ({"dst": Endpoint("127.0.0.2", None)}, "--include-loopback"),
        ({"src": Endpoint("::1", 81)}, "--include-loopback"),
    ],
)
def test_a_selection_of_too_much_is_refused(wanted, says):
    with pytest.raises(UnitError) as caught:
        Selection(**wanted)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "changed", "matches"),
    [
        ({}, {}, True),
        ({}, {"peer": ("192.168.1.29", 82)}, False),
        ({}, {"peer": ("192.168.1.28", 81)}, False),
        ({}, {"state": "SYN_SENT"}, False),
        ({}, {"state": "LISTEN"}, False),
        ({"states": ("SYN_SENT",)}, {"state": "SYN_SENT"}, True),
        ({"src": Endpoint(None, 40000)}, {}, True),
        ({"src": Endpoint(None, 40001)}, {}, False),
        ({}, {"local": ("192.168.1.29", 40000)}, False),  # both ends are of this machine
        ({"include_loopback": True}, {"local": ("192.168.1.29", 40000)}, True),
        ({"dst": Endpoint(None, 81)}, {"peer": ("127.0.0.1", 81)}, False),
        ({"stalled": True}, {}, True),
        ({"stalled": True}, {"send_queue": 0}, False),
        ({"stalled": True}, {"probes": 0}, False),
        ({"stalled": True}, {"probes": 0, "retransmits": 1}, True),
        ({"stalled": True}, {"last_ack_ms": 100}, False),
        ({"idle_ms": 61_000}, {}, True),
        ({"idle_ms": 61_001}, {}, False),
    ],
)
def test_a_selection_matches_what_it_says(wanted, changed, matches):
    assert Selection(**{"dst": DST, **wanted}).matches(replace(LEG, **changed)) is matches


def test_our_own_sockets_are_never_matched():
    assert not Selection(DST).matches(LEG, own={LEG.inode})


def test_the_connection_one_is_logged_in_by_is_known():
    assert is_login(CLIENT, "192.168.1.35 5000 192.168.1.100 81")
    assert not is_login(CLIENT, "192.168.1.35 5001 192.168.1.100 81")
    assert not is_login(CLIENT, "")
    assert not is_login(CLIENT, "some words that lie")


SESSION = SessionLine(("b", "s"), ("192.168.1.35", 5000), 12, 11)


def test_the_legs_of_a_session_are_the_sockets_of_its_descriptors():
    (pair,) = pairs([SESSION], {11: LEG, 12: CLIENT}, certain=True)
    assert (pair.server, pair.client_leg, pair.server_leg) == (("b", "s"), CLIENT, LEG)


def test_a_process_that_may_be_another_must_have_the_clients_address():
    table = {11: LEG, 12: replace(CLIENT, peer=("192.168.1.35", 5001))}
    assert pairs([SESSION], table, certain=False) == []
    assert len(pairs([SESSION], table, certain=True)) == 1  # a PROXY header said 5000
    assert len(pairs([SESSION], {11: LEG, 12: CLIENT}, certain=False)) == 1


def test_a_connection_that_carries_other_sessions_too_is_left_alone():
    other = SessionLine(("b", "healthy"), ("192.168.1.35", 5000), 12, 13)
    found = pairs([SESSION, other], {11: LEG, 12: CLIENT, 13: LEG}, certain=True)
    assert [pair.client_leg for pair in found] == [None, None]


def test_a_client_that_is_no_tcp_connection_has_no_leg():
    (pair,) = pairs([SESSION], {11: LEG}, certain=True)
    assert pair.client_leg is None


def server(down, since_s=0, name=("b", "s")):
    return ServerState(name, "192.168.1.29", 81, down, since_s)


def test_a_server_is_due_once_it_has_been_down_for_long_enough():
    downs = Downs(for_s=2.0)
    assert downs.see([server(False)], 10.0) == []
    (change,) = downs.see([server(True)], 11.0)
    assert change.down
    assert downs.due(12.9) == []
    assert downs.due(13.0) == [server(True)]
    assert downs.see([server(True)], 13.0) == []


def test_a_server_that_is_down_already_counts_from_when_it_went_down():
    downs = Downs(for_s=60.0)
    downs.see([server(True, since_s=59)], 100.0)
    assert downs.due(100.9) == []
    assert downs.due(101.0) != []


@pytest.mark.parametrize("after", [[server(False)], []])
def test_a_server_that_is_up_or_gone_is_down_no_more(after):
    downs = Downs(for_s=0.0)
    downs.see([server(True)], 1.0)
    assert downs.is_down(("b", "s"))
    (change,) = downs.see(after, 2.0)
    assert (change.down, change.server.name) == (False, ("b", "s"))
    assert not downs.is_down(("b", "s"))
    assert downs.due(2.0) == []


def test_servers_of_other_names_are_not_looked_at():
    others = [server(True, name=("b", "x")), server(True, name=("c", "s")), server(True)]
    downs = Downs(0.0, "b", "s")
    assert [change.server.name for change in downs.see(others, 1.0)] == [("b", "s")]


def test_the_pace_is_even_and_a_pause_saves_nothing_up():
    pace = Pace(10)
    assert pace.wait_s(5.0) == 0
    pace.went(5.0)
    assert pace.wait_s(5.0) == pytest.approx(0.1)
    assert pace.wait_s(60.0) == 0
    pace.went(60.0)
    pace.went(60.0)
    assert pace.wait_s(60.0) == pytest.approx(0.1)


def test_a_late_one_does_not_slow_the_pace():
    pace = Pace(10)
    pace.went(5.0)
    pace.went(5.15)
    assert pace.wait_s(5.15) == pytest.approx(0.05)


def test_a_kernel_that_tells_less_of_tcp_is_understood():
    whole = TcpInfo(bytes(range(SIZE)))
    assert whole.get("retransmits") == 2
    assert whole.get("probes") == 3
    assert whole.get("last_ack_recv") == int.from_bytes(bytes(range(56, 60)), "little")
    short = TcpInfo(bytes(range(104)))  # Linux 3.x
    assert short.get("last_ack_recv") == whole.get("last_ack_recv")
    assert short.get("notsent_bytes") is None
    assert TcpInfo(bytes(SIZE + 100)).get("min_rtt") == 0
    assert TcpInfo(b"").get("state") is None


@pytest.mark.parametrize(
    ("number", "helps"), [(1, "NET_ADMIN"), (95, "CONFIG_INET_DIAG_DESTROY"), (22, "Linux 4.9")]
)
def test_what_would_help_is_said(number, helps):
    assert helps in str(destroy_refused(number))


def test_a_session_is_told_in_one_line_and_as_json():
    stuck = Stuck(LEG, CLIENT, (Owner(4711, "haproxy", "haproxy", 90.0),), ("b", "s"))
    assert stuck.text() == (
        "192.168.1.35:5000 -> 192.168.1.39:40000 -> 192.168.1.29:81 of haproxy[4711]:"
        " established, unsent 3000, unacknowledged 0, retransmits 0, probes 2, last ack 5.0 s ago"
    )
    told = json.loads(as_json([stuck], None))
    assert told["ended"] is None
    assert told["sessions"][0]["client_leg"]["peer"] == "192.168.1.35:5000"
    assert told["sessions"][0]["owners"][0]["pid"] == 4711


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (59.9, "59.9s"), (60, "1m00s"), (86399, "23h59m")]
)
def test_lengths_of_time_are_short(seconds, text):
    assert span_text(seconds) == text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "every session of this machine"),
        (["--dst", "10.0.0.1"], "say --yes, or --dry-run"),
        (["--dst", "10.0.0.1", "--yes", "--rate", "0"], "is not as 200/s"),
        (["--dst", "10.0.0.1", "--yes", "--idle", "1x"], "--idle"),
        (["--dst", "10.0.0.1", "--yes", "--state", "listen"], "can not be asked for"),
        (["--watch"], "needs --haproxy"),
        (["--watch", "--haproxy", "/s", "--dst", "10.0.0.1"], "no --dst"),
        (["--haproxy", "/s"], "every session of this machine"),
        (["--master", "/s", "--dst", "10.0.0.1"], "goes with --haproxy"),
        (["--dst", "10.0.0.1", "--yes", "--haproxy", "/nowhere"], "/nowhere: No such file"),
        (["--dst", "10.0.0.1", "--yes", "--syslog"], "go with --watch"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(words, says):
    done = CliRunner().invoke(commands, ["rescue", *words])
    assert done.exit_code in (1, 2)
    assert says in done.output
