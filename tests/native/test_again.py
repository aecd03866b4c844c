"""A thread that was told to stop, and is run again, goes on as if nothing had happened."""

from __future__ import annotations

import random

import pytest

from lbsplice.terms import Cause
from tests.support.dataplane import Make, Rig, held, lib
from tests.support.peers import Listener
from tests.support.waiting import wait_until

DATA = random.Random(5).randbytes(1 << 20)


@pytest.fixture
def parked(rig: Make) -> Rig:
    return rig(servers=[Listener(receive_buffer=16384), Listener()], threads=2, usable=(0,))


def test_bytes_wait_while_the_threads_stand_still(parked: Rig) -> None:
    client, server = parked.session()
    idle, idle_server = parked.session()
    sent = client.sends_what_fits()
    assert any(held(record.relays[lib.LBS_CLIENT]) for record in parked.records())
    for _ in range(3):
        parked.workers.stop()
        idle.sends(b"said meanwhile")
        idle_server.sees_nothing(0.02)
        parked.workers.carry_on()
        idle_server.reads(b"said meanwhile").sends(b"answer")
        idle.reads(b"answer")
    assert server.reads_count(sent) == bytes(sent)
    client.sends(DATA).shuts_output()
    assert server.reads_count(len(DATA)) == DATA
    server.reads_end().closes()
    client.reads_end()


def test_clients_that_come_meanwhile_wait_in_the_backlog(parked: Rig) -> None:
    parked.workers.stop()
    client = parked.connects().sends(b"early")
    parked.workers.carry_on()
    parked.accepts().reads(b"early")
    client.closes()


def test_ends_and_resets_of_meanwhile_are_carried_across(parked: Rig) -> None:
    closing, closing_server = parked.session()
    resetting, resetting_server = parked.session()
    parked.workers.stop()
    closing.shuts_output()
    resetting.resets()
    parked.workers.carry_on()
    closing_server.reads_end()
    resetting_server.reads_reset()
    closing_server.closes()
    assert {chr(event.cause) for event in parked.ends(2)} == {"-", "C"}


def test_orders_given_meanwhile_are_obeyed(parked: Rig) -> None:
    client, server = parked.session()
    parked.workers.stop()
    parked.workers.publish(parked.shape.plan(9), {0: parked.listening.fileno()})
    parked.workers.kill_slot(0, Cause.DOWN)
    parked.workers.carry_on()
    client.reads_reset()
    server.reads_reset()
    assert parked.killed() == 1
    assert set(parked.counters.generations()) == {9}


def test_long_order_is_finished_before_a_stop_that_came_after_it(rig: Make) -> None:
    lb = rig(sessions=2000)
    clients = [lb.connects() for _ in range(1200)]
    wait_until(lambda: lb.live() == 1200, "all are established")
    for peer in lb.servers[0].accepts_waiting():
        lb._keeps(peer)
    lb.workers.kill_all(Cause.KILLED)
    lb.workers.stop()
    assert not lb.records()
    for client in clients[::100]:
        client.reads_reset()
    lb.ends(1200)


def test_timeout_that_ran_out_meanwhile_ends_its_session_then(rig: Make) -> None:
    lb = rig(frontend={"timeout_client": 150})
    client, server = lb.session()
    lb.workers.stop()
    client.sees_nothing(0.3)
    assert len(lb.records()) == 1
    lb.workers.carry_on()
    server.reads_end().closes()
    client.reads_end()
    assert lb.last_session().letters == "cD"
