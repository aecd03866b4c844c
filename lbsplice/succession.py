"""How a worker process comes into what it works with: descriptors, ledger, vault, threads.

The first one starts with an empty ledger. A successor, after a crash or on purpose, takes
every descriptor that the ledger names, at the number it has there, from the vault of the
one before. Until it says Committed nothing has changed in ledger and journal, and another
one may try; from there on its own vault counts. Then it lets the old copies go (a close
or a reset means nothing while somebody holds one), and its threads relay again."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import gt

from lbsplice import process
from lbsplice.channel import Channel
from lbsplice.config.model import Config
from lbsplice.dataplane import ledger, vault
from lbsplice.dataplane.ledger import Sizes
from lbsplice.dataplane.worker import Workers
from lbsplice.errors import EnvironmentLacks, LbspliceError
from lbsplice.in_flight import rescue
from lbsplice.journal import Journal
from lbsplice.limits import Limits
from lbsplice.listeners import Held
from lbsplice.memory import Memory, inventory_of
from lbsplice.plan.slots import ListenerKey
from lbsplice.process import Identity
from lbsplice.protocol import Committed, Message, TakeOver
from lbsplice.service import AskSupervisor, Assemble, Finish, Share, Succession
from lbsplice.startup import log_descriptors

WORKER_NAME = "lbsplice-worker"
VAULT_NAME = "lbsplice-vault"

RELEASED_WITHIN_S = 5.0
"""How long the copies of the one before may take to go: exits of two processes."""


class Orphaned(LbspliceError):
    """The supervisor is gone before this worker had anything to do."""


@dataclass(slots=True)
class Predecessor:
    """Whom to take over from. `vault` 0: there is one, but its pid is not known."""

    vault: int
    request: socket.socket  # asks that vault
    parked: bool  # it stands still for us (or will: wait for TakeOver); else it is dead


@dataclass(slots=True)
class Birth:
    """What a worker process is forked with. Descriptors are the child's own copies."""

    config: Config
    limits: Limits
    sizes: Sizes  # of the ledger that is wanted
    held: tuple[Held, ...]  # the listening sockets, and in the same order
    sockets: dict[ListenerKey, socket.socket]
    identity: Identity
    assemble: Assemble
    channel: Channel
    request: socket.socket  # what its vault obeys
    ledger: int
    journal: int
    pid: int  # to be shown
    aloud: bool
    files: tuple[str, ...] = ()  # of the configuration
    startup_logs: tuple[str, ...] = ()
    meeting_place: socket.socket | None = None  # where another supervisor would ask for us
    null: int = -1  # /dev/null, if it is to leave its starter's streams
    predecessor: Predecessor | None = None
    succession: Succession | None = None


@dataclass(slots=True)
class Body:
    """A worker process with its threads at work and its control plane still to be made."""

    workers: Workers
    journal: Journal
    finish: Finish
    vault: int
    request: socket.socket  # the vault reads it, by its number in the table that we share
    early: list[tuple[Message, list[int]]]  # not yet obeyed
    batches: list[int]  # of the threads before they began

    def has_adopted(self) -> bool:
        """Has every thread taken up all its sessions?"""
        now = self.workers.counters.batches()
        return all(map(gt, now, self.batches))


ThreadEnded = Callable[[int, int], None]


def come_to_life(birth: Birth, on_return: ThreadEnded, ask: AskSupervisor) -> Body:
    """Everything up to running relay threads. Raises LbspliceError if that can not be."""
    early: list[tuple[Message, list[int]]] = []
    before = birth.predecessor
    if before is not None and before.parked:
        _leave_the_supervisors(birth)
        early = _wait_for_turn(birth.channel)
    converted = before is not None and _convert(birth)
    _move_out_of_the_way(birth)
    rescued: list[tuple[int, socket.socket]] = []
    if before is not None:
        vault.take_descriptors(birth.ledger, before.vault or None, before.request)
        rescued = rescue(birth.ledger, before.vault, before.request, partial(_by_number, birth))
    share = Share(
        birth.sockets,
        birth.sizes.threads,
        birth.limits.maxconn,
        birth.limits.max_pipes,
        birth.pid,
        birth.aloud,
        ask,
        birth.startup_logs,
    )
    finish = birth.assemble(birth.config, share)
    _give_up_rights(birth)
    guardian = start_vault(birth.request)
    if before is not None and before.parked:
        early += _still_wanted(birth.channel)
    birth.channel.send(Committed(guardian), [birth.ledger] if converted else [])
    if before is not None:
        vault.quit_vault(before.request)
        vault.wait_released(before.request, RELEASED_WITHIN_S)
        before.request.close()
    workers = Workers(
        birth.sizes,
        max_pipes=birth.limits.max_pipes,
        pipe_bytes=birth.config.global_.pipesize or 0,
        memfd=birth.ledger,
        adopt=before is not None,
    )
    for count, (listener, accepted) in enumerate(rescued):
        if workers.begin(count % birth.sizes.threads, listener, accepted.fileno()):
            accepted.detach()
    workers.watch_crashes()
    batches = workers.counters.batches()
    workers.start(on_return)
    return Body(workers, Journal(birth.journal), finish, guardian, birth.request, early, batches)


