"""From accept to established: retries, pauses and redispatch as FEATURES A.8 has them,
sources and options of the server's socket, and clients that leave too early."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from lbsplice.plan.tables import KeepAliveRow, PortRule, Redispatch
from lbsplice.terms import Algorithm, Cause
from tests.native.test_ends_table import TOLERANCE, free_port, full_backlog
from tests.support.dataplane import Make, lib
from tests.support.peers import Listener, ip_address
from tests.support.waiting import wait_until

PAUSE = 100
"""ms; the pause before a retry is the connect timeout if that is below a second."""


class Refusing(Listener):
    """Bound, so that nobody else gets the port, and not listening: refuses everyone."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.bind((host, 0))
        self.address = ip_address(host, self.socket.getsockname()[1])


def attempts(lb: Any, slot: int) -> int:
    """Connections tried to a server."""
    return int(lb.counters.slot(slot).connects)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_server_that_refuses_is_tried_once_more_for_each_retry(rig: Make, retries: int) -> None:
    lb = rig([Refusing()], backend={"retries": retries, "timeout_connect": PAUSE})
    lb.connects().reads_end()
    ended = lb.last_session()
    assert ended.letters == "SC"
    assert ended.record.retries == retries
    assert not ended.record.redispatched
    assert attempts(lb, 0) == retries + 1
    assert lb.counters.slot(0).connect_errors == lb.counters.backend(0).connect_errors == 1
    assert lb.counters.slot(0).retries == lb.counters.backend(0).retries == retries
    assert retries * PAUSE - 2 <= ended.record.total_ms <= retries * PAUSE + TOLERANCE


def test_retries_without_a_pause_end_and_leave_others_their_turn(rig: Make, tmp_path: Path) -> None:
    """Servers that refuse at once, and as many retries as a session can have: no recursion,
    and the thread goes on with its other sessions. More are asked for than it can have."""
    absent = [
        struct.pack("=H", socket.AF_UNIX) + bytes(tmp_path / name) + b"\0" for name in ("a", "b")
    ]
    listener = Listener()
    lb = rig(
        [listener],
        addresses=(listener.address, *absent),
        backend={
            "retries": 70_000,
            "redispatch": Redispatch.INTERVAL,
            "redispatch_interval": 1,
            "redispatch_first_failure": True,
        },
    )
    client, server = lb.session()
    lb.publish(usable=(1, 2))
    lb.connects()
    while lb.counters.backend(0).redispatches < 60_000:
        client.sends(b"ask")
        server.reads(b"ask").sends(b"answer")
        client.reads(b"answer")
    ended = lb.last_session()
    assert ended.letters == "SC"
    assert ended.record.retries == lb.counters.backend(0).redispatches == 65535
    assert lb.counters.backend(0).retries == 0
    assert lb.counters.backend(0).connects == 65536 + 1
    assert lb.counters.backend(0).connect_errors == 1


def test_pause_is_a_second_at_most(rig: Make) -> None:
    lb = rig([Refusing()], backend={"retries": 1, "timeout_connect": 30_000})
    lb.connects().reads_end()
    assert 998 <= lb.last_session().record.total_ms <= 1000 + TOLERANCE


def test_server_that_listens_again_in_time_gets_the_session(rig: Make) -> None:
    refusing = Refusing()
    lb = rig([refusing], backend={"retries": 3, "timeout_connect": 2 * PAUSE})
    client = lb.connects().sends(b"ask")
    wait_until(lambda: lb.counters.slot(0).retries == 1, "the first attempt failed")
    refusing.socket.listen(10)
    refusing.socket.settimeout(20)
    lb.accepts().reads(b"ask").sends(b"answer").closes()
    client.reads(b"answer").reads_end().closes()
    ended = lb.last_session()
    assert (ended.letters, ended.record.retries) == ("--", 1)
    assert ended.record.connect_ms >= 2 * PAUSE - 2


def test_first_failure_goes_to_another_server_at_once(rig: Make) -> None:
    lb = rig(
        [Refusing(), Listener()],
        algorithm=Algorithm.FIRST,
        backend={"redispatch": Redispatch.LAST, "redispatch_first_failure": True},
    )
    client = lb.connects()
    lb.accepts(1).closes()
    client.reads_end().closes()
    record = lb.last_session().record
    assert (record.retries, record.redispatched, record.slot) == (1, 1, 1)
    assert record.connect_ms < PAUSE
    assert lb.counters.slot(0).redispatches == 1
    assert lb.counters.slot(1).redispatches == 0


