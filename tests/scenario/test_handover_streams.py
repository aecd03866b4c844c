"""Reloads and upgrades under load: byte-exact streams, sessions that come and go, and not
one that notices."""

from __future__ import annotations

import pytest

from tests.scenario.test_crash_torture import tortured
from tests.support.command import lbsplice
from tests.support.crash import ends_cleanly, talks, text
from tests.support.torture import family
from tests.support.torture.pauses import budgets, summary
from tests.support.torture.script import Kind, Pace


@pytest.mark.timeout(200)
def test_reloads_lose_nothing_and_start_no_process(tmp_path):
    result = tortured(tmp_path, seconds=10, every_s=0.25, harms={"reload": 1.0})
    assert result.by_kind()["reload"] > 10
    assert len(result.adoptions) == 1, "only of the kill before the load"


@pytest.mark.timeout(200)
def test_upgrades_lose_nothing(tmp_path):
    result = tortured(tmp_path, seconds=15, every_s=0.3, harms={"upgrade": 1.0})
    assert result.by_kind()["upgrade"] >= 3


@pytest.mark.timeout(300)
def test_pause_of_a_stream_among_five_thousand_sessions(tmp_path):
    """At most 100 ms for a crash or an upgrade; nothing for a reload. What the machine does
    beside us is in these times too, so what was too long once is measured again."""
    for attempt in range(3):
        directory = tmp_path / str(attempt)
        directory.mkdir(mode=0o755)
        result = tortured(
            directory,
            kills=12,
            seconds=100,
            every_s=1.1,
            harms={"KILL": 3.0, "upgrade": 1.0, "reload": 2.0, "nothing": 2.0},
            counts={Kind.IDLE: 5000, Kind.ECHO: 10},
            shorts_per_s=0.0,
            pace=Pace(echo_every_s=0.1),
        )
        assert max(count for count, _ in result.adoptions) >= 5010
        for what, pauses in sorted(result.pauses.items()):
            print(f"{what}: median %.1f ms, worst %.1f ms" % summary(pauses))
        if not budgets(result.pauses):
            return
    assert budgets(result.pauses) == []


def test_reload_adds_no_process_and_keeps_those_there_are(lb, victim):
    server, other = lb.server(), lb.server()
    lb.start(text(lb, f"server a {server}"))
    pair = lb.session(server)
    before = family.children(lb.pid)
    path = lb.directory / "lb.cfg"
    path.write_text(text(lb, f"server b {other}"))
    done = lbsplice("reload", "-f", str(path))
    assert done.returncode == 0, done.stderr
    lb.session(other)
    assert family.children(lb.pid) == before
    talks(*pair)
    ends_cleanly(*pair)
    lb.stops()