def start_vault(request: socket.socket) -> int:
    """Clone the vault; its pid. It is born with the name of who clones it, and nobody who
    looks for the worker may find two of them."""
    process.set_name(VAULT_NAME)
    try:
        return vault.start_vault(request)
    finally:
        process.set_name(WORKER_NAME)


def _wait_for_turn(channel: Channel) -> list[tuple[Message, list[int]]]:
    """Return when the one before stands still; what else was said meanwhile."""
    early: list[tuple[Message, list[int]]] = []
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while True:
        poll.poll()
        messages = channel.receive()
        early += [each for each in messages if not isinstance(each[0], TakeOver)]
        if channel.closed:  # also after TakeOver: the one before may have carried on
            raise Orphaned("the supervisor is gone")
        if any(isinstance(message, TakeOver) for message, _ in messages):
            return early


def _still_wanted(channel: Channel) -> list[tuple[Message, list[int]]]:
    """The last moment to make way for one that stands still: once its supervisor is dead
    it goes on, unless its vault was told to quit. What was said meanwhile."""
    messages = channel.receive()
    if channel.closed:
        raise Orphaned("the supervisor is gone")
    return messages


def _leave_the_supervisors(birth: Birth) -> None:
    """Close what only the supervisor needs. Its ends of channels above all: while we had
    copies neither we nor the worker in office would see that it is dead."""
    before = birth.predecessor
    sockets = [birth.channel.socket, birth.request, *birth.sockets.values()]
    sockets += [birth.meeting_place] if birth.meeting_place is not None else []
    sockets += [before.request] if before is not None else []
    ours = {each.fileno() for each in sockets} | {birth.ledger, birth.journal, birth.null}
    process.close_descriptors_but({0, 1, 2, *log_descriptors(birth.config), *ours} - {-1})


def _convert(birth: Birth) -> bool:
    """Make a ledger of the wanted sizes and of this program's layout out of the one there
    is, if it is another one. The old one stays as it is."""
    version, sizes = ledger.read(birth.ledger)
    if version == ledger.VERSION and sizes == birth.sizes:
        return False
    old = birth.ledger
    birth.ledger = ledger.convert(old, birth.sizes)
    os.close(old)
    return True


def _move_out_of_the_way(birth: Birth) -> None:
    """Move what we need above the numbers that the ledger names, and close all else."""
    floor = max(2, ledger.highest(birth.ledger) if birth.predecessor else 2) + 1
    kept: list[int] = []

    def moved(descriptor: int) -> int:
        kept.append(process.move_up(descriptor, floor))
        return kept[-1]

    def moved_socket(one: socket.socket) -> socket.socket:
        number = moved(one.fileno())
        return socket.socket(one.family, one.type, one.proto, fileno=number)

    before = birth.predecessor
    _forget.append((birth.channel.socket, birth.request, dict(birth.sockets)))
    try:
        birth.channel.socket = moved_socket(birth.channel.socket)
        birth.request = moved_socket(birth.request)
        birth.ledger = moved(birth.ledger)
        birth.journal = moved(birth.journal)
        if birth.null >= 0:
            birth.null = moved(birth.null)
        if birth.meeting_place is not None:
            _forget.append(birth.meeting_place)
            birth.meeting_place = moved_socket(birth.meeting_place)
        for key, listener in birth.sockets.items():
            birth.sockets[key] = moved_socket(listener)
        if before is not None:
            _forget.append(before.request)
            before.request = moved_socket(before.request)
    except OSError as why:
        raise EnvironmentLacks(
            f"no room for {len(birth.sockets) + 8} descriptors above number {floor} "
            f"({why.strerror}); please raise 'ulimit-n' by as many"
        ) from why
    process.close_descriptors_but((0, 1, 2, *log_descriptors(birth.config), *kept))


_forget: list[object] = []
"""Objects of the supervisor whose numbers are not theirs any more in this process: they
must neither be used nor freed, which would close what has the number by then."""


def _give_up_rights(birth: Birth) -> None:
    if birth.config.global_.set_dumpable:
        process.raise_core_limit()
    birth.identity.take()
    if birth.config.global_.set_dumpable:
        process.allow_core_dumps()


def _by_number(birth: Birth) -> dict[int, socket.socket]:
    """The listening sockets by the numbers that the ledger has for them."""
    written = Journal(birth.journal).read()
    if written is None:
        return {}
    numbers = inventory_of(Memory.from_json(written).inventory).numbers.listeners
    return {numbers[key]: one for key, one in birth.sockets.items() if key in numbers}
