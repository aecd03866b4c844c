"""What `show stat` answers: a row for each frontend, listener, server and backend, as CSV,
typed lines or JSON.

A column is empty where it does not apply to the row (ABSENT), as in HAProxy's TCP mode;
columns that only HTTP has are 0 or empty as there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

from lbsplice.admin.stat_columns import BACKEND_TAGS, COLUMNS, HEADER, POSITIONS
from lbsplice.admin.state_text import check_details, check_word
from lbsplice.admin.typed import ABSENT, Value, described, field_json
from lbsplice.admin.view import BackendView, FrontendView, ListenerView, ServerView, View
from lbsplice.plan.slots import ServerKey
from lbsplice.report.healthlog import DESCRIPTIONS
from lbsplice.report.sessionlog import one_line
from lbsplice.statefile import STATUSES
from lbsplice.terms import AdminState, CheckStatus

_Made = TypeVar("_Made")

FRONTENDS, BACKENDS, SERVERS, LISTENERS = 1, 2, 4, 8
ALL = -1
_FIRST_WITH_CODE = STATUSES[CheckStatus.L7_OK]
"""From this status on the server itself has answered, with a code."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are wanted: of one proxy, of some types (bits), of one server or
    listener; -1 is all. `up` leaves out servers that are not up, `no_maint` those in
    maintenance. `legends`: addresses and algorithms are shown."""

    iid: int = ALL
    types: int = ALL
    sid: int = ALL
    up: bool = False
    no_maint: bool = False
    legends: bool = True
    is_bound: bool = False  # the first three words said which

    @property
    def counts_servers(self) -> bool:
        """Does a backend's status tell how many of its servers are up?"""
        return self.up or self.no_maint


# ---- rows ----


class _Shape:
    """The columns that a type of row fills, and its line of CSV with places for them."""

    def __init__(self, letter: str, kind: str, names: str) -> None:
        self.letter = letter
        self.kind = kind
        self.positions = tuple(POSITIONS[name] for name in names.split())
        cells = [""] * len(COLUMNS)
        for position in self.positions:
            cells[position] = "%s"
        assert list(self.positions) == sorted(self.positions), "not in the order of the table"
        self.csv = ",".join(cells) + ",-,\n"


_FRONTEND = _Shape(
    "F",
    "Frontend",
    "pxname svname scur smax slim stot bin bout dreq dresp ereq status pid iid sid type "
    "rate rate_lim rate_max req_rate req_rate_max req_tot comp_in comp_out comp_byp comp_rsp "
    "mode conn_rate conn_rate_max conn_tot intercepted dcon dses wrew eint "
    "sess_other h1sess h2sess h3sess req_other h1req h2req h3req "
    "reqbin reqbout resbin resbout",
)
_LISTENER = _Shape(
    "L",
    "Listener",
    "pxname svname scur smax slim stot bin bout dreq dresp ereq status pid iid sid type "
    "addr mode conn_tot dcon dses wrew eint proto reqbin reqbout resbin resbout",
)
_SERVER = _Shape(
    "S",
    "Server",
    "pxname svname qcur qmax scur smax slim stot bin bout dresp econ eresp wretr wredis "
    "status weight act bck chkfail chkdown lastchg downtime pid iid sid lbtot type "
    "rate rate_max check_status check_code check_duration cli_abrt srv_abrt lastsess "
    "last_chk qtime ctime rtime ttime check_desc check_rise check_fall check_health "
    "addr mode wrew connect reuse srv_icur qtime_max ctime_max rtime_max ttime_max eint "
    "idle_conn_cur safe_conn_cur used_conn_cur need_conn_est uweight srid priv_idle_cur "
    "reqbin reqbout resbin resbout",
)
_BACKEND = _Shape(
    "B",
    "Backend",
    "pxname svname qcur qmax scur smax slim stot bin bout dreq dresp econ eresp wretr "
    "wredis status weight act bck chkdown lastchg downtime pid iid sid lbtot type "
    "rate rate_max cli_abrt srv_abrt comp_in comp_out comp_byp comp_rsp lastsess "
    "qtime ctime rtime ttime mode algo wrew connect reuse qtime_max ctime_max rtime_max "
    "ttime_max eint uweight agg_server_status agg_server_check_status agg_check_status "
    "reqbin reqbout resbin resbout",
)


class Row(NamedTuple):
    """One line: `values` are those of the columns at `shape.positions`."""

    shape: _Shape
    iid: int
    sid: int
    values: tuple[Value, ...]


def rows(view: View, wanted: Filter = Filter()) -> Iterator[Row]:
    """The rows that are wanted, in the order of the file; a proxy's frontend comes before
    its listeners, its servers and its backend."""
    return _rows(view, wanted, _server)