def test_without_redispatch_every_retry_goes_to_the_same_server(rig: Make) -> None:
    lb = rig(
        [Refusing(), Listener()],
        algorithm=Algorithm.FIRST,
        backend={"retries": 2, "timeout_connect": PAUSE},
    )
    lb.connects().reads_end()
    record = lb.last_session().record
    assert (record.retries, record.redispatched, record.slot) == (2, 0, 0)
    lb.servers[1].accepts_nobody()


@pytest.mark.parametrize(
    ("redispatch", "interval", "tried", "got"),
    [
        # The last of three retries goes elsewhere.
        (Redispatch.LAST, 0, 3, 1),
        # Each retry does.
        (Redispatch.INTERVAL, 1, 1, 1),
        # Every second one does.
        (Redispatch.INTERVAL, 2, 2, 1),
    ],
)
def test_redispatch_after_a_pause_at_the_retry_it_is_for(
    rig: Make, redispatch: Redispatch, interval: int, tried: int, got: int
) -> None:
    lb = rig(
        [Refusing(), Listener()],
        algorithm=Algorithm.FIRST,
        backend={
            "retries": 3,
            "timeout_connect": PAUSE,
            "redispatch": redispatch,
            "redispatch_interval": interval,
        },
    )
    client = lb.connects()
    lb.accepts(1).closes()
    client.reads_end().closes()
    record = lb.last_session().record
    assert (attempts(lb, 0), attempts(lb, 1)) == (tried, got)
    assert (record.retries, record.redispatched) == (tried, 1)
    assert record.connect_ms >= tried * PAUSE - 2


def test_redispatch_with_a_single_server_tries_that_one(rig: Make) -> None:
    lb = rig(
        [Refusing()],
        backend={
            "retries": 2,
            "timeout_connect": PAUSE,
            "redispatch": Redispatch.LAST,
            "redispatch_first_failure": True,
        },
    )
    lb.connects().reads_end()
    record = lb.last_session().record
    assert (record.retries, record.redispatched) == (2, 0)
    assert attempts(lb, 0) == 3


def test_server_that_does_not_answer_is_left_at_the_connect_timeout(rig: Make) -> None:
    lb = rig(
        [Listener(backlog=0), Listener()],
        algorithm=Algorithm.FIRST,
        backend={
            "timeout_connect": PAUSE,
            "redispatch": Redispatch.LAST,
            "redispatch_first_failure": True,
        },
    )
    with full_backlog(lb):
        client = lb.connects()
        lb.accepts(1).closes()
        client.reads_end().closes()
    record = lb.last_session().record
    assert (record.slot, record.redispatched) == (1, 1)
    assert PAUSE - 2 <= record.connect_ms <= PAUSE + TOLERANCE


def test_retry_goes_elsewhere_when_its_server_left_the_plan_in_the_pause(rig: Make) -> None:
    lb = rig([Refusing(), Listener()], algorithm=Algorithm.FIRST, backend={"timeout_connect": 500})
    client = lb.connects()
    wait_until(lambda: lb.counters.slot(0).retries == 1, "it pauses")
    lb.publish(usable=(1,))
    lb.workers.kill_slot(0, Cause.DOWN)
    lb.accepts(1).closes()
    client.reads_end().closes()
    ended = lb.last_session()
    assert (ended.letters, ended.record.slot) == ("--", 1)
    assert ended.record.connect_ms < 500


# ---- clients that leave too early ----


def test_client_that_resets_while_its_session_pauses_ends_it(rig: Make) -> None:
    lb = rig([Refusing()])
    client = lb.connects()
    wait_until(lambda: lb.counters.slot(0).retries == 1, "it pauses")
    client.resets()
    ended = lb.last_session()
    assert ended.letters == "CC"
    assert ended.record.total_ms < 1000


@pytest.mark.parametrize("abortonclose", [False, True])
def test_client_that_said_all_is_served_unless_abortonclose(rig: Make, abortonclose: bool) -> None:
    refusing = Refusing()
    lb = rig([refusing], backend={"timeout_connect": 3 * PAUSE, "abortonclose": abortonclose})
    client = lb.connects().sends(b"ask")
    wait_until(lambda: lb.counters.slot(0).retries == 1, "it pauses")
    client.shuts_output()
    refusing.socket.listen(10)
    refusing.socket.settimeout(20)
    if abortonclose:
        assert lb.last_session().letters == "CC"
        refusing.accepts_nobody()
    else:
        lb.accepts().reads(b"ask").reads_end().sends(b"answer").closes()
        client.reads(b"answer").reads_end()
        assert lb.last_session().letters == "--"


# ---- the server's address, and ours ----


def test_port_offset_follows_the_port_the_client_connected_to(rig: Make) -> None:
    server = Listener()
    lb = rig([server], listener={"want_destination": True}, slot={"port_rule": PortRule.OFFSET})
    lb.publish(slot={"port_rule": PortRule.OFFSET, "port_offset": server.port - lb.address[1]})
    lb.session()


