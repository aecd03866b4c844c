"""A view says what is, in HAProxy's meanings, of real sessions over real relay threads."""

from __future__ import annotations

import asyncio
import time

from lbsplice.admin.view import Times
from lbsplice.service import Succession
from lbsplice.terms import AdminState, Cause
from tests.support.admin_stage import LIMITS, admin_stage, at_work, does, plays, until

CRASH = Succession("worker 1 was killed", 0.0)
A, B = ("l", "a"), ("l", "b")


def fresh(service):
    service.changed()
    return service.view()


def _open(view):
    front, back = view.frontends["l"], view.backends["l"]
    servers = sum(row.sessions.now for row in back.servers)
    return {view.process.sessions.now, front.sessions.now, back.sessions.now, servers}


# ---- counts ----


def test_sessions_are_counted_at_the_frontend_the_backend_and_the_server():
    with admin_stage(servers=2) as stage:

        async def scene(service, plane):
            client, end = await stage.session(0)
            await stage.session(1)
            end.sends(b"answer")
            await does(client.reads, b"answer")
            client.closes()
            end.closes()
            await until(lambda: _open(fresh(service)) == {1}, "one has ended")
            view = service.view()
            front, back = view.frontends["l"], view.backends["l"]
            a, b = back.servers
            for flow in (front.sessions, back.sessions, view.process.sessions):
                assert (flow.now, flow.max, flow.total) == (1, 2, 2)
            assert (a.key, a.sid, a.iid) == (A, 1, 2)
            assert (a.sessions.now, a.sessions.max, a.sessions.total) == (0, 1, 1)
            assert (b.sessions.now, b.sessions.max, b.sessions.total) == (1, 1, 1)
            assert (a.bytes_in, a.bytes_out) == (1, 6)
            assert (front.bytes_in, back.bytes_out) == (2, 6), "those of open sessions are in it"
            assert view.process.bytes_out == 2 + 6, "both ways, and those of open sessions"
            assert (a.chosen, a.connects, back.chosen) == (1, 1, 2)
            assert 0 <= a.last_session <= 5
            assert front.sessions.limit == view.process.maxconn == 100
            assert back.sessions.limit == 10, "a tenth of what the frontend takes"
            assert (back.weight, back.active, back.backups) == (2, 2, 0)
            assert view.proxies == ("l",)

        plays(stage, scene)


def test_rates_are_of_the_last_second_and_peaks_stay():
    with admin_stage() as stage:

        async def scene(service, plane):
            for _ in range(3):
                await stage.session()
            assert fresh(service).frontends["l"].session_rate.now == 3
            await until(
                lambda: fresh(service).frontends["l"].session_rate.now == 0, "it is long ago"
            )
            view = service.view()
            assert view.frontends["l"].session_rate.max >= 2, "two seconds at the most"
            assert view.backends["l"].servers[0].session_rate.max >= 2
            assert view.process.session_rate.max >= 2
            assert plane.chronicle.peaks["frontend", 0] == view.frontends["l"].session_rate.max

        plays(stage, scene)


def test_averages_are_those_of_sessions_that_have_ended():
    with admin_stage() as stage:

        async def scene(service, plane):
            began = time.monotonic()
            client, end = await stage.session()
            assert fresh(service).backends["l"].times.total == 0
            await until(lambda: time.monotonic() - began > 0.2, "it lasts a while")
            client.closes()
            end.closes()
            await until(lambda: fresh(service).backends["l"].times.total, "it has ended")
            for row in (service.view().backends["l"], service.view().backends["l"].servers[0]):
                assert 150 <= row.times.total <= 5000
                assert row.times.total_max == row.times.total

        plays(stage, scene)


def test_a_view_is_made_once_in_a_while_and_after_each_order():
    with admin_stage() as stage:

        async def scene(service, plane):
            first = fresh(service)
            assert service.view() is first
            plane.set_admin(A, AdminState.DRAIN)
            assert service.view().backends["l"].servers[0].status == "DRAIN"

        plays(stage, scene)


def test_a_row_that_does_not_change_is_not_made_again():
    with admin_stage(servers=2) as stage:

        async def scene(service, plane):
            def pair():
                return fresh(service).backends["l"].servers, fresh(service).backends["l"].servers

            await until(lambda: all(x is y for x, y in zip(*pair(), strict=True)), "the same rows")
            before = fresh(service).backends["l"].servers
            plane.set_weight(A, 7)
            after = fresh(service).backends["l"].servers
            assert (after[0].weight, after[0].initial_weight) == (7, 1)
            assert before[0].weight == 1, "a view does not change"

        plays(stage, scene)


# ---- states and transitions ----


