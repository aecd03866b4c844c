"""A few hundred kills under load, each run with choices of its own: nothing is lost,
doubled or ended, nothing leaks. `scripts/torture` does the same for longer."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.torture.run import KILLS, Result, Settings, Torture
from tests.support.torture.script import Kind


def tortured(tmp_path, **fields) -> Result:
    settings = replace(Settings(random.randrange(1 << 32)), **fields)
    print(f"seed {settings.seed}")
    result = Torture(settings, tmp_path).run()
    print(dict(result.by_kind()), result.sessions, result.bytes, result.pauses)
    assert not result.failures, "\n".join(result.failures)
    assert result.bytes > 0
    return result


@pytest.mark.timeout(300)
def test_kills_at_random_moments(tmp_path):
    result = tortured(tmp_path, kills=200, every_s=0.12, harms=dict.fromkeys((*KILLS, "STOP"), 1.0))
    assert result.kills == 200


@pytest.mark.timeout(300)
def test_kills_among_reloads_upgrades_and_kills_of_the_vault(tmp_path):
    harms = dict.fromkeys((*KILLS, "STOP"), 2.0) | {"vault": 2.0, "reload": 2.0, "upgrade": 0.5}
    result = tortured(tmp_path, kills=60, every_s=0.15, harms=harms)
    assert result.kills == 60


@pytest.mark.timeout(300)
def test_kills_while_every_pipe_is_full(tmp_path):
    """Slow readers alone, and one thread."""
    result = tortured(
        tmp_path, kills=60, every_s=0.1, threads=1, counts={Kind.SLOW: 60}, shorts_per_s=5
    )
    assert result.kills == 60


@pytest.mark.timeout(300)
def test_kills_while_sessions_only_come_and_go(tmp_path):
    """Accept, connect, end: the moments at which a session is least written down."""
    result = tortured(tmp_path, kills=60, every_s=0.1, counts={Kind.IDLE: 5}, shorts_per_s=250)
    assert result.sessions > 1000
