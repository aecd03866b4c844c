"""Events stay in the ring until they are told: a control plane that dies over one of them
leaves it, and those after it, to whoever reads next."""

from __future__ import annotations

from lbsplice.dataplane.events import EventReader
from tests.support.dataplane import Rig
from tests.support.waiting import wait_until


class Dies(Exception):
    """In the middle of a batch."""


def tells(reader: EventReader, most: int) -> list[tuple[int, int]]:
    """Deal with so many events, and die over the next one."""
    told: list[tuple[int, int]] = []
    try:
        for one in reader.one_by_one(reader.look()):
            if len(told) == most:
                raise Dies
            told.append((one.kind, one.serial))
    except Dies:
        return told
    raise AssertionError("there were not so many")


def test_what_was_not_told_is_there_again(lb: Rig) -> None:
    lb.collect()
    for _ in range(5):
        client, server = lb.session()
        client.closes()
        server.closes()
    (reader,) = lb.workers.readers
    wait_until(lambda: len(reader.look()) >= 5, "there are events")
    seen = [(one.kind, one.serial) for one in reader.look()]
    assert tells(reader, 3) == seen[:3]
    assert [(one.kind, one.serial) for one in reader.look()][: len(seen) - 3] == seen[3:]
