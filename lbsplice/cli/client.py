"""Asking a running lbsplice: by its stats socket, or by the rendezvous, for which nothing
has to be in its configuration."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, Protocol

import click

from lbsplice import rendezvous
from lbsplice.admin.levels import Level
from lbsplice.cli.control import AMBIGUOUS, FAILED, NONE_RUNS, NotFound
from lbsplice.config.address import STATS, parse_address
from lbsplice.config.files import read_sources
from lbsplice.config.model import AddressKind, Endpoint, StatsSocket
from lbsplice.config.parse import parse
from lbsplice.errors import LbspliceError
from lbsplice.plan.sockaddr import abstract_name
from lbsplice.rendezvous import Running, Unreachable, worker_name

WITHIN_S = 10.0
_SUCCESSION_S = 2.0
"""How long nobody may be there while one worker process takes over from another."""


class Refused(LbspliceError):
    """The process has answered, and not what was asked for."""


class Way(Protocol):
    """How a running process is reached; each call is a connection of its own."""

    def connect(self) -> socket.socket:
        """Raises Unreachable."""


@dataclass(frozen=True, slots=True)
class ByRendezvous:
    """`name` is the worker's, lbsplice.rendezvous."""

    name: str

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(WITHIN_S)
        deadline = time.monotonic() + _SUCCESSION_S
        try:
            with theirs:
                while True:
                    try:
                        self._hand_over(theirs)
                        return ours
                    except Unreachable:
                        if time.monotonic() >= deadline:
                            raise
                        time.sleep(0.05)
        except BaseException:
            ours.close()
            raise

    def _hand_over(self, end: socket.socket) -> None:
        # What we give away is an end of a pair of our own: whoever has lied about its name
        # can do no more with it than to lie in its answers.
        letter = rendezvous.call(
            self.name,
            {"request": rendezvous.ADMIN},
            WITHIN_S,
            given=(end.fileno(),),
            of_any_user=True,
        )
        letter.close()
        error = letter.values.get("error")
        if error is not None:
            raise Unreachable(str(error))


@dataclass(frozen=True, slots=True)
class BySocket:
    """`endpoint` is a stats socket's, as the configuration writes it."""

    endpoint: Endpoint
    text: str

    def connect(self) -> socket.socket:
        try:
            return _connected(self.endpoint)
        except OSError as why:
            said = why.strerror or str(why) or "no answer in time"
            raise Unreachable(f"{self.text}: {said}") from why


def _connected(endpoint: Endpoint) -> socket.socket:
    if endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(WITHIN_S)
        try:
            if endpoint.kind is AddressKind.ABSTRACT:
                sock.connect(abstract_name(endpoint.host))
            else:
                sock.connect(endpoint.host)
        except BaseException:
            sock.close()
            raise
        return sock
    host = "127.0.0.1" if endpoint.kind is AddressKind.ANY else endpoint.host
    return socket.create_connection((host, endpoint.port or 0), timeout=WITHIN_S)


# ---- asking ----


@dataclass(frozen=True, slots=True)
class Lbsplice:
    """A running lbsplice, to be asked. Every method raises Unreachable and Refused."""

    way: Way

    def ask(self, *words: str) -> str:
        """The answer to a command, as it comes."""
        line = " ".join(map(_quoted, words)) + "\n"
        answer = bytearray()
        with self.way.connect() as connection:
            try:
                connection.sendall(line.encode(errors="surrogateescape"))
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(1 << 18):
                    answer += chunk
            except OSError as why:
                raise Unreachable(why.strerror or "no answer in time") from why
        return answer.decode(errors="replace")

    def objects(self, *words: str) -> list[Any]:
        """The answer of a command that speaks JSON, one value a line."""
        answer = self.ask(*words)
        try:
            return [json.loads(line) for line in answer.splitlines() if line.strip()]
        except ValueError:
            raise Refused(_reason(answer)) from None

    def object(self, *words: str) -> Any:
        """The one value of such an answer."""
        found = self.objects(*words)
        if len(found) != 1:
            raise Refused("the connection ended without an answer")
        return found[0]

    def order(self, *words: str) -> None:
        """Have a command carried out that says nothing when it is done."""
        answer = self.ask(*words).strip()
        if answer:
            raise Refused(_reason(answer))

    def text(self, *words: str) -> str:
        """The answer of a command that speaks text, and refuses in one line."""
        answer = self.ask(*words).rstrip("\n")
        if "\n" not in answer:
            raise Refused(_reason(answer))
        return answer

    def status(self) -> dict[str, Any]:
        found = self.object("lbsplice", "show", "status", "json")
        assert isinstance(found, dict)
        return found


_SPECIAL = re.compile(r"([\\;<\s])")


def _quoted(word: str) -> str:
    """A word that the command language takes as it is: `;` ends no command, for one."""
    if not word or not word.isprintable():
        raise Refused(f"{word!r} can not be asked for")
    return _SPECIAL.sub(r"\\\1", word)


