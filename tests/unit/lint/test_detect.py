"""The formulae of detection times, one setting at a time. tests/lab/test_lint_measured.py
holds the same against HAProxy and the kernel."""

from __future__ import annotations

import pytest

from lbsplice.config.files import Source
from lbsplice.lint.analysis import analyse
from lbsplice.lint.detect import Session, Side
from lbsplice.sysctl.values import Sysctls

BASE = {
    "timeout connect": "timeout connect 5s",
    "timeout client": "timeout client 1h",
    "timeout server": "timeout server 1h",
}
KERNEL = (924_600, 1_045_000)  # tcp_retries2 = 15
HOUR = (3_600_000, 3_600_000)
IDLE, UNACKED, NEW = Session.IDLE, Session.UNACKED, Session.NEW


def detection(*lines, bind="", server="", base=BASE, sysctls=None, head=""):
    kept = {k: v for k, v in base.items() if not any(line.startswith(k) for line in lines)}
    own = [line for line in lines if not line.endswith(" none")]
    text = "\n    ".join(
        [
            f"{head}listen l",
            f"bind :1 {bind}",
            *kept.values(),
            *own,
            f"server s 10.0.0.1:1 {server}",
        ]
    )
    analysis = analyse([Source("a.cfg", text + "\n")], {}, Sysctls(sysctls or {}))
    (found,) = analysis.detections
    return found


def times(found, side, session):
    estimate = found.of(side, session)
    return estimate.best_ms, estimate.worst_ms


@pytest.mark.parametrize(
    ("server", "lines", "span"),
    [
        ("check", (), (10_000, 12_000)),  # 3 x 2 s of connects and 2 pauses, and one more
        ("check inter 200 fall 1", (), (200, 400)),
        ("check inter 1s fall 3 fastinter 100ms", (), (3_200, 4_200)),
        ("check inter 1s fall 2", ("timeout check 300ms",), (3_000, 4_000)),
        ("check inter 1s fall 2", ("timeout connect 200ms", "timeout check 300ms"), (1_400, 2_400)),
        ("check inter 1s fall 2", ("timeout connect 200ms",), (3_000, 4_000)),
        ("check inter 1s fall 2", ("option httpchk", "timeout check 400ms"), (2_400, 4_000)),
        ("check inter 1s fall 2", ("option httpchk", "timeout check 9s"), (3_000, 11_000)),
        ("check inter 1s fall 2 observe layer4", ("timeout connect 1s",), (1_000, 4_000)),
    ],
)
def test_new_sessions_by_checks(server, lines, span):
    found = detection(*lines, server=server)
    assert times(found, Side.SERVER, NEW) == span
    assert times(found, Side.SERVER, IDLE)[1] == 3_600_000


def test_spread_checks_widens_both_ends():
    found = detection(server="check inter 1s fall 2", head="global\nspread-checks 50\n")
    assert times(found, Side.SERVER, NEW) == (2_500, 5_000)
    assert found.refused == (500, 3_000)


def test_without_a_check_new_sessions_never_notice_and_each_one_pays():
    found = detection("retries 2", "timeout connect 4s")
    assert found.of(Side.SERVER, NEW).never
    assert (found.connect_ms, found.attempts) == (4_000, 3)


def test_without_a_connect_timeout_the_kernel_gives_up():
    found = detection("timeout connect none")
    assert found.connect_ms == 127_000
    newer = detection("timeout connect none", sysctls={"net.ipv4.tcp_syn_linear_timeouts": "4"})
    assert newer.connect_ms == 131_000


def test_checks_end_old_sessions_only_with_the_action():
    check = "check inter 1s fall 2"
    without = detection(server=check)
    assert times(without, Side.SERVER, IDLE) == HOUR
    with_it = detection(server=f"{check} on-marked-down shutdown-sessions")
    assert times(with_it, Side.SERVER, IDLE) == (3_000, 4_000)
    assert times(with_it, Side.SERVER, UNACKED) == (3_000, 4_000)
    assert times(with_it, Side.CLIENT, IDLE) == HOUR


KEEPALIVE = ("idle 60s", "intvl 10s", "cnt 3")


def test_keepalive_sees_its_own_side_only():
    lines = ("option srvtcpka", *(f"srvtcpka-{value}" for value in KEEPALIVE))
    found = detection(*lines)
    assert times(found, Side.SERVER, IDLE) == (30_000, 90_000)
    assert times(found, Side.SERVER, UNACKED) == KERNEL
    assert times(found, Side.CLIENT, IDLE) == HOUR
    assert "3 probes 10 s apart" in found.of(Side.SERVER, IDLE).setting


