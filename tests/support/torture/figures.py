"""What lbsplice's processes hold at one moment, to be compared with a later one."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from tests.support.torture import family
from tests.support.torture.harm import Victim
from tests.support.waiting import wait_until

SETTLES_S = 20.0
LOOKS, LOOK_S = 8, 0.03


@dataclass(frozen=True, slots=True)
class Figures:
    supervisor: family.Descriptors
    worker: family.Descriptors
    memory_kb: dict[str, int]  # of each process, by its role

    @classmethod
    def of(cls, victim: Victim) -> Figures:
        """Of this moment; nothing may be harmed meanwhile."""
        pids = {
            "supervisor": victim.supervisor,
            "worker": victim.worker(),
            "vault": victim.vault(),
        }
        return cls(
            family.descriptors(pids["supervisor"]),
            family.descriptors(pids["worker"]),
            {role: family.memory(pid).private for role, pid in pids.items()},
        )

    @classmethod
    def at_rest(cls, victim: Victim) -> Figures:
        """The same without a check that is under way for a moment."""
        several = []
        for _ in range(LOOKS):
            several.append(cls.of(victim))
            time.sleep(LOOK_S)  # between two looks
        return min(several, key=lambda each: (each.worker.sockets, each.worker.others))


def account_for(victim: Victim, empty: Figures, sessions: int, pipes: int) -> None:
    """AssertionError unless the processes come to hold what they held without sessions,
    two sockets for each session, and at most so many pipes."""
    seen: list[Figures] = []

    def accounted() -> bool:
        with contextlib.suppress(OSError):
            now = Figures.of(victim)
            seen[:] = [now]
            return (
                now.worker.sockets == empty.worker.sockets + 2 * sessions
                and now.worker.others == empty.worker.others
                and now.worker.pipes <= 2 * pipes
                and now.supervisor == empty.supervisor
            )
        return False

    try:
        wait_until(accounted, "descriptors", SETTLES_S)  # a check may have one for a moment
    except AssertionError:
        raise AssertionError(
            f"descriptors with {sessions} sessions and at most {pipes} pipes:\n{seen[0]}\n"
            f"without any:\n{empty}"
        ) from None
