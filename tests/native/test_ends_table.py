"""Every row of the table of ends (FEATURES A.7) by a real session: what starts it, what
client and server see, and the two letters that are logged.

Where lbsplice differs from HAProxy on purpose, the row says so."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lbsplice.plan.tables import NO_SLOT
from lbsplice.report.record import Record
from lbsplice.terms import Cause
from tests.support.dataplane import Ended, Make, Rig
from tests.support.peers import Listener, ip_address
from tests.support.waiting import wait_until

SHORT = 150
LONG = 30_000
TOLERANCE = 100
"""ms that a slow machine may add."""


@dataclass(frozen=True)
class Row:
    """One way to end. `scene` plays it and asserts what both sides see; `after_ms` is how
    long the session lasts at least, and hardly longer."""

    name: str
    letters: str
    scene: Callable[[Rig], None]
    frontend: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)
    after_ms: int | None = None
    connected: bool = True


def quiet(lb: Rig) -> None:
    """Both sides see a FIN, and neither a reset."""
    client, server = lb.session()
    client.reads_end()
    server.reads_end()


def client_timeout_alone(lb: Rig) -> None:
    client, server = lb.session()
    server.reads_end()
    client.sees_nothing()
    server.closes()
    client.reads_end()


def server_timeout_alone(lb: Rig) -> None:
    client, server = lb.session()
    client.reads_end()
    server.sees_nothing()
    client.closes()
    server.reads_end()


def tunnel_busy_one_way(lb: Rig) -> None:
    """A tunnel that only one side uses is not idle."""
    client, server = lb.session()
    started = time.monotonic()
    while time.monotonic() - started < 3 * SHORT / 1000:
        server.sends(b"tick")
        client.reads(b"tick").sees_nothing(0.03)
    client.reads_end()
    server.reads_end()


def server_closes_and_client_stays(lb: Rig) -> None:
    client, server = lb.session()
    server.shuts_output()
    client.reads_end()
    server.reads_end()


def client_closes_and_server_stays(lb: Rig) -> None:
    client, server = lb.session()
    client.shuts_output()
    server.reads_end()
    client.reads_end()


def normal(lb: Rig) -> None:
    client, server = lb.session()
    client.sends(b"ask").shuts_output()
    server.reads(b"ask").reads_end().sends(b"answer").closes()
    client.reads(b"answer").reads_end()


def client_resets(lb: Rig) -> None:
    client, server = lb.session()
    client.resets()
    server.reads_reset()


def server_resets(lb: Rig) -> None:
    """HAProxy sends the client a FIN here, which looks like a clean end."""
    client, server = lb.session()
    server.resets()
    client.reads_reset()


def refused(lb: Rig) -> None:
    lb.servers[0].closes()
    lb.connects().reads_end()


def no_server(lb: Rig) -> None:
    lb.publish(usable=())
    lb.connects().reads_end()


def no_backend(lb: Rig) -> None:
    lb.publish(frontend={"backend": NO_SLOT})
    lb.connects().reads_end()


def unanswered(lb: Rig) -> None:
    with full_backlog(lb):
        lb.connects().reads_end()


def client_leaves_while_connecting(lb: Rig) -> None:
    with full_backlog(lb):
        client = lb.connects()
        wait_until(lambda: lb.records(), "it is connecting")
        client.closes()
        lb.ends()


def marked_down(lb: Rig) -> None:
    """HAProxy sends the client a FIN here, and says DC."""
    client, server = lb.session()
    lb.publish(usable=())
    lb.workers.kill_slot(0, Cause.DOWN)
    client.reads_reset()
    server.reads_reset()


def marked_down_half_closed(lb: Rig) -> None:
    client, server = lb.session()
    client.shuts_output()
    server.reads_end()
    lb.workers.kill_slot(0, Cause.DOWN)
    client.reads_reset()
    server.breaks()


def main_server_is_back(lb: Rig) -> None:
    client, server = lb.session()
    lb.workers.kill_slot(0, Cause.UP)
    client.reads_reset()
    server.reads_reset()


def killed_by_an_operator(lb: Rig) -> None:
    client, server = lb.session()
    lb.workers.kill_session(lb.records()[0].serial, Cause.KILLED)
    client.reads_reset()
    server.reads_reset()


def hard_stop(lb: Rig) -> None:
    client, server = lb.session()
    lb.workers.kill_all(Cause.KILLED)
    client.reads_reset()
    server.reads_reset()


class full_backlog:
    """The server accepts nobody, and its kernel lets no more connections wait. Needs a
    server whose backlog is 0."""

    def __init__(self, lb: Rig) -> None:
        self._address = lb.servers[0].socket.getsockname()
        self._fillers: list[socket.socket] = []

    def __enter__(self) -> None:
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._address)
            self._fillers.append(filler)

    def __exit__(self, *_: object) -> None:
        for filler in self._fillers:
            filler.close()


ROWS = [
    Row("connect timeout", "sC", unanswered, backend={"timeout_connect": SHORT, "retries": 0},
        after_ms=SHORT, connected=False),
    Row("connect timeout, once more for each retry", "sC", unanswered,
        backend={"timeout_connect": SHORT, "retries": 1}, after_ms=2 * SHORT, connected=False),
    Row("client timeout alone", "cD", client_timeout_alone,
        frontend={"timeout_client": SHORT}, backend={"timeout_server": LONG}),
    Row("server timeout alone", "sD", server_timeout_alone,
        frontend={"timeout_client": LONG}, backend={"timeout_server": SHORT}),
    Row("client timeout without a server timeout", "cD", client_timeout_alone,
        frontend={"timeout_client": SHORT}),
    Row("client and server timeout equal", "cD", quiet,
        frontend={"timeout_client": SHORT}, backend={"timeout_server": SHORT}, after_ms=SHORT),
    Row("tunnel timeout", "cD", quiet, backend={"timeout_tunnel": SHORT}, after_ms=SHORT),
    Row("tunnel timeout replaces shorter ones", "cD", quiet, after_ms=2 * SHORT,
        frontend={"timeout_client": SHORT},
        backend={"timeout_server": SHORT, "timeout_tunnel": 2 * SHORT}),
    Row("tunnel timeout replaces longer ones", "cD", quiet, after_ms=SHORT,
        frontend={"timeout_client": LONG},
        backend={"timeout_server": LONG, "timeout_tunnel": SHORT}),
    Row("tunnel busy one way", "cD", tunnel_busy_one_way,
        backend={"timeout_tunnel": SHORT}, after_ms=3 * SHORT + 100),
    Row("client-fin, when the server has closed", "cD", server_closes_and_client_stays,
        frontend={"timeout_client": LONG, "timeout_client_fin": SHORT},
        backend={"timeout_server": LONG, "timeout_server_fin": LONG}, after_ms=SHORT),
    Row("server-fin, when the client has closed", "sD", client_closes_and_server_stays,
        frontend={"timeout_client": LONG, "timeout_client_fin": LONG},
        backend={"timeout_server": LONG, "timeout_server_fin": SHORT}, after_ms=SHORT),
    Row("client-fin in a tunnel", "cD", server_closes_and_client_stays,
        frontend={"timeout_client": LONG, "timeout_client_fin": SHORT},
        backend={"timeout_server": LONG, "timeout_tunnel": LONG}, after_ms=SHORT),
    Row("server-fin in a tunnel", "sD", client_closes_and_server_stays,
        backend={"timeout_tunnel": LONG, "timeout_server_fin": SHORT}, after_ms=SHORT),
    Row("client timeout when the server has closed, without client-fin", "cD",
        server_closes_and_client_stays,
        frontend={"timeout_client": SHORT}, backend={"timeout_server": LONG}, after_ms=SHORT),
    Row("normal end", "--", normal),
    Row("client reset", "CD", client_resets),
    Row("server reset", "SD", server_resets),
    Row("connection refused, no retry", "SC", refused, backend={"retries": 0}, after_ms=0,
        connected=False),
    Row("connection refused, a pause before each of two retries", "SC", refused,
        backend={"retries": 2, "timeout_connect": SHORT}, after_ms=2 * SHORT, connected=False),
    Row("no usable server", "SC", no_server, after_ms=0, connected=False),
    Row("client leaves while connecting", "CC", client_leaves_while_connecting,
        connected=False),
    Row("marked down", "DD", marked_down),
    Row("marked down, half closed", "DD", marked_down_half_closed),
    Row("backup's sessions ended", "UC", main_server_is_back),
    Row("killed by an operator", "KC", killed_by_an_operator),
    Row("hard stop", "KC", hard_stop),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_end_is_seen_and_logged_as_the_table_says(rig: Make, row: Row) -> None:
    lb = rig(
        [Listener(backlog=0)],
        frontend=row.frontend,
        backend={"timeout_connect": 2000, **row.backend},
    )
    row.scene(lb)
    ended = lb.last_session()
    record = ended.record
    assert ended.letters == row.letters
    assert (record.connect_ms >= 0) == row.connected
    if row.after_ms is not None:
        assert row.after_ms - 2 <= record.total_ms <= row.after_ms + TOLERANCE
    wait_until(lambda: not lb.records(), "the record is free")
    lb.balanced_books()
    assert len([event for event in lb.collect() if event.kind == record.kind]) == 1


def test_session_without_a_server_has_no_server_in_its_record(rig: Make) -> None:
    lb = rig(usable=())
    lb.connects().reads_end()
    record = lb.last_session().record
    assert (record.slot, record.queue_ms, record.connect_ms) == (NO_SLOT, -1, -1)


def test_source_ports_that_run_out_end_a_session_with_rc_and_blame_no_server(rig: Make) -> None:
    port = free_port()
    source = {
        "source": ip_address("127.0.0.1", 0),
        "source_port_low": port,
        "source_port_high": port,
    }
    lb = rig(slot=source)
    lb.session()
    lb.connects().reads_end()
    ended = lb.last_session()
    assert ended.letters == "RC"
    assert ended.record.retries == 0
    assert lb.counters.slot(0).connect_errors == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_timeout_of_a_client_that_takes_nothing_resets_instead_of_cutting_the_answer(
    rig: Make,
) -> None:
    """The answer can not be delivered whole: neither side may take the end for a clean one.
    The server sends on and on, so that however slow it is there is more to deliver."""
    lb = rig(frontend={"timeout_client": SHORT}, backend={"timeout_server": LONG})
    client, server = lb.session(receive_buffer=16384)
    sent = server.sends_until_reset()
    ended = lb.last_session()
    assert ended.letters == "cD"
    assert len(client.reads_until_reset()) < sent


def test_accepted_bytes_keep_the_timeout_away(rig: Make) -> None:
    """What a leg accepts counts as its activity (FEATURES D 5)."""
    lb = rig(frontend={"timeout_client": SHORT})
    client, server = lb.session()
    for _ in range(8):
        server.sends(b"tick")
        client.reads(b"tick").sees_nothing(SHORT / 3000)
    server.reads_end()
    assert lb.records()[0].relays[1].moved == 8 * 4


def test_letters_reach_the_counters(rig: Make) -> None:
    lb = rig()
    for scene in (client_resets, server_resets, killed_by_an_operator, normal):
        scene(lb)
    wait_until(lambda: not lb.records(), "all have ended")
    for totals in (lb.counters.frontend(0), lb.counters.backend(0), lb.counters.slot(0)):
        assert totals.client_aborts == totals.server_aborts == totals.killed == 1
        assert totals.ended == 4
    workers = lb.counters.workers()
    assert (workers.killed_down, workers.killed_up, workers.killed_order) == (0, 0, 1)


def test_end_is_told_with_its_facts(rig: Make) -> None:
    lb = rig(listener={"want_destination": True})
    client, server = lb.session()
    local = client.socket.getsockname()
    client.sends(b"12345")
    server.reads(b"12345").sends(b"123").closes()
    client.reads(b"123").reads_end().closes()
    record: Record = lb.last_session().record
    assert record.client_ip[:4] == socket.inet_aton(local[0])
    assert record.client_port == local[1]
    assert record.client_family == record.destination_family == socket.AF_INET
    assert record.destination_ip[:4] == socket.inet_aton("127.0.0.1")
    assert record.destination_port == lb.address[1]
    assert (record.bytes_from_client, record.bytes_from_server) == (5, 3)
    assert (record.listener, record.frontend, record.backend, record.slot) == (0, 0, 0, 0)
    assert abs(record.accepted_wall_ms / 1000 - time.time()) < 5
    assert 0 <= record.connect_ms <= record.total_ms < 5000
    # As HAProxy's log line has it: this session is counted in the process and the
    # frontend still, in the backend and at the server no more.
    assert (record.process_sessions, record.frontend_sessions) == (1, 1)
    assert (record.backend_sessions, record.slot_sessions) == (0, 0)
    assert Ended.of(record).letters == "--"