def _rows(
    view: View, wanted: Filter, of_server: Callable[[ServerView, Filter], _Made]
) -> Iterator[Row | _Made]:
    for front, back in _proxies(view):
        if front is not None and wanted.iid in (ALL, front.iid):
            if wanted.types & FRONTENDS:
                yield _frontend(front)
            if wanted.types & LISTENERS:
                for listener in view.listeners:
                    if listener.frontend == front.name and wanted.sid in (ALL, listener.lid):
                        yield _listener(listener, front.mode, wanted)
        if back is not None and wanted.iid in (ALL, back.iid):
            if wanted.types & SERVERS:
                for server in back.servers:
                    if wanted.sid in (ALL, server.sid) and _is_wanted(server, wanted):
                        yield of_server(server, wanted)
            if wanted.types & BACKENDS:
                yield _backend(back, wanted)


def _proxies(view: View) -> Iterator[tuple[FrontendView | None, BackendView | None]]:
    """The two halves of each section; a frontend and a backend of one name, but in two
    sections, come one by one."""
    for name in dict.fromkeys(view.proxies):
        front, back = view.frontends.get(name), view.backends.get(name)
        if front is None or back is None or front.iid == back.iid:
            yield front, back
        elif front.iid < back.iid:
            yield from ((front, None), (None, back))
        else:
            yield from ((None, back), (front, None))


def _is_wanted(server: ServerView, wanted: Filter) -> bool:
    in_maint = server.admin is AdminState.MAINT
    if wanted.up and (in_maint or (server.checked and not server.is_up)):
        return False
    return not (wanted.no_maint and in_maint)


def _frontend(front: FrontendView) -> Row:
    total = front.sessions.total
    http = front.mode == "http"
    values = (
        *(front.name, "FRONTEND", front.sessions.now, front.sessions.max, front.sessions.limit),
        *(total, front.bytes_in, front.bytes_out, 0, 0, 0, front.status, 1, front.iid, 0, 0),
        *(front.session_rate.now, front.session_rate.limit, front.session_rate.max),
        *(0, 0, front.intercepted if http else 0, 0, 0, 0, 0, front.mode),
        *(front.connection_rate.now, front.connection_rate.max, front.connections.total),
        front.intercepted if http else ABSENT,
        *(front.denied_connections, front.denied_sessions, 0, front.internal_errors),
        *((0, total, 0, 0) if http else (total, 0, 0, 0)),
        *(0, front.intercepted if http else 0, 0, 0),
        *(front.bytes_in, front.bytes_in, front.bytes_out, front.bytes_out),
    )
    return Row(_FRONTEND, front.iid, 0, values)


def _listener(listener: ListenerView, mode: str, wanted: Filter) -> Row:
    sessions = listener.sessions
    address = _csv_text(one_line(listener.address)) if wanted.legends else ABSENT
    values = (
        *(
            listener.frontend,
            _csv_text(one_line(listener.name)),
            sessions.now,
            sessions.max,
            sessions.limit,
        ),
        *(sessions.total, listener.bytes_in, listener.bytes_out, 0, 0, 0, listener.status),
        *(1, listener.iid, listener.lid, 3, address),
        *(mode, sessions.total, 0, 0, 0, 0, _protocol(listener.address)),
        *(listener.bytes_in, listener.bytes_in, listener.bytes_out, listener.bytes_out),
    )
    return Row(_LISTENER, listener.iid, listener.lid, values)


def _protocol(address: str) -> str:
    if address.startswith("["):
        return "tcpv6"
    return "tcpv4" if ":" in address else "unix_stream"


def _server(server: ServerView, wanted: Filter) -> Row:
    sessions, times, check = server.sessions, server.times, _check(server)
    values = (
        *server.key,
        *(0, 0, sessions.now, sessions.max, sessions.limit or ABSENT, sessions.total),
        *(server.bytes_in, server.bytes_out, 0, server.connect_errors, server.response_errors),
        *(server.retries, server.redispatches, server.status, server.user_weight),
        *(int(not server.backup), int(server.backup)),
        *((server.failed_checks, server.downs) if server.checked else (ABSENT, ABSENT)),
        *(server.last_change, server.downtime if server.checked else ABSENT),
        *(1, server.iid, server.sid, server.chosen, 2),
        *(server.session_rate.now, server.session_rate.max),
        *check.result,
        *(server.client_aborts, server.server_aborts, server.last_session),
        check.said,
        *(times.queue, times.connect, 0, times.total),
        *check.health,
        *(server.address or "unix" if wanted.legends else ABSENT, server.mode),
        *(0, server.connects, 0, 0),
        *(times.queue_max, times.connect_max, 0, times.total_max, server.internal_errors),
        *(0, 0, 0, 0, server.user_weight, 0, 0),
        *(server.bytes_in, server.bytes_in, server.bytes_out, server.bytes_out),
    )
    return Row(_SERVER, server.iid, server.sid, values)


class _Check(NamedTuple):
    """The cells of a server that is checked: check_status to check_duration, last_chk, and
    check_desc to check_health."""

    result: tuple[Value, Value, Value] = (ABSENT,) * 3
    said: Value = ABSENT
    health: tuple[Value, Value, Value, Value] = (ABSENT,) * 4


_NO_CHECK = _Check()


def _check(server: ServerView) -> _Check:
    if not server.checked or server.admin is AdminState.MAINT:
        return _NO_CHECK
    words = _check_words(server.check_status, server.check_text, server.checking)
    duration = server.check_duration_ms
    return _Check(
        (
            words.result,
            server.check_code if words.has_code else ABSENT,
            duration if duration >= 0 else ABSENT,  # else no check has ended yet
        ),
        words.said,
        (words.description, server.rise, server.fall, server.health),
    )


