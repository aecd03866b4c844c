"""What the settings of sockets do on the wire: keepalive probes on both legs, the idle
timeout that they do not hold off, a peer that vanishes, the segment size, the source
address. In network namespaces, with a capture at each end."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lbsplice.errors import EnvironmentLacks
from lbsplice.lab.namespaces import Network
from lbsplice.lab.topology import BALANCER, CLIENT, VICTIM, Host
from tests.support.peers import Peer, connected
from tests.support.program import Program, SessionLine, Syslog, program
from tests.support.waiting import wait_until

FRONT = "192.168.1.100"
FIN, SYN, RST, ACK = 1, 2, 4, 16
ETH_P_IP = 0x0800

SECTIONS = {
    # name: (port, lines of the section, words of the server line)
    "client": (8001, "option clitcpka\n clitcpka-idle 1s\n clitcpka-intvl 1s\n clitcpka-cnt 2", ""),
    "server": (8002, "option srvtcpka\n srvtcpka-idle 1s\n srvtcpka-intvl 1s\n srvtcpka-cnt 2", ""),
    "off": (
        8003,
        "clitcpka-idle 1s\n clitcpka-intvl 1s\n srvtcpka-idle 1s\n srvtcpka-intvl 1s",
        "",
    ),
    "idle": (
        8004,
        "option tcpka\n clitcpka-idle 1s\n srvtcpka-idle 1s\n"
        " timeout client 2500ms\n timeout server 2500ms",
        "",
    ),
    "ut": (8005, "bind 192.168.1.100:8105 tcp-ut 1s", "tcp-ut 1s"),
    "mss": (8006, "bind 192.168.1.100:8106 mss 600", ""),
    "range": (8007, "", "source 192.168.1.39:30000-30003"),
    "source": (8008, "source 192.168.1.100", ""),
}


@dataclass(frozen=True)
class Segment:
    """One TCP segment over IPv4; `at` is time.monotonic()."""

    at: float
    source: tuple[str, int]
    destination: tuple[str, int]
    flags: int
    sequence: int
    payload: int
    mss: int | None


def read_segment(frame: bytes, at: float) -> Segment | None:
    """None if the frame is no TCP segment over IPv4."""
    header = (frame[0] & 15) * 4
    if frame[0] >> 4 != 4 or frame[9] != socket.IPPROTO_TCP:
        return None
    total = struct.unpack_from("!H", frame, 2)[0]
    tcp = frame[header:total]
    source, destination, sequence, _, offset, flags = struct.unpack_from("!HHIIBB", tcp)
    data_at = (offset >> 4) * 4
    return Segment(
        at,
        (socket.inet_ntoa(frame[12:16]), source),
        (socket.inet_ntoa(frame[16:20]), destination),
        flags,
        sequence,
        len(tcp) - data_at,
        read_mss(tcp[20:data_at]) if flags & SYN else None,
    )


def read_mss(options: bytes) -> int | None:
    """The MSS option (kind 2) of a segment's options."""
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        if options[at] == 2:
            return int(struct.unpack_from("!H", options, at + 2)[0])
        at += options[at + 1]
    return None


class Capture:
    """What a host's cable carries, from the moment of making on."""

    def __init__(self, network: Network, host: Host) -> None:
        with network.entered(host):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.socket.bind(("eth0", ETH_P_IP))
        self.socket.setblocking(False)
        self._segments: list[Segment] = []

    def segments(self) -> list[Segment]:
        """All until now. Their time is when they were fetched: fetch often."""
        while True:
            try:
                frame = self.socket.recv(65536)
            except BlockingIOError:
                return self._segments
            except OSError as why:
                if why.errno != errno.ENETDOWN:  # the cable was pulled meanwhile
                    raise
                continue
            segment = read_segment(frame, time.monotonic())
            if segment is not None:
                self._segments.append(segment)

    def probes(self, source: tuple[str, int], destination: tuple[str, int]) -> list[Segment]:
        """The keepalive probes of a connection: an empty segment, or one of one old byte,
        whose number is one below what was sent before."""
        highest = None
        found = []
        for each in self.segments():
            if (each.source, each.destination) != (source, destination):
                continue
            if highest is not None and each.sequence == highest - 1 and each.payload <= 1:
                found.append(each)
                continue
            highest = each.sequence + each.payload + bool(each.flags & (SYN | FIN))
        return found


@dataclass
class Stage:
    network: Network
    lb: Program
    victim: socket.socket
    captures: dict[str, Capture]
    stack: ExitStack

    def session(self, name: str, port: int | None = None) -> tuple[Peer, Peer]:
        with self.network.entered(CLIENT):
            client = connected((FRONT, port or SECTIONS[name][0])).sends(b"ask")
        end = Peer(self.victim.accept()[0])
        end.reads(b"ask").sends(b"answer")
        client.reads(b"answer")
        self.stack.callback(client.closes)
        self.stack.callback(end.closes)
        return client, end

    def line(self, name: str) -> SessionLine:
        return self.lb.sessions(1, name)[0]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with ExitStack() as stack:
        try:
            network = stack.enter_context(Network())
        except EnvironmentLacks as why:
            pytest.skip(str(why))
        yield stack.enter_context(staged(network, tmp_path_factory.mktemp("wire"), stack))


