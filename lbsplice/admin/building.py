"""Makes the rows of a View out of counters, states and the layout. A row that would be what
it was the last time is that one again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from lbsplice.admin.history import BackendPast, ChecksBase
from lbsplice.admin.layout import BackendPlace, FrontendPlace, ListenerPlace, ServerPlace
from lbsplice.admin.view import (
    BackendView,
    Flow,
    FrontendView,
    ListenerView,
    Rate,
    ServerView,
    Times,
)
from lbsplice.dataplane.counters import Gauge, ListenerTotals
from lbsplice.dataplane.tables import Spent, Sums
from lbsplice.edits import FrontendEdit
from lbsplice.plan.slots import ServerKey
from lbsplice.report.healthlog import DESCRIPTIONS
from lbsplice.server_state import ServerState
from lbsplice.terms import CheckStatus

RatePair = tuple[int, int]
"""A rate and its peak."""


class Columns(NamedTuple):
    """One kind of thing, by number: what was counted of it, and how many sessions it has."""

    sums: Sequence[Sums]
    spent: Sequence[Spent]
    gauges: Sequence[Gauge]
    rates: Sequence[RatePair]


@dataclass(frozen=True, slots=True)
class Moment:
    """When a view is made: monotonic and Unix seconds."""

    now: float
    unix: int


class _Seen(NamedTuple):
    """What a server's row was made of."""

    place: ServerPlace
    state: ServerState
    base: ChecksBase | None
    figures: tuple[object, ...]
    row: ServerView


class ServerRows:
    """The rows of servers, each made anew only if something of it has changed."""

    def __init__(self) -> None:
        self._seen: dict[int, _Seen] = {}

    def rows(
        self,
        place: BackendPlace,
        states: Mapping[ServerKey, ServerState],
        columns: Columns,
        asking: Set[ServerKey],
        bases: Mapping[int, ChecksBase],
        moment: Moment,
    ) -> tuple[ServerView, ...]:
        """Of one backend, in the order of the file."""
        sums, spent, gauges, rates = columns
        seen = self._seen
        now, unix = moment.now, moment.unix
        rows = []
        for server in place.servers:
            slot = server.slot
            state = states[server.key]
            base = bases.get(slot)
            last = spent[slot].last_session_s
            figures = (
                sums[slot],
                spent[slot],
                gauges[slot],
                rates[slot],
                int(now - state.changed_at),
                max(0, unix - last) if last else -1,
                int(state.downtime(now)),
                server.key in asking,
            )
            before = seen.get(slot)
            if (
                before is not None
                and before.state is state
                and before.figures == figures
                and before.place is server
                and before.base is base
            ):
                rows.append(before.row)
                continue
            row = _server(server, state, base, *figures)
            seen[slot] = _Seen(server, state, base, figures, row)
            rows.append(row)
        return tuple(rows)

    def forget(self) -> None:
        """Another layout is in force."""
        self._seen.clear()


def _server(
    place: ServerPlace,
    state: ServerState,
    base: ChecksBase | None,
    sums: Sums,
    spent: Spent,
    gauge: Gauge,
    rate: RatePair,
    last_change: int,
    last_session: int,
    downtime: int,
    checking: bool,
) -> ServerView:
    last = state.last_check
    duration = -1 if last is None else last.duration_ms or 0
    return ServerView(
        key=place.key,
        iid=place.iid,
        sid=place.sid,
        address=place.address,
        status=state.status_text,
        word=state.word,
        admin=state.admin,
        checked=state.checked,
        is_up=state.is_up,
        backup=place.backup,
        weight=state.weight,
        user_weight=state.user_weight,
        initial_weight=state.config_weight,
        health=state.health,
        rise=state.rise,
        fall=state.fall,
        sessions=Flow(gauge.now, gauge.max, sums.sessions),
        session_rate=Rate(*rate),
        times=_times(spent),
        bytes_in=sums.bytes_in,
        bytes_out=sums.bytes_out,
        connects=sums.connects,
        chosen=sums.chosen,
        connect_errors=sums.connect_errors,
        response_errors=sums.response_errors,
        retries=sums.retries,
        redispatches=sums.redispatches,
        client_aborts=sums.client_aborts,
        server_aborts=sums.server_aborts,
        killed=sums.killed,
        failed_checks=state.failed_checks - (base.failed if base else 0),
        downs=state.down_transitions - (base.downs if base else 0),
        downtime=downtime,
        last_change=last_change,
        last_session=last_session,
        check_status=state.check_status if state.checked else CheckStatus.UNKNOWN,
        check_duration_ms=duration,
        check_text=_text(state),
        checking=checking,
    )


