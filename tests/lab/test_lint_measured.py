"""The times that `lbsplice lint` computes, held against HAProxy and the kernel.

One configuration has a listener for each claim; the linter reads that very file, with the
sysctls of the proxy's namespace. Then the servers (or the clients) vanish at one moment, and
every measured time must lie within the computed bounds. Needs root, iptables and haproxy."""

import os
import time

import pytest

from lbsplice.config.files import Source
from lbsplice.lab.topology import BALANCER, CLIENT, SERVICE_ADDRESS, VICTIM
from lbsplice.lint.analysis import analyse
from lbsplice.lint.detect import Session, Side
from tests.support.deaths import HAVE_TOOLS, Scene

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not HAVE_TOOLS, reason="haproxy or iptables is not installed"),
]

EARLY_S = 0.05
LATE_S = 0.8
"""A busy machine's allowance, besides the eighth of the kernel's timer wheel."""

SETTLED_S = 0.9
"""After so long every server has had its first checks, and no timeout here has passed."""

WATCHED_S = 6.5

SYSCTLS = {
    "net.ipv4.tcp_retries2": "2",
    "net.ipv4.tcp_syn_retries": "1",
    "net.ipv4.tcp_syn_linear_timeouts": "0",
    "net.ipv4.tcp_keepalive_time": "1",
    "net.ipv4.tcp_keepalive_intvl": "1",
    "net.ipv4.tcp_keepalive_probes": "3",
}

HEAD = """\
global
    log stdout format raw local0
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    retries 0
"""

CHECK = "check inter 400ms"
SHUT = "on-marked-down shutdown-sessions"

# port: lines of the listener, settings of its server (the port is added by `_config`)
SERVER_DIES = {
    "check": ((), f"{CHECK} fall 2 {SHUT}"),
    "check-fastinter": ((), f"{CHECK} fastinter 100ms fall 3"),
    "check-limit": (("timeout connect 200ms", "timeout check 300ms"), f"{CHECK} fall 2"),
    "check-answer": (
        ("timeout check 700ms", "option tcp-check", "tcp-check expect string ok"),
        f"{CHECK} fall 2",
    ),
    "track": ((), f"track check/s {SHUT}"),
    "keepalive": (
        ("option srvtcpka", "srvtcpka-idle 2s", "srvtcpka-intvl 1s", "srvtcpka-cnt 2"),
        "",
    ),
    "keepalive-with-long-intervals": (
        ("option srvtcpka", "srvtcpka-idle 1s", "srvtcpka-intvl 2s", "srvtcpka-cnt 1"),
        "",
    ),
    "keepalive-of-the-system": (("option tcpka",), ""),
    "keepalive-values-without-option": (("srvtcpka-idle 1s", "srvtcpka-intvl 1s"), ""),
    "keepalive-after-timeout": (
        ("option srvtcpka", "srvtcpka-idle 9s", "timeout server 2s", "timeout client 2s"),
        "",
    ),
    "user-timeout": ((), "tcp-ut 1500ms"),
    "user-timeout-that-is-not-handed-down": (("default-server tcp-ut 1s",), ""),
    "user-timeout-and-keepalive": (
        ("option srvtcpka", "srvtcpka-idle 1s", "srvtcpka-intvl 1s", "srvtcpka-cnt 9"),
        "tcp-ut 2500ms",
    ),
    "timeout-server": (("timeout server 2s",), ""),
    "timeout-client": (("timeout client 1s", "timeout server 3s"), ""),
    "timeout-server-fin": (("timeout client 1s", "timeout server-fin 1s"), ""),
    "timeout-client-then-kernel": (("timeout client 1s",), ""),
    "tunnel": (("timeout tunnel 2s",), ""),
    "nothing": ((), ""),
}

CLIENT_DIES = {
    "keepalive": (
        (),
        ("option clitcpka", "clitcpka-idle 2s", "clitcpka-intvl 1s", "clitcpka-cnt 2"),
    ),
    "keepalive-of-the-other-side": ((), ("option srvtcpka",)),
    "user-timeout": (("tcp-ut 1500ms",), ()),
    "timeout-client": ((), ("timeout client 2s",)),
    "timeout-server": ((), ("timeout client 3s", "timeout server 1s")),
    "timeout-client-fin": ((), ("timeout server 1s", "timeout client-fin 1s")),
    "tunnel": ((), ("timeout tunnel 2s",)),
    "nothing": ((), ()),
}

