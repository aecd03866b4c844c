"""What `lbsplice sysctl explain` says of ports in TIME_WAIT, of files, pipes and memory, and of
tracked connections, held against the kernel. Nothing of the machine's own is changed: sysctls are
set in network namespaces only, and the host-wide ones are tried as they are.

`fs.file-max` is not tried: it does not hold root, and lowering it would harm every process."""

import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lbsplice.kernel import sysctl
from lbsplice.kernel.sockdiag import SocketWatch
from lbsplice.lab.topology import BALANCER, VICTIM
from lbsplice.sysctl.explain import Question, explain
from lbsplice.sysctl.load import DESCRIPTORS_A_SESSION, SPARE_DESCRIPTORS
from tests.support.conntrack import track
from tests.support.deaths import HAVE_TOOLS, Scene
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not HAVE_TOOLS, reason="haproxy or iptables is not installed"),
]

LATE_S = 0.8
PORT = 7000
LOCAL_PORT = 40000
V4 = "net.ipv4."
NETFILTER = "net.netfilter.nf_conntrack_"
TABLE = Path("/proc/thread-self/net/nf_conntrack")
SO_MEMINFO = 55  # linux/socket.h
RMEM_ALLOC, FORWARD_ALLOC, WMEM_QUEUED = 0, 4, 5  # linux/sock_diag.h


@pytest.fixture
def scene(tmp_path):
    with Scene(tmp_path) as made:
        yield made


def told(name, sysctls=None):
    """What is printed for a sysctl, of this machine or of these values."""
    said = {e.name: e.means for e in explain(Question(sysctls or sysctl.present()))}
    return said[name]


def in_balancer(scene, name, value):
    with scene.network.entered(BALANCER):
        sysctl.write(name, str(value))


@contextmanager
def pairs(scene, address=VICTIM.address, host=VICTIM):
    """Makes connected pairs of sockets, the balancer's and the server's; the listener and all of
    them are closed at the end."""
    with ExitStack() as opened:
        with scene.network.entered(host):
            listener = opened.enter_context(socket.create_server((address, PORT), backlog=64))

        def made():
            with scene.network.entered(BALANCER):
                near = socket.create_connection((address, PORT), timeout=0.5)
            opened.enter_context(near)
            return near, opened.enter_context(listener.accept()[0])

        yield made


def refused_a_port(made):
    try:
        made()
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return True
    return False


def seconds_until_a_port(made):
    since = time.monotonic()
    wait_until(lambda: not refused_a_port(made), "the port is used again", 4)
    return time.monotonic() - since


def left_in_time_wait(scene, made):
    """Make a pair that ends in TIME_WAIT on the balancer; the milliseconds that it stays."""
    near, far = made()
    near.close()
    far.close()

    def waiting():
        with scene.network.entered(BALANCER), SocketWatch() as watch:
            return watch.sockets(("TIME_WAIT",), local_port=LOCAL_PORT)

    (found,) = wait_until(waiting, "the port is in TIME_WAIT")
    assert found.timer == "timewait"
    return found.expires_ms


def said_of_reuse(scene, value):
    in_balancer(scene, V4 + "tcp_tw_reuse", value)
    return told(V4 + "tcp_tw_reuse", scene.sysctls())


@pytest.mark.parametrize("way", ["loopback", "network"])
def test_a_port_in_time_wait_is_used_again_when_explained(scene, way):
    in_balancer(scene, V4 + "ip_local_port_range", f"{LOCAL_PORT} {LOCAL_PORT}")
    with scene.network.entered(BALANCER):
        delay = sysctl.read(V4 + "tcp_tw_reuse_delay")
    to = ("127.0.0.1", BALANCER) if way == "loopback" else (VICTIM.address, VICTIM)
    with pairs(scene, *to) as made:
        assert "60 s" in said_of_reuse(scene, 0)
        assert 58_000 < left_in_time_wait(scene, made) <= 60_000 * 1.125
        assert refused_a_port(made)
        if way == "loopback":
            assert "after 1 s on the loopback only" in said_of_reuse(scene, 2)
            waited = seconds_until_a_port(made)
        else:
            said_of_reuse(scene, 2)
            with pytest.raises(AssertionError, match="the port is used again"):
                wait_until(lambda: not refused_a_port(made), "the port is used again", 1.3)
            assert "after 1 s, with timestamps" in said_of_reuse(scene, 1)
            waited = seconds_until_a_port(made) + 1.3
        assert waited < 2.1 + LATE_S
        if delay:  # a kernel without it counts whole seconds of the clock
            assert waited > 0.8


