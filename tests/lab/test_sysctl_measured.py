"""What `lbsplice sysctl` says of the kernel, held against the kernel, in network namespaces.
Needs root, and iptables and haproxy as `tests.support.deaths` does."""

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lbsplice.kernel import sysctl
from lbsplice.kernel.sysctl_file import apply, kept, revert
from lbsplice.lab.topology import BALANCER, CLIENT, SERVICE_ADDRESS, VICTIM
from lbsplice.sysctl import tcp
from lbsplice.sysctl.explain import Question, explain
from lbsplice.sysctl.keys import KEYS
from lbsplice.sysctl.load import SOCKET_BYTES
from lbsplice.sysctl.values import Sysctls
from tests.support.deaths import HAVE_TOOLS, Scene
from tests.support.waiting import holds_for, wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not HAVE_TOOLS, reason="haproxy or iptables is not installed"),
]

LATE_S = 0.8
PORT = 7000
V4 = "net.ipv4."


@pytest.fixture
def scene(tmp_path):
    with Scene(tmp_path) as made:
        yield made


def set_in(scene, host, **values):
    with scene.network.entered(host):
        for name, value in values.items():
            sysctl.write(V4 + name, str(value))


def pair(scene):
    """A connected pair of sockets: the balancer's and the victim's."""
    with scene.network.entered(VICTIM):
        listener = socket.create_server((VICTIM.address, PORT))
    with scene.network.entered(BALANCER):
        near = socket.create_connection((VICTIM.address, PORT), timeout=2)
    far, _ = listener.accept()
    listener.close()
    return near, far


def silence(scene):
    scene.rule(VICTIM, "INPUT", f"-p tcp -d {VICTIM.address} -j DROP")
    scene.rule(VICTIM, "OUTPUT", f"-p tcp -s {VICTIM.address} -j DROP")
    return time.monotonic()


def seconds_to_error(near, since, within_s):
    """When the kernel gave the socket up."""

    def error():
        return near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    assert wait_until(error, "the kernel gives up", within_s) == errno.ETIMEDOUT
    return time.monotonic() - since


def assert_within(measured, span):
    assert span.best_ms / 1000 - 0.05 < measured < span.worst_ms / 1000 * 1.125 + LATE_S, span


@pytest.mark.parametrize("user_timeout", [None, 2500])
def test_an_idle_session_is_given_up_when_explained(scene, user_timeout):
    near, far = pair(scene)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("KEEPIDLE", 2), ("KEEPINTVL", 1), ("KEEPCNT", 2)):
            near.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)
        if user_timeout:
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout)
        measured = seconds_to_error(near, silence(scene), 8)
    assert_within(measured, tcp.keepalive(2, 1, 2, user_timeout))


@pytest.mark.parametrize(("retries2", "rto_max"), [(3, 120_000), (5, 1000)], ids=str)
def test_unacknowledged_data_is_given_up_when_explained(scene, retries2, rto_max):
    with scene.network.entered(BALANCER):
        if rto_max != 120_000 and sysctl.read(V4 + "tcp_rto_max_ms") is None:
            pytest.skip("this kernel has no tcp_rto_max_ms")
    if rto_max != 120_000:
        set_in(scene, BALANCER, tcp_rto_max_ms=rto_max)
    set_in(scene, BALANCER, tcp_retries2=retries2)
    near, far = pair(scene)
    with near, far:
        since = silence(scene)
        near.send(b"lost")
        assert_within(seconds_to_error(near, since, 12), tcp.unacknowledged(retries2, rto_max))


@pytest.mark.parametrize(("retries", "linear"), [(1, 0), (1, 1), (1, 2)])
def test_a_connect_is_given_up_when_explained(scene, retries, linear):
    with scene.network.entered(BALANCER):
        has_linear = sysctl.read(V4 + "tcp_syn_linear_timeouts") is not None
    if linear and not has_linear:
        pytest.skip("this kernel has no tcp_syn_linear_timeouts")
    set_in(scene, BALANCER, tcp_syn_retries=retries)
    if has_linear:
        set_in(scene, BALANCER, tcp_syn_linear_timeouts=linear)
    since = silence(scene)
    with scene.network.entered(BALANCER):
        near = socket.socket()
    with near:
        near.setblocking(False)
        assert near.connect_ex((VICTIM.address, PORT)) == errno.EINPROGRESS
        expected = tcp.connecting(retries, linear)
        assert_within(seconds_to_error(near, since, 12), tcp.Span(expected, expected))
    assert scene.packets(VICTIM, "INPUT") == tcp.syns_within(expected, linear)


def states(scene, host):
    """The states of a namespace's TCP sockets, as /proc/net/tcp numbers them."""
    with scene.network.entered(host):
        lines = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
    return [line.split()[3] for line in lines]


ESTABLISHED, SYN_RECV, FIN_WAIT1, FIN_WAIT2 = "01", "03", "04", "05"