def test_a_server_that_dies_is_told_with_the_sessions_that_it_ended():
    words = "check inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions"
    with admin_stage(servers=2, words=words) as stage:

        async def scene(service, plane):
            await until(
                lambda: all(s.check_status.value == "L4OK" for s in _servers(service)), "checked"
            )
            before = service.view().backends["l"].servers[0]
            assert (before.status, before.check_text) == ("UP", "Layer4 check passed")
            assert before.check_duration_ms >= 0
            doomed, _ = await stage.session(0), await stage.session(1)
            plane.set_admin(B, AdminState.MAINT)
            stage.servers[0].dies()
            await does(doomed[0].reads_reset)
            await until(lambda: _servers(service)[0].word == "DOWN", "noticed")
            await until(lambda: service.view().transitions[-1].ended == 1, "its session ended")
            view = service.view()
            maint, down = view.transitions[-2:]
            assert (maint.key, maint.before, maint.after) == (B, "UP", "MAINT")
            assert (maint.why, maint.ended) == ("set to maintenance", 1)
            assert (down.key, down.before, down.after) == (A, "UP", "DOWN")
            assert down.why.startswith("Layer4 connection problem (ECONNREFUSED")
            assert abs(down.at - time.time()) < 30
            backend = view.backends["l"]
            assert (backend.status, backend.downs, backend.weight) == ("DOWN", 1, 0)
            assert [row.killed for row in backend.servers] == [1, 1]
            assert [row.downs for row in backend.servers] == [1, 1]
            assert backend.servers[0].failed_checks == 1
            assert backend.servers[0].check_text.startswith("Layer4 connection problem: ECONN")
            assert view.process.kills == {"D": 2, "U": 0, "K": 0}
            await until(lambda: plane.chronicle.kill_latency_s > 0, "every thread has answered")
            stage.servers[0].returns()
            await until(lambda: _servers(service)[0].word == "UP", "it is back")
            back = service.view().transitions[-1]
            assert (back.before, back.after, back.why) == ("DOWN", "UP", "Layer4 check passed")
            assert service.view().backends["l"].status == "UP"

        plays(stage, scene)


def test_sessions_that_an_operator_ended_are_not_those_of_a_mark_down():
    with admin_stage() as stage:

        async def scene(service, plane):
            client, _ = await stage.session()
            (seen,), _ = service.sessions(0, 10**6)
            stage.workers.kill_session(seen.serial, Cause.KILLED)
            await does(client.reads_reset)
            await until(lambda: fresh(service).process.kills["K"] == 1, "counted")
            assert service.view().process.kills["D"] == 0

        plays(stage, scene)


def _servers(service):
    return fresh(service).backends["l"].servers


# ---- over a crash, over a reload ----


def test_a_successor_goes_on_with_what_was_counted():
    words = "check inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions"
    with admin_stage(servers=2, words=words) as stage:

        async def run():
            async with at_work(stage) as (service, first):
                doomed, _ = await stage.session(0), await stage.session(1)
                stage.servers[0].dies()
                await does(doomed[0].reads_reset)
                await until(lambda: fresh(service).transitions, "it is down")
                await until(lambda: service.view().transitions[-1].ended == 1, "it ended one")
                before = fresh(service)
                await first.park()
            async with at_work(stage, CRASH) as (service, _):
                after = fresh(service)
                assert after.transitions == before.transitions
                assert (after.process.crashes, after.process.adoptions) == (1, 1)
                assert after.process.started == before.process.started
                assert after.process.kills == {"D": 1, "U": 0, "K": 0}
                front, back = after.frontends["l"], after.backends["l"]
                peak = before.frontends["l"].session_rate.max
                assert front.session_rate.max == peak > 0
                assert front.sessions.total == 2
                assert back.times == before.backends["l"].times
                row, old = back.servers[0], before.backends["l"].servers[0]
                assert row.downs == 1
                assert row.last_change >= old.last_change

        asyncio.run(run())


def test_a_planned_succession_is_no_crash():
    with admin_stage() as stage:

        async def run():
            upgrade = Succession("an upgrade", time.monotonic(), planned=True)
            async with at_work(stage, upgrade) as (service, _):
                process = service.view().process
                assert (process.crashes, process.adoptions) == (0, 1)

        asyncio.run(run())


def test_a_reload_is_seen_and_what_is_gone_is_not_shown():
    with admin_stage(servers=2) as stage:

        async def scene(service, plane):
            await stage.session(0)
            await stage.session(1)
            assert len(fresh(service).backends["l"].servers) == 2
            gone = stage.servers.pop(0)
            try:
                plane.reload(stage.configured(), stage.sockets, LIMITS)
                (row,) = service.view().backends["l"].servers
                assert (row.key, row.sessions.total) == (A, 0), "another one, at the same name"
                assert service.view().backends["l"].sessions.total == 2
                seen, _ = service.sessions(0, 10**6)
                assert sorted(each.server[1].partition("#")[0] for each in seen) == ["a", "b"]
            finally:
                stage.servers.insert(0, gone)

        plays(stage, scene)


