"""Whatever is changed at run time takes the road that a failed check takes: roster,
actions, journal, plan, kill. Each change stands in the log with who asked for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lbsplice.admin.baselines import Baselines
from lbsplice.admin.control import AdminError
from lbsplice.admin.looking import Looking
from lbsplice.admin.server_words import new_server, readdressed, server_of, weight_of
from lbsplice.config.model import Proxy, ProxyKind, Server
from lbsplice.edits import Edits, FrontendEdit
from lbsplice.errors import LbspliceError
from lbsplice.plan.leaving import configured_name
from lbsplice.plan.slots import ServerKey
from lbsplice.road import KillSession
from lbsplice.roster import KillSessions, RosterError
from lbsplice.server_state import ServerState, first_state
from lbsplice.terms import AdminState, Cause, LogLevel


class Changes(Looking):
    """The changing half of lbsplice.admin.control.Control. On the event loop only."""

    # ---- a server's state ----

    def set_admin(self, key: ServerKey, state: AdminState, asker: str) -> None:
        """Maintenance counts for the sessions at addresses that it had before as well."""
        self._server(key)
        self._plane.set_admin(key, state)
        for left in self._slots_of(key):
            if left != key and AdminState.MAINT in (state, self._plane.roster.state(left).admin):
                self._plane.set_admin(left, state)
        self._asked(f"set server {_shown(key)} state {state.value}", asker)

    def set_health(self, key: ServerKey, up: bool | None, asker: str) -> None:
        """Checks that go on may say otherwise soon: see set_checks."""
        self._server(key)
        self._plane.set_health(key, up)
        word = "stopping" if up is None else "up" if up else "down"
        self._asked(f"set server {_shown(key)} health {word}", asker)

    def set_checks(self, key: ServerKey, on: bool, asker: str) -> None:
        self._server(key)
        try:
            self._plane.set_checks(key, on)
        except RosterError:
            raise AdminError(
                "Health check was not configured on this server, cannot enable."
            ) from None
        self._asked(f"{'enable' if on else 'disable'} health {_shown(key)}", asker)

    def set_weight(self, key: ServerKey, weight: str, asker: str) -> None:
        proxy, server = self._server(key)
        self._plane.set_weight(key, weight_of(weight, proxy, server.weight))
        self._asked(f"set server {_shown(key)} weight {weight}", asker)

    def set_server_maxconn(self, key: ServerKey, maxconn: int, asker: str) -> None:
        self._server(key)
        if maxconn:
            raise AdminError("'maxconn' of a server is not supported by lbsplice: not yet.")

    # ---- servers that move, come and go ----

    def set_address(self, key: ServerKey, address: str | None, port: str | None, asker: str) -> str:
        """Sessions that the server has stay where they are. They are still checked there,
        at the old address, and are ended when that goes down, not when the new one does."""
        _, server = self._server(key)
        new = readdressed(server, address, port)
        if new.endpoint == server.endpoint:
            return new.said
        force, edits = self._plane.force, self._plane.force.edits
        configured = server_of_file(force.file.proxies, key)
        if configured is None or key in edits.removed:
            edits = edits.without_server(key, configured=False)
            edits = edits.with_server(key[0], replace(server, endpoint=new.endpoint))
        else:
            edits = edits.with_address(key, configured.endpoint, new.endpoint)
        self._edit(edits, {key: self._plane.roster.state(key)})
        if new.before != new.after:
            line = f"{_shown(key)} changed its IP from {new.before} to {new.after}"
            self._tell(key[0], f"{line} by 'stats socket command'")
        self._asked(f"set server {_shown(key)} addr {address} port {port or 'as it was'}", asker)
        return new.said

    def add_server(self, key: ServerKey, words: Sequence[str], asker: str) -> str:
        """As in HAProxy it is in maintenance, with its checks off, and gone after the next
        reload: the file is the list of servers. A crash it survives."""
        proxy = next(
            (p for p in self._plane.config.proxies if p.has_backend and p.name == key[0]), None
        )
        if proxy is None:
            raise AdminError("No such backend.")
        server = new_server(proxy, key[1], words)
        state = first_state(server, time.monotonic())
        if state.checked:
            state = replace(state, checked=False, checks_off=True)
        self._edit(self._plane.force.edits.with_server(key[0], server), {key: state})
        self._plane.tallies.clear_slot(self._plane.numbers.slots[key])  # had it before, perhaps
        self._asked(f"add server {_shown(key)} {' '.join(words)}", asker)
        return "New server registered."

    def del_server(self, key: ServerKey, asker: str) -> str:
        self._server(key)
        if self._plane.roster.state(key).admin is not AdminState.MAINT:
            raise AdminError("Only servers in maintenance mode can be deleted.")
        if self._sessions_on(key):
            raise AdminError("Server still has connections attached to it, cannot remove it.")
        force = self._plane.force
        configured = (
            server_of_file(force.file.proxies, key) is not None and key not in force.edits.removed
        )
        self._edit(force.edits.without_server(key, configured=configured))
        self._asked(f"del server {_shown(key)}", asker)
        return "Server deleted."

    def is_removable(self, key: ServerKey) -> bool:
        """Would `del_server` do it?"""
        state = self._plane.roster.states.get(key)
        return state is not None and state.admin is AdminState.MAINT and not self._sessions_on(key)

    # ---- frontends and the process ----

    def set_frontend(self, name: str, enabled: bool, asker: str) -> None:
        """While it is paused, who connects is refused."""
        proxy, edit = self._frontend(name)
        if edit.shut:
            what = "enable" if enabled else "disable"
            raise AdminError(f"Frontend was previously shut down, cannot {what}.")
        if edit.paused is not enabled:
            raise AdminError(f"All sockets are already {'enabled' if enabled else 'disabled'}.")
        self._edit_frontend(replace(edit, paused=not enabled))
        kind = "proxy" if proxy.kind is ProxyKind.LISTEN else "frontend"
        self._tell(name, f"{'Resumed' if enabled else 'Paused'} {kind} {name}.", LogLevel.WARNING)
        self._asked(f"{'enable' if enabled else 'disable'} frontend {name}", asker)

    def shutdown_frontend(self, name: str, asker: str) -> None:
        """Until the next reload, or an upgrade; its address stays ours."""
        _, edit = self._frontend(name)
        if edit.shut:
            raise AdminError("Frontend was already shut down.")
        self._edit_frontend(replace(edit, shut=True, paused=False))
        self._plane.tell_stopped(name)
        self._asked(f"shutdown frontend {name}", asker)

    def set_frontend_maxconn(self, name: str, maxconn: int, asker: str) -> None:
        _, edit = self._frontend(name)
        if not edit.limited:
            file = self._plane.force.file.proxies
            configured = next(p.maxconn for p in file if p.has_frontend and p.name == name)
            edit = replace(edit, limited=True, configured=configured)
        self._edit_frontend(replace(edit, maxconn=maxconn))
        self._asked(f"set maxconn frontend {name} {maxconn}", asker)

    def set_maxconn(self, maxconn: int, asker: str) -> None:
        """0: as many as the configuration and the machine allow."""
        limit = self._plane.force.limit
        if not 0 <= maxconn <= limit:
            raise AdminError("Value out of range.")
        self._edit(replace(self._plane.force.edits, maxconn=maxconn or None, limit=limit))
        self._asked(f"set maxconn global {maxconn}", asker)

    def set_rate_limit(self, what: str, per_second: int, asker: str) -> None:
        """The relay threads accept without asking anybody, and count no rates."""
        if per_second:
            raise AdminError(f"'set rate-limit {what}' is not supported by lbsplice: not yet.")

    def clear_counters(self, everything: bool, key: ServerKey | None = None) -> None:
        if key is not None:
            self._server(key)
        Baselines(self._plane).clear(everything, key)
        self._plane.remember()
        self.changed()

    def note(self, line: str) -> None:
        self._plane.hub.process_line(LogLevel.NOTICE, line)

    # ---- sessions ----

    def kill_session(self, serial: int, asker: str) -> None:
        if self.session(serial) is None:
            raise AdminError("No such session (use 'show sess').")
        self._plane.carry_out([KillSession(serial)])
        self._asked(f"shutdown session {serial:#x}", asker)

    def kill_server_sessions(self, key: ServerKey, asker: str) -> int:
        """The server goes on to get new ones. How many there were."""
        self._server(key)
        ended = self._sessions_on(key)
        self._plane.carry_out([KillSessions(each, Cause.KILLED) for each in self._slots_of(key)])
        self._asked(f"shutdown sessions server {_shown(key)} ({ended} sessions)", asker)
        return ended

    # ---- the supervisor ----

    async def ask_supervisor(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._share.ask is None:
            raise AdminError("there is no supervisor to ask")
        return await self._share.ask(request)

    # ---- what they share ----

    def _server(self, key: ServerKey) -> tuple[Proxy, Server]:
        return server_of(self._plane.config.proxies, key)

    def _frontend(self, name: str) -> tuple[Proxy, FrontendEdit]:
        for proxy in self._plane.config.proxies:
            if proxy.has_frontend and proxy.name == name:
                return proxy, self._plane.force.edits.frontend(name)
        raise AdminError("No such frontend.")

    def _edit_frontend(self, edit: FrontendEdit) -> None:
        self._edit(self._plane.force.edits.with_frontend(edit))

    def _edit(self, edits: Edits, states: dict[ServerKey, ServerState] | None = None) -> None:
        try:
            self._plane.edit(edits, states or {})
        except LbspliceError as why:
            raise AdminError(str(why)) from why

    def _slots_of(self, key: ServerKey) -> list[ServerKey]:
        """The server, and what is left of it at addresses that it had before."""
        return [
            each
            for each in self._plane.numbers.slots
            if each[0] == key[0] and configured_name(each[1]) == key[1]
        ]

    def _sessions_on(self, key: ServerKey) -> int:
        numbers, counters = self._plane.numbers.slots, self._plane.workers.counters
        return sum(counters.slot_sessions(numbers[each]).now for each in self._slots_of(key))

    def _tell(self, proxy: str, line: str, level: LogLevel = LogLevel.NOTICE) -> None:
        self._plane.hub.proxy_line(proxy, level, line)

    def _asked(self, what: str, asker: str) -> None:
        """It is done. Who asked is answered next: a crash must not undo it any more."""
        self._plane.remember()
        self.note(f"{what}, asked by {asker}")
        self.changed()


def server_of_file(proxies: Sequence[Proxy], key: ServerKey) -> Server | None:
    """What the file says of a server, if it has one."""
    try:
        return server_of(proxies, key)[1]
    except AdminError:
        return None


def _shown(key: ServerKey) -> str:
    return "/".join(key)
