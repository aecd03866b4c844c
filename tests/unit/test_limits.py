"""How a descriptor limit is shared out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lbsplice.config.model import Check, Server
from lbsplice.errors import EnvironmentLacks
from lbsplice.limits import MOST_THREADS, fixed_descriptors, settle, threads
from tests.support.configs import PLACE, bind, config, frontend, ipv4


def total(limits, configured, workers):
    return 2 * limits.maxconn + 2 * limits.max_pipes + fixed_descriptors(configured, workers)


@pytest.mark.parametrize("limit", [256, 1024, 20_000, 1_048_576, 1 << 40])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("maxconn", [None, 1, 4096, 1 << 30])
def test_what_is_given_out_fits_in_the_limit(limit, workers, maxconn):
    configured = config(frontend(bind()), maxconn=maxconn)
    limits = settle(configured, workers, limit)
    assert total(limits, configured, workers) <= limit
    assert limits.descriptors <= limit
    assert limits.maxconn >= 1
    assert limits.max_pipes >= 8 * workers


def test_a_maxconn_that_fits_is_kept_and_pipes_give_way_first():
    limits = settle(config(maxconn=9000), 2, 20_000)
    assert limits.maxconn == 9000
    assert limits.warning is None
    assert limits.max_pipes < 9000 // 4


def test_with_room_there_is_a_pipe_for_every_fourth_session():
    assert settle(config(maxconn=1000), 1, 20_000).max_pipes == 250


def test_a_maxconn_that_does_not_fit_is_lowered_with_a_warning():
    limits = settle(config(maxconn=1000), 1, 300)
    assert limits.maxconn < 150
    assert "FD limit (300) too low for maxconn=1000" in limits.warning
    assert f"lowered to {limits.maxconn}" in limits.warning
    needed = int(limits.warning.split("'ulimit-n' to ")[1].split()[0])
    assert settle(config(maxconn=1000), 1, needed).warning is None
    assert settle(config(maxconn=1000), 1, needed - 2).warning is not None


def test_without_maxconn_the_limit_decides_and_nothing_is_said():
    limits = settle(config(), 1, 20_000)
    assert 9000 < limits.maxconn < 10_000
    assert limits.warning is None


def test_the_command_line_overrides_the_file():
    assert settle(config(maxconn=1000), 1, 20_000, maxconn=17).maxconn == 17


def test_maxpipes_is_what_it_says():
    assert settle(config(maxpipes=33, maxconn=10), 1, 20_000).max_pipes == 33


def test_a_limit_that_carries_nothing_is_told_with_what_would_help():
    with pytest.raises(EnvironmentLacks, match=r"FD limit \(20\) too low.*LimitNOFILE"):
        settle(config(), 1, 20)


def test_listeners_and_checks_are_counted():
    server = Server(PLACE, "a", 1, ipv4(80), check=Check(enabled=True))
    quiet = replace(server, check=Check(enabled=False))
    base = fixed_descriptors(config(), 1)
    assert fixed_descriptors(config(frontend(bind(), bind())), 1) == base + 2
    assert fixed_descriptors(config(frontend(servers=(server, quiet))), 1) == base + 1
    assert fixed_descriptors(config(frontend(bind(), disabled=True)), 1) == base


def test_threads_are_the_usable_cpus_unless_said():
    assert threads(None, 6) == 6
    assert threads(3, 6) == 3
    assert threads(10_000, 6) == MOST_THREADS
