"""Where a supervisor is found: lbsplice/rendezvous.py on the supervisor's loop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from lbsplice import rendezvous
from lbsplice.reactor import Reactor
from lbsplice.rendezvous import Caller, Unreachable

Asked = Callable[[str, Callable[[dict[str, Any]], None]], None]
"""Called with what somebody asks for, and how to answer; once, now or later."""


class Meeting:
    """Answers all who come to `listener`."""

    def __init__(self, reactor: Reactor, listener: socket.socket, asked: Asked) -> None:
        self._reactor = reactor
        self.listener = listener
        self._asked = asked
        self._waiting: set[Caller] = set()
        reactor.watch(listener, self._let_in)

    @property
    def waiting(self) -> list[int]:
        """The descriptors of those whose answer is still to come."""
        return [caller.fileno() for caller in self._waiting]

    def hold(self, descriptor: int) -> Callable[[dict[str, Any]], None]:
        """One who waited for the program that ran here before: how to answer."""
        caller = Caller.held(descriptor)
        self._waiting.add(caller)
        return lambda values: self._answer(caller, values)

    def _let_in(self) -> None:
        caller = rendezvous.accept(self.listener)
        if caller is not None:
            self._reactor.watch(caller, lambda: self._hear(caller))

    def _hear(self, caller: Caller) -> None:
        try:
            letter = caller.receive()
            if letter is None:
                return
        except Unreachable:
            self._reactor.forget(caller)
            caller.close()
            return
        self._reactor.forget(caller)
        letter.close()
        self._waiting.add(caller)
        self._asked(letter.request, lambda values: self._answer(caller, values))

    def _answer(self, caller: Caller, values: dict[str, Any]) -> None:
        self._waiting.discard(caller)
        caller.answer(values)
        caller.close()