def test_source_address_is_used(rig: Make) -> None:
    lb = rig(slot={"source": ip_address("127.0.0.77", 0)})
    _, server = lb.session()
    assert server.socket.getpeername()[0] == "127.0.0.77"


def test_every_port_of_a_source_range_is_used_before_they_run_out(rig: Make) -> None:
    low = free_port()
    lb = rig(
        slot={
            "source": ip_address("127.0.0.78", 0),
            "source_port_low": low,
            "source_port_high": low + 3,
        }
    )
    pairs = [lb.session() for _ in range(4)]
    ports = {server.socket.getpeername()[1] for _, server in pairs}
    assert ports == set(range(low, low + 4))
    lb.connects().reads_end()
    assert lb.last_session().letters == "RC"
    # The one port that comes free is found, whosever turn it is.
    pairs[2][0].resets()
    pairs[2][1].reads_reset()
    lb.ends(2)
    lb.session()


def test_one_source_port_serves_two_servers(rig: Make) -> None:
    port = free_port()
    lb = rig(
        2,
        slot={
            "source": ip_address("127.0.0.79", 0),
            "source_port_low": port,
            "source_port_high": port,
        },
    )
    peers = [lb.session(server)[1] for server in (0, 1)]
    assert {peer.socket.getpeername()[1] for peer in peers} == {port}


def test_options_are_set_on_the_servers_socket(rig: Make) -> None:
    lb = rig(slot={"keepalive": KeepAliveRow(True, 33, 7, 4), "tcp_ut": 4321})
    lb.session()
    with lb.descriptor(lib.LBS_SERVER) as leg:
        assert leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = {
            socket.TCP_NODELAY: 1,
            socket.TCP_KEEPIDLE: 33,
            socket.TCP_KEEPINTVL: 7,
            socket.TCP_KEEPCNT: 4,
            socket.TCP_USER_TIMEOUT: 4321,
        }
        for option, value in options.items():
            assert leg.getsockopt(socket.IPPROTO_TCP, option) == value


def test_keepalive_is_off_unless_asked_for_and_needs_no_values(rig: Make) -> None:
    lb = rig()
    lb.session()
    with lb.descriptor(lib.LBS_SERVER) as leg:
        assert not leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    lb.publish(slot={"keepalive": KeepAliveRow(True)})
    lb.session()
    with lb.descriptor(lib.LBS_SERVER, session=1) as leg:
        assert leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_client_leg_inherits_the_listeners_options(rig: Make) -> None:
    lb = rig()
    lb.listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    lb.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 55)
    lb.session()
    with lb.descriptor(lib.LBS_CLIENT) as leg:
        assert leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 55


def test_server_on_a_unix_socket(rig: Make, tmp_path: Path) -> None:
    lb = rig([Listener(socket.AF_UNIX, str(tmp_path / "server"))])
    client, server = lb.session()
    data = bytes(range(256)) * 4000
    client.sends(data[:100_000]).shuts_output()
    assert server.reads_count(100_000) == data[:100_000]
    server.reads_end().sends(data[:150_000]).closes()
    assert client.reads_count(150_000) == data[:150_000]
    client.reads_end()
    assert lb.last_session().letters == "--"


def test_unix_server_whose_backlog_is_full_is_retried(rig: Make, tmp_path: Path) -> None:
    server = Listener(socket.AF_UNIX, str(tmp_path / "server"), backlog=0)
    lb = rig([server], backend={"retries": 5, "timeout_connect": PAUSE})
    first = lb.connects().sends(b"1")
    wait_until(lambda: lb.live() == 1, "the first is in the backlog")
    second = lb.connects().sends(b"2")
    wait_until(lambda: lb.counters.slot(0).retries >= 1, "the second finds it full")
    lb.accepts().reads(b"1").closes()
    lb.accepts().reads(b"2").closes()
    first.reads_end()
    second.reads_end()


def test_server_on_ipv6(rig: Make) -> None:
    lb = rig([Listener(socket.AF_INET6)], slot={"source": ip_address("::1", 0)})
    client, server = lb.session()
    client.sends(b"ask")
    server.reads(b"ask").sends(b"answer")
    client.reads(b"answer")


def test_connect_is_timed_from_the_accept(rig: Make) -> None:
    lb = rig(frontend={"want_connect_event": True})
    started = time.time()
    lb.session()
    event = lb.waits_for(lib.LBS_EVENT_SESSION_CONNECTED, 1)[0]
    assert 0 <= event.connect_ms < 1000
    assert abs(event.accepted_wall_ms / 1000 - started) < 2
    assert (event.slot, event.slot_sessions, event.frontend_sessions) == (0, 1, 1)
