"""Every way a session can end: what its two ends see, and what its log line says of it.

One program has a `listen` for each row of the table; the rows are played at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.support.peers import Peer
from tests.support.program import Program, Service, SessionLine, program

SHORT = 150
"""Milliseconds of the timeout that a row is about; all others are far longer."""
LONG = 20_000
SOONER, LATER = 1700, 1800
"""Two that follow one another, and long enough that a later one that began anew would show."""

Conversation = Callable[[Peer, Peer], None]


@dataclass(frozen=True)
class Row:
    """`lines` of the section; what the client and the server (None: none is reached) do
    and see; the letters; how long the session lasts, in ms."""

    lines: str
    plays: Callable[..., None]
    state: str
    lasts: tuple[int, int] = (0, LONG)
    server: str = "accepts"  # or refuses, silent, none
    retries: str = "0"
    carried: int = 0  # bytes from the server


def about(ms: int) -> tuple[int, int]:
    """That long: never less, and more only by what a busy machine needs."""
    return ms - 5, ms + 1500


ROWS: dict[str, Row] = {}


def row(name: str, lines: str, state: str, **fields: object) -> Callable[[Conversation], None]:
    def note(plays: Conversation) -> None:
        ROWS[name] = Row(lines, plays, state, **fields)  # type: ignore[arg-type]

    return note


# ---- before there is a server ----


@row("connect", f"timeout connect {SHORT}\n retries 0", "sC", server="silent", lasts=about(SHORT))
def _(client: Peer) -> None:
    client.reads_end()


@row(
    "connect, each attempt",
    f"timeout connect {SHORT}\n retries 2",
    "sC",
    server="silent",
    retries="2",
    lasts=(3 * SHORT - 5, 5 * SHORT - 10),  # no pauses between them
)
def _(client: Peer) -> None:
    client.reads_end()


@row("refused", "retries 0", "SC", server="refuses", lasts=(0, 500))
def _(client: Peer) -> None:
    client.reads_end()


@row(
    "refused, again after a pause",
    f"retries 2\n timeout connect {SHORT}",
    "SC",
    server="refuses",
    retries="2",
    lasts=about(2 * SHORT),
)
def _(client: Peer) -> None:
    client.reads_end()


@row("no server", "", "SC", server="none", lasts=(0, 500))
def _(client: Peer) -> None:
    client.reads_end()


@row("client leaves while it waits", "", "CC", server="silent")
def _(client: Peer) -> None:
    client.closes()


@row("client resets while it waits", "", "CC", server="silent")
def _(client: Peer) -> None:
    client.sends(b"x").resets()


# ---- no timeout ----


@row("normal end", "", "--", carried=6)
def _(client: Peer, server: Peer) -> None:
    client.sends(b"ask").shuts_output()
    server.reads(b"ask").reads_end().sends(b"answer").closes()
    client.reads(b"answer").reads_end().closes()


@row("client resets", "", "CD", carried=3)
def _(client: Peer, server: Peer) -> None:
    server.sends(b"abc")
    client.reads(b"abc").resets()
    server.reads_reset()


@row("server resets", "", "SD")
def _(client: Peer, server: Peer) -> None:
    client.sends(b"ask")
    server.reads(b"ask").resets()
    client.reads_reset()


# ---- timeouts ----


@row("client", f"timeout client {SHORT}", "cD", lasts=about(SHORT))
def _(client: Peer, server: Peer) -> None:
    server.reads_end()
    client.sees_nothing()
    server.closes()
    client.reads_end()


@row("server", f"timeout server {SHORT}", "sD", lasts=about(SHORT))
def _(client: Peer, server: Peer) -> None:
    client.reads_end()
    server.sees_nothing()
    client.closes()
    server.reads_end()


@row(
    "client = server",
    f"timeout client {SHORT}\n timeout server {SHORT}",
    "cD",
    lasts=about(SHORT),
)
def _(client: Peer, server: Peer) -> None:
    client.reads_end()
    server.reads_end()


@row(
    "server, then client: the end that is passed on is nothing that the client did",
    f"timeout server {SOONER}\n timeout client {LATER}",
    "sD",
    lasts=about(LATER),
)
def _(client: Peer, server: Peer) -> None:
    client.reads_end()
    server.reads_end()


@row(
    "client, then server: the same",
    f"timeout client {SOONER}\n timeout server {LATER}",
    "cD",
    lasts=about(LATER),
)
def _(client: Peer, server: Peer) -> None:
    server.reads_end()
    client.reads_end()


@row(
    "client closes its output: no activity of the server",
    f"timeout client {LATER}\n timeout server {LATER}",
    "sD",
    lasts=about(LATER),
)
def _(client: Peer, server: Peer) -> None:
    client.sees_nothing(SOONER / 1000)
    client.shuts_output()
    server.reads_end()
    client.reads_end()


@row(
    "client closes its output in a tunnel: the same",
    f"timeout tunnel {LATER}",
    "sD",
    lasts=about(LATER),
)
def _(client: Peer, server: Peer) -> None:
    client.sees_nothing(SOONER / 1000)
    client.shuts_output()
    server.reads_end()
    client.reads_end()


@row("tunnel", f"timeout tunnel {SHORT}", "cD", lasts=about(SHORT), carried=2)
def _(client: Peer, server: Peer) -> None:
    client.sends(b"a")
    server.reads(b"a").sends(b"bc")
    client.reads(b"bc").reads_end()
    server.reads_end()


@row(
    "tunnel, in place of shorter ones",
    f"timeout tunnel {4 * SHORT}\n timeout client {SHORT}\n timeout server {SHORT}",
    "cD",
    lasts=about(4 * SHORT),
)
def _(client: Peer, server: Peer) -> None:
    client.reads_end()
    server.reads_end()


@row("client-fin", f"timeout client-fin {SHORT}", "cD", lasts=about(SHORT))
def _(client: Peer, server: Peer) -> None:
    server.shuts_output()
    client.reads_end()
    server.reads_end()


@row("server-fin", f"timeout server-fin {SHORT}", "sD", lasts=about(SHORT))
def _(client: Peer, server: Peer) -> None:
    client.shuts_output()
    server.reads_end()
    client.reads_end()


@row("client-fin is not for a client that closed", f"timeout client-fin {SHORT}", "--", carried=1)
def _(client: Peer, server: Peer) -> None:
    client.shuts_output()
    server.reads_end()
    client.sees_nothing(3 * SHORT / 1000)
    server.sends(b"x").closes()
    client.reads(b"x").reads_end()


@row("server-fin is not for a server that closed", f"timeout server-fin {SHORT}", "--")
def _(client: Peer, server: Peer) -> None:
    server.shuts_output()
    client.reads_end()
    server.sees_nothing(3 * SHORT / 1000)
    client.sends(b"x").closes()
    server.reads(b"x").reads_end()


@row(
    "client-fin within a tunnel",
    f"timeout tunnel {LONG}\n timeout client-fin {SHORT}",
    "cD",
    lasts=about(SHORT),
)
def _(client: Peer, server: Peer) -> None:
    server.shuts_output()
    client.reads_end()
    server.reads_end()


@row("what one side takes keeps the other's timer", f"timeout client {4 * SHORT}", "--", carried=8)
def _(client: Peer, server: Peer) -> None:
    for _ in range(8):  # the client says nothing, but accepts
        server.sends(b"x").sees_nothing(SHORT / 1000)
        client.reads(b"x")
    server.shuts_output()
    client.reads_end().closes()


# ---- the run ----


class Stage:
    """The program, with a section for each row."""

    def __init__(self, lb: Program) -> None:
        self.lb = lb
        self.services: dict[str, Service] = {}
        sections = [self._section(name, each) for name, each in ROWS.items()]
        lb.start(
            f"""\
