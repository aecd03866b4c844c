"""The worker process: the control plane on asyncio, the relay threads beside it.

It is forked by the supervisor and never returns to it. It obeys messages, not signals:
those that stop a program are the supervisor's; SIGHUP writes every server's state to the
log. When the supervisor dies it goes on to serve, and waits for another one."""

from __future__ import annotations

import asyncio
import os
import pickle
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from lbsplice import process, rendezvous, turns
from lbsplice.channel import Channel
from lbsplice.console import write_if_possible
from lbsplice.errors import DataplaneError, LbspliceError, NeedsRoom
from lbsplice.handover import Takeover
from lbsplice.protocol import (
    Adopted,
    Answer,
    Ask,
    CarryOn,
    Dump,
    Ended,
    Message,
    NewVault,
    Park,
    Parked,
    Pid,
    Ping,
    Pong,
    Quit,
    Ready,
    Reload,
    Reloaded,
    Stop,
    ToSupervisor,
    Vault,
)
from lbsplice.reactor import Reactor
from lbsplice.rendezvous import Letter, Outcome
from lbsplice.service import Service
from lbsplice.succession import WORKER_NAME, Birth, Orphaned, come_to_life, start_vault
from lbsplice.terms import Cause
from lbsplice.worker_listeners import WorkerListeners

_LOOK_AGAIN_S = 0.001

_NO_SUPERVISOR = (
    "the supervisor is dead; start `lbsplice run` with the same configuration to take its place"
)
OWN_FAULT = "lbsplice ends because of an error of its own"


def run(birth: Birth) -> NoReturn:
    """Live the life of a worker process, in a process that was just forked for it, with all
    signals blocked."""
    status = 1
    try:
        _leave_the_supervisor()
        _Life(birth).live()
        status = 0
    except Orphaned:
        pass
    except LbspliceError as why:
        birth.channel.send(Ended(str(why)))
    except BaseException:
        write_if_possible(traceback.format_exc())
        birth.channel.send(Ended(OWN_FAULT))
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)  # with what still runs: the vault has all that must live on


def _leave_the_supervisor() -> None:
    process.set_name(WORKER_NAME)
    Reactor.abandon()
    for number in (
        *(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE),
        *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU),
    ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()  # a terminal's Ctrl-C is meant for the supervisor


