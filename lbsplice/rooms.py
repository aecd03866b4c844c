"""How large the tables of the ledger are made, and whether a configuration fits in."""

from __future__ import annotations

from collections.abc import Collection

from lbsplice.config.model import Config
from lbsplice.dataplane.ledger import Sizes
from lbsplice.errors import NeedsRoom
from lbsplice.limits import Limits
from lbsplice.plan.slots import Numbers, assign


def sizes_for(config: Config, threads: int, limits: Limits) -> Sizes:
    """Tables with room for what later configurations may add, beside what of this one is
    still leaving then; unused room costs nothing."""
    numbers = assign(config)

    def room(numbered: Collection[object], least: int) -> int:
        return max(least, 4 * len(numbered))

    return Sizes(
        threads=threads,
        sessions=max(1, limits.maxconn),
        pipes=max(1, limits.max_pipes),
        listeners=room(numbers.listeners, 256),
        frontends=room(numbers.frontends, 256),
        backends=room(numbers.backends, 256),
        slots=room(numbers.slots, 1024),
    )


def check_room(numbers: Numbers, sizes: Sizes, limits: Limits | None = None) -> None:
    """Raises NeedsRoom if a table is too small for these numbers and limits."""
    wanted = [
        ("listeners", _end(numbers.listeners.values()), sizes.listeners),
        ("frontends", _end(numbers.frontends.values()), sizes.frontends),
        ("backends", _end(numbers.backends.values()), sizes.backends),
        ("servers", _end(numbers.slots.values()), sizes.slots),
    ]
    if limits is not None:
        wanted.append(("sessions (maxconn)", limits.maxconn, sizes.sessions))
        wanted.append(("pipes", limits.max_pipes, sizes.pipes))
    for what, needed, there in wanted:
        if needed > there:
            raise NeedsRoom(f"there is room for {there} {what}, {needed} are needed")


def _end(numbers: Collection[int]) -> int:
    return max(numbers, default=-1) + 1
