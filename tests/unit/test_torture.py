"""The torture can fail: what it looks for, it finds."""

from __future__ import annotations

import socket

import pytest

from tests.support.torture import pattern
from tests.support.torture.end import RESET_ON_CLOSE, End, Trouble
from tests.support.torture.harm import Done
from tests.support.torture.pauses import budgets, by_kind, worst
from tests.support.torture.places import places
from tests.support.torture.script import LASTING, Kind, Pace, scripts

PACE = Pace(bytes_per_s=1 << 30, slow_bytes_per_s=1 << 30, echo_every_s=0.0)
TURNS = 10_000


class Session:
    """Both ends, joined without a proxy. Time is the number of the turn."""

    def __init__(self, kind: Kind, number: int = 3) -> None:
        both = scripts(kind, number, PACE)
        listener = socket.create_server(("127.0.0.1", 0))
        with listener:
            sockets = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
        for each in sockets:
            each.setblocking(False)
        self.client = End(sockets[0], kind, number, True, both, 0.0)
        self.server = End(sockets[1], kind, number, False, both, 0.0)

    def turns(self, count: int) -> None:
        for now in range(1, count):
            for end in (self.client, self.server):
                if not end.finished:
                    end.turn(float(now))

    def finishes(self) -> None:
        for now in range(TURNS):
            for end in (self.client, self.server):
                if not end.finished:
                    end.turn(float(now))
            if self.client.finished and self.server.finished:
                return
        raise AssertionError(f"{self.client}, {self.server}")

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def session():
    made = []

    def make(kind: Kind, number: int = 3) -> Session:
        made.append(Session(kind, number))
        return made[-1]

    yield make
    for each in made:
        each.close()


# ---- what a stream says ----


def test_stream_is_recognized_at_any_offset():
    for offset in (0, 1, pattern.PERIOD - 3, pattern.PERIOD, 10**12 + 7):
        said = pattern.piece(5, offset, 4096)
        assert len(said) == 4096
        assert pattern.difference(5, offset, said) is None
        assert pattern.difference(6, offset, said) is not None


@pytest.mark.parametrize("lost", [1, 4096, 65536, 1 << 18])
def test_lost_and_doubled_bytes_are_told_with_their_number(lost):
    on = pattern.difference(1, 500, pattern.piece(1, 500 + lost, 4096))
    back = pattern.difference(1, 500 + lost, pattern.piece(1, 500, 4096))
    assert on is not None
    assert f"{lost} bytes on" in on
    assert back is not None
    assert f"{lost} bytes back" in back


def test_first_wrong_byte_is_named():
    said = bytearray(pattern.piece(1, 0, 1000))
    said[700] ^= 1
    assert str(pattern.difference(1, 0, bytes(said))).startswith("byte 700 is wrong")


# ---- the ends ----


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("number", range(8))
def test_every_script_comes_to_its_end(session, kind, number):
    it = session(kind, number)
    it.turns(20)
    assert (kind in LASTING) == (not it.client.finished)
    for end in (it.client, it.server):
        end.told = kind in LASTING
    it.finishes()
    assert it.client.sent == it.server.received or kind is Kind.BREAK
    assert it.server.sent == it.client.received or kind is Kind.BREAK


def test_lost_byte_is_trouble(session):
    it = session(Kind.STREAM)
    it.client.sent = 1  # as if the first one had been lost
    with pytest.raises(Trouble, match="byte 0 is wrong; what came is 1 bytes on"):
        it.turns(10)


def test_cut_answer_with_a_clean_end_is_trouble(session):
    it = session(Kind.ASK, 5)
    it.server.socket.shutdown(socket.SHUT_WR)
    it.server.shut = True
    with pytest.raises(Trouble, match=r"a clean end, and \d+ bytes were due"):
        it.finishes()


def test_reset_is_trouble(session):
    it = session(Kind.IDLE)
    it.turns(3)
    it.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    it.server.close()
    with pytest.raises(Trouble, match="Connection reset by peer"):
        it.client.turn(9.0)


def test_clean_end_in_place_of_a_reset_is_trouble(session):
    it = session(Kind.BREAK)
    it.client.close()
    with pytest.raises(Trouble, match="a clean end where a reset was due"):
        it.server.turn(1.0)


# ---- pauses ----


def test_pause_belongs_to_what_was_done_before_it():
    gaps = [(10.05, 0.051), (12.5, 0.012), (19.0, 0.7)]
    harms = [Done("SIGKILL", 10.0), Done("nothing", 11.0), Done("SIGKILL", 12.49)]
    found = by_kind(gaps, harms, 20.0)
    assert found["nothing"] == [0.0]
    assert found["SIGKILL"] == pytest.approx([51.0, 12.0])
    assert worst(gaps, 18.0, 18.2) == 0.0
    assert worst(gaps, 18.2, 18.4) == pytest.approx(700.0)


def test_budgets_are_those_of_crash_and_upgrade_and_a_reload_is_noise():
    assert budgets({"SIGKILL": [99.0], "upgrade": [100.0], "nothing": [2.0]}) == []
    assert "SIGKILL" in budgets({"SIGKILL": [20.0, 101.0]})[0]
    assert budgets({"reload": [3.0, 4.0], "nothing": [0.0, 5.0]}) == []
    assert "reload" in budgets({"reload": [3.0, 40.0], "nothing": [0.0, 5.0]})[0]


# ---- places ----


def test_places_are_those_of_the_sources():
    found = places()
    assert {"relay.c", "session_end.c", "accept.c"} <= {each.file for each in found}
    assert all(each.function for each in found)
    first = found[0]
    assert first.clause(3, signal=11) == f"file={first.file},line={first.line},nth=3,signal=11"
