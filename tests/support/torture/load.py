"""The processes of the load, as the caller sees them: started, watched, brought to their
end, and both sides' figures compared."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict
from typing import Any

from tests.support.command import environment
from tests.support.torture.script import SHORT, Kind, Pace
from tests.support.waiting import wait_until

START_S = 60.0
END_S = 60.0


class Helper:
    """A process of ours that talks in lines of JSON."""

    def __init__(self, module: str, inherits: tuple[int, ...] = (), **settings: Any) -> None:
        self.name = module
        self.troubles: list[tuple[float, str]] = []
        self.progress: dict[str, Any] = {"live": {}, "over": {}, "bytes": 0}
        self.gaps: list[tuple[float, float]] = []
        self.said: dict[str, Any] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.support.torture.{module}", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=inherits,
            env=environment(),
        )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if "progress" in message:
                self.progress = message["progress"]
            elif "gaps" in message:
                self.gaps += [(at, gap) for at, gap in message["gaps"]]
            elif "trouble" in message:
                self.troubles.append((time.monotonic(), message["trouble"]))
            else:
                self.said |= message

    def orders(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": order}) + "\n")
        self.process.stdin.flush()

    def hears(self, word: str, within_s: float) -> Any:
        """Wait until it said so; what it said."""

        def said() -> bool:
            self.check()
            return word in self.said

        wait_until(said, f"{self.name} says {word}", within_s)
        return self.said[word]

    def check(self) -> None:
        """AssertionError if it has ended."""
        assert self.process.poll() is None, f"{self.name} has ended: {self.troubles}"

    def close(self) -> None:
        """It ends when its input does."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Load:
    """Servers at `listeners` (descriptors), clients at `port`, and with `probe_port` the
    stream of timestamps, whose server is at `probe_listener`."""

    def __init__(
        self,
        port: int,
        listeners: list[int],
        counts: dict[Kind, int],
        shorts_per_s: float,
        seed: int,
        pace: Pace,
        probe: tuple[int, int] | None = None,
    ) -> None:
        self.lasting = sum(counts.values())
        self.with_probe = probe is not None
        self.helpers: list[Helper] = []
        try:
            self.far = self._start("far", tuple(listeners), listeners=listeners, pace=asdict(pace))
            self.near = self._start(
                "near",
                port=port,
                counts={kind.name: count for kind, count in counts.items()},
                shorts_per_s=shorts_per_s,
                seed=seed,
                pace=asdict(pace),
            )
            self.near.hears("ready", START_S)
            self.probe = None
            if probe is not None:
                self.probe = self._start("probe", (probe[1],), port=probe[0], listener=probe[1])
        except BaseException:
            self.close()
            raise

    def _start(self, module: str, inherits: tuple[int, ...] = (), **settings: Any) -> Helper:
        self.helpers.append(Helper(module, inherits, **settings))
        return self.helpers[-1]

    # ---- what is seen of it ----

    @property
    def troubles(self) -> list[tuple[float, str]]:
        """When (time.monotonic()) and what, of all processes."""
        return sorted(trouble for each in self.helpers for trouble in each.troubles)

    @property
    def bytes(self) -> int:
        """Received by both sides together."""
        return int(self.near.progress["bytes"] + self.far.progress["bytes"])

    @property
    def shorts(self) -> int:
        """Short sessions that are over."""
        over = Counter(self.near.progress["over"])
        return sum(over[kind.name] for kind in SHORT)

    def check(self) -> None:
        """AssertionError with the first troubles if there are any."""
        assert not self.troubles, "\n".join(text for _, text in self.troubles[:20])
        for each in self.helpers:
            each.check()

    # ---- its end ----

    def rests(self) -> int:
        """No new sessions; wait for the end of the short ones. How many connections were
        made in all, the probe's included."""
        self.near.orders("calm")
        return int(self.near.hears("rest", END_S)) + self.with_probe

    def finishes(self) -> None:
        """All sessions to their end; both sides have seen the same. AssertionError tells
        what was lost."""
        for each in (self.near, self.far):
            each.orders("finish")
        near = self.near.hears("done", END_S)
        far = self.far.hears("done", END_S)
        self.check()
        assert len(near) == self.lasting, f"{len(near)} of {self.lasting} sessions were reported"
        for number, (sent, received) in near.items():
            there = far.get(number)
            assert there == [received, sent], (
                f"session {number}: the client sent {sent} and received {received}, the server "
                f"(received, sent) {there and there[::-1]}"
            )

    def close(self) -> None:
        for each in self.helpers:
            each.close()