def _reason(answer: str) -> str:
    line = answer.strip().splitlines()[0] if answer.strip() else "there was no answer"
    if line.startswith("Permission denied"):
        return "Permission denied: the socket's `level` in the configuration does not allow it"
    if line.startswith("Unknown command: 'lbsplice"):
        return "that is not lbsplice, or an older one: it does not know this command"
    return line


# ---- whom ----


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says of whom to ask."""

    socket: str | None = None
    files: tuple[str, ...] = ()
    pid: int | None = None

    def find(self) -> Lbsplice:
        """Raises NotFound and ConfigError."""
        if self.socket is not None:
            return Lbsplice(_by_socket(self.socket))
        try:
            return Lbsplice(ByRendezvous(find_worker(self.files, self.pid, rendezvous.running())))
        except NotFound:
            found = _of_files(self.files) if self.files and self.pid is None else None
            if found is None:
                raise
            return Lbsplice(found)


def find_worker(files: Sequence[str], pid: int | None, there: Sequence[Running]) -> str:
    """The name of the worker process that is meant, of those that are there. Raises
    NotFound."""
    of = ""
    bases = {_base(one.name) for one in there}
    if files:
        bases &= {rendezvous.name_of(files)}
        of = f" with {' '.join(files)}"
    if pid is not None:
        bases &= {_base(one.name) for one in there if one.pid == pid}
        of += f" as process {pid}"
    if len(bases) == 1:
        (base,) = bases
        silent = [one for one in there if _base(one.name) == base and not one.answers]
        if silent and not any(one.answers for one in there if _base(one.name) == base):
            raise NotFound(_not_ours(silent[0]), FAILED)
        return worker_name(base)
    if bases:
        shown = {_base(one.name): one for one in reversed(there)}
        listed = "\n".join(
            f"  --pid {shown[base].pid}  {' '.join(shown[base].files) or '(of another user)'}"
            for base in sorted(bases)
        )
        raise NotFound(f"lbsplice runs more than once; say which one:\n{listed}", AMBIGUOUS)
    raise NotFound(f"lbsplice is not running{of}", NONE_RUNS)


def _base(name: str) -> str:
    """The name without its process's part."""
    return "/".join(name.split("/")[:2])


def _not_ours(one: Running) -> str:
    hint = "" if os.geteuid() == 0 else "; it belongs to another user: ask as root, or --socket"
    return f"lbsplice ({one.pid or 'unknown pid'}) does not answer{hint}"


def _by_socket(text: str) -> BySocket:
    """A path may be relative, unlike in a configuration. Raises NotFound and ConfigError."""
    is_path = "@" not in text and ("/" in text or os.path.lexists(text))
    if not text or (":" not in text and "@" not in text and not is_path):
        raise NotFound(f"'{text}' is no socket here, and has no port as HOST:PORT has", FAILED)
    meant = str(Path(text).absolute()) if is_path else text
    return BySocket(parse_address(meant, STATS).endpoint, text)


def _of_files(files: Sequence[str]) -> BySocket | None:
    """The stats socket of these files that allows most and lets us in."""
    config = parse(read_sources(files), os.environ).config
    sockets: Sequence[StatsSocket] = () if config is None else config.global_.stats_sockets
    for each in sorted(sockets, key=lambda one: Level.of(one.level), reverse=True):
        way = BySocket(each.address, each.words[0] if each.words else each.address.host)
        try:
            way.connect().close()
        except Unreachable:
            continue
        return way
    return None


# ---- options, and errors ----


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say whom to ask; it gets `where`. Errors become one
    line and the exit status."""

    @wraps(command)
    def run(*, socket_: str | None, files: tuple[str, ...], pid: int | None, **rest: Any) -> None:
        if socket_ is not None and (files or pid is not None):
            raise click.UsageError("--socket says it all: not with -f or --pid")
        if os.environ.get("NO_COLOR"):
            click.get_current_context().color = False
        try:
            command(where=Where(socket_, files, pid), **rest)
        except LbspliceError as why:
            fail(why)
        except OSError as why:  # of our output: what is asked raises Unreachable
            if why.errno == errno.EPIPE:
                raise  # click's: whoever reads has had enough
            fail(Refused(why.strerror or str(why)))

    options = (
        click.option("--socket", "socket_", metavar="PATH", help="Ask by this stats socket."),
        click.option(
            "-f",
            "files",
            multiple=True,
            metavar="FILE|DIR",
            help="Ask the process that runs with this configuration; repeatable.",
        ),
        click.option("--pid", type=click.IntRange(1), metavar="PID", help="Ask this process."),
    )
    made: Callable[..., None] = run
    for option in reversed(options):
        made = option(made)
    return made


def fail(why: LbspliceError) -> NoReturn:
    """One line, and the status: 3 none runs, 2 several do, 1 anything else."""
    click.echo(f"lbsplice: {why}", err=True)
    sys.exit(why.status if isinstance(why, NotFound) else FAILED)
