"""From a client's address to a server, as HAProxy does it: with the same configuration
the same client gets the same server here, there, and on every machine.

An address becomes a 32-bit key. Map-based hashing takes the key modulo the length of
`wheel.hash_map`. Consistent hashing puts points on a circle of 2**32 places, 16 for each
unit of weight, and takes the nearer of the key's two neighbours. Points depend on the
server's id and weight only, so that a server that leaves moves its own clients alone.

`source_key` and `nearest` are the reference for what the workers do in C."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from operator import itemgetter

from lbsplice.errors import PlanError

POINTS_PER_WEIGHT = 16

ID_STRIDE = 4096
"""Points of a server are numbered from its id times this: 256, the largest weight, times
POINTS_PER_WEIGHT."""

MAX_POINTS = 1 << 20
"""The most points that one backend may have."""

_MASK = 0xFFFFFFFF

Point = tuple[int, int]
"""A key and the slot that has it."""


def avalanche(key: int) -> int:
    """Bob Jenkins' full avalanche for 32-bit integers, its result multiplied by a prime
    near three quarters of 2**32 (all modulo 2**32)."""
    key = (key + 0x7ED55D16 + (key << 12)) & _MASK
    key = key ^ 0xC761C23C ^ (key >> 19)
    key = (key + 0x165667B1 + (key << 5)) & _MASK
    key = ((key + 0xD3A2646C) ^ (key << 9)) & _MASK
    key = (key + 0xFD7046C5 + (key << 3)) & _MASK
    key = key ^ 0xB55A4F09 ^ (key >> 16)
    return (key * 3221225473) & _MASK


def source_key(address: IPv4Address | IPv6Address, *, mixed: bool = False) -> int:
    """The key of a client's address for `balance source`: an IPv4 address as a number,
    the four 32-bit words of an IPv6 address XORed. `mixed`: the hash-type has the
    avalanche modifier (it has it too when it is `consistent` and names no function)."""
    number = int(address)
    key = 0
    while number:
        key ^= number & _MASK
        number >>= 32
    return avalanche(key) if mixed else key


def nearest(points: Sequence[Point], key: int) -> int:
    """The slot of the point nearest to `key` on the circle; of two equally near ones the
    lower. `points` are sorted by key and not empty."""
    after = bisect_left(points, (key, 0))
    above = points[after % len(points)]
    below = points[after - 1]
    if (key - below[0]) & _MASK <= (above[0] - key) & _MASK:
        return below[1]
    return above[1]


@dataclass(frozen=True, slots=True)
class Circle:
    """All points of a backend's servers, whether they are usable or not. Making it costs
    about a microsecond a point, so it is kept; leaving servers out is cheap."""

    points: tuple[Point, ...]  # sorted by key, then by server id
    crowded: tuple[int, ...]  # keys of several points: ids that differ by 2**20

    def of(self, usable: Collection[int]) -> tuple[Point, ...]:
        """The points of these slots, keys unique: the lowest server id has a crowded one."""
        allowed = frozenset(usable)
        kept = [point for point in self.points if point[1] in allowed]
        for key in self.crowded:
            first = bisect_left(kept, (key, 0))
            while first + 1 < len(kept) and kept[first + 1][0] == key == kept[first][0]:
                del kept[first + 1]
        return tuple(kept)


@lru_cache(maxsize=64)
def circle(servers: tuple[tuple[int, int, int], ...]) -> Circle:
    """The circle of these servers, each (server id, weight, slot).

    Raises PlanError if they need more than MAX_POINTS points."""
    wanted = sum(weight for _, weight, _ in servers) * POINTS_PER_WEIGHT
    if wanted > MAX_POINTS:
        raise PlanError(
            f"the weights need {wanted} consistent hash points, more than {MAX_POINTS}; "
            "use smaller weights in the same proportions"
        )
    points: list[Point] = []
    for server_id, weight, slot in sorted(servers):
        first = server_id * ID_STRIDE
        last = first + weight * POINTS_PER_WEIGHT
        points.extend((avalanche(number & _MASK), slot) for number in range(first, last))
    points.sort(key=itemgetter(0))
    crowded = {a[0] for a, b in pairwise(points) if a[0] == b[0]}
    return Circle(tuple(points), tuple(sorted(crowded)))