FAR, OWN = "dropped at the far host", "dropped by the proxy's own firewall"
FIRST_PORT = 7000


def _ports(names):
    return {name: FIRST_PORT + number for number, name in enumerate(names)}


def _listener(name, port, lines, bind="", server=""):
    own = "".join(f"    {line}\n" for line in lines)
    return (
        f"listen {name}\n    bind {SERVICE_ADDRESS}:{port} {bind}\n{own}"
        f"    server s {VICTIM.address}:{port} {server}\n"
    )


def _estimates(text, sysctls):
    analysis = analyse([Source("lab.cfg", text)], {}, sysctls)
    assert not analysis.notes
    return {found.path.backend.name: found for found in analysis.detections}


def _started(scene, tmp_path, text, ports):
    for name, port in ports.items():
        scene.listen(port, b"ok\n" if name == "check-answer" else b"")
    config = tmp_path / "lab.cfg"
    config.write_text(text)
    scene.start(config)


class Measured:
    """One death of all servers (or clients): the estimates, and the times since the death.
    `early_s` is how long before it the last byte of idle sessions was sent."""

    def __init__(self, estimates, watched_s):
        self.estimates = estimates
        self.watched_s = watched_s
        self.early_s = 0.0
        self.times = {}

    def check(self, name, side, session):
        estimate = self.estimates[name].of(side, session)
        measured = self.times.get((name, session))
        shown = f"{name}: {estimate} measured {measured}"
        if estimate.worst_ms is not None and _late(estimate.worst_ms) < self.watched_s:
            assert measured is not None, shown
        if measured is not None:
            assert estimate.best_ms is not None, shown
            assert measured > estimate.best_ms / 1000 - self.early_s - EARLY_S, shown
            assert measured < _late(estimate.worst_ms), shown


def _late(worst_ms):
    return worst_ms / 1000 * 1.125 + LATE_S


def _kill_servers(tmp_path, how):
    ports = _ports(SERVER_DIES)
    text = HEAD + "".join(
        _listener(name, ports[name], lines, server=server)
        for name, (lines, server) in SERVER_DIES.items()
    )
    with Scene(tmp_path, SYSCTLS) as scene:
        _started(scene, tmp_path, text, ports)
        result = Measured(_estimates(text, scene.sysctls()), WATCHED_S)
        sessions = {
            (name, session): scene.connect(port)
            for name, port in ports.items()
            for session in (Session.IDLE, Session.UNACKED)
        }
        scene.watch(SETTLED_S)
        spoke = time.monotonic()
        for session in sessions.values():  # the idle timeouts start anew
            session.client.sendall(b"again\n")
        scene.watch(0.05)
        host, chain = (VICTIM, "INPUT") if how == FAR else (BALANCER, "OUTPUT")
        scene.rule(host, chain, f"-p tcp -d {VICTIM.address} -j DROP")
        died = time.monotonic()
        result.early_s = died - spoke
        for name in ports:
            sessions[name, Session.UNACKED].client.sendall(b"lost\n")
        scene.watch(result.watched_s)
        for key, session in sessions.items():
            if "client" in session.told:
                result.times[key] = session.told["client"][0] - died
        for name in ports:
            if f"{name}/s" in scene.marked_down:
                result.times[name, Session.NEW] = scene.marked_down[f"{name}/s"] - died
    return result


@pytest.fixture(scope="module", params=[FAR, OWN])
def dead_servers(request, tmp_path_factory):
    return _kill_servers(tmp_path_factory.mktemp("death"), request.param)


@pytest.mark.parametrize("session", Session)
@pytest.mark.parametrize("name", SERVER_DIES)
def test_a_servers_death_is_noticed_when_the_linter_says(dead_servers, name, session):
    dead_servers.check(name, Side.SERVER, session)


