"""Something that answers as a running lbsplice does: the command language on a Control made
of literal values, by a stats socket and by the rendezvous."""

import asyncio
import os
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lbsplice import rendezvous
from lbsplice.admin.server import AdminServer
from lbsplice.config.files import Source
from lbsplice.config.parse import parse
from lbsplice.rendezvous import ADMIN, SUPERVISOR, WHO, WORKER, name_of, worker_name
from tests.support.admin import StandInControl
from tests.support.admin_socket import open_stats_sockets
from tests.support.command import DEADLINE_S

CONFIG = """
global
    {socket}
defaults
    mode tcp
    timeout connect 4s
    timeout client 1h
    timeout server 1h
listen l
    bind 127.0.0.1:8080
    server s1 127.0.0.1:81 check on-marked-down shutdown-sessions
    server s2 127.0.0.1:82
"""


@dataclass
class Running:
    """One that runs with the configuration `file`."""

    file: Path
    path: Path
    control: StandInControl = field(default_factory=StandInControl)
    askers: list[str] = field(default_factory=list)


def start(
    stack: ExitStack,
    directory: Path,
    name: str = "lb",
    *,
    level: str | None = "admin",
    meets: bool = True,
    orphaned: bool = False,
) -> Running:
    """Run one until `stack` ends. `level` is its stats socket's (None: it has none); without
    `meets` it is not found by the rendezvous; `orphaned`: its supervisor is dead."""
    path = directory / f"{name}.sock"
    line = f"stats socket {path} level {level}" if level else ""
    made = Running(directory / f"{name}.cfg", path)
    made.file.write_text(CONFIG.format(socket=line))
    _serve(stack, made, meets, orphaned)
    return made


def _serve(stack: ExitStack, made: Running, meets: bool, orphaned: bool) -> None:
    config = parse([Source(str(made.file), made.file.read_text())], {}).config
    loop = asyncio.new_event_loop()
    server = AdminServer(made.control, lambda: config)
    sockets = open_stats_sockets(config)
    listeners = {}
    if meets:
        name = name_of([str(made.file)])
        listeners[WORKER] = rendezvous.listen(worker_name(name))
        if not orphaned:
            listeners[SUPERVISOR] = rendezvous.listen(name)

    def obeys(role):
        def obey(letter):
            if letter.request == WHO:
                return rendezvous.introduction(role, os.getpid(), [str(made.file)]), ()
            assert (role, letter.request) == (WORKER, ADMIN)
            made.askers.append("rendezvous")
            server.serve(socket.socket(fileno=letter.descriptors[0]), "admin", "rendezvous")
            return {}, ()

        return obey

    async def begin():
        await server.start(sockets)
        for role, listener in listeners.items():
            rendezvous.serve(loop, listener, obeys(role))

    async def end():
        for listener in listeners.values():
            rendezvous.unserve(loop, listener)
        await server.close()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(begin(), loop).result(DEADLINE_S)

    def stop():
        asyncio.run_coroutine_threadsafe(end(), loop).result(DEADLINE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        for each in (*sockets.values(), *listeners.values()):
            each.close()

    stack.callback(stop)
