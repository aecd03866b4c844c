"""The lab on paper: statuses, names, the proxy's configuration."""

import pytest

from lbsplice.lab.scene import (
    ASKS_MEANWHILE,
    CASE_TITLES,
    FAULT_TITLES,
    Case,
    Fault,
    Proxy,
    expected_statuses,
    seconds_to_down,
)
from lbsplice.lab.topology import HOSTS, configuration, namespace_name, namespace_owner, port_name


@pytest.mark.parametrize(
    ("case", "fall", "statuses"),
    [
        (Case.WITHOUT_ACTION, 1, ("UP", "DOWN")),
        (Case.WITH_ACTION, 2, ("UP", "UP 1/2", "DOWN")),
        (Case.WITH_ACTION, 3, ("UP", "UP 2/3", "UP 1/3", "DOWN")),
        (Case.BACK_IN_TIME, 2, ("UP", "UP 1/2", "DOWN", "UP")),
    ],
)
def test_a_server_loses_its_health_one_failure_at_a_time(case, fall, statuses):
    assert expected_statuses(case, fall) == statuses


def test_the_longest_way_down_waits_for_every_check_and_every_answer():
    assert seconds_to_down(fall=3, inter_ms=200) == pytest.approx(1.2)


def test_every_fault_and_case_is_described():
    assert set(FAULT_TITLES) == set(ASKS_MEANWHILE) == set(Fault)
    assert set(CASE_TITLES) == set(Case)


def test_a_namespace_tells_which_lab_made_it():
    assert namespace_owner(namespace_name("4711-2", "client")) == 4711


@pytest.mark.parametrize("name", ["client", "lbslab", "lbslab-x-1-client", "other-4711-1-client"])
def test_a_namespace_of_somebody_else_has_no_owner(name):
    assert namespace_owner(name) is None


def test_interface_names_fit_the_kernel():
    assert all(len(port_name(host)) <= 15 for host in HOSTS)


def test_addresses_are_the_documented_ones():
    assert {host.name: host.addresses for host in HOSTS} == {
        "client": ("192.168.1.35",),
        "balancer": ("192.168.1.39", "192.168.1.100"),
        "lbb-811tmjow": ("192.168.1.29",),
        "lbb-v8y2j191": ("192.168.1.38",),
    }


def test_the_action_is_in_the_configuration_only_when_asked_for():
    word = "on-marked-down shutdown-sessions"
    with_action = configuration(Proxy.LBSPLICE, action=True, fall=2, inter_ms=200)
    without = configuration(Proxy.LBSPLICE, action=False, fall=2, inter_ms=200)
    assert word in with_action
    assert word not in without
    assert "check inter 200 fall 2 rise 1" in without


def test_only_haproxy_gets_a_stats_socket():
    texts = {
        proxy: configuration(proxy, action=True, fall=2, inter_ms=200, stats_socket="/x/stats.sock")
        for proxy in Proxy
    }
    assert "stats socket /x/stats.sock" in texts[Proxy.HAPROXY]
    assert "stats socket" not in texts[Proxy.LBSPLICE]