class _Life:
    """From the fork to the end; `live` is called once."""

    def __init__(self, birth: Birth) -> None:
        self._birth = birth
        self._service: Service | None = None
        self._early: list[Callable[[], None]] = []  # what can be done only once it serves
        self._broken: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parked = False
        self._questions: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._requests: list[socket.socket] = []  # vaults read them by their numbers here
        self._task: asyncio.Task[None] | None = None  # a reload, parking or carrying on

    def live(self) -> None:
        self._body = come_to_life(self._birth, self._thread_ended, self._ask)
        self._channel: Channel = self._birth.channel
        asyncio.run(self._serve())
        self._channel.send(Ended())

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._broke)
        self._over = asyncio.Event()
        body, birth = self._body, self._birth
        service = body.finish(body.workers, body.journal, birth.succession)
        self._requests.append(body.request)
        self._guardian = body.vault
        self._listeners = WorkerListeners(birth.held, birth.sockets)
        for message, descriptors in body.early:
            self._obey(message, descriptors)
        loop.add_reader(self._channel, self._hear)
        loop.add_signal_handler(signal.SIGHUP, self._once_started, service.dump_states)
        while not (body.has_adopted() or self._broken):
            await asyncio.sleep(_LOOK_AGAIN_S)
        self._tell(Adopted())
        await service.start()
        self._service = service
        stopped = asyncio.create_task(service.wait_stopped())
        stopped.add_done_callback(lambda _task: self._over.set())
        if birth.null >= 0:
            process.leave_streams(birth.null)
            os.close(birth.null)
        self._tell(Ready())
        if birth.meeting_place is not None:
            rendezvous.serve(loop, birth.meeting_place, self._answer)
        for obey in self._early:
            obey()
        await self._over.wait()
        if self._broken is not None:
            raise self._broken
        await stopped  # an error of the service is ours

    # ---- what goes wrong ----

    def _broke(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or a forgotten task failed: nothing is swallowed, a successor comes."""
        loop.default_exception_handler(context)
        self._break(context.get("exception") or LbspliceError(context["message"]))

    def _break(self, why: BaseException) -> None:
        self._broken = self._broken or why
        self._over.set()

    def _thread_ended(self, thread: int, error: int) -> None:
        """On the relay thread: it ended, told to or not."""
        if not error:
            return
        why = DataplaneError(f"relay thread {thread} ended: {os.strerror(error)}")
        if self._loop is None:
            self._broken = why
        else:
            self._loop.call_soon_threadsafe(self._break, why)

    # ---- the supervisor ----

    def _tell(self, message: ToSupervisor) -> None:
        self._channel.send(message)
        self._flush()

    def _flush(self) -> None:
        assert self._loop is not None
        self._channel.flush()
        if self._channel.wants_write:
            self._loop.add_writer(self._channel, self._flush)
        else:
            self._loop.remove_writer(self._channel)

    def _hear(self) -> None:
        for message, descriptors in self._channel.receive():
            self._obey(message, descriptors)
        if self._channel.closed:
            self._left_alone()

    def _left_alone(self) -> None:
        """The supervisor is dead. We are not: another one will ask for us."""
        assert self._loop is not None
        self._loop.remove_reader(self._channel)
        self._loop.remove_writer(self._channel)
        for number in list(self._questions):
            self._answered(number, dict(Outcome(_NO_SUPERVISOR).values()))
        self._in_turn(self._carry_on_alone())  # it may have told us to park just now

    async def _carry_on_alone(self) -> None:
        """Nobody else will say so. One that was to succeed us has seen it as well, and ends,
        unless it had just begun to count: then it has told our vault to quit."""
        if not self._parked:
            return
        poll = select.poll()
        poll.register(request := self._requests[-1], 0)  # only POLLHUP can be told
        guardian = _pidfd(self._guardian)
        if guardian >= 0:
            poll.register(guardian, select.POLLIN)
        while request.fileno() not in (told := dict(poll.poll(0))):
            if guardian < 0 or guardian in told:
                os._exit(0)
            await asyncio.sleep(_LOOK_AGAIN_S)
        if guardian >= 0:
            os.close(guardian)
        assert self._service is not None
        await self._carry_on(self._service)

    def _obey(self, message: Message, descriptors: list[int]) -> None:
        match message:
            case Quit():
                os._exit(0)
            case Ping(number):
                self._tell(Pong(number))
            case NewVault():
                self._new_vault(descriptors[0])
            case Answer(number, reply):
                self._answered(number, reply)
            case _:
                self._once_started(partial(self._carry_out, message, descriptors))

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask the supervisor. When it dies, there is no answer to wait for."""
        if self._channel.closed:
            return dict(Outcome(_NO_SUPERVISOR).values())
        number = max(self._questions, default=0) + 1
        self._questions[number] = asyncio.get_running_loop().create_future()
        self._tell(Ask(number, request))
        return await self._questions[number]

    def _answered(self, number: int, reply: dict[str, Any]) -> None:
        question = self._questions.pop(number, None)
        if question is not None and not question.done():
            question.set_result(reply)

    def _once_started(self, obey: Callable[[], None]) -> None:
        if self._service is None:
            self._early.append(obey)
        else:
            obey()

    def _new_vault(self, descriptor: int) -> None:
        """The one before is dead."""
        request = socket.socket(fileno=descriptor)
        try:
            pid = start_vault(request)
        except DataplaneError:
            request.close()
            self._tell(Vault(0))  # it will be tried again
            return
        self._requests.pop().close()
        self._requests.append(request)
        self._guardian = pid
        self._tell(Vault(pid))

    def _carry_out(self, message: Message, descriptors: list[int]) -> None:
        service = self._service
        assert service is not None
        match message:
            case Stop(hard=True, cause=cause):
                service.hard_stop(Cause(cause))
                self._listeners.retire()
            case Stop():
                service.soft_stop()
                self._listeners.retire()
            case Dump():
                service.dump_states()
            case Reload():
                self._in_turn(self._reload(service, message, descriptors))
            case Park():
                self._in_turn(self._park(service))
            case CarryOn():
                self._in_turn(self._carry_on(service))
            case Pid(pid):
                service.set_pid(pid)

    async def _reload(self, service: Service, message: Reload, descriptors: list[int]) -> None:
        config, limits = pickle.loads(message.configuration)
        before, after = self._listeners, self._listeners.read(message.sockets, descriptors)
        try:
            service.reload(config, after.sockets, limits)
        except LbspliceError as why:
            gone, answer = after.gone(before), Reloaded(str(why), isinstance(why, NeedsRoom))
        else:
            self._listeners = after
            while self._body.workers.counters.plans_alive() > 1:
                await asyncio.sleep(_LOOK_AGAIN_S)  # a relay thread may still use them
            gone, answer = before.gone(after), Reloaded()
        for one in gone:
            one.close()
        self._tell(answer)

    # ---- a successor that comes on purpose ----

    def _in_turn(self, what: Coroutine[Any, Any, None]) -> None:
        """Do this after what is being done."""
        self._task = turns.after(self._task, what)
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (why := task.exception()) is not None:
            self._break(why)

    async def _park(self, service: Service) -> None:
        self._parked = True
        await service.park()
        self._tell(Parked())

    async def _carry_on(self, service: Service) -> None:
        if not self._parked:
            return  # the successor could not even be forked
        await service.carry_on()
        self._parked = False

    # ---- another supervisor, in the place of a dead one ----

    def _answer(self, letter: Letter) -> tuple[Mapping[str, Any], Sequence[int]]:
        if letter.request == rendezvous.WHO:
            files = self._birth.files
            return rendezvous.introduction(rendezvous.WORKER, os.getpid(), files), ()
        if letter.request == rendezvous.TAKEOVER:
            return self._hand_over(letter)
        if letter.request == rendezvous.ADMIN:
            return self._converse(letter)
        letter.close()
        return Outcome(f"'{letter.request}' is not known here").values(), ()

    def _converse(self, letter: Letter) -> tuple[Mapping[str, Any], Sequence[int]]:
        if self._parked or len(letter.descriptors) != 1:
            letter.close()
            why = "its successor comes" if self._parked else "one socket has to come along"
            return Outcome(why).values(), ()
        assert self._service is not None
        try:
            sock = socket.socket(fileno=letter.descriptors[0])
        except OSError as why_not:
            letter.close()
            return Outcome(f"what came along is no socket ({why_not.strerror})").values(), ()
        self._service.converse(sock)
        return Outcome().values(), ()

    def _hand_over(self, letter: Letter) -> tuple[Mapping[str, Any], Sequence[int]]:
        if not self._channel.closed:
            self._hear()
        if not self._channel.closed or len(letter.descriptors) != 2:
            letter.close()
            return Outcome("its supervisor lives").values(), ()
        assert self._loop is not None
        channel, request = (socket.socket(fileno=number) for number in letter.descriptors)
        self._channel.close()
        self._channel = self._birth.channel = Channel(channel)
        self._loop.add_reader(self._channel, self._hear)
        self._requests.append(request)  # the vault of the dead one lives on, and reads its own
        self._guardian = start_vault(request)
        birth, place = self._birth, self._birth.meeting_place
        return Takeover(
            worker=os.getpid(),
            vault=self._guardian,
            ledger=birth.ledger,
            journal=birth.journal,
            listeners=self._listeners.held(),
            worker_rendezvous=-1 if place is None else place.fileno(),
        ).letter()


def _pidfd(pid: int) -> int:
    """-1 if there is no such process."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
