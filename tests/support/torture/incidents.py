"""What happens to sessions beside the streams, over and over and several at once: servers
that die, refuse or say nothing, timeouts, limits, resets in full pipes. Each incident has a
`listen` of its own and knows how it must end, whoever is killed meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import select
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.crash import ends_cleanly, fills, talks
from tests.support.peers import Listener, Peer, connected
from tests.support.program import Program, Service
from tests.support.torture import pattern
from tests.support.waiting import SOON_S, wait_until

PAUSE_S = 0.02  # after each incident, for those that are very quick
LITTLE = 4096  # a receive buffer that is soon full


@dataclass
class Scene:
    """One `listen` with a server of its own."""

    lb: Program
    name: str
    server: Listener
    peers: list[Peer] = field(default_factory=list)

    def connects(self, receive_buffer: int = 0) -> Peer:
        self.peers.append(connected(("127.0.0.1", self.lb.port(self.name)), receive_buffer))
        return self.peers[-1]

    def accepts(self, first: bytes) -> Peer:
        """The server's end of a session, which begins with this byte. A connection that a
        worker had no time to write down is given up without a word, and made again."""
        while True:
            peer = self.server.accepts()
            self.peers.append(peer)
            with contextlib.suppress(ConnectionError):
                if got := peer.socket.recv(1):
                    assert got == first, f"{got!r} in place of {first!r}"
                    return peer

    def session(self, receive_buffer: int = 0) -> tuple[Peer, Peer]:
        """Both ends; one byte has gone to the server."""
        client = self.connects(receive_buffer).sends(b"?")
        return client, self.accepts(b"?")

    def over(self) -> None:
        """Close what is left."""
        for peer in self.peers:
            peer.closes()
        self.peers.clear()


def goes_silent(scene: Scene) -> None:
    client, end = scene.session()
    end.reads_end().closes()
    client.reads_end().closes()


def is_sent_elsewhere(scene: Scene) -> None:
    client, end = scene.session()
    talks(client, end)
    ends_cleanly(client, end)


def finds_nobody(scene: Scene) -> None:
    client = scene.connects()
    client.reads_end().closes()


def leaves_while_connecting(scene: Scene) -> None:
    scene.connects().closes()
    scene.connects().sends(b"x").resets()


def waits_for_its_turn(scene: Scene) -> None:
    first = [scene.session() for _ in range(2)]
    late = scene.connects().sends(b"!")
    ends_cleanly(*first[0])
    end = scene.accepts(b"!")
    ends_cleanly(late, end)
    ends_cleanly(*first[1])


def client_breaks_off(scene: Scene) -> None:
    client, end = scene.session(LITTLE)
    fills(end, 1)
    client.resets()
    end.reads_reset()
    end.closes()


def server_breaks_off(scene: Scene) -> None:
    """What it had said until then may be lost, but never turned into a clean end."""
    client, end = scene.session(LITTLE)
    fills(end, 1)
    end.resets()
    said = client.reads_until_reset()
    assert pattern.difference(1, 0, said[: pattern.LONGEST]) is None
    client.closes()


def server_breaks_off_unheard(scene: Scene) -> None:
    """The client is about to tell it more than it ever read."""
    client, end = scene.session()
    fills(client, 1)
    end.resets()
    try:
        client.socket.send(b"more")
    except ConnectionError:
        return  # the reset, which is told once only
    assert client.reads_until_reset() == b""


def half_closes(scene: Scene) -> None:
    client, end = scene.session()
    client.shuts_output()
    end.reads_end().sends(b"a").sends(b"b")
    client.reads(b"ab")
    end.closes()
    client.reads_end().closes()


class Stay:
    """One session more each turn; all are whole at the end."""

    MOST = 900

    def __init__(self) -> None:
        self.pairs: list[tuple[Peer, Peer]] = []

    def __call__(self, scene: Scene) -> None:
        if len(self.pairs) < self.MOST:
            self.pairs.append(scene.session())
            for peer in self.pairs[-1]:
                scene.peers.remove(peer)  # it is ours

    def end(self) -> None:
        for client, end in self.pairs:
            talks(client, end)
            ends_cleanly(client, end)


class Marked:
    """A server that dies for its checks while its sessions are held: they are reset."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def __call__(self, scene: Scene) -> None:
        self.service.returns()
        # Each thread learns by itself that the server is back.
        pairs = [self._comes_back(scene) for _ in range(3)]
        fills(pairs[-1][1], 1)
        self.service.dies()
        for client, end in pairs:
            end.reads_reset()
            said = client.reads_until_reset()
            assert pattern.difference(1, 0, said[: pattern.LONGEST]) is None
            client.closes()
            end.closes()

    @staticmethod
    def _comes_back(scene: Scene) -> tuple[Peer, Peer]:
        """While the server is down, a session finds nobody and ends."""

        def comes() -> tuple[Peer, Peer] | None:
            client = scene.connects(LITTLE)
            with contextlib.suppress(OSError):
                client.sends(b"?")
                poll = select.poll()
                poll.register(client.socket, select.POLLIN)
                poll.register(scene.server.socket, select.POLLIN)
                if scene.server.socket.fileno() in dict(poll.poll(1000 * SOON_S)):
                    return client, scene.accepts(b"?")
            return None

        pair = wait_until(comes, "the server is back", 10)
        assert pair is not None
        return pair