def test_an_orphan_is_kept_as_long_as_explained(scene):
    set_in(scene, BALANCER, tcp_orphan_retries=2)
    near, far = pair(scene)
    with far:
        since = silence(scene)
        near.send(b"lost")
        near.close()
        assert states(scene, BALANCER) == [FIN_WAIT1]
        wait_until(lambda: not states(scene, BALANCER), "the orphan is gone", 8)
        assert_within(time.monotonic() - since, tcp.unacknowledged(2))


def test_a_closed_socket_waits_for_a_fin_as_long_as_explained(scene):
    set_in(scene, BALANCER, tcp_fin_timeout=2)
    near, far = pair(scene)
    with far:
        since = time.monotonic()
        near.close()
        wait_until(lambda: states(scene, BALANCER) == [FIN_WAIT2], "the FIN is acknowledged")
        wait_until(lambda: not states(scene, BALANCER), "the socket is gone", 6)
        assert_within(time.monotonic() - since, tcp.Span(2000, 2000))


def test_a_half_open_connection_is_kept_as_long_as_explained(scene):
    set_in(scene, BALANCER, tcp_synack_retries=1)
    with scene.network.entered(BALANCER):
        listener = socket.create_server((SERVICE_ADDRESS, PORT))
    scene.rule(CLIENT, "INPUT", f"-p tcp -s {SERVICE_ADDRESS} -j DROP")
    with scene.network.entered(CLIENT):
        client = socket.socket()
    with listener:
        client.setblocking(False)
        client.connect_ex((SERVICE_ADDRESS, PORT))
        wait_until(lambda: SYN_RECV in states(scene, BALANCER), "the SYN has arrived")
        since = time.monotonic()
        client.close()
        wait_until(lambda: SYN_RECV not in states(scene, BALANCER), "it is forgotten", 8)
        expected = tcp.accepting(1)
        assert_within(time.monotonic() - since, tcp.Span(expected, expected))


@pytest.mark.parametrize(("cookies", "expected"), [(0, tcp.handshakes(20)), (1, 40)])
def test_the_syn_backlog_limits_handshakes_only_without_cookies(scene, cookies, expected):
    set_in(scene, BALANCER, tcp_max_syn_backlog=20, tcp_syncookies=cookies)
    told = {e.name: e.means for e in explain(Question(scene.sysctls()))}
    says = "limits nothing" if cookies else f"at most {expected} handshakes"
    assert told[V4 + "tcp_max_syn_backlog"].startswith(says)
    with scene.network.entered(BALANCER):
        listener = socket.create_server((SERVICE_ADDRESS, PORT), backlog=100)
    scene.rule(CLIENT, "INPUT", f"-p tcp -s {SERVICE_ADDRESS} -j DROP")
    with listener, ExitStack() as opened:
        for _ in range(40):
            with scene.network.entered(CLIENT):
                client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((SERVICE_ADDRESS, PORT))

        def under_way():
            return states(scene, BALANCER).count(SYN_RECV)

        wait_until(lambda: under_way() == expected, "all that fit are under way")
        holds_for(lambda: under_way() == expected, "no more", 0.3)


def test_as_many_sessions_as_ports(scene):
    set_in(scene, BALANCER, ip_local_port_range="40000 40009")
    told = {e.name: e for e in explain(Question(scene.sysctls()))}
    assert told[V4 + "ip_local_port_range"].means.startswith("10 sessions at once to one server")
    with scene.network.entered(VICTIM):
        listener = socket.create_server((VICTIM.address, PORT), backlog=64)
    with listener, ExitStack() as opened, scene.network.entered(BALANCER):
        for _ in range(10):
            one = socket.create_connection((VICTIM.address, PORT), timeout=2)
            opened.enter_context(one)
        with pytest.raises(OSError, match="Cannot assign requested address"):
            socket.create_connection((VICTIM.address, PORT), timeout=2)


def test_as_many_wait_to_be_accepted_as_somaxconn_says(scene):
    with scene.network.entered(VICTIM):
        sysctl.write("net.core.somaxconn", "4")
        listener = socket.create_server((VICTIM.address, PORT), backlog=100)
    clients = []
    with listener:
        for _ in range(10):
            with scene.network.entered(BALANCER):
                clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex((VICTIM.address, PORT))
        wait_until(lambda: states(scene, VICTIM).count(ESTABLISHED) >= 5, "the queue is full")
        holds_for(lambda: states(scene, VICTIM).count(ESTABLISHED) <= 5, "no more", 0.5)
        for one in clients:
            one.close()


