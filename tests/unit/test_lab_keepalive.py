"""`lab keepalive` on paper: what is computed, what is read, what is judged."""

from dataclasses import replace
from io import StringIO

import pytest
from click.testing import CliRunner

from lbsplice.cli import lab as command
from lbsplice.lab.keepalive_capture import read_segment
from lbsplice.lab.keepalive_results import KeepaliveResult, as_object, summary
from lbsplice.lab.keepalive_scene import (
    KeepaliveCase,
    KeepaliveSettings,
    configuration,
    expected,
)
from lbsplice.lab.keepalive_verdict import KeepaliveObserved, judge_keepalive, within
from lbsplice.lab.scene import Proxy
from lbsplice.lab.shows import PlainSceneShow
from lbsplice.lab.summary import NOT_HELD
from lbsplice.lab.verdict import End

SETTINGS = KeepaliveSettings()
HAPROXY = KeepaliveSettings(proxy=Proxy.HAPROXY)

# What a run of each case shows when all is as computed.
SEEN = {
    KeepaliveCase.SILENT: KeepaliveObserved(End.FIN, 3.502, "cD", 3.503),
    KeepaliveCase.PROBED: KeepaliveObserved(
        End.FIN, 3.504, "cD", 3.505, probes_s=(1.05, 2.07, 3.1), answers=3
    ),
    KeepaliveCase.OTHER_LEG: KeepaliveObserved(
        End.HANGS, probes_s=(1.05, 2.07, 3.1, 4.12, 5.14), answers=5
    ),
    KeepaliveCase.DEAD_SERVER: KeepaliveObserved(
        End.RESET, 4.06, "SD", 4.07, probes_s=(1.0, 2.01, 3.04)
    ),
    KeepaliveCase.DEAD_CLIENT: KeepaliveObserved(
        End.HANGS, None, "CD", 4.11, probes_s=(1.0, 2.01, 3.04)
    ),
}


def failed(case, seen, settings=SETTINGS):
    return [claim.text for claim in judge_keepalive(settings, case, seen) if not claim.held]


@pytest.mark.parametrize("case", KeepaliveCase)
def test_what_was_computed_holds(case):
    assert failed(case, SEEN[case]) == []


@pytest.mark.parametrize(
    ("case", "change", "says"),
    [
        (KeepaliveCase.SILENT, {"told_s": 9.0}, "3.5 s after its last byte"),
        (KeepaliveCase.SILENT, {"probes_s": (1.0,)}, "no probe is sent"),
        (KeepaliveCase.SILENT, {"left_behind": 1}, "no process behind"),
        (KeepaliveCase.PROBED, {"told_s": None, "logged_s": None}, "3.5 s after its last byte"),
        (KeepaliveCase.PROBED, {"state": "CD"}, "logged as cD"),
        (KeepaliveCase.PROBED, {"probes_s": ()}, "probes leave at 1, 2, 3 s"),
        (KeepaliveCase.PROBED, {"answers": 1}, "all of them are answered"),
        (KeepaliveCase.OTHER_LEG, {"told": End.FIN, "told_s": 4.0}, "nobody ends the session"),
        (KeepaliveCase.DEAD_SERVER, {"told": End.FIN}, "told: a reset"),
        (KeepaliveCase.DEAD_SERVER, {"told_s": 3.2}, "4 s after its last byte"),
        (KeepaliveCase.DEAD_SERVER, {"probes_s": (1.0, 2.0)}, "probes leave at 1, 2, 3 s"),
        (KeepaliveCase.DEAD_SERVER, {"probes_s": (1.0, 2.0, 5.0)}, "probes leave at 1, 2, 3 s"),
        (KeepaliveCase.DEAD_CLIENT, {"answers": 1}, "none is answered"),
        (KeepaliveCase.DEAD_CLIENT, {"wrong_answers": 1}, "byte for byte"),
    ],
)
def test_what_is_otherwise_is_told(case, change, says):
    (text, *_) = failed(case, replace(SEEN[case], **change))
    assert says in text


def test_a_session_that_ends_before_the_first_probe_is_not_probed():
    settings = KeepaliveSettings(idle_s=5, timeout_s=1.0)
    case = KeepaliveCase.PROBED
    seen = KeepaliveObserved(End.FIN, 1.002, "cD", 1.003)
    assert failed(case, seen, settings) == []
    assert "no probe is sent" in failed(case, replace(seen, probes_s=(0.5,)), settings)


def test_a_long_list_of_probes_is_shortened():
    settings = KeepaliveSettings(watch_s=100)
    texts = [
        claim.text
        for claim in judge_keepalive(
            settings, KeepaliveCase.OTHER_LEG, SEEN[KeepaliveCase.OTHER_LEG]
        )
    ]
    assert "probes leave at 1, 2, 3, 4, 5, 6, ..., 103 s" in texts


def test_haproxy_ends_the_session_of_a_dead_server_with_a_fin():
    case = KeepaliveCase.DEAD_SERVER
    assert failed(case, replace(SEEN[case], told=End.FIN), HAPROXY) == []


def test_a_dead_peer_is_given_up_one_interval_after_the_last_probe():
    settings = KeepaliveSettings(idle_s=5, interval_s=2, count=4)
    wanted = expected(KeepaliveCase.DEAD_CLIENT, settings)
    assert wanted.ended_s == settings.dead_after_s == 13
    assert wanted.probes_s == (5, 7, 9, 11)


