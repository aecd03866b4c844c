"""Sessions are copied out of the ledger as they are, a few at a time."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from dataclasses import replace

import pytest

from lbsplice.admin import sessions_copy, stalled
from lbsplice.dataplane.binding import ffi
from lbsplice.plan.slots import Numbers
from lbsplice.terms import AdminState
from tests.support.admin_stage import admin_stage, does, plays, until


def everyone(service, room=256):
    """All sessions, as `show sess` asks for them."""
    found, place = [], 0
    while place is not None:
        some, place = service.sessions(place, room)
        found += some
    return found


def test_a_session_is_told_as_it_is():
    with admin_stage() as stage:

        async def scene(service, plane):
            began = time.monotonic()
            client, end = await stage.session()
            client.sends(b"more")
            await does(end.reads, b"more")
            end.sends(b"answer").shuts_output()
            await does(client.reads, b"answer")
            await does(client.reads_end)
            await until(lambda: everyone(service)[0].legs[1].shut, "its end was passed on")
            (seen,) = everyone(service)
            host, port = client.socket.getsockname()
            assert seen.state == "established"
            assert (seen.frontend, seen.backend, seen.server) == ("l", "l", ("l", "a"))
            assert (seen.client, seen.family) == (f"{host}:{port}", "tcpv4")
            front = stage.front.getsockname()
            assert seen.destination in (f"{front[0]}:{front[1]}", f"0.0.0.0:{front[1]}")
            assert [leg.moved for leg in seen.legs] == [5, 6]
            assert [(leg.ended, leg.shut) for leg in seen.legs] == [(False, False), (True, True)]
            assert all(leg.fd > 2 and not leg.is_unix for leg in seen.legs)
            assert (seen.timeout_client, seen.timeout_server) == (60_000, 3_600_000)
            spent_ms = (time.monotonic() - began) * 1000 + 1
            assert 0 <= seen.idle_ms <= seen.age_ms <= spent_ms
            assert seen.connected_ms is not None
            assert seen.connected_ms <= seen.age_ms
            assert 50_000 < seen.expires_ms <= 60_000, "the client is the one who may speak"
            assert abs(seen.accepted_unix_ms - time.time() * 1000) < 30_000
            assert (seen.retries, seen.redispatched, seen.cause) == (0, False, None)
            assert at_one_moment(service.session(seen.serial)) == at_one_moment(seen)
            assert service.session(seen.serial + 1) is None
            assert service.session(0) is None
            assert service.session(2**63) is None

        plays(stage, scene)


def at_one_moment(seen):
    """Without what goes on with the time."""
    legs = tuple(replace(leg, idle_ms=0) for leg in seen.legs)
    return replace(seen, age_ms=0, connected_ms=0, expires_ms=0, legs=legs)


def test_places_are_walked_in_pieces_and_each_session_comes_once():
    with admin_stage() as stage:

        async def scene(service, plane):
            for _ in range(12):
                await stage.session()
            serials = {each.serial for each in everyone(service)}
            assert len(serials) == 12
            in_pieces = [each.serial for each in everyone(service, room=1)]
            assert sorted(in_pieces) == sorted(serials)
            (some, after) = service.sessions(0, 3)
            assert len(some) <= 3
            assert after is not None
            assert service.sessions(10**9, 256) == ([], None)

        plays(stage, scene)


def test_a_call_ends_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(sessions_copy, "MOST_SECONDS", 0.0)
    with admin_stage() as stage:

        async def scene(service, plane):
            for _ in range(40):
                await stage.session()
            some, after = service.sessions(0, 256)
            assert len(some) <= 16
            assert after is not None
            assert len(everyone(service)) == 40, "it goes on where it stopped"

        plays(stage, scene)


def test_a_session_that_ends_is_not_told_any_more():
    with admin_stage() as stage:

        async def scene(service, plane):
            client, end = await stage.session()
            (seen,) = everyone(service)
            client.closes()
            end.closes()
            await until(lambda: not everyone(service), "it is gone")
            assert service.session(seen.serial) is None

        plays(stage, scene)


@pytest.mark.parametrize("becomes", [{}, {"serial": 8}, {"magic": 0}, {"serial": 8, "magic": 2}])
def test_no_copy_is_made_of_two_sessions(monkeypatch, becomes):
    """The place is given to another session while it is copied."""
    record = ffi.new("lbs_session *", {"magic": 1, "serial": 7, "state": 3, "cause": ord("-")})
    copy = sessions_copy.copy_record

    def slowly(into, of):
        copy(into, of)
        for name, value in becomes.items():
            setattr(of, name, value)

    monkeypatch.setattr(sessions_copy, "copy_record", slowly)
    names = sessions_copy.Names(Numbers(), {})
    view = sessions_copy.SessionCopies(None)._view(record[0], 0, names)
    assert (view is not None) is (not becomes)


# ---- when will it end ----


def session(**fields):
    return ffi.new("lbs_session *", {"state": 3, "cause": ord("-"), **fields})


@pytest.mark.parametrize(
    ("fields", "expires"),
    [
        ({"timeout_client": 100, "timeout_server": 500}, 90),
        ({"timeout_client": 0, "timeout_server": 500}, 470),
        ({}, None),
        ({"timeout_client": 100, "timeout_tunnel": 1000}, 990),
        ({"state": 1, "timeout_connect": 50, "attempt_ms": 960}, 10),
        ({"state": 2, "flags": 32, "timer_at": 260}, 40),
    ],
)
def test_the_time_that_is_left_is_that_of_the_timeout_that_comes_first(fields, expires):
    """At 1,000 ms; the client was heard of 10 ms ago, the server 30."""
    one = session(**fields)
    one.legs[0].active_ms = 990
    one.legs[1].active_ms = 970
    assert sessions_copy._expires(one, 1000) == expires


def test_a_time_of_the_next_turn_of_its_32_bits_is_not_long_ago():
    now = 2**32 + 5
    one = session(timeout_client=100)
    one.legs[0].active_ms = 2**32 - 5
    assert sessions_copy._expires(one, now) == 90
    one.legs[0].active_ms = (now + 3) & 0xFFFFFFFF  # the thread's clock is ahead of ours
    assert sessions_copy._expires(one, now) == 100


# ---- stalled ----


def test_sessions_whose_data_nobody_acknowledges_are_counted(monkeypatch):
    with admin_stage() as stage:

        async def scene(service, plane):
            for _ in range(3):
                await stage.session()
            counter = stalled.StalledSessions(stage.workers)
            dead = {everyone(service)[0].legs[1].fd, everyone(service)[2].legs[0].fd}
            monkeypatch.setattr(stalled, "leg_is_stalled", lambda fd: fd in dead)
            counter.step()
            assert counter.count == 2
            dead.pop()
            counter.step()
            assert counter.count == 1

        plays(stage, scene)


DROPS_ALL = struct.pack("=HBBI", 6, 0, 0, 0)  # a socket filter: BPF_RET, keep 0 bytes
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


def falls_silent(peer):
    """Nothing that is sent to it arrives any more, and it says nothing."""
    program = ctypes.create_string_buffer(DROPS_ALL, len(DROPS_ALL))
    prog = struct.pack("@HP", 1, ctypes.addressof(program))
    peer.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, prog)


def test_a_server_that_falls_silent_makes_a_session_stall_and_its_return_ends_that():
    with admin_stage() as stage:

        async def scene(service, plane):
            def stalled_now():
                service.changed()
                return service.view().process.stalled

            client, end = await stage.session()
            await stage.session()
            falls_silent(end)
            client.sends(b"into the void")
            await until(lambda: stalled_now() == 1, "it stalls")
            end.socket.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            await until(lambda: stalled_now() == 0, "it goes on")
            await does(end.reads, b"into the void")

        plays(stage, scene)


def test_a_round_takes_as_many_steps_as_its_records_need(monkeypatch):
    monkeypatch.setattr(stalled, "LOOKS", 2)
    with admin_stage() as stage:

        async def scene(service, plane):
            for _ in range(9):
                await stage.session()
            looked = []
            monkeypatch.setattr(
                stalled, "is_stalled", lambda one: bool(one.magic and looked.append(one.serial))
            )
            counter = stalled.StalledSessions(stage.workers)
            for _ in range(3):
                counter.step()
            assert len(looked) <= 6
            for _ in range(6):
                counter.step()
            assert len(set(looked)) == 9

        plays(stage, scene)


def test_a_healthy_leg_and_a_number_that_is_nothing_are_not_stalled():
    with admin_stage() as stage:

        async def scene(service, plane):
            client, _ = await stage.session()
            assert not stalled.leg_is_stalled(client.socket.fileno())
            assert not stalled.leg_is_stalled(stage.journal.fd)
            assert not stalled.leg_is_stalled(10**6)

        plays(stage, scene)


# ---- listening ----


def test_listening_sockets_are_told_with_their_interface():
    with admin_stage() as stage:

        async def scene(service, plane):
            assert service.listening() == [("", stage.front.fileno())]
            plane.set_admin(("l", "a"), AdminState.DRAIN)

        plays(stage, scene)
