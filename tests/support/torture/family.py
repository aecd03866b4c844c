"""lbsplice's processes: who is who, what they hold open, how much memory is theirs."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WORKER = "lbsplice-worker"
VAULT = "lbsplice-vault"


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a process has open, by kind."""

    sockets: int
    pipes: int
    others: int


@dataclass(frozen=True, slots=True)
class Memory:
    """KiB."""

    shared_out: int  # Pss: each page divided by those who map it
    private: int


def children(pid: int) -> list[int]:
    """Those that are alive or not waited for yet, in the order of their birth."""
    with contextlib.suppress(OSError):  # one thread has them all
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def name(pid: int) -> str:
    """As the kernel shows it; empty if the process is gone, or dead and not waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    inside, _, rest = stat.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] in "ZX" else inside


def alive(pid: int) -> bool:
    return bool(name(pid))


def worker(supervisor: int) -> int | None:
    """The youngest child that is a worker. A vault has the same name in its first moment,
    but never a session of its own."""
    return _youngest(supervisor, lambda pid: name(pid) == WORKER and _leads_a_session(pid))


def vault(supervisor: int) -> int | None:
    """The youngest child that is a vault."""
    return _youngest(supervisor, lambda pid: name(pid) == VAULT)


def _youngest(supervisor: int, wanted: Callable[[int], bool]) -> int | None:
    return next(filter(wanted, reversed(children(supervisor))), None)


def _leads_a_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def descriptors(pid: int) -> Descriptors:
    """OSError if it is gone."""
    kinds: Counter[str] = Counter()
    directory = f"/proc/{pid}/fd"
    for each in os.listdir(directory):  # noqa: PTH208 (twenty thousand Paths are slow)
        with contextlib.suppress(OSError):  # it has just been closed
            kinds[os.readlink(f"{directory}/{each}").partition(":")[0]] += 1  # noqa: PTH115
    return Descriptors(
        kinds["socket"], kinds["pipe"], kinds.total() - kinds["socket"] - kinds["pipe"]
    )


def memory(pid: int) -> Memory:
    """OSError if it is gone."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rows = {key: int(kb) for key, kb in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return Memory(rows["Pss"], rows["Private_Clean"] + rows["Private_Dirty"])
