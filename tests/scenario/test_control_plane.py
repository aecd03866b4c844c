"""One control plane after the other on the same relay threads: what is in the journal is
taken up. (That another process can do it is shown by test_crash_state.py.)"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from dataclasses import replace

import pytest

from lbsplice.dataplane.worker import Workers
from lbsplice.errors import LbspliceError, NeedsRoom
from lbsplice.journal import Journal
from lbsplice.kill_orders import KillOrder
from lbsplice.limits import Limits
from lbsplice.memory import Memory
from lbsplice.orchestrator import Orchestrator
from lbsplice.report.hub import Hub
from lbsplice.rooms import sizes_for
from lbsplice.service import Succession
from lbsplice.terms import AdminState, Cause
from tests.support.peers import Listener, connected
from tests.unit.config_reading import config

LIMITS = Limits(maxconn=100, max_pipes=40, descriptors=1000)
A = ("l", "a")


class Told(Hub):
    """A hub that remembers what it was told."""

    def __init__(self, setup):
        super().__init__(setup.global_, pid=1)
        self.lines = []

    def proxy_line(self, proxy_name, level, text):
        self.lines.append(text)

    def process_line(self, level, text):
        self.lines.append(text)


class Stage:
    """Workers, a journal, a server and a listening socket; control planes come and go."""

    def __init__(self):
        self.server = Listener()
        self.peers = []
        self.front = socket.create_server(("127.0.0.1", 0))
        self.front.setblocking(False)
        self.journal = Journal.create()
        self.setup = self.configured()
        self.workers = Workers(sizes_for(self.setup, 2, LIMITS), max_pipes=40)

    def configured(self, words="", more=""):
        port = self.front.getsockname()[1]
        timeouts = " timeout connect 2s\n timeout client 1m\n timeout server 1m\n"
        return config(
            f"listen l\n{timeouts} bind 127.0.0.1:{port}\n"
            f" server a 127.0.0.1:{self.server.port} {words}\n{more}"
        )

    def plane(self, setup=None, **fields):
        """A control plane, not started yet."""
        setup = setup or self.setup
        self.hub = Told(setup)
        return Orchestrator(
            setup,
            {("l", 0): self.front},
            self.hub,
            workers=self.workers,
            journal=self.journal,
            maxconn=100,
            **fields,
        )

    def remembered(self):
        content = self.journal.read()
        assert content is not None
        return Memory.from_json(content)

    async def session(self):
        client = await does(connected, self.front.getsockname())
        end = await does(self.server.accepts)
        self.peers += [client, end]
        client.sends(b"?")
        await does(end.reads, b"?")
        return client, end

    def close(self):
        self.workers.stop()  # of a test that failed: its threads would keep the run from ending
        for peer in self.peers:
            peer.closes()
        self.front.close()
        self.server.closes()
        os.close(self.journal.fd)


@pytest.fixture
def stage():
    made = Stage()
    with contextlib.closing(made):
        yield made


async def until(condition, what):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


async def does(step, *words):
    """A step of a conversation that may take its time, beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, step, *words)


async def ends(plane):
    plane.hard_stop()
    await plane.wait_stopped()


def test_a_kill_order_ends_the_sessions_of_before_and_spares_those_of_after(stage):
    """The order was given, the server came back, the worker died: nobody knows what was
    carried out."""

    async def run():
        first = stage.plane()
        await first.start()
        doomed = await stage.session()
        given_at = time.monotonic()
        await until(lambda: time.monotonic() > given_at + 0.01, "records have milliseconds")
        spared = await stage.session()
        await first.park()
        slot = first.numbers.slots[A]
        memory = replace(stage.remembered(), kills=(KillOrder(slot, given_at),))
        stage.journal.write(memory.to_json())
        second = stage.plane()
        stage.workers.carry_on()
        await second.start()
        assert stage.remembered().kills, "until it is obeyed"
        await does(doomed[0].reads_reset)
        await does(doomed[1].reads_reset)
        await until(lambda: not stage.remembered().kills, "it was carried out")
        spared[0].sends(b"ask")
        await does(spared[1].reads, b"ask")
        await ends(second)

    asyncio.run(run())


