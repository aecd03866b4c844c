"""Our tables choose the server that HAProxy chooses for the same client.

A real HAProxy is the oracle: a change of the binary must leave clients on their servers.
Its clients come from 127.x.y.z, or say in a PROXY header where they come from."""

from __future__ import annotations

import ipaddress
import random
import re
import selectors
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lbsplice.config.model import (
    AddressKind,
    Balance,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.plan import hashing
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.slots import assign
from lbsplice.plan.tables import BackendRow
from lbsplice.terms import Algorithm, HashMethod

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="haproxy is not installed"
)

SEED = 20260801
SECONDS = 10.0


@dataclass(frozen=True)
class Words:
    """One server line: its name is its index in the list of servers."""

    weight: int = 1
    id: int | None = None
    backup: bool = False
    down: bool = False
    refuses: bool = False

    def line(self, name: int, port: int) -> str:
        words = [f"server {name} 127.0.0.1:{port} weight {self.weight}"]
        words += [f"id {self.id}"] if self.id is not None else []
        words += ["backup"] if self.backup else []
        words += ["disabled"] if self.down else []
        return " ".join(words)


class Servers:
    """Listeners that send their number to whoever connects, and close."""

    def __init__(self, words: Sequence[Words]) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = [self._open(index, one) for index, one in enumerate(words)]
        self.ports = [one.getsockname()[1] for one in self._sockets]
        self._stop, stop = socket.socketpair()
        self._selector.register(stop, selectors.EVENT_READ)
        self._sockets += [self._stop, stop]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _open(self, index: int, words: Words) -> socket.socket:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        if not words.refuses:  # bound and not listening: connections are refused
            listener.listen(128)
            self._selector.register(listener, selectors.EVENT_READ, str(index).encode())
        return listener

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                assert isinstance(key.fileobj, socket.socket)
                session, _ = key.fileobj.accept()
                with session:
                    session.sendall(key.data)

    def close(self) -> None:
        self._stop.send(b"x")
        self._thread.join(SECONDS)
        self._selector.close()
        for one in self._sockets:
            one.close()