@contextmanager
def staged(network: Network, directory: Path, stack: ExitStack) -> Iterator[Stage]:
    with network.entered(VICTIM):
        victim = stack.enter_context(socket.create_server((VICTIM.address, 81)))
    victim.settimeout(20)
    captures = {host.name: Capture(network, host) for host in (CLIENT, VICTIM)}
    for capture in captures.values():
        stack.callback(capture.socket.close)
    with network.entered(BALANCER):
        log = Syslog()
    with program(directory, log=log) as lb:
        with network.entered(BALANCER):
            lb.start(configuration(lb), listens=[(FRONT, SECTIONS["source"][0])])
        yield Stage(network, lb, victim, captures, stack)
        lb.stops()


def configuration(lb: Program) -> str:
    return f"""\
global
 nbthread 1
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 timeout connect 2s
 timeout client 1m
 timeout server 1m
""" + "".join(
        f"""\
listen {name}
 bind {FRONT}:{port}
 {lines}
 server a {VICTIM.address}:81 {words}
"""
        for name, (port, lines, words) in SECTIONS.items()
    )


def address(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()
    return str(host), int(port)


def peer_address(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getpeername()
    return str(host), int(port)


def test_probes_flow_when_and_where_they_were_asked_for(stage):
    """The four sessions are silent at the same time. Clients and servers of this test
    have no keepalive of their own, so that every probe is lbsplice's."""
    began = time.monotonic()
    sessions = {name: stage.session(name) for name in ("client", "server", "off", "idle")}

    def probes(name: str) -> tuple[list[float], list[float]]:
        """When the client's leg and the server's leg of a session were probed."""
        client, end = addresses[name]
        at = stage.captures[CLIENT.name].probes((FRONT, SECTIONS[name][0]), client)
        on = stage.captures[VICTIM.name].probes(end, (VICTIM.address, 81))
        return [each.at - began for each in at], [each.at - began for each in on]

    addresses = {
        name: (address(client.socket), peer_address(end.socket))
        for name, (client, end) in sessions.items()
    }
    # two probes a second apart, and the idle timeout of one session, which they do not hold off
    wait_until(
        lambda: (
            len(probes("client")[0]) >= 2
            and len(probes("server")[1]) >= 2
            and any(" idle idle/a " in line.text for line in stage.lb.log.lines)
        ),
        "two probes on each leg, and the timeout",
    )
    # the first comes a second after the last byte, the next ones a second apart
    for times in (probes("client")[0], probes("server")[1]):
        assert 0.9 <= times[0] <= 1.6, times
        assert 0.9 <= times[1] - times[0] <= 1.6, times
    assert probes("client")[1] == [], "only the client's leg was to be probed"
    assert probes("server")[0] == [], "only the server's leg was to be probed"
    assert probes("off") == ([], []), "values without the option are not applied"
    # an answered probe is no activity
    assert probes("idle")[0]
    assert probes("idle")[1]
    client, end = sessions["idle"]
    client.reads_end()
    end.reads_end()
    line = stage.line("idle")
    assert line.state == "cD"
    assert 2490 <= line.tt <= 3500
    for name in ("client", "server", "off"):
        for one, other in (sessions[name], sessions[name][::-1]):
            one.sends(b"alive")
            other.reads(b"alive")


def test_peer_that_vanishes_is_told_of_by_keepalive_and_by_user_timeout(stage):
    """Cables are pulled: the client's leg is found dead by probes, the server's leg by
    TCP_USER_TIMEOUT."""
    _, probed_end = stage.session("client")
    held, held_end = stage.session("ut")
    stage.network.set_link(CLIENT, up=False)
    probed_end.reads_reset()  # idle 1 s, two probes a second apart
    stage.network.set_link(CLIENT, up=True)
    wait_until(
        lambda: [one for one in lines(stage, "client") if one.state == "CD"], "the client's end"
    )
    held.sends(b"x")
    held_end.reads(b"x")
    stage.network.set_link(VICTIM, up=False)
    held.sends(b"into the void")
    held.reads_reset()
    stage.network.set_link(VICTIM, up=True)
    wait_until(lambda: [one for one in lines(stage, "ut") if one.state == "SD"], "the server's end")


def lines(stage: Stage, name: str) -> list[SessionLine]:
    read = (SessionLine.read(line) for line in stage.lb.log.lines)
    return [line for line in read if line is not None and line.frontend == name]


def test_user_timeout_of_a_bind_ends_a_client_that_takes_nothing(stage):
    client, end = stage.session("ut", port=8105)
    stage.network.set_link(CLIENT, up=False)
    end.sends(b"into the void").reads_reset()
    stage.network.set_link(CLIENT, up=True)
    wait_until(lambda: [one for one in lines(stage, "ut") if one.state == "CD"], "the client's end")
    client.closes()


@pytest.mark.parametrize(("port", "mss"), [(8106, 600), (8006, 1460)])
def test_segment_size_is_offered_as_the_bind_says(stage, port, mss):
    client, _ = stage.session("mss", port=port)
    mine = address(client.socket)
    (answer,) = [
        each
        for each in stage.captures[CLIENT.name].segments()
        if each.flags & SYN and each.flags & ACK and each.destination == mine
    ]
    assert answer.mss == mss


def test_source_is_the_address_that_servers_see(stage):
    _, plain = stage.session("mss")
    assert peer_address(plain.socket)[0] == BALANCER.address, "the kernel's choice"
    _, bound = stage.session("source")
    assert peer_address(bound.socket)[0] == FRONT
    ports = {peer_address(stage.session("range")[1].socket)[1] for _ in range(4)}
    assert ports == {30000, 30001, 30002, 30003}
    with stage.network.entered(CLIENT):
        client = connected((FRONT, SECTIONS["range"][0]))
    stage.stack.callback(client.closes)
    client.reads_end()  # no port is left
    stage.lb.logs(r" range/a 0/-1/\d+ 0 RC ")