# ---- clear counters ----


def test_cleared_counters_begin_with_zero_and_stay_so_over_a_crash():
    words = "check inter 50ms fall 1 rise 1"
    with admin_stage(words=words) as stage:

        async def run():
            async with at_work(stage) as (service, first):
                began = time.monotonic()
                await stage.session()
                gone = await stage.session()
                stage.servers[0].dies()
                await until(lambda: _servers(service)[0].word == "DOWN", "it is down")
                stage.servers[0].returns()
                await until(lambda: _servers(service)[0].word == "UP", "it is back")
                await until(lambda: time.monotonic() > began + 0.05, "averages have milliseconds")
                for peer in gone:
                    peer.closes()
                await until(lambda: _open(fresh(service)) == {1}, "one has ended")
                assert service.view().backends["l"].times.total_max
                service.clear_counters(False)
                row = _servers(service)[0]
                assert (row.sessions.max, row.sessions.total, row.times.total_max) == (1, 2, 0)
                service.clear_counters(True)
                _is_cleared(fresh(service))
                await first.park()
            async with at_work(stage, CRASH) as (service, _):
                _is_cleared(fresh(service))
                await stage.session()
                assert _servers(service)[0].sessions.total == 1

        asyncio.run(run())


def _is_cleared(view):
    front, back = view.frontends["l"], view.backends["l"]
    (row,) = back.servers
    for each in (front, back, row):
        assert (each.sessions.now, each.sessions.total) == (1, 0), each
        assert (each.bytes_in, each.bytes_out) == (0, 0)
    for each in (back, row):
        assert (each.chosen, each.connects, each.downs, each.last_session) == (0, 0, 0, -1)
        assert each.times == Times()
    assert row.failed_checks == 0
    assert view.transitions, "they are no counters"


def test_open_sessions_and_listeners_are_cleared_too_and_stay_so_over_a_crash():
    with admin_stage(more=" option socket-stats\n") as stage:

        def counts(service):
            view = fresh(service)
            (listener,), front, back = view.listeners, view.frontends["l"], view.backends["l"]
            rows = (listener, front, back, back.servers[0])
            return [(row.bytes_in, row.sessions.total) for row in rows]

        async def run():
            async with at_work(stage) as (service, first):
                client, end = await stage.session()
                doomed, _ = await stage.session()
                await until(lambda: counts(service) == [(2, 2)] * 4, "all is counted")
                (listener,) = service.view().listeners
                assert (listener.name, listener.lid, listener.status) == ("sock-1", 1, "OPEN")
                assert listener.address == "127.0.0.1:" + str(stage.front.getsockname()[1])
                host, port = doomed.socket.getsockname()
                (seen,) = (
                    each
                    for each in service.sessions(0, 10**6)[0]
                    if each.client == f"{host}:{port}"
                )
                stage.workers.kill_session(seen.serial, Cause.KILLED)
                await until(lambda: fresh(service).process.kills["K"] == 1, "it is ended")
                service.clear_counters(True)
                assert counts(service) == [(0, 0)] * 4
                assert set(service.view().process.kills.values()) == {0}
                client.sends(b"more")
                await does(end.reads, b"more")
                await until(lambda: counts(service) == [(4, 0)] * 4, "what came since then")
                await first.park()
            async with at_work(stage, CRASH) as (service, _):
                assert counts(service) == [(4, 0)] * 4
                assert set(service.view().process.kills.values()) == {0}
                client.closes()
                end.closes()
                await until(lambda: _open(fresh(service)) == {0}, "it has ended")
                assert counts(service) == [(4, 0)] * 4

        asyncio.run(run())


def test_one_server_can_be_cleared():
    with admin_stage(servers=2) as stage:

        async def scene(service, plane):
            await stage.session(0)
            await stage.session(1)
            service.clear_counters(True, B)
            a, b = _servers(service)
            assert (a.sessions.total, b.sessions.total) == (1, 0)

        plays(stage, scene)


# ---- after the end ----


def test_what_was_seen_last_is_shown_when_the_workers_are_gone():
    with admin_stage() as stage:

        async def run():
            async with at_work(stage) as (service, plane):
                last = service.view()
                plane.hard_stop()
                await plane.wait_stopped()
                assert service.view() is last
                assert service.sessions(0, 10) == ([], None)
                assert service.session(1) is None

        asyncio.run(run())