def test_a_kill_order_of_a_server_that_is_still_out_is_given_again(stage):
    async def run():
        first = stage.plane()
        await first.start()
        doomed = await stage.session()
        await first.park()
        memory = stage.remembered()
        states = {A: replace(memory.states[A], admin=AdminState.MAINT)}
        slot = first.numbers.slots[A]
        memory = replace(memory, states=states, kills=(KillOrder(slot, time.monotonic()),))
        stage.journal.write(memory.to_json())
        second = stage.plane()
        stage.workers.carry_on()
        await second.start()
        await does(doomed[0].reads_reset)
        await until(lambda: not stage.remembered().kills, "every thread has obeyed")
        assert second.roster.state(A).admin is AdminState.MAINT
        await ends(second)

    asyncio.run(run())


def test_orders_stand_in_the_journal_before_they_are_carried_out(stage, monkeypatch):
    setup = stage.configured("on-marked-down shutdown-sessions")

    async def run():
        plane = stage.plane(setup)
        await plane.start()
        seen = []
        kill = stage.workers.kill_slot

        def killed(slot, cause):
            memory = stage.remembered()
            seen.append((memory.states[A].admin, [order.slot for order in memory.kills]))
            kill(slot, cause)

        monkeypatch.setattr(stage.workers, "kill_slot", killed)
        plane.set_admin(A, AdminState.MAINT)
        await until(lambda: seen, "a kill")
        assert seen == [(AdminState.MAINT, [plane.numbers.slots[A]])]
        await until(lambda: not stage.remembered().kills, "carried out and forgotten")
        await ends(plane)

    asyncio.run(run())


def test_a_soft_stop_survives(stage):
    async def run():
        first = stage.plane()
        await first.start()
        client, end = await stage.session()
        first.soft_stop()
        await until(lambda: not stage.remembered().accepting, "it is remembered")
        await first.park()
        second = stage.plane()
        stage.workers.carry_on()
        await second.start()
        client.sends(b"ask")
        await does(end.reads, b"ask")
        with pytest.raises(LbspliceError, match="stopping"):
            second.reload(stage.setup, {("l", 0): stage.front}, LIMITS)
        client.closes()
        await does(end.reads_end)
        end.closes()
        await asyncio.wait_for(second.wait_stopped(), 5)

    asyncio.run(run())


def test_a_hard_stop_survives(stage):
    async def run():
        first = stage.plane()
        await first.start()
        client, _ = await stage.session()
        await first.park()
        stage.journal.write(replace(stage.remembered(), ending=Cause.KILLED).to_json())
        second = stage.plane()
        stage.workers.carry_on()
        await second.start()
        await does(client.reads_reset)
        await asyncio.wait_for(second.wait_stopped(), 5)

    asyncio.run(run())


def test_a_plane_that_was_parked_carries_on_as_if_nothing_had_been(stage):
    setup = stage.configured("check inter 50ms")

    async def run():
        plane = stage.plane(setup)
        await plane.start()
        client, end = await stage.session()
        await plane.park()
        content = stage.journal.read()
        plane.set_admin(A, AdminState.DRAIN)  # waits
        client.sends(b"held")
        await does(end.sees_nothing, 0.3)
        assert stage.journal.read() == content, "nothing changes"
        await plane.carry_on()
        await does(end.reads, b"held")
        await until(lambda: stage.remembered().states[A].admin is AdminState.DRAIN, "obeyed now")
        await until(lambda: stage.remembered().states[A].last_check, "checks go on")
        await ends(plane)

    asyncio.run(run())


