"""The listening sockets of frontends that an operator has paused or shut: who connects there
is refused, as by HAProxy, and does not wait in a queue for nobody.

The socket stays, and so does its port. A socket of somebody else's (`fd@`) is left as it
is: its owner may go on with it; one of a path could not be brought back to life."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from lbsplice.config.model import AddressKind, Bind, Proxy
from lbsplice.in_force import InForce
from lbsplice.receivers import Address, Receiver, adjust, backlog_of

_LOOK_AGAIN_S = 0.001
_INTERNET = (socket.AF_INET, socket.AF_INET6)


class Hush:
    """On the event loop. `plan_is_taken` says whether every relay thread has the plan that
    was published last: before that, one may still accept."""

    def __init__(self, force: Callable[[], InForce], plan_is_taken: Callable[[], bool]) -> None:
        self._force = force
        self._plan_is_taken = plan_is_taken
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Leave the sockets as they are."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def keep_up(self) -> None:
        """Another plan was published: bring the sockets in line with it once it is taken."""
        self.stop()
        if not self._plan_is_taken():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LOOK_AGAIN_S, self.keep_up)
            return
        force = self._force()
        for proxy in force.inventory.config.proxies:
            if proxy.has_frontend and not proxy.disabled:
                for index, bind in enumerate(proxy.binds):
                    sock = force.sockets.get((proxy.name, index))
                    if sock is not None and _is_ours(sock, bind):
                        _settle(sock, proxy, bind, force)


def _is_ours(sock: socket.socket, bind: Bind) -> bool:
    return sock.family in _INTERNET and bind.endpoint.kind is not AddressKind.FD


def _settle(sock: socket.socket, proxy: Proxy, bind: Bind, force: InForce) -> None:
    listens = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if proxy.name in force.edits.quiet:
        if listens:
            with contextlib.suppress(OSError):  # Linux ends the listening, and says so by an error
                sock.shutdown(socket.SHUT_RD)
    elif not listens and sock.getsockname()[1]:  # without a port: WorkerListeners.retire
        receiver = Receiver(sock, Address.of(bind))
        adjust(receiver, proxy, bind, backlog_of(proxy, bind, force.maxconn), [])