class Incidents:
    """All of them, from the beginning to the end of a `with`. Made before the start of
    `lb`: `text` is a part of its configuration."""

    def __init__(self, lb: Program) -> None:
        self.lb = lb
        self.done = 0
        self.troubles: list[tuple[float, str]] = []
        self._acts: list[tuple[Scene, Callable[[Scene], None]]] = []
        self._over = threading.Event()
        self._stay = Stay()
        self._threads: list[threading.Thread] = []
        self.text = "".join(self._write())

    def _write(self) -> list[str]:
        lb = self.lb
        marked = lb.server()
        checked = f"server m {marked} check inter 30ms fall 1 rise 1"
        refused, silent = lb.refusing_server(), lb.silent_server()
        first = "balance first\n option redispatch 1\n retries 2"
        plain = "server s {server}"
        return [
            self._listen(goes_silent, f"timeout client 200ms\n {plain}"),
            self._listen(is_sent_elsewhere, f"{first}\n server r {refused}\n {plain}"),
            self._listen(
                is_sent_elsewhere, f"{first}\n timeout connect 150ms\n server d {silent}\n {plain}"
            ),
            self._listen(finds_nobody, f"retries 1\n timeout connect 150ms\n server r {refused}"),
            self._listen(finds_nobody, ""),
            self._listen(leaves_while_connecting, f"server d {silent}"),
            self._listen(waits_for_its_turn, f"maxconn 2\n {plain}"),
            self._listen(client_breaks_off, plain),
            self._listen(server_breaks_off, plain),
            self._listen(server_breaks_off_unheard, plain),
            self._listen(half_closes, f"option logasap\n {plain}"),
            self._listen(self._stay, plain),
            self._listen(
                Marked(marked), f"{checked} on-marked-down shutdown-sessions", marked.sessions
            ),
        ]

    def _listen(
        self, act: Callable[[Scene], None], lines: str, server: Listener | None = None
    ) -> str:
        if server is None:
            server = Listener()
            self.lb.stack.callback(server.closes)
        scene = Scene(self.lb, f"scene{len(self._acts)}", server)
        self._acts.append((scene, act))
        lines = lines.replace("{server}", f"127.0.0.1:{server.port}")
        return f"\nlisten {scene.name}\n bind 127.0.0.1:{self.lb.port(scene.name)}\n {lines}\n"

    # ---- at work ----

    def __enter__(self) -> Incidents:
        for scene, act in self._acts:
            thread = threading.Thread(target=self._repeat, args=(scene, act), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def _repeat(self, scene: Scene, act: Callable[[Scene], None]) -> None:
        for turn in itertools.count():
            if self._over.is_set():
                return
            try:
                act(scene)
            except Exception:
                name = getattr(act, "__name__", type(act).__name__)
                why = f"{name}, turn {turn}: {traceback.format_exc(limit=-3)}{self._told(scene)}"
                self.troubles.append((time.monotonic(), why))
                return
            finally:
                scene.over()
            self.done += 1
            self._over.wait(PAUSE_S)

    def _told(self, scene: Scene) -> str:
        """What the log said last of it, and of crashes."""
        self.lb.log.flush()
        lines = [line.text for line in self.lb.log.lines]
        return "\n".join([each for each in lines if scene.name in each or "took" in each][-10:])

    def check(self) -> None:
        """AssertionError with what went wrong first."""
        assert not self.troubles, "\n".join(text for _, text in self.troubles[:5])

    def __exit__(self, *_: object) -> None:
        """After what is under way. AssertionError if anything went wrong."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "an incident hangs"
        self.check()
        self._stay.end()
