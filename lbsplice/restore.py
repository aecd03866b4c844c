"""What carries over when another configuration or another process takes up the work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from lbsplice.config.model import Config
from lbsplice.dataplane.worker import Adoption, Workers
from lbsplice.journal import Journal
from lbsplice.kill_orders import KillOrder
from lbsplice.memory import Memory, Texts, inventory_of
from lbsplice.plain import PlainError
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.slots import ServerKey
from lbsplice.report.hub import Hub
from lbsplice.server_state import ServerState
from lbsplice.service import Succession
from lbsplice.terms import AdminState, LogLevel

T = TypeVar("T")


class JournalKeeper:
    """Reads and writes the journal. What goes wrong there stands in the log; the work
    goes on without."""

    def __init__(self, journal: Journal, hub: Hub) -> None:
        self._journal = journal
        self._hub = hub
        self._texts = Texts()
        self._in_trouble = False
        self.took_s = 0.0  # the last write

    def read(self) -> Past:
        """What a worker before has written, if there was one."""
        content = self._journal.read()
        if content is None:
            return Past(None)
        try:
            return Past(Memory.from_json(content))
        except PlainError as why:
            self._tell(f"{why}; server states begin anew")
            return Past(None)

    def write(self, memory: Memory) -> None:
        began = time.monotonic()
        try:
            self._journal.write_text(self._texts.of(memory))
        except OSError as why:
            if not self._in_trouble:
                self._tell(f"{why.strerror}; what changes now is forgotten if the worker crashes")
            self._in_trouble = True
        else:
            self._in_trouble = False
        self.took_s = time.monotonic() - began

    def _tell(self, what: str) -> None:
        self._hub.process_line(LogLevel.ALERT, f"No journal: {what}.")


class Past:
    """The control plane as it was: what a journal says, or nothing at all. Raises
    PlainError if that can not be read."""

    def __init__(self, memory: Memory | None) -> None:
        self.is_blank = memory is None
        self.memory = memory or Memory("{}")
        self.inventory = inventory_of(self.memory.inventory)

    def states(self, inventory: Inventory) -> dict[ServerKey, ServerState]:
        """The states of the servers that are still there, under their keys of now."""
        return carried_over(self.memory.states, self.inventory, inventory)

    def due(self, inventory: Inventory) -> dict[ServerKey, float]:
        """When they are to be checked."""
        return carried_over(self.memory.due, self.inventory, inventory)


def carried_over(
    values: Mapping[ServerKey, T], before: Inventory, after: Inventory
) -> dict[ServerKey, T]:
    """What was said of servers, under the keys that they have after a reload."""
    return {key: values[old] for key, old in after.same_servers(before).items() if old in values}


def edited(
    config: Config, known: Mapping[ServerKey, ServerState]
) -> Iterator[tuple[ServerKey, AdminState]]:
    """What an edit of `disabled` orders. Where the file says what it said before, the
    state that was set at run time stays."""
    for proxy in config.proxies:
        for server in proxy.servers if proxy.has_backend else ():
            key = (proxy.name, server.name)
            state = known.get(key)
            if state is None or state.config_disabled == server.disabled:
                continue
            if server.disabled:
                yield key, AdminState.MAINT
            elif state.admin is AdminState.MAINT:
                yield key, AdminState.READY


def is_back(state: ServerState) -> bool:
    """Is a server in service again, so that sessions of now are none of an older order's?"""
    return state.is_up and state.admin is not AdminState.MAINT


def sessions_before(workers: Workers, order: KillOrder) -> list[int]:
    """The serials of the sessions that an order is about: those that were on its server
    when it was given."""
    found = []
    for thread in range(workers.sizes.threads):
        records: Any = workers.sessions(thread)
        for index in range(workers.sessions_used(thread)):
            one = records[index]
            if one.state and one.slot == order.slot and 0 < one.connected_ms <= order.at * 1000:
                found.append(one.serial)
    return found


def successor_line(succession: Succession, adoption: Adoption | None, relaying_s: float) -> str:
    """What the log says of the worker that took over, whose relay threads went on at that
    time (monotonic)."""
    what = adoption or Adoption(0, 0, 0, 0, 0, 0)
    within = max(0, round((relaying_s - succession.started_s) * 1000))
    line = (
        f"{succession.reason}; its successor took over {_count(what.sessions, 'session')} "
        f"within {within} ms"
    )
    if what.poisoned:
        line += f", {what.poisoned} {_was(what.poisoned)} reset: at work in three crashes in a row"
    if broken := what.resets - what.poisoned:
        line += f", {broken} {_was(broken)} ended: a descriptor was gone"
    return f"{line}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
