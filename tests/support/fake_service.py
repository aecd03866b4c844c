"""`python -m tests.support.fake_service JSON`: the supervisor around a service that is only
told what to do and tells what it was told, one JSON object a line, to the file `tell`.

The JSON: `settings` and `global` are fields of Settings and Global; `fail` is where the
service raises; `slow_start` true lets it wait for the file `tell`.go; `sessions` true
means that a soft stop does not end by itself; `stuck` that nothing does. `bind` true
opens one listener."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lbsplice.console import Console
from lbsplice.errors import DataplaneError
from lbsplice.process import hold_standard_streams, stop_quietly_while_starting
from lbsplice.supervisor import Settings, Share, run
from lbsplice.terms import Cause
from tests.support.configs import bind, config, frontend


class FakeService:
    def __init__(self, wish: dict[str, Any], share: Share) -> None:
        self._wish = wish
        self._share = share

    def tell(self, what: str, **fields: Any) -> None:
        record = {"what": what, "pid": os.getpid(), **fields}
        os.write(self._wish["tell_fd"], (json.dumps(record) + "\n").encode())

    async def start(self) -> None:
        self._stopped = asyncio.Event()
        if self._wish.get("fail") == "start":
            raise DataplaneError("the workers can not start")
        if self._wish.get("slow_start"):
            self.tell("starting")
            while not Path(self._wish["tell"] + ".go").exists():
                await asyncio.sleep(0.01)
        self.tell(
            "start",
            log_pid=self._share.pid,
            uid=os.getresuid(),
            gid=os.getresgid(),
            groups=os.getgroups(),
            directory=os.listdir("/"),  # noqa: PTH208 - of a chroot
            stdin=str(Path("/proc/self/fd/0").readlink()) if self._wish.get("proc", True) else "",
            ports=[sock.getsockname()[1] for sock in self._share.sockets.values()],
            maxconn=self._share.maxconn,
            threads=self._share.threads,
        )

    def soft_stop(self) -> None:
        if self._wish.get("fail") == "soft_stop":
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

    async def wait_stopped(self) -> None:
        if self._wish.get("fail") == "run":
            raise DataplaneError("a worker ended")
        await self._stopped.wait()
        self.tell("stopped")


def main() -> None:
    wish = json.loads(sys.argv[1])
    hold_standard_streams()
    settings = replace(Settings(), **wish.get("settings", {}))
    stop_quietly_while_starting(settings.master)
    wish["tell_fd"] = os.open(wish["tell"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    proxies = (frontend(bind()),) if wish.get("bind") else ()
    configured = config(*proxies, **wish.get("global", {}))
    sys.exit(
        run(
            configured,
            settings,
            Console(wish.get("quiet", False)),
            lambda _config, share: FakeService(wish, share),
        )
    )


if __name__ == "__main__":
    main()
