"""Torture with the fault-injection build: the worker dies at the places that LBSPLICE_FAULT
names, one after the other, while streams and incidents go on."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.command import environment
from tests.support.torture.harm import SUCCESSOR_S, Done, Victim
from tests.support.torture.load import Load
from tests.support.torture.places import Place
from tests.support.torture.run import Settings, Torture
from tests.support.torture.script import Kind, Pace
from tests.support.waiting import wait_until

NEVER = "step=1000000000000"
IN_A_ROW = 3  # deaths before a life of peace: five without one would end the service
MOST_CLAUSES = 32  # of LBSPLICE_FAULT
PEACE_S = 0.3  # enough for a check
REACHED_S = 4.0  # a round of all incidents, and more


def settings(seed: int, **fields: object) -> Settings:
    """A load that one machine carries beside the incidents."""
    return Settings(
        seed,
        **{
            "counts": {
                Kind.STREAM: 3,
                Kind.SLOW: 3,
                Kind.ECHO: 6,
                Kind.IDLE: 20,
                Kind.CLIENT_SHUT: 2,
                Kind.SERVER_SHUT: 2,
            },
            "shorts_per_s": 40.0,
            "pace": Pace(bytes_per_s=1_000_000),
            "probe": False,
            "incidents": True,
            **fields,
        },  # type: ignore[arg-type]
    )


class Deaths:
    """The file that counts them, and thereby says which clause holds for the next life."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_text("0\n")
        self.path.chmod(0o666)

    @property
    def count(self) -> int:
        return int(self.path.read_text() or 0)

    def skip(self) -> None:
        """The next life is to have the clause after this one."""
        self.path.write_text(f"{self.count + 1}\n")


class Faulty(Torture):
    """The first two lives are peaceful; `clauses` hold for those that come after."""

    def __init__(self, settings: Settings, directory: Path, clauses: Sequence[str]) -> None:
        assert len(clauses) < MOST_CLAUSES
        self.deaths = Deaths(directory / "deaths")
        words = [f"counter={self.deaths.path}", NEVER, *clauses]
        super().__init__(settings, directory, env=environment(LBSPLICE_FAULT=";".join(words)))

    def harm(self, victim: Victim, load: Load) -> None:
        self.pass_time(load, 0.2)
        self.deaths.skip()
        victim.kill(signal.SIGKILL)
        self.die(victim, load)
        self.pass_time(load, 0.5)

    def die(self, victim: Victim, load: Load) -> None:
        """Wait for the deaths that the clauses are about."""
        raise NotImplementedError

    def await_death(self, victim: Victim, load: Load, count: int, within_s: float) -> bool:
        """Until there were so many; False if that does not come."""
        deadline = time.monotonic() + within_s
        while self.deaths.count < count:
            if time.monotonic() >= deadline:
                return False
            victim.worker()
            self.pass_time(load, 0.01)
        return True

    def await_peace(self, victim: Victim, load: Load) -> None:
        """The successor of the worker that died last has told that it is at work."""

        def told() -> bool:
            self.check(load)
            dead = re.findall(r"worker (\d+) was killed", (self.directory / "stderr").read_text())
            # One died before any was counted.
            return len(dead) > self.deaths.count and victim.succeeded(int(dead[-1]))

        wait_until(told, "a successor has told that it is at work", SUCCESSOR_S)
        self.pass_time(load, PEACE_S)


class AtPlaces(Faulty):
    """The worker dies at each of the places of a group, one life after the other, at the
    nth time that it comes there; between two groups there is a life of peace. `reached`
    are the places where it did die."""

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        groups: Sequence[Sequence[Place]],
        nth: int = 1,
    ) -> None:
        assert all(len(group) <= IN_A_ROW for group in groups)
        self.reached: list[Place] = []
        self._lives = [life for group in groups for life in (*group, None)]  # None: of peace
        clauses = [NEVER if place is None else place.clause(nth) for place in self._lives]
        super().__init__(settings, directory, clauses)

    def die(self, victim: Victim, load: Load) -> None:
        for index, place in enumerate(self._lives, 1):
            if place is None:
                self.await_peace(victim, load)
            elif self.await_death(victim, load, index + 1, REACHED_S):
                self.reached.append(place)
                self.result.harms.append(Done(str(place), time.monotonic()))
                continue
            if index < len(self._lives):
                self.deaths.skip()
                victim.kill(signal.SIGKILL)


class AtRandom(Faulty):
    """`groups` of deaths in a row, each after a random number of places that is `mean` on
    the average; between two groups there is a life of peace."""

    def __init__(
        self, settings: Settings, directory: Path, groups: int, mean: int, number: int = 9
    ) -> None:
        self.groups = groups
        clause = f"random={settings.seed},mean={mean},signal={number},times={IN_A_ROW}"
        super().__init__(settings, directory, [clause, NEVER] * groups)

    def die(self, victim: Victim, load: Load) -> None:
        for group in range(self.groups):
            before = 1 + group * (IN_A_ROW + 1)
            for count in range(before + 1, before + IN_A_ROW + 1):
                assert self.await_death(victim, load, count, 30), "it does not die any more"
                self.result.harms.append(Done("random", time.monotonic()))
            self.await_peace(victim, load)
            if group < self.groups - 1:
                self.deaths.skip()
                victim.kill(signal.SIGKILL)