global
 nbthread 1
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 timeout connect {LONG}
 timeout client {LONG}
 timeout server {LONG}
"""
            + "".join(sections)
        )

    def _section(self, name: str, each: Row) -> str:
        if each.server == "accepts":
            self.services[name] = self.lb.server()
            server = f"server s {self.services[name]}"
        elif each.server == "none":
            server = "server s 127.0.0.1:9 disabled"
        else:
            silent = each.server == "silent"
            address = self.lb.silent_server() if silent else self.lb.refusing_server()
            server = f"server s {address}"
        lines = each.lines or "maxconn 100"
        return f"listen {ident(name)}\n bind 127.0.0.1:{self.lb.port(name)}\n {lines}\n {server}\n"

    def plays(self, name: str) -> SessionLine:
        each = ROWS[name]
        with contextlib.ExitStack() as stack:
            client = self.lb.connects(name)
            stack.callback(client.closes)
            if each.server == "accepts":
                server = self.services[name].accepts()
                stack.callback(server.closes)
                # until a byte has gone through, lbsplice may still be connecting
                client.sends(b"!")
                server.reads(b"!")
                each.plays(client, server)
            else:
                each.plays(client)
        return self.lb.sessions(1, ident(name))[0]


def ident(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[SessionLine]]]:
    """What came of each row."""
    with program(tmp_path_factory.mktemp("timeouts")) as lb:
        stage = Stage(lb)
        with ThreadPoolExecutor(len(ROWS)) as pool:
            futures = {name: pool.submit(stage.plays, name) for name in ROWS}
        yield futures
        lb.stops()
        lb.says_no_more(r" 0/0$", len(ROWS))


@pytest.mark.parametrize("name", ROWS)
def test_how_a_session_ends(played, name):
    each = ROWS[name]
    line = played[name].result()
    assert line.state == each.state
    least, most = each.lasts
    assert least <= line.tt <= most, line
    assert line.retries == each.retries
    assert line.bytes == each.carried
    assert line.severity == 6
    if each.server == "accepts":
        assert (line.backend, line.server) == (ident(name), "s")
        assert line.tw == 0
        assert 0 <= line.tc <= line.tt
    elif each.server == "none":
        assert (line.server, line.tw, line.tc) == ("<NOSRV>", -1, -1)
    else:
        assert (line.server, line.tw, line.tc) == ("s", 0, -1)
