"""What `show sess` answers: a line for each session, or all that is known of one.

A session's number stands where HAProxy has a pointer, in hexadecimal as there. Fields
that name HAProxy's own machinery (calls, flags of channels, analysers) are 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lbsplice.admin import named
from lbsplice.admin.control import AdminError
from lbsplice.admin.session import LegView, SessionView
from lbsplice.admin.state_text import leading_number, length
from lbsplice.admin.view import ServerView, View
from lbsplice.errors import UnitError
from lbsplice.plan.slots import ServerKey
from lbsplice.report.sessionlog import MONTHS
from lbsplice.units import parse_duration

HELP = """\
Usage: show sess [<id> | all | help] [<filter>]*
  <id>             : everything about one session, which is named as in the list
  all              : everything about each session
  backend <b>      : only sessions of this backend
  frontend <f>     : only sessions of this frontend
  older <age>      : only sessions that have lasted so long (in seconds without a unit)
  server <b>/<s>   : only sessions of this server
  susp             : only sessions that should have ended by now
"""

_ESTABLISHED = "EST"
_SERVER_STATES = {
    "connecting": (5, "CON"),
    "pausing": (3, "TAR"),
    "established": (8, _ESTABLISHED),
    "resetting": (9, "DIS"),
    "closed": (10, "CLO"),
}
"""The state of a session as HAProxy's state of the server's side."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions are wanted, and how much of each. `serial` is the one, 0 for all."""

    serial: int = 0
    everything: bool = False
    help: bool = False
    backend: str | None = None
    frontend: str | None = None
    server: ServerKey | None = None
    older_ms: int = 0
    suspicious: bool = False

    def matches(self, session: SessionView) -> bool:
        return (
            session.age_ms >= self.older_ms
            and self.backend in (None, session.backend)
            and self.frontend in (None, session.frontend)
            and self.server in (None, session.server)
            and (not self.suspicious or is_suspicious(session))
        )


def parse(words: Sequence[str], view: View) -> Selection:
    """The selection of `show sess WORDS`. Raises AdminError. A first word that is neither
    known nor a number is passed over, as by HAProxy."""
    values: dict[str, object] = {}
    left = list(words)
    if left and left[0] not in _FILTERS:
        first = left.pop(0)
        values["everything"] = first == "all"
        values["help"] = first == "help"
        values["serial"] = max(0, leading_number(first))
    while left:
        word = left.pop(0)
        if word == "susp":
            values["suspicious"] = True
            continue
        if word not in _FILTERS:
            raise AdminError(f"Unsupported option '{word}', try 'show sess help'.")
        if not left:
            raise AdminError(f"'{word}' expects {_FILTERS[word]}.")
        name, value = _filter(word, left.pop(0), view)
        values[name] = value
    return Selection(**values)  # type: ignore[arg-type]


_FILTERS = {
    "backend": "the name of a backend",
    "frontend": "the name of a frontend",
    "server": "<backend>/<server>",
    "older": "an age",
    "susp": "",
}


def _filter(word: str, value: str, view: View) -> tuple[str, object]:
    if word == "older":
        try:
            return "older_ms", parse_duration(value, unit="s")
        except UnitError:
            raise AdminError(f"Invalid age '{value}'.") from None
    if word == "frontend":
        return word, named.frontend(view, value).name
    if word == "backend":
        return word, named.backend(view, value).name
    name, _, server = value.partition("/")
    return word, named.server(view, (name, server)).key


def is_suspicious(session: SessionView) -> bool:
    """It should have ended: it is past its time, or both of its sides have."""
    overdue = session.expires_ms is not None and session.expires_ms <= 0
    return overdue or session.state == "closed" or all(leg.ended for leg in session.legs)


# ---- a line ----


def line(session: SessionView) -> str:
    """One session in the list."""
    client, server = session.legs
    state, _ = _SERVER_STATES[session.state]
    return (
        f"{session.serial:#x}: proto={session.family} src={session.client} "
        f"fe={session.frontend} be={session.backend or '<NONE>'} "
        f"srv={session.server[1] if session.server else '<none>'} ts=00 epoch=0 "
        f"age={length(session.age_ms)} calls=0 rate=0 cpu=0 lat=0 "
        f"rq[f=000000h,i={client.in_pipe},an=00h,ax=] "
        f"rp[f=000000h,i={server.in_pipe},an=00h,ax=] "
        f"scf=[8,0h,{_descriptor(client)},rex={_read_expiry(session, 0)},wex=] "
        f"scb=[{state},1h,{_descriptor(server)},rex={_read_expiry(session, 1)},wex=] "
        f"exp={_expiry(session)} rc={session.retries} c_exp={_connect_expiry(session)}\n"
    )


def _descriptor(leg: LegView) -> str:
    return "fd=-1" if leg.fd < 0 else f"fd=1/{leg.fd}"