def test_the_log_tells_of_a_successor(stage):
    async def run():
        crash = Succession("worker 4711 was killed by signal 9 (SIGKILL)", time.monotonic())
        plane = stage.plane(succession=crash)
        await plane.start()
        (line,) = stage.hub.lines
        assert re.fullmatch(
            r"worker 4711 was killed by signal 9 \(SIGKILL\); "
            r"its successor took over 0 sessions within \d+ ms\.",
            line,
        )
        await ends(plane)

    asyncio.run(run())


def test_a_reload_that_has_no_room_changes_nothing(stage):
    async def run():
        plane = stage.plane()
        await plane.start()
        before = stage.journal.read()
        many = "".join(f" server s{n} 10.0.{n >> 8}.{n & 255}:1\n" for n in range(1100))
        sockets = {("l", 0): stage.front}
        with pytest.raises(NeedsRoom):
            plane.reload(stage.configured(more=many), sockets, LIMITS)
        with pytest.raises(NeedsRoom):
            plane.reload(stage.setup, sockets, replace(LIMITS, maxconn=101))
        assert stage.journal.read() == before
        assert plane.config == stage.setup
        await ends(plane)

    asyncio.run(run())


def test_what_was_ordered_before_a_reload_is_done_to_whom_it_was_ordered_for(stage):
    """The server is another one under the same name in the same turn of the loop."""
    setup = stage.configured("on-marked-down shutdown-sessions")

    async def run():
        plane = stage.plane(setup)
        await plane.start()
        client, _ = await stage.session()
        with contextlib.ExitStack() as stack:
            stack.callback(stage.server.closes)
            stage.server = Listener()
            plane.set_admin(A, AdminState.MAINT)
            plane.reload(stage.configured(), {("l", 0): stage.front}, LIMITS)
            await does(client.reads_reset)
            assert plane.roster.state(A).admin is AdminState.READY
            await stage.session()
            await ends(plane)

    asyncio.run(run())


def test_a_journal_that_can_not_be_written_is_told_once(stage, monkeypatch):
    async def run():
        plane = stage.plane()
        await plane.start()

        def full(state):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(stage.journal, "write_text", full)
        taken = stage.workers.counters.generations
        for weight in (2, 3):
            before = min(taken())
            plane.set_weight(A, weight)
            await until(lambda before=before: min(taken()) > before, "it is carried out")
        assert [line for line in stage.hub.lines if "No journal" in line] == [
            "No journal: No space left on device; what changes now is forgotten if the worker "
            "crashes."
        ]
        await ends(plane)

    asyncio.run(run())


def test_a_journal_of_a_later_release_is_told_and_states_begin_anew(stage):
    stage.journal.write({"version": 99})

    async def run():
        plane = stage.plane()
        await plane.start()
        assert any("server states begin anew" in line for line in stage.hub.lines)
        await ends(plane)

    asyncio.run(run())


def test_what_left_is_forgotten_when_its_last_session_has_ended(stage, monkeypatch):
    async def run():
        plane = stage.plane()
        await plane.start()
        client, end = await stage.session()
        old = plane.numbers
        with contextlib.ExitStack() as stack:
            stack.callback(stage.server.closes)
            stage.server = Listener()
            plane.reload(stage.configured(), {("l", 0): stage.front}, LIMITS)
            assert set(plane.numbers.slots) == {A, ("l", "a#0")}
            client.sends(b"ask")
            await does(end.reads, b"ask")
            looks = []
            idle = type(plane.force).idle
            monkeypatch.setattr(
                type(plane.force), "idle", lambda *each: looks.append(1) or idle(*each)
            )
            await until(lambda: len(looks) > 2, "it was looked for")
            assert ("l", "a#0") in plane.numbers.slots, "it has a session"
            client.closes()
            await does(end.reads_end)
            end.closes()
            await until(lambda: set(plane.numbers.slots) == {A}, "it is forgotten")
            assert plane.numbers.slots[A] not in old.slots.values()
        await ends(plane)

    asyncio.run(run())
