"""The values of `lbsplice sysctl plan` in a real HAProxy: dead peers are found in time, and
it costs as many packets as was said. Needs root, iptables and haproxy."""

import itertools
import os
import time

import pytest

from lbsplice.config.files import Source
from lbsplice.lab.topology import CLIENT, SERVICE_ADDRESS, VICTIM
from lbsplice.lint.analysis import analyse
from lbsplice.lint.detect import Session, Side
from lbsplice.sysctl.plan import plan
from lbsplice.sysctl.values import Sysctls
from tests.support.deaths import HAVE_TOOLS, Scene

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not HAVE_TOOLS, reason="haproxy or iptables is not installed"),
]


@pytest.fixture
def scene(tmp_path):
    with Scene(tmp_path) as made:
        yield made


def test_the_plan_finds_the_dead_in_time(scene, tmp_path):
    """Everything `plan` prints, put into a configuration: both legs, idle or not."""
    detect_s = 5.0
    lines = dict(plan(5000, 1000, Sysctls(), None).lines)
    (limit,) = lines["every bind and every server line, at its end"]
    cases = {
        7001: (VICTIM, "client", ""),
        7002: (VICTIM, "client", "no-check"),
        7003: (CLIENT, "server", ""),
        7004: (CLIENT, "server", "no-check"),
    }
    text = "global\n    log stdout format raw local0\n"
    text += "".join(f"    {line}\n" for line in lines["global"])
    text += "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n"
    text += "    timeout server 1h\n" + "".join(f"    {line}\n" for line in lines["defaults"])
    for port, (_, _, check) in cases.items():
        text += f"listen l{port}\n    bind {SERVICE_ADDRESS}:{port} {limit}\n"
        text += f"    server s {VICTIM.address}:{port} {check} {limit}\n"
        scene.listen(port)
    config = tmp_path / "plan.cfg"
    config.write_text(text)
    scene.start(config)
    sessions = {
        (port, kind): scene.connect(port)
        for port in cases
        for kind in (Session.IDLE, Session.UNACKED)
    }
    scene.watch(1.5)
    for port, (host, _, _) in cases.items():
        for chain in ("INPUT", "OUTPUT"):
            for which in ("sport", "dport"):
                scene.rule(host, chain, f"-p tcp --{which} {port} -j DROP")
    since = time.monotonic()
    for (port, kind), session in sessions.items():
        if kind is Session.UNACKED:
            getattr(session, cases[port][1]).sendall(b"lost\n")
    scene.watch(detect_s + 0.5)
    for (port, kind), session in sessions.items():
        living = cases[port][1]
        assert living in session.told, (port, kind)
        assert session.told[living][0] - since <= detect_s + 0.1, (port, kind)
    for found in analyse([Source("plan.cfg", text)], {}, Sysctls()).detections:
        for side, kind in itertools.product(Side, (Session.IDLE, Session.UNACKED)):
            assert found.of(side, kind).worst_ms <= 1000 * detect_s


def test_probes_and_checks_cost_what_the_plan_says(scene, tmp_path):
    """Packets of one idle session and one check a second, counted by the far firewall."""
    text = (
        "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n"
        "    timeout server 1h\n    option srvtcpka\n    srvtcpka-idle 1s\n    srvtcpka-intvl 1s\n"
        f"listen probes\n    bind {SERVICE_ADDRESS}:7001\n    server s {VICTIM.address}:7001\n"
        f"listen checks\n    bind {SERVICE_ADDRESS}:7002\n"
        f"    server s {VICTIM.address}:7002 check inter 500ms\n"
    )
    config = tmp_path / "cost.cfg"
    config.write_text(text)
    for port in (7001, 7002):
        scene.listen(port)
    scene.start(config)
    scene.connect(7001)
    scene.watch(0.5)
    for way, port in (("dport", 7001), ("dport", 7002)):
        scene.rule(VICTIM, "INPUT", f"-p tcp --{way} {port} -j ACCEPT")
        scene.rule(VICTIM, "OUTPUT", f"-p tcp --sport {port} -j ACCEPT")
    scene.watch(4.0)
    probes = scene.packets(VICTIM, "INPUT", 7001) + scene.packets(VICTIM, "OUTPUT", 7001)
    checks = scene.packets(VICTIM, "INPUT", 7002) + scene.packets(VICTIM, "OUTPUT", 7002)
    assert 2 * 3 <= probes <= 2 * 5, "a probe and its answer a second"
    assert 3 * 6 <= checks <= 4 * 10, "three or four packets a check, two checks a second"
