"""From a running HAProxy to lbsplice: its listening sockets, its sessions, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest

from lbsplice.config.model import AddressKind, Endpoint
from lbsplice.errors import EnvironmentLacks
from lbsplice.getsocks import fetch
from lbsplice.listeners import open_listeners
from lbsplice.migration import Predecessors, dismiss, open_after
from tests.support.addresses import free_ports
from tests.support.command import DEADLINE_S, lbsplice, wait_until
from tests.support.configs import bind, config, frontend, ipv4
from tests.support.peers import Peer, connected
from tests.support.program import reserved_port
from tests.support.sidebyside import HAPROXY

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="needs HAProxy")

HEAD = """\
defaults
 mode tcp
 timeout connect 2s
 timeout client 30s
 timeout server 30s
"""


@contextmanager
def haproxy(directory, listen, *words, expose=True):
    """A HAProxy with this `listen` section; killed at the end if it still runs."""
    control = directory / "haproxy.sock"
    text = f"""\
global
 stats socket {control} mode 600 level admin {"expose-fd listeners" if expose else ""}
{HEAD}
listen l
{listen}
"""
    path = directory / "haproxy.cfg"
    path.write_text(text)
    process = subprocess.Popen(
        [HAPROXY, "-db", *words, "-f", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers():
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(control)) == 0

    try:
        wait_until(answers, "HAProxy answers")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def port():
    with reserved_port() as held:
        yield held.getsockname()[1]


# ---- the listening sockets ----


def test_all_its_listening_sockets_are_handed_over(tmp_path):
    first = free_ports(602)
    binds = [
        f" bind unix@{tmp_path}/front mode 666",
        f" bind abns@lbsplice-migration-{os.getpid()}",
        f" bind [::1]:{first}",
        f" bind 127.0.0.1:{first + 1} interface lo",
        f" bind 127.0.0.1:{first + 2}-{first + 601}",
    ]
    with haproxy(tmp_path, "\n".join([*binds, " server a 127.0.0.1:9"])):
        found = fetch(str(tmp_path / "haproxy.sock"))
        assert len(found) == 605, "and the stats socket"
        names = [each.name or each.socket.getsockname() for each in found]
        assert f"{tmp_path}/front" in names
        assert sum(each.socket.family == socket.AF_INET6 for each in found) == 1
        assert len({each.socket.getsockname() for each in found}) == 605
        assert not any(os.get_inheritable(each.socket.fileno()) for each in found)
        for each in found:
            each.socket.close()
        again = fetch(f"unix@{tmp_path}/haproxy.sock")
        assert len(again) == 605
        for each in again:
            each.socket.close()


def test_a_socket_that_hands_nothing_over_is_told(tmp_path, port):
    listen = f" bind 127.0.0.1:{port}\n server a 127.0.0.1:9"
    withheld = pytest.raises(EnvironmentLacks, match="expose-fd listeners")
    with haproxy(tmp_path, listen, expose=False), withheld:
        fetch(str(tmp_path / "haproxy.sock"))
    with pytest.raises(EnvironmentLacks, match=r"Failed to get the sockets .*refused"):
        fetch(str(tmp_path / "haproxy.sock"))
    with pytest.raises(EnvironmentLacks, match="only unix sockets"):
        fetch("sockpair@3")


@pytest.mark.parametrize("way", ["-x", "beside", "paused"])
def test_an_address_that_haproxy_listens_on_is_taken(tmp_path, port, way):
    listen = f" bind 127.0.0.1:{port}\n bind unix@{tmp_path}/front\n server a 127.0.0.1:9"
    words = ["-dR"] if way == "paused" else []  # no SO_REUSEPORT: nobody can bind beside it
    wanted = config(
        frontend(bind(ipv4(port)), bind(Endpoint(AddressKind.UNIX, f"{tmp_path}/front")))
    )
    with haproxy(tmp_path, listen, *words) as process:
        with closing(open_listeners(wanted, 10)) as alone:
            assert alone.failed, "without a word about HAProxy its address is busy"
        before = Predecessors(
            (process.pid,), socket=f"{tmp_path}/haproxy.sock" if way == "-x" else None
        )
        with closing(open_after(wanted, 10, before)) as listeners:
            assert listeners.troubles == []
            assert dismiss(before) == []
            assert process.wait(DEADLINE_S) == 0
            for address in (("127.0.0.1", port), f"{tmp_path}/front"):
                connected(address).closes()
            with closing(open_listeners(wanted, 10)) as third:
                assert third.failed, "the address is not shared any longer"


def test_one_that_is_not_the_cause_is_left_alone(tmp_path, port):
    """The port is busy because of somebody else: HAProxy listens on."""
    with haproxy(tmp_path, f" bind 127.0.0.1:{port}\n server a 127.0.0.1:9") as process:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            wanted = config(frontend(bind(ipv4(busy.getsockname()[1]))))
            with closing(open_after(wanted, 10, Predecessors((process.pid,)))) as listeners:
                assert listeners.failed
        wait_until(lambda: _accepts(port), "HAProxy listens again")
        assert process.poll() is None


def _accepts(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_a_pid_of_nobody_is_no_trouble():
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert dismiss(Predecessors((gone.pid,), (gone.pid,))) == []


# ---- the whole way ----


class Traffic:
    """Clients that connect one after the other and get an answer each, until `stop`."""

    def __init__(self, address):
        self._address = address
        self._over = threading.Event()
        self.served = 0
        self.failures = []
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._over.is_set():
            started = time.monotonic()
            try:
                with socket.create_connection(self._address, timeout=DEADLINE_S) as client:
                    client.sendall(b"ask")
                    if client.recv(10) != b"ask":
                        self.failures.append("no answer")
            except OSError as why:
                self.failures.append(f"{why} after {time.monotonic() - started:.3f} s")
            self.served += 1

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def echo():
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)

    def answer(session):
        with session, suppress(OSError):
            while piece := session.recv(65536):
                session.sendall(piece)

    def serve():
        with suppress(OSError):
            while True:
                session, _ = listener.accept()
                threading.Thread(target=answer, args=(session,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_nobody_is_refused_while_lbsplice_takes_the_place_of_haproxy(lb, tmp_path, echo):
    port = lb.port()
    listen = f" bind 127.0.0.1:{port}\n server a 127.0.0.1:{echo}"
    with haproxy(tmp_path, listen) as process:
        old = Peer(socket.create_connection(("127.0.0.1", port)))
        old.sends(b"before").reads(b"before")
        traffic = Traffic(("127.0.0.1", port))
        try:
            wait_until(lambda: traffic.served > 50, "there is traffic")
            lb.start(
                f"{HEAD}listen l\n bind 127.0.0.1:{port}\n server a 127.0.0.1:{echo}\n",
                *("-x", f"{tmp_path}/haproxy.sock", "-sf", str(process.pid)),
            )
            wait_until(lambda: "lbsplice" in _listeners(port), "lbsplice listens")
            wait_until(lambda: _listeners(port) == {"lbsplice"}, "HAProxy does not any more")
            count = traffic.served
            wait_until(lambda: traffic.served > count + 50, "there is traffic")
        finally:
            traffic.stop()
        assert traffic.failures == []
        assert process.poll() is None, "it has a session"
        old.sends(b"after").reads(b"after").closes()
        assert process.wait(DEADLINE_S) == 0, "it has finished"
    lb.stops()


def _listeners(port):
    """Which programs listen there."""
    said = subprocess.run(
        ["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=True
    )
    return {word.split('"')[1].partition("-")[0] for word in said.stdout.split("users:(")[1:]}


def test_a_haproxy_that_is_to_be_terminated_is(lb, tmp_path, echo):
    port = lb.port()
    with haproxy(tmp_path, f" bind 127.0.0.1:{port}\n server a 127.0.0.1:{echo}") as process:
        old = Peer(socket.create_connection(("127.0.0.1", port)))
        old.sends(b"before").reads(b"before")
        lb.start(
            f"{HEAD}listen l\n bind 127.0.0.1:{port}\n server a 127.0.0.1:{echo}\n",
            *("-st", str(process.pid)),
        )
        assert process.wait(DEADLINE_S) == -signal.SIGTERM
        old.closes()
    client = lb.connects()
    client.sends(b"ask").reads(b"ask")
    lb.stops()


def test_a_stats_socket_that_gives_nothing_is_a_failed_start(tmp_path, port):
    path = tmp_path / "lb.cfg"
    path.write_text(f"{HEAD}listen l\n bind 127.0.0.1:{port}\n server a 127.0.0.1:9\n")
    done = lbsplice("run", "-db", "-f", str(path), "-x", f"{tmp_path}/nobody.sock")
    assert done.returncode == 1
    assert "Failed to get the sockets from the old process" in done.stderr