def test_what_the_linter_calls_late_does_hang(dead_servers):
    for name in ("nothing", "keepalive-values-without-option"):
        assert (name, Session.IDLE) not in dead_servers.times
    assert ("keepalive", Session.NEW) not in dead_servers.times


@pytest.fixture(scope="module")
def dead_clients(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("death")
    ports = _ports(CLIENT_DIES)
    text = HEAD + "".join(
        _listener(name, ports[name], lines, bind=" ".join(bind))
        for name, (bind, lines) in CLIENT_DIES.items()
    )
    with Scene(tmp_path, SYSCTLS) as scene:
        _started(scene, tmp_path, text, ports)
        result = Measured(_estimates(text, scene.sysctls()), WATCHED_S)
        sessions = {
            (name, session): scene.connect(port)
            for name, port in ports.items()
            for session in (Session.IDLE, Session.UNACKED)
        }
        scene.watch(SETTLED_S)
        spoke = time.monotonic()
        for session in sessions.values():
            session.server.sendall(b"again\n")
        scene.watch(0.05)
        scene.rule(CLIENT, "INPUT", f"-p tcp -s {SERVICE_ADDRESS} -j DROP")
        scene.rule(CLIENT, "OUTPUT", f"-p tcp -d {SERVICE_ADDRESS} -j DROP")
        died = time.monotonic()
        result.early_s = died - spoke
        for name in ports:
            sessions[name, Session.UNACKED].server.sendall(b"lost\n")
        scene.watch(result.watched_s)
        for key, session in sessions.items():
            if "server" in session.told:
                result.times[key] = session.told["server"][0] - died
    return result


@pytest.mark.parametrize("session", [Session.IDLE, Session.UNACKED])
@pytest.mark.parametrize("name", CLIENT_DIES)
def test_a_clients_death_is_noticed_when_the_linter_says(dead_clients, name, session):
    dead_clients.check(name, Side.CLIENT, session)


def test_keepalive_of_one_side_does_not_see_the_other(dead_clients):
    assert ("keepalive-of-the-other-side", Session.IDLE) not in dead_clients.times


REFUSED = {
    "fall-2": f"{CHECK} fall 2",
    "fall-3-fastinter": f"{CHECK} fastinter 100ms fall 3",
}


def test_a_host_that_answers_with_resets_is_marked_down_when_the_linter_says(tmp_path):
    ports = _ports(REFUSED)
    text = HEAD + "".join(
        _listener(name, ports[name], (), server=server) for name, server in REFUSED.items()
    )
    with Scene(tmp_path) as scene:
        _started(scene, tmp_path, text, ports)
        for port in ports.values():
            scene.connect(port)
        scene.watch(SETTLED_S)
        match = f"-p tcp -d {VICTIM.address} -j REJECT --reject-with tcp-reset"
        before = time.monotonic()
        scene.rule(VICTIM, "INPUT", match)
        died = time.monotonic()
        scene.watch(2.0)
        for name, found in _estimates(text, scene.sysctls()).items():
            measured = scene.marked_down[f"{name}/s"] - died
            earliest = found.refused.best_ms / 1000 - (died - before) - EARLY_S
            assert earliest < measured, (found.refused, measured)
            assert measured < _late(found.refused.worst_ms), (found.refused, measured)


def test_a_new_session_to_a_dead_server_waits_as_long_as_the_linter_says(tmp_path):
    ports = _ports(["limited", "unlimited"])
    text = HEAD.replace("retries 0", "retries 1") + "".join(
        _listener(name, ports[name], lines)
        for name, lines in {"limited": ("timeout connect 600ms",), "unlimited": ()}.items()
    )
    with Scene(tmp_path, SYSCTLS) as scene:
        _started(scene, tmp_path, text, ports)
        scene.connect(ports["limited"])
        scene.rule(VICTIM, "INPUT", f"-p tcp -d {VICTIM.address} -j DROP")
        estimates = _estimates(text, scene.sysctls())
        waits = scene.attempts(ports)
    for name, found in estimates.items():
        expected = found.connect_ms * found.attempts / 1000
        assert expected - EARLY_S < waits[name] < expected * 1.125 + LATE_S + 1, (name, found)