class HAProxy:
    """A running HAProxy; `answer` opens a session and gives the number of its server."""

    def __init__(self, listener: socket.socket, process: subprocess.Popen[str]) -> None:
        self._address = listener.getsockname()
        self._process = process

    def answer(self, client: str | None = None, *, said: str | None = None) -> int | None:
        """`client` is the address to connect from, `said` the one in a PROXY header.
        None: the session ended without an answer."""
        with socket.socket() as session:
            session.settimeout(SECONDS)
            if client is not None:
                session.bind((client, 0))
            session.connect(self._address)
            if said is not None:
                family = "TCP6" if ":" in said else "TCP4"
                session.sendall(f"PROXY {family} {said} {said} 1 2\r\n".encode())
            text = session.recv(16)
        return int(text) if text else None

    def retries(self) -> str:
        """The retries field of the next session log line."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r" \d+/\d+/\d+/\d+/(\+?\d+) \d+/\d+$", line):
                return found[1]
        raise AssertionError("haproxy ended")


@contextmanager
def haproxy(
    tmp_path: Path, words: Sequence[Words], *lines: str, bind: str = ""
) -> Iterator[HAProxy]:
    with ExitStack() as stack:
        servers = Servers(words)
        stack.callback(servers.close)
        # HAProxy inherits the listening socket: nothing to wait for and no port to lose.
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.set_inheritable(True)
        configuration = [
            "global",
            "nbthread 1",
            "log stdout format raw local0 info",
            "defaults",
            "mode tcp",
            "timeout connect 200ms",
            "timeout client 10s",
            "timeout server 10s",
            "listen l",
            "log global",
            "option tcplog",
            f"bind fd@{listener.fileno()} {bind}",
            *lines,
        ]
        configuration += [
            one.line(index, port)
            for index, (one, port) in enumerate(zip(words, servers.ports, strict=True))
        ]
        path = tmp_path / "haproxy.cfg"
        path.write_text("\n".join(configuration) + "\n")
        process = stack.enter_context(
            subprocess.Popen(
                ["/usr/sbin/haproxy", "-db", "-f", str(path)],
                pass_fds=[listener.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
        stack.callback(process.terminate)
        yield HAProxy(listener, process)


def our_backend(words: Sequence[Words], balance: Balance) -> BackendRow:
    place = Place("lb.cfg", 1)
    endpoint = Endpoint(AddressKind.IPV4, "127.0.0.1", 80)
    servers = tuple(
        Server(
            place,
            str(index),
            one.id if one.id is not None else index + 1,
            endpoint,
            weight=one.weight,
            backup=one.backup,
        )
        for index, one in enumerate(words)
    )
    proxy = Proxy(place, ProxyKind.LISTEN, "l", 2, servers=servers, balance=balance)
    config = Config(Global(), (proxy,))
    plan = compile_plan(
        config,
        assign(config),
        lambda key: 0 if words[int(key[1])].down else words[int(key[1])].weight,
        generation=1,
        maxconn=1,
    )
    return plan.backends[0]


def our_choice(row: BackendRow, client: str) -> int:
    """Slots are numbered from 0 in the order of the servers here."""
    key = hashing.source_key(ipaddress.ip_address(client), mixed=row.avalanche)
    if row.points:
        return hashing.nearest(row.points, key)
    return row.wheel[key % len(row.wheel)]


SERVERS = {
    "equal": [Words(), Words(), Words()],
    "weights": [Words(1), Words(3), Words(2), Words(7)],
    "common-divisor": [Words(20), Words(40), Words(60)],
    "one-down": [Words(2), Words(4, down=True), Words(3), Words(6)],
    "ids": [Words(2, id=70), Words(1), Words(3, id=5)],
    "backups": [Words(2), Words(3), Words(5, backup=True)],
    "only-backups": [Words(2, down=True), Words(3, backup=True), Words(5, backup=True)],
    "weight-zero": [Words(2), Words(0), Words(3)],
    "heavy": [Words(256), Words(255), Words(17)],
}

SOURCE = {
    "map-based": Balance(Algorithm.SOURCE),
    "map-based sdbm avalanche": Balance(Algorithm.SOURCE, avalanche=True),
    # Without a function's name the avalanche is on.
    "consistent": Balance(Algorithm.SOURCE, hash_method=HashMethod.CONSISTENT, avalanche=True),
    "consistent sdbm": Balance(Algorithm.SOURCE, hash_method=HashMethod.CONSISTENT),
}


@pytest.mark.parametrize("hash_type", SOURCE)
@pytest.mark.parametrize("servers", SERVERS)
def test_a_client_gets_the_server_that_haproxy_gives_it(tmp_path, servers, hash_type):
    words = SERVERS[servers]
    row = our_backend(words, SOURCE[hash_type])
    dice = random.Random(SEED)
    clients = [f"127.0.0.{number}" for number in range(2, 30)]
    clients += [str(ipaddress.IPv4Address(0x7F000000 + dice.getrandbits(24))) for _ in range(70)]
    with haproxy(tmp_path, words, "balance source", f"hash-type {hash_type}") as oracle:
        theirs = {client: oracle.answer(client) for client in clients}
    assert {client: our_choice(row, client) for client in clients} == theirs


@pytest.mark.parametrize("hash_type", SOURCE)
@pytest.mark.parametrize("bits", [32, 128])
def test_any_address_of_a_client_leads_where_haproxy_leads(tmp_path, hash_type, bits):
    words = SERVERS["weights"]
    row = our_backend(words, SOURCE[hash_type])
    dice = random.Random(SEED)
    # The upper half of the addresses: 2000:: or 128.0.0.0 and more.
    address = ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address
    clients = [str(address(dice.getrandbits(bits - 1) | 1 << bits - 3)) for _ in range(100)]
    lines = ("balance source", f"hash-type {hash_type}")
    with haproxy(tmp_path, words, *lines, bind="accept-proxy") as oracle:
        theirs = {client: oracle.answer(said=client) for client in clients}
    assert {client: our_choice(row, client) for client in clients} == theirs


@pytest.mark.parametrize("servers", ["equal", "weights", "common-divisor", "one-down"])
def test_static_rr_has_the_order_of_haproxy(tmp_path, servers):
    words = SERVERS[servers]
    wheel = our_backend(words, Balance(Algorithm.STATIC_RR)).wheel
    with haproxy(tmp_path, words, "balance static-rr") as oracle:
        theirs = tuple(oracle.answer() for _ in range(2 * len(wheel)))
    # The turn that comes first is HAProxy's affair.
    starts = [theirs[at:] + theirs[:at] for at in range(len(wheel))]
    assert wheel + wheel in starts


@pytest.mark.parametrize("servers", ["equal", "weights", "common-divisor", "one-down", "backups"])
def test_roundrobin_gives_in_each_round_what_haproxy_gives(tmp_path, servers):
    words = SERVERS[servers]
    wheel = our_backend(words, Balance(Algorithm.ROUNDROBIN)).wheel
    with haproxy(tmp_path, words, "balance roundrobin") as oracle:
        theirs = [oracle.answer() for _ in range(3 * len(wheel))]
    assert Counter(theirs) == Counter(wheel * 3)


REDISPATCH = {
    "roundrobin": Balance(Algorithm.ROUNDROBIN),
    "static-rr": Balance(Algorithm.STATIC_RR),
    "leastconn": Balance(Algorithm.LEASTCONN),
    "first": Balance(Algorithm.FIRST),
    "random(1)": Balance(Algorithm.RANDOM, draws=1),
    "source": Balance(Algorithm.SOURCE),
}


@pytest.mark.parametrize("option", ["no option redispatch", "option redispatch"])
@pytest.mark.parametrize("algorithm", REDISPATCH)
def test_the_first_failure_goes_elsewhere_where_haproxys_does(tmp_path, algorithm, option):
    words = [Words(refuses=True), Words()]
    proxy = Proxy(
        Place("lb.cfg", 1),
        ProxyKind.BACKEND,
        "l",
        2,
        servers=tuple(
            Server(Place("lb.cfg", 1), name, number, Endpoint(AddressKind.IPV4, "127.0.0.1", 80))
            for number, name in enumerate("ab", start=1)
        ),
        balance=REDISPATCH[algorithm],
        redispatch=0 if option.startswith("no ") else -1,
    )
    config = Config(Global(), (proxy,))
    row = compile_plan(config, assign(config), lambda key: 1, generation=1, maxconn=1).backends[0]
    # With retries 2 the first one is not yet the last, where even a hash may go elsewhere.
    with haproxy(tmp_path, words, f"balance {algorithm}", option, "retries 2") as oracle:
        told = []
        for number in range(2, 26):
            oracle.answer(f"127.0.0.{number}")
            told.append(oracle.retries())
            if told[-1] != "0":
                break
    assert told[-1] != "0", "no session met the server that refuses"
    assert row.redispatch_first_failure is (told[-1] == "+1")
