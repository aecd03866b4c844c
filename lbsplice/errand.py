"""Work that would hold the supervisor up, such as reading a configuration whose names have
to be resolved: done in a forked process, which sends the result back."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import traceback
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

from lbsplice import process
from lbsplice.console import write_if_possible
from lbsplice.reactor import Reactor

NAME = "lbsplice-errand"

T = TypeVar("T")


class Errand(Generic[T]):
    """One piece of work on its way. `done` is called once, with its result, or None if the
    process died. OSError if there is no process to be had."""

    def __init__(
        self, reactor: Reactor, work: Callable[[], T], done: Callable[[T | None], None]
    ) -> None:
        self._reactor = reactor
        self._done = done
        self._said = bytearray()
        self._heard, told = os.pipe()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _run(work, told)
        except OSError:
            os.close(self._heard)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            os.close(told)
        reactor.watch(self._heard, self._hear)
        reactor.on_exit(self._pid, lambda _status: None)

    def _hear(self) -> None:
        data = os.read(self._heard, 1 << 16)
        if data:
            self._said += data
            return
        self._close()
        # From our own process, with our own rights.
        self._done(pickle.loads(self._said) if self._said else None)

    def abandon(self) -> None:
        """`done` is not called any more."""
        os.kill(self._pid, signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        self._reactor.forget(self._heard)
        os.close(self._heard)


def _run(work: Callable[[], T], told: int) -> NoReturn:
    status = 1
    try:
        gc.freeze()
        Reactor.abandon()
        process.set_name(NAME)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        process.close_descriptors_but((0, 1, 2, told))
        said = memoryview(pickle.dumps(work()))
        while said:
            said = said[os.write(told, said) :]
        status = 0
    except BaseException:
        write_if_possible(traceback.format_exc())
    finally:
        os._exit(status)