class _CheckWords(NamedTuple):
    result: str
    said: str
    description: str
    has_code: bool


@lru_cache(maxsize=1024)
def _check_words(status: CheckStatus, text: str, checking: bool) -> _CheckWords:
    """Most servers' checks end alike."""
    return _CheckWords(
        result=check_word(status, checking),
        said=_csv_text(check_details(status, text)),
        description=DESCRIPTIONS[status],
        has_code=STATUSES[status] >= _FIRST_WITH_CODE,
    )


def _backend(back: BackendView, wanted: Filter) -> Row:
    sessions, times = back.sessions, back.times
    status = back.status
    if wanted.counts_servers:
        up = sum(
            server.admin is not AdminState.MAINT and (server.is_up or not server.checked)
            for server in back.servers
        )
        status = f"{status} ({up}/{len(back.servers)})"
    values = (
        *(back.name, "BACKEND", 0, 0, sessions.now, sessions.max, sessions.limit),
        *(sessions.total, back.bytes_in, back.bytes_out, 0, 0, back.connect_errors),
        *(back.response_errors, back.retries, back.redispatches, status),
        *(back.weight, back.active, back.backups, back.downs, back.last_change),
        *(back.downtime if back.servers else ABSENT, 1, back.iid, 0, back.chosen, 1),
        *(back.session_rate.now, back.session_rate.max),
        *(back.client_aborts, back.server_aborts, 0, 0, 0, 0, back.last_session),
        *(times.queue, times.connect, 0, times.total, back.mode),
        back.algorithm.value if wanted.legends else ABSENT,
        *(0, back.connects, 0),
        *(times.queue_max, times.connect_max, 0, times.total_max, back.internal_errors),
        *(back.user_weight, 0, 0, 0),
        *(back.bytes_in, back.bytes_in, back.bytes_out, back.bytes_out),
    )
    return Row(_BACKEND, back.iid, 0, values)


# ---- outputs ----


class _Quoted(str):
    """A text that has to be quoted in CSV, and nowhere else."""

    __slots__ = ()

    def __str__(self) -> str:
        return '"' + self.replace('"', '""') + '"'


def _plain(value: Value) -> Value:
    return str.__str__(value) if isinstance(value, str) else value


def _csv_text(text: str) -> str:
    return _Quoted(text) if any(each in text for each in ',"\r\n') else text


def csv(view: View, wanted: Filter = Filter()) -> Iterator[str]:
    """The header, then a line for each row."""
    yield HEADER + "\n"
    yield from map(_csv_line, rows(view, wanted))


def _csv_line(row: Row) -> str:
    return row.shape.csv % row.values


class Lines:
    """The CSV of one view after the other. A server's row that is the very object of the
    answer before has its line still: who asks often pays for what has changed."""

    def __init__(self) -> None:
        self._kept: dict[ServerKey, tuple[ServerView, str]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def csv(self, view: View, wanted: Filter = Filter()) -> Iterator[str]:
        """As the function of that name. Only whole answers are kept."""
        if wanted != Filter():
            yield from csv(view, wanted)
            return
        before, kept = self._kept, {}

        def line(server: ServerView, wanted: Filter) -> str:
            old = before.get(server.key)
            if old is None or old[0] is not server:
                old = server, _csv_line(_server(server, wanted))
            kept[server.key] = old
            return old[1]

        yield HEADER + "\n"
        for made in _rows(view, wanted, line):
            yield made if isinstance(made, str) else _csv_line(made)
        self._kept = kept


def typed(view: View, wanted: Filter = Filter(), *, desc: bool = False) -> Iterator[str]:
    """A line for each figure: `S.3.1.7.stot.1:MCP:u64:12`."""
    for row in rows(view, wanted):
        start = f"{row.shape.letter}.{row.iid}.{row.sid}."
        yield "".join(
            f"{start}{position}.{name}.1:{tag}:{_plain(value)}{described(text) if desc else ''}\n"
            for position, name, tag, text, value in _figures(row)
        )


def json(view: View, wanted: Filter = Filter()) -> Iterator[str]:
    """A list of rows, each a list of figures."""
    before = "["
    for row in rows(view, wanted):
        start = f'{{"objType":"{row.shape.kind}","proxyId":{row.iid},"id":{row.sid},'
        yield (
            before
            + "["
            + ",".join(
                f"{start}{field_json(position, name, tag, value)}}}"
                for position, name, tag, _, value in _figures(row)
            )
            + "]"
        )
        before = ","
    yield "]\n" if before == "," else "[]\n"


def _figures(row: Row) -> Iterable[tuple[int, str, str, str, Value]]:
    """Position, name, tag, description and value of each column that applies."""
    for position, value in zip(row.shape.positions, row.values, strict=True):
        if value is not ABSENT:
            name, tag, text = COLUMNS[position]
            if row.shape is _BACKEND:
                tag = BACKEND_TAGS.get(name, tag)
            yield position, name, tag, text, value