def test_keepalive_without_the_option_is_nothing():
    found = detection(*(f"srvtcpka-{value}" for value in KEEPALIVE))
    assert times(found, Side.SERVER, IDLE) == HOUR


def test_keepalive_takes_the_systems_values():
    sysctls = {"net.ipv4.tcp_keepalive_time": "100", "net.ipv4.tcp_keepalive_intvl": "10"}
    found = detection("option tcpka", sysctls=sysctls)
    assert times(found, Side.SERVER, IDLE) == (90_000, 190_000)
    assert times(found, Side.CLIENT, IDLE) == (90_000, 190_000)


def test_keepalive_behind_the_timeout_never_acts():
    found = detection("option tcpka")
    assert found.of(Side.SERVER, IDLE).setting == "timeout server 1h"
    assert times(found, Side.SERVER, IDLE) == HOUR


def test_the_user_timeout_decides_over_unacknowledged_data():
    found = detection(bind="tcp-ut 20s", server="tcp-ut 10s")
    assert times(found, Side.SERVER, UNACKED) == (10_000, 10_400)
    assert times(found, Side.CLIENT, UNACKED) == (20_000, 20_400)
    assert times(found, Side.SERVER, IDLE) == HOUR


def test_the_longest_user_timeout_of_several_binds_counts():
    assert times(detection("bind :2 tcp-ut 30s", bind="tcp-ut 20s"), Side.CLIENT, UNACKED) == (
        30_000,
        30_400,
    )
    assert times(detection("bind :2", bind="tcp-ut 20s"), Side.CLIENT, UNACKED) == KERNEL


@pytest.mark.parametrize(
    ("lines", "server_dies", "client_dies"),
    [
        (("timeout tunnel 2m",), 120_000, 120_000),
        (("timeout client 30s", "timeout server 50s"), 50_000, 30_000),
        (("timeout client 50s", "timeout server 30s"), 30_000, 50_000),
        (("timeout client 30s", "timeout server 50s", "timeout server-fin 5s"), 35_000, 30_000),
        (("timeout client 50s", "timeout server 30s", "timeout client-fin 5s"), 30_000, 35_000),
        (("timeout client 30s", "timeout server none"), 30_000 + KERNEL[1], 30_000),
        (("timeout client none", "timeout server none", "timeout tunnel 9s"), 9_000, 9_000),
    ],
)
def test_which_timeout_ends_an_idle_session(lines, server_dies, client_dies):
    found = detection(*lines)
    assert found.of(Side.SERVER, IDLE).worst_ms == server_dies
    assert found.of(Side.CLIENT, IDLE).worst_ms == client_dies


def test_nothing_at_all_is_never():
    found = detection("timeout client none", "timeout server none")
    assert found.of(Side.SERVER, IDLE).never
    assert found.of(Side.CLIENT, IDLE).never
    assert "timeout server" in found.of(Side.SERVER, IDLE).setting
    assert times(found, Side.SERVER, UNACKED) == KERNEL


def test_a_tracking_server_has_the_checks_of_the_tracked_one():
    text = (
        "backend b\n    server a 10.0.0.1:1 check inter 1s fall 2\n"
        "listen l\n    bind :1\n    timeout connect 5s\n    timeout client 1h\n"
        "    timeout server 1h\n"
        "    server s 10.0.0.1:2 track b/a on-marked-down shutdown-sessions\n"
    )
    (found,) = analyse([Source("a.cfg", text)], {}, Sysctls()).detections
    assert times(found, Side.SERVER, IDLE) == (3_000, 4_000)


def test_a_path_for_every_frontend():
    text = (
        "defaults\n    timeout connect 5s\n    timeout server 2h\n"
        "frontend quick\n    bind :1\n    timeout client 10s\n    default_backend b\n"
        "frontend slow\n    bind :2\n    timeout client 2h\n    use_backend b if TRUE\n"
        "backend b\n    server a 10.0.0.1:1 check\n    server off 10.0.0.2:1 check disabled\n"
    )
    found = analyse([Source("a.cfg", text)], {}, Sysctls()).detections
    shown = {d.path.title: d.of(Side.CLIENT, IDLE).worst_ms for d in found}
    assert shown == {
        "frontend quick -> backend b": 10_000,
        "frontend slow -> backend b": 7_200_000,
    }