@pytest.mark.parametrize("which", ["tcp_wmem", "tcp_rmem"])
def test_a_socket_holds_no_more_than_explained(scene, which):
    host = BALANCER if which == "tcp_wmem" else VICTIM
    set_in(scene, host, **{which: "4096 65536 262144"})
    told = {e.name: e for e in explain(Question(Sysctls({V4 + which: "4096 65536 262144"})))}
    assert "up to 256 KiB" in told[V4 + which].means
    near, far = pair(scene)
    with near, far:
        near.setblocking(False)
        if which == "tcp_wmem":
            silence(scene)

        def held():
            with suppress(BlockingIOError):
                while True:
                    near.send(bytes(4096))
            waiting = far if which == "tcp_rmem" else near
            command = termios.TIOCOUTQ if which == "tcp_wmem" else termios.FIONREAD
            return struct.unpack("i", fcntl.ioctl(waiting, command, b"1234"))[0]

        wait_until(lambda: held() >= 256 * 1024 // 8, "the queue fills")
        holds_for(lambda: held() <= 256 * 1024, "no more than the limit", 0.5)


def test_a_user_gets_as_many_whole_pipes_as_explained():
    soft = sysctl.read("fs.pipe-user-pages-soft")
    told = {e.name: e for e in explain(Question(sysctl.present()))}
    wanted = int(soft) // 16
    assert f"gets {wanted} pipes of 64 KiB" in told["fs.pipe-user-pages-soft"].means
    if not 0 < wanted < 100_000:
        pytest.skip("too many to try, or no limit")
    code = (
        "import fcntl, os, resource\n"
        f"many = {wanted} + 50\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2 * many + 50,) * 2)\n"
        "os.setgroups([]); os.setgid(64321); os.setuid(64321)\n"
        "sizes = [fcntl.fcntl(os.pipe()[0], 1032) for _ in range(many)]\n"
        "print(sum(size == 65536 for size in sizes))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert abs(int(done.stdout) - wanted) <= 1


def test_the_first_retransmission_comes_when_explained(scene):
    with scene.network.entered(BALANCER):
        if sysctl.read(V4 + "tcp_rto_min_us") is None:
            pytest.skip("this kernel has no tcp_rto_min_us")
    set_in(scene, BALANCER, tcp_rto_min_us=700_000)
    near, far = pair(scene)
    with near, far:
        since = silence(scene)
        near.send(b"lost")

        def retransmits():
            info = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
            return struct.unpack("8B", info)[2]

        wait_until(retransmits, "a retransmission", 3)
        assert_within(time.monotonic() - since, tcp.Span(700, 900))


def test_an_idle_socket_is_as_big_as_the_plan_says():
    sizes = {}
    for line in Path("/proc/slabinfo").read_text().splitlines()[2:]:
        words = line.split()
        sizes[words[0]] = int(words[3])
    parts = [sizes[name] for name in ("TCP", "sock_inode_cache", "dentry", "filp") if name in sizes]
    if len(parts) < 2:
        pytest.skip("this kernel keeps its sockets in merged slabs")
    assert SOCKET_BYTES / 2 < sum(parts) < SOCKET_BYTES * 1.25, sizes


def test_the_kernel_takes_what_is_in_bounds(scene):
    keys = [key for key in KEYS.values() if key.namespaced]
    with scene.network.entered(BALANCER):
        for key in keys:
            if sysctl.read(key.name) is None:
                continue  # an older kernel, or a module that is not loaded
            for number in (key.low, key.high):
                value = key.check(" ".join([str(number)] * key.count))
                sysctl.write(key.name, value)
                assert sysctl.read(key.name) == value, key.name


def test_values_are_set_in_the_namespace_and_undone_exactly(scene, tmp_path):
    file = tmp_path / "sysctl.d" / "90-lbsplice.conf"
    names = (V4 + "ip_local_port_range", "net.core.somaxconn", V4 + "tcp_retries2")
    outside = {name: sysctl.read(name) for name in names}
    with scene.network.entered(BALANCER):
        sysctl.write("net.core.somaxconn", "123")
        before = {name: sysctl.read(name) for name in names}
        apply(file, dict(zip(names[:2], ("20000 60999", "5000"), strict=True)))
        assert [sysctl.read(name) for name in names[:2]] == ["20000 60999", "5000"]
        apply(file, {names[1]: "6000", names[2]: "8"})
        assert [sysctl.read(n) for n in names] == [before[names[0]], "6000", "8"]
        assert kept(file).before == {n: before[n] for n in names[1:]}
        assert revert(file)[1] == []
        assert {name: sysctl.read(name) for name in names} == before
    assert not file.exists()
    assert {name: sysctl.read(name) for name in names} == outside


def test_a_refused_value_leaves_everything_as_it_was(scene, tmp_path, monkeypatch):
    file = tmp_path / "90-lbsplice.conf"
    written = sysctl.write

    def refusing(name, value):
        if value == "77":
            raise sysctl.EnvironmentLacks("no")
        written(name, value)

    monkeypatch.setattr(sysctl, "write", refusing)
    with scene.network.entered(BALANCER):
        before = sysctl.present().values
        with pytest.raises(sysctl.EnvironmentLacks):
            apply(file, {"net.core.somaxconn": "5000", V4 + "tcp_retries2": "77"})
        assert sysctl.present().values == before
    assert not file.exists()
