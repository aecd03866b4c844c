"""When the kernel, and lbsplice's own timeouts, give a silent session up."""

from dataclasses import replace

import pytest

from lbsplice.admin.giving_up import (
    CLIENT,
    SERVER,
    System,
    ends_when_silent,
    gives_up,
    idle_timer,
    sends_in_vain,
)
from lbsplice.admin.kernel_leg import KeepAliveInForce, KernelLeg
from tests.support.admin import session_view

IDLE = KernelLeg("127.0.0.1:1", "127.0.0.1:2", "ESTABLISHED", timer="off", rto_ms=200)
PROBED = replace(
    IDLE,
    timer="keepalive",
    expires_ms=50_000,
    last_data_received_ms=10_000,
    last_ack_ms=10_000,
    keepalive=KeepAliveInForce(idle=60, interval=10, count=3),
)
SENT = replace(IDLE, timer="on", expires_ms=200, send_queue=100)


@pytest.mark.parametrize(
    ("leg", "in_ms"),
    [
        (PROBED, 50_000 + 3 * 10_000),
        (replace(PROBED, expires_ms=4_000, probes=2), 4_000 + 10_000),
        (replace(PROBED, expires_ms=4_000, probes=3), 4_000),
        # The timer may fire early: it looks how long it was quiet, and waits for the rest.
        (replace(PROBED, expires_ms=5_000, last_data_received_ms=20_000), 50_000 + 30_000),
        # The timer is not known, without sock_diag.
        (replace(PROBED, timer=None, expires_ms=0), 50_000 + 30_000),
        # TCP_USER_TIMEOUT takes the place of the count: the first tick with an unanswered
        # probe and so much silence.
        (replace(PROBED, user_timeout_ms=15_000), 50_000 + 10_000),
        (replace(PROBED, user_timeout_ms=75_000), 50_000 + 2 * 10_000),
    ],
)
def test_keepalive_gives_an_idle_peer_up(leg, in_ms):
    given = gives_up(leg, System())
    assert given.in_ms == in_ms
    assert "keepalive" in given.what


def test_nothing_gives_an_idle_peer_up_without_keepalive():
    assert gives_up(IDLE, System()) is None
    assert gives_up(replace(IDLE, user_timeout_ms=1000), System()) is None


def test_retransmissions_go_on_for_as_long_as_tcp_retries2_says():
    # Pauses of 200 ms, doubling: the kernel looks at 0.2, 0.6, 1.4, 3.0 and 6.2 s, and the
    # model of three retries is 3.0 s.
    system = System(retries2=3)
    assert gives_up(SENT, system).in_ms == 3_000
    later = replace(SENT, retransmits=2, backoff=2, rto_ms=800, expires_ms=500)
    assert gives_up(later, system).in_ms == 500 + 1_600  # 0.9 s are over
    assert "tcp_retries2 = 3" in gives_up(later, system).what


def test_retransmissions_end_with_the_user_timeout():
    leg = replace(SENT, user_timeout_ms=5_000, retransmits=2, backoff=2, rto_ms=800, expires_ms=300)
    given = gives_up(leg, System())
    assert given.in_ms == 5_000 - (200 + 400 + 500)
    assert given.what == "tcp-ut 5000ms"


def test_an_unknown_timer_leaves_the_bound():
    leg = replace(SENT, timer=None)
    assert gives_up(leg, System()).in_ms == sends_in_vain(leg, System())


def test_window_probes_are_counted():
    leg = replace(SENT, timer="probe", unsent=100, expires_ms=400, backoff=1, probes=1)
    # Three probes more, after 0.4 s and pauses of 0.8 and 1.6 s; at 3.2 s it is over.
    assert gives_up(leg, System(retries2=3)).in_ms == 400 + 800 + 1_600
    assert gives_up(replace(leg, probes=3), System(retries2=3)).in_ms == 400
    limit = gives_up(replace(leg, user_timeout_ms=1_000, last_ack_ms=300), System(retries2=3))
    assert limit.in_ms == 700


def test_the_longest_pause_is_a_sysctl():
    slow = gives_up(SENT, System(retries2=15)).in_ms
    quick = gives_up(SENT, System(retries2=15, rto_max_ms=1_000)).in_ms
    assert 900_000 < slow < 1_100_000
    assert 13_000 < quick < 15_000


# ---- lbsplice's own ----


def session(**changes):
    legs = changes.pop("legs", ({}, {}))
    view = session_view(1)
    both = tuple(
        replace(leg, idle_ms=1_000, **more) for leg, more in zip(view.legs, legs, strict=True)
    )
    times = {"timeout_client": 10_000, "timeout_server": 20_000}
    return replace(view, legs=both, **{**times, **changes})


def test_each_side_has_its_timeout():
    assert idle_timer(session(), CLIENT).left_ms == 9_000
    assert idle_timer(session(), SERVER).left_ms == 19_000
    assert idle_timer(session(timeout_client=0), CLIENT) is None


def test_the_shorter_one_ends_a_side_and_the_other_one_begins_anew():
    # The server is told of the client's end, and is waited for from then on.
    ends = ends_when_silent(session())
    assert ends.setting == "timeout client, then timeout server"
    assert (ends.limit_ms, ends.left_ms) == (20_000, 9_000 + 20_000)


def test_two_that_come_at_once_end_the_session():
    assert ends_when_silent(session(timeout_server=10_000)).left_ms == 9_000


def test_a_side_without_a_timeout_keeps_the_session_open():
    assert ends_when_silent(session(timeout_server=0)) is None
    assert ends_when_silent(session(timeout_client=0, timeout_server=0)) is None


def test_a_tunnel_counts_for_both_sides():
    one = session(timeout_tunnel=60_000)
    one = replace(one, legs=(replace(one.legs[0], idle_ms=30_000), one.legs[1]))
    assert idle_timer(one, CLIENT).left_ms == 59_000  # the server has been heard since
    assert ends_when_silent(one).setting == "timeout tunnel"


def test_the_fin_timeout_takes_over_once_the_other_side_has_ended():
    one = session(timeout_client_fin=3_000, legs=({}, {"ended": True, "shut": True}))
    assert idle_timer(one, SERVER) is None  # nothing is expected of it any more
    assert idle_timer(one, CLIENT).setting == "timeout client-fin"
    assert ends_when_silent(one).left_ms == 2_000


def test_the_fin_timeout_follows_the_first_end():
    ends = ends_when_silent(session(timeout_server_fin=1_000))
    assert ends.setting == "timeout client, then timeout server-fin"
    assert ends.left_ms == 9_000 + 1_000


def test_who_waits_for_the_other_one_is_not_late():
    # What the client sent waits for the server, which is late then.
    one = session(legs=({"in_pipe": 100}, {}))
    assert idle_timer(one, CLIENT) is None
    assert idle_timer(one, SERVER).left_ms == 19_000
    assert ends_when_silent(one).left_ms == 19_000
