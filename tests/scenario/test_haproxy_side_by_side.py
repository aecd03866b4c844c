"""The binary swapped under the same configuration and the same traffic: HAProxy 2.6 and
lbsplice play every situation, and what clients and servers see, what the log tells and
how the process ends is the same, but for the differences that are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.sidebyside import haproxy_is_the_oracle, play_both
from tests.support.situations import ALWAYS, SITUATIONS, Situation

pytestmark = pytest.mark.skipif(not haproxy_is_the_oracle(), reason="needs HAProxy 2.6")


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.name)
def test_both_do_the_same(situation: Situation, tmp_path: Path) -> None:
    theirs, ours = play_both(situation.text, situation.play, tmp_path)

    for difference in ALWAYS:
        theirs = difference.applied(theirs)
    for difference in situation.differs:
        before, theirs = theirs, difference.applied(theirs)
        assert theirs != before, f"HAProxy does this too: {difference.reason}"
    assert ours.notes == theirs.notes
    assert ours.log == theirs.log
    assert (ours.status, ours.errors) == (theirs.status, theirs.errors)