@pytest.mark.parametrize(
    ("idle", "interval", "due"), [(1, 1, (1, 2, 3, 4)), (2, 1, (2, 4)), (1, 2, (1, 3))]
)
def test_a_peer_that_answers_is_probed_after_the_idle_time_again(idle, interval, due):
    settings = KeepaliveSettings(idle_s=idle, interval_s=interval, timeout_s=4.5)
    assert expected(KeepaliveCase.PROBED, settings).probes_s == due


@pytest.mark.parametrize(
    ("measured", "held"), [(0.85, False), (0.95, True), (1.8, True), (2.0, False)]
)
def test_a_time_is_within_the_bounds_of_the_kernels_timers(measured, held):
    assert within(measured, 1.0) is held


def test_only_the_case_decides_the_configuration():
    silent = configuration(KeepaliveCase.SILENT, SETTINGS)
    assert "tcpka" not in silent
    assert "timeout client 3500ms\n" in silent
    assert " check" not in silent
    probed = configuration(KeepaliveCase.DEAD_SERVER, KeepaliveSettings(idle_s=7, count=2))
    assert "    option srvtcpka\n    srvtcpka-idle 7s\n    srvtcpka-intvl 1s\n" in probed
    assert "    srvtcpka-cnt 2\n" in probed
    assert "timeout client 1h\n" in probed


def test_a_line_of_tcpdump_is_read():
    line = (
        "1763718000.123456 IP 192.168.1.100.81 > 192.168.1.35.58278: Flags [.], ack 7, win 64, "
        "options [nop,nop,TS val 1 ecr 2], length 0"
    )
    segment = read_segment(line)
    assert segment is not None
    assert (segment.stamp, segment.source) == (1763718000.123456, "192.168.1.100.81")
    assert segment.bare
    assert segment.text == (
        "IP 192.168.1.100.81 > 192.168.1.35.58278: Flags [.], ack 7, win 64, length 0"
    )


@pytest.mark.parametrize(
    ("line", "bare"),
    [
        ("1.5 IP 10.0.0.1.81 > 10.0.0.2.9: Flags [P.], seq 1:8, ack 7, win 9, length 7", False),
        ("1.5 IP 10.0.0.1.81 > 10.0.0.2.9: Flags [R.], seq 1, ack 7, win 9, length 0", False),
        ("1.5 IP 10.0.0.1.81 > 10.0.0.2.9: Flags [F.], seq 1, ack 7, win 9, length 0", False),
    ],
)
def test_a_segment_that_says_something_is_no_probe(line, bare):
    assert read_segment(line).bare is bare


@pytest.mark.parametrize("line", ["", "tcpdump: listening on eth0", "1.5 ARP, Request who-has"])
def test_other_lines_are_no_segments(line):
    assert read_segment(line) is None


def results(**changes):
    found = []
    for case, seen in SEEN.items():
        seen = replace(seen, **changes)
        found.append(KeepaliveResult(case, seen, judge_keepalive(SETTINGS, case, seen), ()))
    return found


def test_the_moral_has_the_measured_times():
    told = summary(SETTINGS, results())
    assert told.held
    assert "ended it all the same, after 3.504 s" in told.moral
    assert "a server that is gone, after 4.060 s (computed: 4 s)" in told.moral
    output = StringIO()
    PlainSceneShow(output).closes(told, {})
    assert "dead-server  srvtcpka   server  3       0         4.000 s" in output.getvalue()


def test_what_did_not_hold_is_said_at_the_end():
    told = summary(SETTINGS, results(left_behind=2))
    assert (told.held, told.moral) == (False, NOT_HELD)
    assert {row[-1] for row in told.rows} == {"NO"}


def test_programs_get_computed_and_measured_times():
    told = as_object(SETTINGS, "lbsplice 1", results())
    cases = {case["case"]: case for case in told["cases"]}
    assert told["held"]
    assert cases["dead-server"]["probes"][1] == {"computed_ms": 2000.0, "measured_ms": 2010.0}
    assert cases["other-leg"]["ended_computed_ms"] is None


@pytest.mark.parametrize("scene", ["keepalive", "reload"])
def test_without_root_it_says_so_in_one_line(monkeypatch, scene):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    told = CliRunner().invoke(command.lab, [scene])
    assert told.exit_code == 1
    assert told.output.count("\n") == 1
    assert "needs root" in told.output


@pytest.mark.parametrize(
    ("words", "environment", "played"),
    [
        ([], {}, ["lbsplice"]),
        (["--proxy", "haproxy"], {}, ["haproxy"]),
        (["--proxy", "both"], {}, ["haproxy", "lbsplice"]),
        ([], {"LBSPLICE_LAB_PROXY": "both"}, ["haproxy", "lbsplice"]),
        (["--proxy", "lbsplice"], {"LBSPLICE_LAB_PROXY": "both"}, ["lbsplice"]),
    ],
)
@pytest.mark.parametrize("held", [True, False])
def test_the_proxies_are_played_in_turn_and_all_have_to_hold(
    monkeypatch, words, environment, played, held
):
    seen = []

    def play(settings, cases, as_json):
        seen.append(settings.proxy.value)
        return held

    monkeypatch.setattr("lbsplice.cli.lab_keepalive._play", play)
    told = CliRunner().invoke(command.lab, ["keepalive", *words], env=environment)
    assert told.exit_code == (0 if held else 1)
    assert seen == played