def _text(state: ServerState) -> str:
    if not state.checked:
        return ""
    info = state.last_check.text if state.last_check else ""
    return DESCRIPTIONS[state.check_status] + (f": {info}" if info else "")


def _times(spent: Spent) -> Times:
    return Times(
        queue=spent.average(spent.queue_sum),
        connect=spent.average(spent.connect_sum),
        total=spent.average(spent.total_sum),
        queue_max=spent.queue_max,
        connect_max=spent.connect_max,
        total_max=spent.total_max,
    )


def backend_row(
    place: BackendPlace,
    servers: tuple[ServerView, ...],
    columns: Columns,
    past: BackendPast,
    moment: Moment,
) -> BackendView:
    """One backend. A backend without servers is up, as HAProxy sees it."""
    number = place.number
    sums, spent, gauge = columns.sums[number], columns.spent[number], columns.gauges[number]
    usable = [server for server in servers if server.weight > 0]
    active = [server for server in usable if not server.backup]
    backups = [server for server in usable if server.backup]
    serving = active or (backups if place.allbackups else backups[:1])
    last = spent.last_session_s
    return BackendView(
        name=place.name,
        iid=place.iid,
        status="UP" if usable or not servers else "DOWN",
        algorithm=place.algorithm,
        sessions=Flow(gauge.now, gauge.max, sums.sessions, place.limit),
        session_rate=Rate(*columns.rates[place.number]),
        times=_times(spent),
        servers=servers,
        weight=sum(server.weight for server in serving),
        user_weight=sum(server.user_weight for server in serving),
        active=len(active),
        backups=len(backups),
        bytes_in=sums.bytes_in,
        bytes_out=sums.bytes_out,
        connects=sums.connects,
        chosen=sums.chosen,
        connect_errors=sums.connect_errors,
        response_errors=sums.response_errors,
        retries=sums.retries,
        redispatches=sums.redispatches,
        client_aborts=sums.client_aborts,
        server_aborts=sums.server_aborts,
        killed=sums.killed,
        downs=past.downs,
        downtime=int(past.downtime(moment.now)),
        last_change=int(moment.now - past.changed_at),
        last_session=max(0, moment.unix - last) if last else -1,
    )


def frontend_row(
    place: FrontendPlace, columns: Columns, edit: FrontendEdit, accepting: bool
) -> FrontendView:
    """One frontend; every connection is a session."""
    sums, gauge, rate = (
        columns.sums[place.number],
        columns.gauges[place.number],
        Rate(*columns.rates[place.number]),
    )
    status = "OPEN"
    if edit.shut or not accepting:
        status = "STOP"
    elif edit.paused:
        status = "PAUSED"
    elif place.limit and gauge.now >= place.limit:
        status = "FULL"
    return FrontendView(
        name=place.name,
        iid=place.iid,
        status=status,
        sessions=Flow(gauge.now, gauge.max, sums.sessions, place.limit),
        connections=Flow(gauge.now, gauge.max, sums.sessions, place.limit),
        session_rate=rate,
        connection_rate=rate,
        bytes_in=sums.bytes_in,
        bytes_out=sums.bytes_out,
    )


def listener_row(place: ListenerPlace, totals: ListenerTotals, gauge: Gauge) -> ListenerView:
    """One listener. As HAProxy's it is open while its frontend is paused."""
    full = place.limit and gauge.now >= place.limit
    return ListenerView(
        frontend=place.frontend,
        iid=place.iid,
        lid=place.lid,
        name=place.name,
        address=place.address,
        status="FULL" if full else "OPEN",
        sessions=Flow(gauge.now, gauge.max, totals.sessions, place.limit),
        bytes_in=totals.bytes_in,
        bytes_out=totals.bytes_out,
    )
