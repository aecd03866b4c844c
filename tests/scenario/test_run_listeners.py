"""Where the program listens and where it connects to: every form of address, and what
happens to connections above a limit."""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket
import stat
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from lbsplice.errors import EnvironmentLacks
from lbsplice.lab.namespaces import Network
from lbsplice.lab.topology import BALANCER, BYSTANDER, CLIENT, VICTIM, Host
from tests.support.peers import Listener, Peer, connected
from tests.support.program import Service

EXAMPLES = Path(__file__).parents[1] / "unit" / "data" / "examples"


def head(*global_lines: str) -> str:
    return "\n ".join(["global", "nbthread 2", *global_lines]) + (
        """
defaults
 mode tcp
 timeout connect 2s
 timeout client 30s
 timeout server 30s
"""
    )


def is_served(client: Peer, server: Service | Listener) -> None:
    with closing(client.socket), closing(server.accepts().socket) as end:
        client.sends(b"ask")
        Peer(end).reads(b"ask").sends(b"answer")
        client.reads(b"answer")


def is_refused(address: tuple[str, int]) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


def abstract(name: str) -> str:
    """An abstract address as HAProxy makes it: NULs to its full length."""
    return f"\0{name}".ljust(108, "\0")


# ---- bind ----


def test_every_form_of_bind_is_served(lb, tmp_path):
    server = lb.server()
    one, two, any_, star, v6, both, only = (
        lb.port(name, host="::1" if name in ("v6", "only") else "127.0.0.1")
        for name in ("one", "two", "any", "star", "v6", "both", "only")
    )
    first = lb.adjacent_ports(3)
    binds = [
        f"127.0.0.1:{one},127.0.0.1:{two} name pair",
        f"127.0.0.1:{first}-{first + 2}",
        f":{any_}",
        f"*:{star}",
        f"[::1]:{v6}",
        f":::{both} v4v6",
        f":::{only} v6only",
        f"unix@{tmp_path}/front mode 600",
        f"{tmp_path}/plain mode 666",
        f"abns@lbsplice-test-{os.getpid()}",
    ]
    lines = "\n ".join(f"bind {each}" for each in binds)
    lb.start(head() + f"listen l\n {lines}\n server a {server}\n")
    addresses = [
        *(("127.0.0.1", port) for port in (one, two, first, first + 1, first + 2)),
        *(("127.0.0.1", port) for port in (any_, star, both)),
        *(("127.0.0.2", port) for port in (any_, star)),
        *(("::1", port) for port in (v6, both, only)),
        f"{tmp_path}/front",
        f"{tmp_path}/plain",
        abstract(f"lbsplice-test-{os.getpid()}"),
    ]
    for address in addresses:
        is_served(connected(address), server)
    assert is_refused(("127.0.0.1", only))
    assert stat.S_IMODE((tmp_path / "front").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == 0o666
    lb.stops()
    assert not (tmp_path / "front").exists()


def test_inherited_unix_socket_is_served(lb, tmp_path):
    server = lb.server()
    with closing(Listener(socket.AF_UNIX, str(tmp_path / "given")).socket) as given:
        early = connected(str(tmp_path / "given")).sends(b"ask")
        number = given.fileno()
        lb.start(head() + f"listen l\n bind fd@{number}\n server a {server}\n", pass_fds=[number])
        is_served(early, server)
        is_served(connected(str(tmp_path / "given")), server)
        lb.stops()
        assert (tmp_path / "given").exists(), "it is not ours to remove"


# ---- limits ----


@pytest.mark.parametrize("where", ["bind", "frontend", "global", "two binds"])
def test_what_is_above_maxconn_waits_and_is_served_later(lb, where):
    server = lb.server()
    of_bind, of_proxy, of_all = ("" for _ in range(3))
    if where == "bind":
        of_bind = "maxconn 3"
    elif where == "global":
        of_all = "maxconn 3"
    else:
        of_proxy = "maxconn 3"
    ports = [lb.port("one"), lb.port("two")] if where == "two binds" else [lb.port("one")]
    binds = "\n ".join(f"bind 127.0.0.1:{port} {of_bind}" for port in ports)
    lb.start(
        head(of_all or "description none")
        + f"listen l\n {binds}\n backlog 100\n {of_proxy or 'id 2'}\n server a {server}\n"
    )
    clients = [
        connected(("127.0.0.1", ports[number % len(ports)])).sends(b"%d" % number)
        for number in range(8)
    ]
    with ExitStack() as stack:
        for client in clients:
            stack.callback(client.closes)
        served = [server.accepts() for _ in range(3)]
        server.sessions.accepts_nobody(0.15)
        for client in clients:
            client.sees_nothing(0.01)  # neither refused nor closed
        while served:
            # each end makes room for exactly one more
            end = served.pop(0)
            number = int(end.reads_count(1))
            end.sends(b"done").closes()
            clients[number].reads(b"done").reads_end().closes()
            clients[number] = None
            if any(clients[len(served) :]) and sum(map(bool, clients)) > len(served):
                served.append(server.accepts())
                server.sessions.accepts_nobody(0.01)
        assert not any(clients), "everyone was served"
    lb.stops()


def test_limit_of_one_bind_leaves_the_other_alone(lb):
    server = lb.server()
    lb.start(
        head()
        + f"""\
listen l
 bind 127.0.0.1:{lb.port("few")} maxconn 1
 bind 127.0.0.1:{lb.port("many")}
 server a {server}
"""
    )
    lb.session(server, "few")
    waits = lb.connects("few")
    for _ in range(5):
        lb.session(server, "many")
    server.sessions.accepts_nobody()
    waits.sees_nothing(0.01)
    lb.stops()


# ---- server addresses ----


def test_server_ports_follow_the_port_that_was_asked_for(lb):
    with ExitStack() as stack:
        first = lb.adjacent_ports(8)
        asked, same, above, below = first + 3, first + 3, first + 5, first + 1
        listeners = {}
        for port, host in ((same, "127.0.0.2"), (above, "127.0.0.1"), (below, "127.0.0.1")):
            sock = stack.enter_context(socket.create_server((host, port)))
            listeners[port, host] = sock
        lb.start(
            head()
            + f"""\
listen l
 bind 127.0.0.1:{asked}
 server same 127.0.0.2
 server above 127.0.0.1:+2
 server below 127.0.0.1:-2
""",
            listens=[("127.0.0.1", asked)],
        )
        for listener in listeners.values():
            client = stack.enter_context(socket.create_connection(("127.0.0.1", asked), timeout=20))
            client.sendall(b"x")
            listener.settimeout(20)
            with listener.accept()[0] as end:
                assert end.recv(1) == b"x"
        lb.stops()


def test_unix_servers_are_reached_and_checked(lb, tmp_path):
    name = f"lbsplice-server-{os.getpid()}"
    by_path, by_name = (
        lb.server(family=socket.AF_UNIX, path=path)
        for path in (str(tmp_path / "server"), abstract(name))
    )
    check = "check inter 50ms fall 1 on-marked-down shutdown-sessions"
    lb.start(
        head(f"log {lb.log} local0")
        + f"""\
listen l
 log global
 bind 127.0.0.1:{lb.port()}
 server path unix@{tmp_path}/server {check}
 server name abns@{name} {check}
"""
    )
    client, end = lb.connects().sends(b"x"), session_of(by_path)
    end.reads(b"x").sends(b"y")
    client.reads(b"y")
    lb.connects().sends(b"x")
    session_of(by_name).reads(b"x")
    by_path.sessions.closes()
    client.reads_reset()
    end.reads_end()  # a unix socket that is reset after all was read ends
    lb.logs("Server l/path is DOWN")
    lb.connects().sends(b"x")
    session_of(by_name).reads(b"x")
    lb.stops()


def session_of(server: Service) -> Peer:
    """The next connection that is no check: those say nothing and end."""
    while True:
        end = server.accepts()
        if end.socket.recv(1, socket.MSG_PEEK):
            return end


# ---- the example files ----


@pytest.fixture
def network():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        with Network() as made:
            yield made
    except EnvironmentLacks as why:
        pytest.skip(str(why))


def listens(network: Network, host: Host, address: str, port: int) -> socket.socket:
    with network.entered(host):
        sock = socket.create_server((address, port))
    sock.settimeout(20)
    return sock


def test_long_sessions_example_runs_as_it_is(lb, network):
    with ExitStack() as stack:
        dying, good = (
            stack.enter_context(listens(network, host, host.address, 81))
            for host in (VICTIM, BYSTANDER)
        )
        with network.entered(BALANCER):
            lb.start((EXAMPLES / "long-sessions.cfg").read_text(), listens=[("192.168.1.100", 81)])

        def session(server: socket.socket) -> tuple[Peer, Peer]:
            with network.entered(CLIENT):
                client = connected(("192.168.1.100", 81)).sends(b"hello")
            end = Peer(server.accept()[0])
            stack.callback(client.closes)
            stack.callback(end.closes)
            end.reads(b"hello").sends(b"world")
            client.reads(b"world")
            return client, end

        doomed = session(dying)
        spared = session(good)
        dying.close()
        doomed[0].reads_reset()
        doomed[1].reads_reset()
        spared[0].sends(b"x")
        spared[1].reads(b"x")
        session(good)
        lb.stops()


def test_amqp_example_runs_as_it_is(lb, network):
    text = (EXAMPLES / "amqp-keepalive.cfg").read_text()
    if not any(each.pw_name == "haproxy" for each in pwd.getpwall()):
        text = text.replace("user haproxy", "user nobody").replace("group haproxy", "gid 65534")
    with ExitStack() as stack:
        with network.entered(BALANCER), IPRoute() as ip:
            loopback = ip.link_lookup(ifname="lo")[0]
            for last in (91, 79, 80):
                ip.addr("add", index=loopback, address=f"172.19.19.{last}", prefixlen=32)
        s1, s2 = (
            stack.enter_context(listens(network, BALANCER, f"172.19.19.{last}", 5672))
            for last in (79, 80)
        )
        with network.entered(BALANCER):
            syslog = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            syslog.bind(("127.0.0.1", 514))
            syslog.settimeout(20)
            lb.start(text, listens=[("172.19.19.91", 5672)])
            client = connected(("172.19.19.91", 5672))
        stack.callback(client.closes)
        client.sends(b"AMQP\0\0\x09\x01")
        end = Peer(accept_from_either(s1, s2))
        end.reads(b"AMQP\0\0\x09\x01").sends(b"\1start").closes()
        client.reads(b"\1start").reads_end().closes()
        assert b" messagebroker_balancer messagebroker_balancer/s" in syslog.recv(4096)
        assert "bind 172.19.19.91:5672" in lb.signals(signal.SIGTERM).ends(), "the modern form"


def accept_from_either(*listeners: socket.socket) -> socket.socket:
    (ready, *_), _, _ = select.select(listeners, [], [], 5)
    return ready.accept()[0]
