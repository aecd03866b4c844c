"""A stage on which a proxy plays a situation: its configuration, its servers, its clients,
its log. The same situation is played by HAProxy and by lbsplice, each on a stage of its
own, and what was seen is put into words without ports, pids and dates, to be compared."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.addresses import Names
from tests.support.command import environment, wait_until
from tests.support.peers import Peer, connected
from tests.support.program import WORKER, family
from tests.support.waiting import SOON_S

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "haproxy": (HAPROXY or "haproxy",),
    "lbsplice": (sys.executable, "-m", "lbsplice", "run"),
}
LISTEN = "0A"


def haproxy_is_the_oracle() -> bool:
    """Is the HAProxy here whose words were compared?"""
    if HAPROXY is None:
        return False
    said = subprocess.run([HAPROXY, "-v"], capture_output=True, text=True, check=False)
    return said.stdout.startswith("HAProxy version 2.6.")


@dataclass
class Line:
    """A log line without what differs between two runs, and the times it told: ms, None if
    any will do."""

    text: str
    times: list[int] | None

    def __eq__(self, other: object) -> bool:
        """The same text, and times that a slow machine can explain."""
        if not isinstance(other, Line) or self.text != other.text:
            return False
        if self.times is None or other.times is None:
            return True
        return all(
            (mine == its) if -1 in (mine, its) else abs(mine - its) <= SLACK_MS
            for mine, its in zip(self.times, other.times, strict=True)
        )


SLACK_MS = 300
SESSION = re.compile(r" \d+/\d+/\d+/\d+/\+?\d+ \d+/\d+$|: Connect (from|to) ", re.M)
"""A log line about a session."""


@dataclass
class Seen:
    """What a situation looked like from outside."""

    notes: list[str] = field(default_factory=list)  # by the clients and servers
    log: list[Line] = field(default_factory=list)
    status: int | None = None
    errors: list[str] = field(default_factory=list)  # stderr


class End:
    """A client or a server in a situation: what it hears is noted under its name."""

    def __init__(self, name: str, peer: Peer, notes: list[str]) -> None:
        self.name = name
        self.peer = peer
        self._notes = notes

    def says(self, data: bytes) -> End:
        with suppress(BrokenPipeError, ConnectionResetError):
            self.peer.sends(data)
        return self

    def hears(self, number: int) -> End:
        """So many bytes, which are noted."""
        return self._note(self._read(number))

    def hears_end(self) -> End:
        """Everything up to the FIN or the reset, which are noted."""
        return self._note(self._read(1 << 40))

    def stays(self, for_s: float = 0.1) -> End:
        """Nothing comes in that time."""
        self.peer.sees_nothing(for_s)
        return self

    def shuts(self) -> End:
        self.peer.shuts_output()
        return self

    def closes(self) -> None:
        self.peer.closes()

    def resets(self) -> None:
        self.peer.resets()

    def _note(self, what: str) -> End:
        self._notes.append(f"{self.name}: {what}")
        return self

    def _read(self, number: int) -> str:
        got = bytearray()
        end = ""
        while len(got) < number and not end:
            try:
                piece = self.peer.socket.recv(min(number - len(got), 1 << 18))
                end = "" if piece else " FIN"
                got += piece
            except ConnectionResetError:
                end = " RST"
            except TimeoutError:
                end = " nothing more"
        text = bytes(got) if len(got) <= 40 else f"{len(got)} bytes, {hash(bytes(got))}"
        return f"{text!r}{end}"


class Stage:
    """One program at work with a configuration."""

    def __init__(self, program: str, text: str, directory: Path, *words: str) -> None:
        self.names = Names(directory)
        self.seen = Seen()
        self.program = program
        self._log: list[str] = []
        self._ends: list[End] = []
        self._clients = 0
        self._file = directory / "lb.cfg"
        self._file.write_text(text.format_map(self.names))
        self.process = subprocess.Popen(
            [*PROGRAMS[program], *(words or ("-db",)), "-f", str(self._file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def opens(self) -> None:
        """Wait until the program listens on all ports (not those marked `# off`) or has
        ended: a situation may be about a start that fails."""
        text = self._file.read_text()
        for name in [name for name in self.names if name.startswith("port")]:
            port = self.names.port(name)
            if f"{port}  # off" not in text:
                wait_until(
                    partial(self._listens_or_ended, port), f"{self.program} listens on {port}"
                )

    def _listens_or_ended(self, port: int) -> bool:
        return self.process.poll() is not None or LISTEN in tcp_states(port)

    # ---- who plays ----

    def client(
        self, port: str = "port", *, at: int = 0, name: str = "", source: str = "", path: str = ""
    ) -> End:
        """A client of that port (the `at`-th of a range), or of a unix socket."""
        self._clients += 1
        name = name or f"client {self._clients}"
        if path:
            peer: Peer | None = wait_until(
                lambda: _connected_to(path), f"{self.program} listens on {path}"
            )
        else:
            sock = self._socket_with_its_own_port(source or "127.0.0.1")
            sock.connect(("127.0.0.1", self.names.port(port) + at))
            peer = Peer(sock)
        assert peer is not None
        if not path:
            self.names.numbers[peer.socket.getsockname()[1]] = name
        return self._enter(name, peer)

    def _socket_with_its_own_port(self, source: str) -> socket.socket:
        """The log tells clients apart by their ports: one that somebody had will not do."""
        while True:
            sock = socket.socket()
            sock.settimeout(SOON_S)
            sock.bind((source, 0))
            if sock.getsockname()[1] not in self.names.numbers:
                return sock
            sock.close()

    def server(self, name: str) -> End:
        """The server's end of the next session that the program opens to it."""
        return self._enter(f"server {name}", self.names.servers[name].accepts())

    def checked_server(self, name: str) -> End:
        """The same where checks come too."""
        while not (end := self._session_of(name)):
            pass
        return end

    def _session_of(self, name: str) -> End | None:
        """The next connection; None if it was a check: it ended without a word."""
        peer = self.names.servers[name].accepts()
        with suppress(ConnectionResetError):
            if peer.socket.recv(1, socket.MSG_PEEK):
                return self._enter(f"server {name}", peer)
        peer.closes()
        return None

    def session(self, name: str, **client: Any) -> tuple[End, End]:
        """A client and the server it reached, after a word each way."""
        one = self.client(**client)
        one.says(b"hello")
        other = self.checked_server(name).hears(5)
        other.says(b"yes")
        return one.hears(3), other

    def any_server(self) -> End:
        """The server's end of the next session, whichever server it is."""
        by_socket = {server.socket: name for name, server in self.names.servers.items()}
        while ready := select.select(list(by_socket), [], [], SOON_S)[0]:
            for sock in ready:
                if end := self._session_of(by_socket[sock]):
                    return end
        raise AssertionError(f"{self.program} opens no session")

    def _enter(self, name: str, peer: Peer) -> End:
        end = End(name, peer, self.seen.notes)
        self._ends.append(end)
        return end

    def note(self, text: str) -> None:
        self.seen.notes.append(text)

    # ---- what happens ----

    def dies(self, server: str) -> None:
        """The server's program is gone: connections are refused from now on."""
        listener = self.names.servers[server]
        address = listener.socket.getsockname()
        listener.closes()
        listener.socket = self.names.bound(address)

    def returns(self, server: str) -> None:
        """The server listens again."""
        self.names.servers[server].socket.listen(64)

    def logs(self, words: str, times: int = 1) -> None:
        """Wait until that many log lines hold these words."""

        def told() -> bool:
            self._take_log()
            return sum(words in line for line in self._log) >= times

        wait_until(told, f"{self.program} logs {words!r}")

    def ended(self, number: int | None = None) -> None:
        """Wait until that many sessions, or one for each client so far, have been logged."""
        wanted = self._clients if number is None else number

        def told() -> bool:
            self._take_log()
            return sum(bool(SESSION.search(line)) for line in self._log) >= wanted

        wait_until(told, lambda: f"{self.program} logs {wanted} sessions, not {self._log}")

    def signals(self, number: int) -> None:
        self.process.send_signal(number)

    def dumps(self) -> None:
        """Let whoever serves write all states to the log."""
        workers = [pid for pid, name in family(self.process.pid).items() if name == WORKER]
        os.kill(workers[0] if workers else self.process.pid, signal.SIGHUP)

    def _take_log(self) -> None:
        self.names.log.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._log.append(self.names.log.recv(65536).decode())

    def finish(self) -> Seen:
        """Let the program end softly, which needs all sessions to have ended, and put
        into words what it told."""
        if self.process.poll() is None:
            self.signals(signal.SIGUSR1)
        try:
            _, errors = self.process.communicate(timeout=SOON_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.program} does not end; a session is left") from None
        self.seen.status = self.process.returncode
        self._take_log()
        self.seen.log = [self._line(line) for line in self._log]
        # HAProxy tells stderr once for all proxies that it got a SIGHUP, lbsplice for each.
        lines = [self.plain(line) for line in errors.splitlines() if "received" not in line]
        self.seen.errors = [re.sub(r"(?<=duration: )\d+(?=ms)", "N", line) for line in lines]
        return self.seen

    def close(self) -> None:
        if self.process.poll() is None:
            for pid in (self.process.pid, *family(self.process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        errors = self.process.communicate()[1]
        if errors:  # finish() was not reached: the test fails, and shows this
            print(f"{self.program} said:\n{errors}\nand logged:\n{''.join(self._log)}")
        for end in self._ends:
            end.closes()
        self.names.close()

    # ---- words ----

    def plain(self, text: str) -> str:
        """Without ports, pids and paths."""
        text = text.replace(self.names["dir"], "DIR")
        text = re.sub(rf"\b{self.process.pid}\b", "PID", text)
        return re.sub(r"(?<=[:+])\d+\b", lambda m: self.names.numbers.get(int(m[0]), m[0]), text)

    def _line(self, raw: str) -> Line:
        text = re.sub(r"^(<\d+>)\w{3} [ \d]\d \d\d:\d\d:\d\d ", r"\1", raw.rstrip("\n"))
        text = re.sub(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\.\d{3}\]", "[date]", text)
        times: list[int] = []

        def untimed(match: re.Match[str]) -> str:
            times.extend(int(number) for number in re.findall(r"-?\d+", match[0]))
            return re.sub(r"\d+", "N", match[0])

        text = re.sub(r"(?<= )-?\d+/-?\d+/\+?\d+(?= \+?\d+ \S\S )", untimed, text)
        text = re.sub(r"(?<=duration: )\d+(?=ms)", untimed, text)
        return Line(self.plain(text), times)


Play = Callable[[Stage], None]


def play_both(text: str, play: Play, directory: Path) -> tuple[Seen, Seen]:
    """What HAProxy and lbsplice do in a situation, both at the same time."""

    def one(program: str) -> Seen:
        own = directory / program
        own.mkdir()
        with _stage(program, text, own) as stage:
            play(stage)
            return stage.finish()

    with ThreadPoolExecutor(2) as pool:
        theirs, ours = (pool.submit(one, program) for program in ("haproxy", "lbsplice"))
        return theirs.result(), ours.result()


@contextmanager
def _stage(program: str, text: str, directory: Path) -> Iterator[Stage]:
    stage = Stage(program, text, directory)
    try:
        stage.opens()
        yield stage
    finally:
        stage.close()


def _connected_to(path: str) -> Peer | None:
    with suppress(ConnectionRefusedError, FileNotFoundError):
        return connected(path)
    return None


def tcp_states(port: int) -> set[str]:
    """The states of the IPv4 sockets with that local port, as /proc/net/tcp has them."""
    return {fields[3] for fields in _sockets() if fields[1].endswith(f":{port:04X}")}


def timer(local: int, remote: int) -> tuple[int, float]:
    """The kernel's timer of an established socket: which (0 none, 2 keepalive) and how
    many seconds it has left."""
    for fields in _sockets():
        if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
            which, left = fields[5].split(":")
            return int(which, 16), int(left, 16) / 100
    raise AssertionError(f"no socket {local} -> {remote}")


def _sockets() -> list[list[str]]:
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [line.split() for line in lines]