def _expiry(session: SessionView) -> str:
    return "" if session.expires_ms is None else length(max(0, session.expires_ms))


def _connect_expiry(session: SessionView) -> str:
    return _expiry(session) if session.state in ("connecting", "pausing") else ""


def _read_expiry(session: SessionView, side: int) -> str:
    """When this side will have been silent for too long; nothing where no timeout runs."""
    leg = session.legs[side]
    timeout = (session.timeout_client, session.timeout_server)[side]
    if session.connected_ms is not None and session.timeout_tunnel:
        timeout = session.timeout_tunnel
    if not timeout or leg.fd < 0 or leg.ended:
        return ""
    return length(max(0, timeout - leg.idle_ms))


# ---- everything about one ----


def detail(session: SessionView, view: View, servers: Mapping[ServerKey, ServerView]) -> str:
    """All that is known of a session, in HAProxy's order of lines. `servers` are the view's."""
    client, server = session.legs
    _, state = _SERVER_STATES[session.state]
    return (
        f"{session.serial:#x}: [{_date(session.accepted_unix_ms)}] id={session.serial} "
        f"proto={session.family} source={session.client}\n"
        f"  flags=0x0, conn_retries={session.retries}, "
        f"conn_exp={_or_never(_connect_expiry(session))} conn_et=0x000 "
        f"redispatched={int(session.redispatched)} "
        f"cause={session.cause.value if session.cause else '-'} "
        f"crashes={session.crashes} waiting=0 epoch=0\n"
        f"  {_frontend(session, view)}\n"
        f"  {_backend(session, view)}\n"
        f"  {_server(session, servers)}\n"
        f"  task=0x0 (state=0x00 nice=0 calls=0 rate=0 exp={_or_never(_expiry(session))} "
        f"tmask={1 << session.thread:#x} age={length(session.age_ms)})\n"
        + _side("scf", "co0", client, _ESTABLISHED, session.family, session.thread)
        + _side("scb", "co1", server, state, _family(server, session.family), session.thread)
        + _direction("req", client, _read_expiry(session, 0))
        + _direction("res", server, _read_expiry(session, 1))
    )


def _or_never(text: str) -> str:
    return text or "<NEVER>"


def _frontend(session: SessionView, view: View) -> str:
    front = view.frontends.get(session.frontend)
    shown = f"(id={front.iid} mode={front.mode})" if front else "(id=-1 mode=-)"
    return f"frontend={session.frontend} {shown}, listener=? (id=0) addr={session.destination}"


def _backend(session: SessionView, view: View) -> str:
    if session.backend is None:
        return "backend=<NONE> (id=-1 mode=-)"
    back = view.backends.get(session.backend)
    shown = f"(id={back.iid} mode={back.mode})" if back else "(id=-1 mode=-)"
    return f"backend={session.backend} {shown}"


def _server(session: SessionView, servers: Mapping[ServerKey, ServerView]) -> str:
    if session.server is None:
        return "server=<NONE> (id=-1)"
    server = servers.get(session.server)
    if server is None:
        return f"server={session.server[1]} (id=-1)"
    return f"server={server.key[1]} (id={server.sid}) addr={server.address or 'unix'}"


def _family(leg: LegView, family: str) -> str:
    if leg.is_unix:
        return "unix_stream"
    return family if family != "unix_stream" else "tcp"


def _side(name: str, connection: str, leg: LegView, state: str, family: str, thread: int) -> str:
    if leg.fd < 0:
        return f"  {name}=0x0 flags=0x00000000 state={state} endp=NONE,0x0,0x00000000 sub=0\n"
    return (
        f"  {name}=0x0 flags=0x00000000 state={state} endp=CONN,0x0,0x00000000 sub=0\n"
        f"      {connection}=0x0 ctrl={family} xprt=RAW mux=PASS data=STRM "
        f"ended={int(leg.ended)} shut={int(leg.shut)} idle={length(leg.idle_ms)}\n"
        f"      flags=0x00000000 fd={leg.fd} fd.state={leg.ready:x} updt=0 "
        f"fd.tmask={1 << thread:#x}\n"
    )


def _direction(name: str, source: LegView, expiry: str) -> str:
    """One direction of copying: what has passed, and what is on its way in a pipe."""
    total = source.moved + source.in_pipe
    return (
        f"  {name}=0x0 (f=0x000000 an=0x0 pipe={source.in_pipe} tofwd=-1 total={total})\n"
        f"      an_exp=<NEVER> rex={_or_never(expiry)} wex=<NEVER>\n"
        f"      buf=0x0 data=(nil) o=0 p=0 i=0 size=0\n"
    )


def _date(unix_ms: int) -> str:
    at = datetime.fromtimestamp(unix_ms // 1000)
    return (
        f"{at.day:02d}/{MONTHS[at.month - 1]}/{at.year:04d}:{at:%H:%M:%S}."
        f"{unix_ms % 1000 * 1000:06d}"
    )