def run_apart(code):
    """What a process of its own prints, with limits and a user of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.split()


def test_a_process_may_open_as_many_files_as_explained():
    limit = int(sysctl.read("fs.nr_open"))
    sessions = (limit - SPARE_DESCRIPTORS) // DESCRIPTORS_A_SESSION
    assert told("fs.nr_open") == (
        f"one process may open {limit} files: {sessions} sessions without pipes"
    )
    if limit > 1 << 22:
        pytest.skip("a table of so many descriptors would take too much memory")
    raised, last, beyond, above = run_apart(
        "import os, resource\n"
        "def tried(what, *words):\n"
        "    try: what(*words)\n"
        "    except (OSError, ValueError): return 'refused'\n"
        "    return 'done'\n"
        f"limit = {limit}\n"
        "print(tried(resource.setrlimit, resource.RLIMIT_NOFILE, (limit, limit)))\n"
        "print(tried(os.dup2, 0, limit - 1), tried(os.dup2, 0, limit))\n"
        "print(tried(resource.setrlimit, resource.RLIMIT_NOFILE, (limit + 1, limit + 1)))\n"
    )
    assert (beyond, above) == ("refused", "refused")
    # Without CAP_SYS_RESOURCE nobody gets as far as the limit: only what is beyond is tried.
    assert last == "done" or raised == "refused"


def test_a_pipe_may_be_as_large_as_explained():
    limit = int(sysctl.read("fs.pipe-max-size"))
    assert f"may be made {limit >> 10} KiB large" in told("fs.pipe-max-size")
    set_size = fcntl.F_SETPIPE_SZ
    assert run_apart(
        "import fcntl, os\n"
        "os.setgroups([]); os.setgid(64322); os.setuid(64322)\n"
        "end = os.pipe()[1]\n"
        f"print(fcntl.fcntl(end, {set_size}, {limit}))\n"
        f"try: print(fcntl.fcntl(end, {set_size}, {limit} + 1))\n"
        "except PermissionError: print('refused')\n"
    ) == [str(limit), "refused"]


def test_the_number_of_open_files_is_the_kernels_own():
    limit = sysctl.read("fs.file-max")
    assert Path("/proc/sys/fs/file-nr").read_text().split()[2] == limit
    said = told("fs.file-max")
    assert said.startswith(f"the machine may have {limit} open files")
    assert "CAP_SYS_ADMIN" in said


def memory_of(end):
    found = struct.unpack("9I", end.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    return found[RMEM_ALLOC] + found[WMEM_QUEUED], found[FORWARD_ALLOC]


def pages_of_tcp(scene):
    with scene.network.entered(BALANCER):
        words = Path("/proc/thread-self/net/sockstat").read_text().split("TCP:")[1].split()
    return int(words[words.index("mem") + 1])


def test_queues_take_pages_and_idle_sessions_none(scene):
    """The unit of tcp_mem, by the kernel's own account of what is in use, and that only what waits
    in a queue counts."""
    page = os.sysconf("SC_PAGE_SIZE")
    if page != 4096:
        pytest.skip("the text is about pages of 4 KiB")
    limit = int(sysctl.read(V4 + "tcp_mem").split()[2])
    assert f"may take {limit * page >> 20} MiB with pages of 4 KiB" in told(V4 + "tcp_mem")
    with pairs(scene) as made:
        several = [made() for _ in range(8)]
        for near, far in several:
            near.sendall(b"ask")
            assert far.recv(3) == b"ask"
        for end in (end for pair in several for end in pair):
            wait_until(lambda e=end: memory_of(e)[0] == 0, "its queues are empty")
            assert memory_of(end)[1] <= page
        before = pages_of_tcp(scene)
        for near, _ in several:
            near.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    near.send(bytes(65536))

        def taken():
            return sum(sum(memory_of(end)) for pair in several for end in pair) / page

        assert taken() > 300
        wait_until(
            lambda: 0.7 < (pages_of_tcp(scene) - before) / taken() < 1.4,
            "the pages in use are those of the queues",
            2,
        )


@pytest.fixture
def tracking(scene):
    """A balancer whose firewall tracks connections."""
    try:
        for chain in ("INPUT", "OUTPUT"):
            scene.rule(BALANCER, chain, "-p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel tracks no connections: {error.stderr.decode().strip()}")
    with scene.network.entered(BALANCER):
        if not TABLE.exists():
            pytest.skip("this kernel shows no table: CONFIG_NF_CONNTRACK_PROCFS is not set")
    return scene


def tracked(scene):
    """The seconds left and the state of each tracked TCP connection of the balancer."""
    with scene.network.entered(BALANCER):
        rows = [line.split() for line in TABLE.read_text().splitlines()]
    return [(int(row[4]), row[5]) for row in rows if row[2] == "tcp"]


def set_time(scene, what, seconds, spoken):
    """Set a timeout of the table, and hold what is printed for it."""
    name = f"{NETFILTER}tcp_timeout_{what}"
    in_balancer(scene, name, seconds)
    said = told(name, scene.sysctls())
    assert said.endswith(f"is forgotten after {spoken}"), said


def entry(scene, state, seconds):
    """Wait until the only entry has been given so many seconds, in this state."""

    def is_there():
        (found,) = tracked(scene)
        return found[1] == state and seconds - 1.5 <= found[0] <= seconds

    wait_until(is_there, f"{state} with {seconds} s left", 4)


def test_tracked_connections_are_forgotten_when_explained(tracking):
    set_time(tracking, "established", 3600, "1 h")
    set_time(tracking, "unacknowledged", 300, "5 min")
    set_time(tracking, "max_retrans", 200, "3 min 20 s")
    set_time(tracking, "time_wait", 100, "1 min 40 s")
    with pairs(tracking) as made:
        near, far = made()
        entry(tracking, "ESTABLISHED", 3600)
        near.close()
        far.close()
        entry(tracking, "TIME_WAIT", 100)


def test_tracked_connections_to_the_dead_are_forgotten_when_explained(tracking):
    set_time(tracking, "established", 3600, "1 h")
    set_time(tracking, "unacknowledged", 300, "5 min")
    set_time(tracking, "max_retrans", 200, "3 min 20 s")
    with pairs(tracking) as made:
        near, _ = made()
        entry(tracking, "ESTABLISHED", 3600)
        tracking.rule(VICTIM, "INPUT", f"-p tcp -d {VICTIM.address} -j DROP")
        near.send(b"lost")
        entry(tracking, "ESTABLISHED", 300)
        entry(tracking, "ESTABLISHED", 200)


def test_as_many_connections_are_tracked_as_explained(tracking):
    """Each namespace may have as many; the limit itself is the machine's, so it is tried as it
    is, with entries that no traffic has made."""
    limit = int(sysctl.read(NETFILTER + "max"))
    assert told(NETFILTER + "max").startswith(f"{limit} tracked connections: {limit // 2} sessions")
    if limit > 1 << 20:
        pytest.skip(f"{limit} entries would take too much memory")

    def count():
        with tracking.network.entered(BALANCER):
            return int(sysctl.read(NETFILTER + "count"))

    with pairs(tracking) as made:
        with tracking.network.entered(BALANCER):
            track(limit - count() - 10)
        assert count() == limit - 10
        for _ in range(10):
            made()
        assert count() == limit
        tracking.rule(VICTIM, "INPUT", f"-p tcp -d {VICTIM.address} --syn")
        with pytest.raises(TimeoutError):  # no reset, no error: silence
            made()
        assert tracking.packets(VICTIM, "INPUT") == 0
        assert count() == limit
