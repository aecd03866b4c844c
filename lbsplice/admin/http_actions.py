"""The actions of the statistics page, in the words of HAProxy's form:

s=SERVER [s=SERVER...]  action=WORD  b=BACKEND or #ID"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from lbsplice.admin.control import AdminError, Control
from lbsplice.admin.view import BackendView, View
from lbsplice.plan.slots import ServerKey
from lbsplice.terms import AdminState


class Status(Enum):
    """How it went: the value stands behind `;st=` in the answer's address."""

    DONE = "DONE"
    NONE = "NONE"  # nothing was to be done
    PARTLY = "PART"
    WRONG = "ERRP"  # the form's words make no sense
    DENIED = "DENY"
    TOO_MUCH = "EXCD"


@dataclass(frozen=True, slots=True)
class Outcome:
    status: Status
    text: str = ""


_Act = Callable[[Control, ServerKey, str], object]


def _state(state: AdminState) -> _Act:
    return lambda control, key, asker: control.set_admin(key, state, asker)


def _health(up: bool | None) -> _Act:
    return lambda control, key, asker: control.set_health(key, up, asker)


def _checks(on: bool) -> _Act:
    return lambda control, key, asker: control.set_checks(key, on, asker)


_ACTIONS: dict[str, _Act] = {
    "ready": _state(AdminState.READY),
    "drain": _state(AdminState.DRAIN),
    "maint": _state(AdminState.MAINT),
    "dhlth": _checks(False),
    "ehlth": _checks(True),
    "hrunn": _health(True),
    "hnolb": _health(None),
    "hdown": _health(False),
    "shutdown": lambda control, key, asker: control.kill_server_sessions(key, asker),
    # as HAProxy called them before its version 1.5
    "enable": _state(AdminState.READY),
    "disable": _state(AdminState.MAINT),
    "start": _state(AdminState.READY),
    "stop": _state(AdminState.DRAIN),
}
_OF_AGENTS = frozenset(("dagent", "eagent", "arunn", "adown"))
"""HAProxy's further actions; no server here has an agent, so they do nothing."""


def carry_out(
    control: Control, form: Sequence[tuple[str, str]], scope: Sequence[str], asker: str
) -> Outcome:
    """Do what the form says. `scope` are the proxies that the page may change, empty for
    all."""
    action = backend = ""
    names: list[str] = []
    for field, value in form:
        if field == "action":
            action = value
        elif field == "b":
            backend = value
        elif field == "s":
            names.append(value)
    if not action or not names:
        return Outcome(Status.NONE)
    found = _backend(control.view(), backend)
    if found is None or (scope and found.name not in scope):
        return Outcome(Status.WRONG, f"no backend '{backend}'")
    unknown = sorted(set(names) - {server.key[1] for server in found.servers})
    if unknown:
        return Outcome(Status.WRONG, f"no server '{unknown[0]}' in backend '{found.name}'")
    if action in _OF_AGENTS:
        return Outcome(Status.NONE, "no server has an agent")
    act = _ACTIONS.get(action)
    if act is None:
        return Outcome(Status.WRONG, f"no action '{action}'")
    refused = []
    for name in names:
        try:
            act(control, (found.name, name), asker)
        except AdminError as why:
            refused.append(f"{found.name}/{name}: {why}")
    if not refused:
        return Outcome(Status.DONE)
    status = Status.PARTLY if len(refused) < len(names) else Status.WRONG
    return Outcome(status, "; ".join(refused))


def _backend(view: View, named: str) -> BackendView | None:
    if named.startswith("#"):
        return next((b for b in view.backends.values() if str(b.iid) == named[1:]), None)
    return view.backends.get(named)
