"""The journal: whatever moment its writer dies at, the newest whole copy can be read."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbsplice import journal as module
from lbsplice.journal import Journal


@pytest.fixture
def journal():
    made = Journal.create()
    yield made
    os.close(made.fd)


def test_a_new_one_is_empty(journal):
    assert journal.read() is None


def test_what_was_written_last_is_read_also_through_another_object(journal):
    for count in range(5):
        journal.write({"count": count, "name": "\udcff ä"})
    assert Journal(os.dup(journal.fd)).read() == {"count": 4, "name": "\udcff ä"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4000), min_size=1, max_size=12))
def test_copies_of_any_length_do_not_meet(lengths):
    journal = Journal.create()
    try:
        for number, length in enumerate(lengths):
            journal.write({"number": number, "fill": "x" * length})
            assert journal.read() == {"number": number, "fill": "x" * length}
        assert os.fstat(journal.fd).st_size <= 3 * (max(lengths) + 200)
    finally:
        os.close(journal.fd)


class Died(BaseException):
    """The writer is gone."""


@pytest.mark.parametrize("growing", [True, False])
def test_death_at_any_byte_leaves_the_newest_whole_copy(monkeypatch, journal, growing):
    """The writer dies after each possible number of bytes of a write, and the next one
    goes on from there."""
    real = os.pwrite
    budget = 0

    def dies(fd, data, offset):
        nonlocal budget
        if budget <= 0:
            raise Died
        written = real(fd, bytes(data)[:budget], offset)
        budget -= written
        if written < len(data):
            raise Died
        return written

    monkeypatch.setattr(module.os, "pwrite", dies)
    budget = 10**6
    journal.write({"n": 0})
    last = {"n": 0}
    for allowed in range(0, 200):
        new = {"n": allowed + 1, "fill": "y" * (allowed // 2 if growing else 30 - allowed % 30)}
        budget = allowed
        try:
            Journal(journal.fd).write(new)
        except Died:
            assert Journal(journal.fd).read() == last, f"died after {allowed} bytes"
        else:
            last = new
        budget = 10**6
        assert Journal(journal.fd).read() == last
    assert last != {"n": 0}


def test_no_memory_leaves_what_was_there(monkeypatch, journal):
    journal.write({"n": 1})

    def full(fd, data, offset):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        journal.write({"n": 2})
    assert journal.read() == {"n": 1}


def test_a_copy_that_was_damaged_gives_way_to_the_one_before(journal):
    journal.write({"n": 1})
    journal.write({"n": 2})
    size = os.fstat(journal.fd).st_size
    os.pwrite(journal.fd, b"#", size - 2)
    assert journal.read() == {"n": 1}
    journal.write({"n": 3})
    assert journal.read() == {"n": 3}
