"""`python -m tests.support.fake_service JSON`: the real supervisor and worker process, with
relay threads, around a service that is only told what to do and tells what it was told, one
JSON object a line, to the file `tell`.

The JSON: `settings` and `global` are fields of Settings and Global; `fail` is where the
service raises (`once`: of the first worker only); `slow_start` true lets it wait for the
file `tell`.go; `sessions` true means that a soft stop does not end by itself; `stuck` that
nothing does. `bind` true opens one listener. A reload reads changes from `tell`.again. `ask` are
requests to the supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lbsplice.config.model import AddressKind, Config, Endpoint, Log, LogTarget
from lbsplice.console import Console
from lbsplice.dataplane.worker import Workers
from lbsplice.errors import DataplaneError, LbspliceError
from lbsplice.launch import run
from lbsplice.limits import Limits
from lbsplice.operations import Reading
from lbsplice.process import hold_standard_streams, stop_quietly_while_starting
from lbsplice.service import Finish, Share, Sockets, Succession
from lbsplice.startup import Settings
from lbsplice.terms import Cause
from tests.support.configs import PLACE, bind, config, frontend


class FakeService:
    def __init__(
        self,
        wish: dict[str, Any],
        share: Share,
        workers: Workers,
        succession: Succession | None,
    ) -> None:
        self._wish = wish
        self._share = share
        self._workers = workers
        self._succession = succession
        if self._fails("die"):
            os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, what: str, **fields: Any) -> None:
        record = {"what": what, "pid": os.getpid(), **fields}
        os.write(self._wish["tell_fd"], (json.dumps(record) + "\n").encode())

    def _fails(self, where: str) -> bool:
        first = self._succession is None
        return self._wish.get("fail") == where and (first or not self._wish.get("once"))

    async def start(self) -> None:
        self._stopped = asyncio.Event()
        if self._fails("start"):
            raise DataplaneError("the workers can not start")
        if self._fails("planned") and self._share.maxconn == 77:
            raise DataplaneError("the new workers can not start")
        if self._wish.get("slow_start"):
            self.tell("starting")
            while not Path(self._wish["tell"] + ".go").exists():
                await asyncio.sleep(0.01)
        self.tell(
            "start",
            log_pid=self._share.pid,
            supervisor=os.getppid(),
            reason=self._succession and self._succession.reason,
            planned=bool(self._succession and self._succession.planned),
            uid=os.getresuid(),
            gid=os.getresgid(),
            groups=os.getgroups(),
            directory=os.listdir("/"),  # noqa: PTH208 - of a chroot
            stdin=str(Path("/proc/self/fd/0").readlink()) if self._wish.get("proc", True) else "",
            ports=[sock.getsockname()[1] for sock in self._share.sockets.values()],
            maxconn=self._share.maxconn,
            threads=self._workers.sizes.threads,
        )
        if self._wish.get("ask"):
            self._asking = asyncio.create_task(self._ask())
        if self._fails("hang"):
            asyncio.get_running_loop().call_later(0.05, time.sleep, 1000)

    async def _ask(self) -> None:
        assert self._share.ask is not None
        for request in self._wish["ask"]:
            self.tell("answer", answer=await self._share.ask({"request": request}))

    def soft_stop(self) -> None:
        if self._fails("soft_stop"):
            raise DataplaneError("the plan is refused")
        self.tell("soft_stop")
        if not self._wish.get("sessions"):
            self._stopped.set()

    def hard_stop(self, cause: Cause) -> None:
        self.tell("hard_stop", cause=cause.value)
        if not self._wish.get("stuck"):
            self._stopped.set()

    def dump_states(self) -> None:
        self.tell("dump")

    def reload(self, config: Config, sockets: Sockets, limits: Limits) -> None:
        if self._fails("reload"):
            raise LbspliceError("the plan is refused")
        names = [proxy.name for proxy in config.proxies]
        ports = [sock.getsockname()[1] for sock in sockets.values()]
        self.tell("reload", proxies=names, ports=ports, maxconn=limits.maxconn)

    async def park(self) -> None:
        self._workers.stop()
        self.tell("park")

    async def carry_on(self) -> None:
        self._workers.carry_on()
        self.tell("carry_on")

    def set_pid(self, pid: int) -> None:
        self.tell("set_pid", log_pid=pid)

    def converse(self, sock: socket.socket) -> None:
        self.tell("converse", heard=sock.recv(100).decode())
        sock.close()

    async def wait_stopped(self) -> None:
        if self._fails("run"):
            raise DataplaneError("a worker ended")
        await self._stopped.wait()
        self.tell("stopped")


def main() -> None:
    wish = json.loads(sys.argv[1])
    hold_standard_streams()
    settings = replace(Settings(), **wish.get("settings", {}))
    stop_quietly_while_starting(settings.master)
    wish["tell_fd"] = os.open(wish["tell"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    # So that the worker process keeps it.
    target = Endpoint(AddressKind.FD, str(wish["tell_fd"]))
    wish.setdefault("global", {})["logs"] = (Log(PLACE, LogTarget.FD, target, "local0"),)
    proxies = (frontend(bind()),) if wish.get("bind") else ()
    configured = config(*proxies, **wish.get("global", {}))

    def read() -> Reading:
        """The configuration of a reload: as the file `tell`.again says."""
        again = Path(wish["tell"] + ".again")
        changes = json.loads(again.read_text()) if again.exists() else {}
        again.unlink(missing_ok=True)
        if "error" in changes:
            return Reading(None, (), changes["error"])
        frontends = [frontend(bind(), name=name) for name in changes.pop("frontends", [])]
        return Reading(config(*(frontends or proxies), **{**wish.get("global", {}), **changes}))

    def assemble(_config: Config, share: Share) -> Finish:
        return lambda workers, _journal, succession: FakeService(wish, share, workers, succession)

    sys.exit(run(configured, settings, Console(wish.get("quiet", False)), assemble, read))


if __name__ == "__main__":
    main()
