"""A configuration becomes tables: who may be chosen, and what is told."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from lbsplice.config.model import (
    AddressKind,
    Balance,
    Bind,
    Config,
    Endpoint,
    Global,
    Proxy,
    ProxyKind,
    Timeouts,
)
from lbsplice.errors import PlanError
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.slots import assign
from lbsplice.plan.tables import (
    NO_SLOT,
    Redispatch,
)
from lbsplice.terms import Algorithm, LogLevel
from tests.support.plans import (
    CONSISTENT,
    FOLLOWS,
    LOG,
    PLACE,
    SHIFTED,
    UNIX,
    backend_of,
    frontend_of,
    ipv4,
    listen,
    plan_of,
    server,
)

# ---- the whole ----


def test_a_plan_carries_its_generation_and_limit():
    plan = plan_of(listen(server("a")))
    assert (plan.generation, plan.maxconn) == (3, 500)


def test_disabled_proxies_are_left_out_and_a_frontend_of_one_has_no_backend():
    frontend = Proxy(PLACE, ProxyKind.FRONTEND, "f", 3, default_backend="l")
    plan = plan_of(listen(server("a"), disabled=True), frontend)
    assert [row.backend for row in plan.frontends] == [NO_SLOT]
    assert plan.backends == plan.slots == plan.listeners == ()


def test_a_frontend_leads_to_the_backend_it_names():
    frontend = Proxy(PLACE, ProxyKind.FRONTEND, "f", 3, default_backend="b")
    backend = Proxy(PLACE, ProxyKind.BACKEND, "b", 4, servers=(server("x"),))
    plan = plan_of(listen(server("a")), frontend, backend)
    rows = {row.number: row for row in plan.backends}
    assert [row.backend for row in plan.frontends] == [0, 1]
    assert rows[1].usable == (1,)


def test_a_frontend_that_names_none_has_no_backend():
    plan = plan_of(Proxy(PLACE, ProxyKind.FRONTEND, "f", 3))
    assert plan.frontends[0].backend == NO_SLOT


def test_timeouts_and_options_arrive():
    times = Timeouts(connect=1, client=2, server=3, tunnel=4, client_fin=5, server_fin=6, check=7)
    plan = plan_of(
        listen(
            server("a", tcp_ut=9000),
            timeouts=times,
            maxconn=10,
            retries=5,
            nolinger=True,
            abortonclose=True,
            smart_connect=True,
            binds=(Bind(PLACE, ipv4("127.0.0.1", 1000), maxconn=6),),
        )
    )
    frontend, backend = plan.frontends[0], plan.backends[0]
    assert (frontend.timeout_client, frontend.timeout_client_fin, frontend.maxconn) == (2, 5, 10)
    assert (backend.timeout_connect, backend.timeout_server) == (1, 3)
    assert (backend.timeout_server_fin, backend.timeout_tunnel, backend.retries) == (6, 4, 5)
    assert frontend.nolinger
    assert backend.nolinger
    assert backend.abortonclose
    assert backend.smart_connect
    assert plan.listeners[0].maxconn == 6
    assert plan.slots[0].tcp_ut == 9000


# ---- who may be chosen ----


def test_servers_that_may_not_receive_sessions_have_a_slot_but_no_turn():
    plan = plan_of(listen(server("a"), server("b", 2), server("c", 3)), weights={"b": 0})
    assert plan.backends[0].usable == (0, 2)
    assert plan.backends[0].wheel == (0, 2)
    assert [(slot.number, slot.weight) for slot in plan.slots] == [(0, 1), (1, 0), (2, 1)]


def test_the_weights_of_the_moment_count():
    row = backend_of(server("a", weight=1), server("b", 2), weights={"a": 3})
    assert row.wheel == (0, 0, 1, 0)


BACKUPS = (server("a"), server("b", 2, backup=True), server("c", 3, backup=True))


@pytest.mark.parametrize(
    ("allbackups", "down", "usable"),
    [
        (False, "", (0,)),
        (True, "", (0,)),
        (False, "a", (1,)),
        (True, "a", (1, 2)),
        (False, "ab", (2,)),
        (True, "ab", (2,)),
        (True, "abc", ()),
        (False, "abc", ()),
    ],
)
@pytest.mark.parametrize("balance", [Balance(), CONSISTENT, Balance(Algorithm.SOURCE)])
def test_backups_stand_in_when_no_active_server_is_usable(allbackups, down, usable, balance):
    row = backend_of(
        *BACKUPS, allbackups=allbackups, balance=balance, weights=dict.fromkeys(down, 0)
    )
    assert row.usable == row.wheel == usable
    assert {slot for _, slot in row.points} == (set(usable) if balance is CONSISTENT else set())


def test_first_goes_by_server_id():
    servers = (server("a", 30), server("b", 10), server("c", 20))
    assert backend_of(*servers, balance=Balance(Algorithm.FIRST)).usable == (1, 2, 0)


@pytest.mark.parametrize(
    ("algorithm", "wheel"),
    [
        (Algorithm.ROUNDROBIN, (0, 0, 1, 0)),
        (Algorithm.RANDOM, (0, 0, 1, 0)),
        (Algorithm.LEASTCONN, (0, 0, 1, 0)),
        (Algorithm.STATIC_RR, (0, 0, 0, 1)),
        (Algorithm.SOURCE, (0, 0, 0, 1)),
    ],
)
def test_the_wheel_is_smooth_or_haproxys_by_algorithm(algorithm, wheel):
    servers = (server("a", weight=3), server("b", 2))
    row = backend_of(*servers, balance=Balance(algorithm, draws=5))
    assert (row.algorithm, row.wheel, row.draws) == (algorithm, wheel, 5)


def test_a_consistent_backend_has_points_and_a_wheel():
    row = backend_of(server("a", weight=3), server("b", 2), balance=CONSISTENT)
    assert len(row.points) == 64
    assert row.avalanche
    assert sorted(row.wheel) == [0, 0, 0, 1]


def test_a_server_that_leaves_the_circle_leaves_the_other_points_alone():
    servers = (server("a", weight=3), server("b", 2), server("c", 3))
    before = backend_of(*servers, balance=CONSISTENT)
    after = backend_of(*servers, balance=CONSISTENT, weights={"b": 0})
    assert set(after.points) == {point for point in before.points if point[1] != 1}


@pytest.mark.parametrize("weight", [-1, 257])
def test_a_weight_out_of_range_is_an_error_with_its_place(weight):
    with pytest.raises(PlanError, match=rf"^lb.cfg:14: server 'l/a': weight {weight} is out"):
        backend_of(server("a"), weights={"a": weight})


def test_too_many_points_are_an_error_with_their_place():
    servers = [server(f"s{n}", n + 1, weight=256) for n in range(257)]
    with pytest.raises(PlanError, match=r"^lb.cfg:14: backend 'l': the weights need"):
        backend_of(*servers, balance=CONSISTENT)


# ---- redispatch ----


@pytest.mark.parametrize(
    ("option", "retries", "rule", "interval"),
    [
        (0, 3, Redispatch.NEVER, 0),
        (-1, 3, Redispatch.LAST, 0),
        (1, 3, Redispatch.INTERVAL, 1),
        (2, 3, Redispatch.INTERVAL, 2),
        (-2, 3, Redispatch.INTERVAL, 2),
        (-3, 3, Redispatch.INTERVAL, 1),
        (-9, 3, Redispatch.INTERVAL, 1),
    ],
)
def test_option_redispatch(option, retries, rule, interval):
    row = backend_of(server("a"), redispatch=option, retries=retries)
    assert (row.redispatch, row.redispatch_interval) == (rule, interval)


@pytest.mark.parametrize("option", [-1, 1, 2])
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_first_failure_goes_elsewhere_at_once_unless_hashed(algorithm, option):
    words = {"balance": Balance(algorithm)}
    two = (server("a"), server("b", 2))
    hashed = algorithm is Algorithm.SOURCE
    assert backend_of(*two, redispatch=option, **words).redispatch_first_failure is not hashed
    assert not backend_of(*two, redispatch=0, **words).redispatch_first_failure
    assert not backend_of(
        *two, redispatch=option, weights={"a": 0}, **words
    ).redispatch_first_failure


def test_backups_do_not_take_over_at_a_first_failure():
    assert not backend_of(
        *BACKUPS, redispatch=-1, allbackups=True, weights={"a": 0}
    ).redispatch_first_failure


# ---- who wants to know ----


@pytest.mark.parametrize(
    ("words", "end", "connect"),
    [
        ({}, False, False),
        ({"logs": (LOG,)}, True, True),
        ({"logs": (LOG,), "tcplog": True}, True, False),
        ({"logs": (LOG,), "tcplog": True, "logasap": True}, True, True),
        ({"logs": (replace(LOG, max_level=LogLevel.NOTICE),), "tcplog": True}, False, False),
        ({"logs": (replace(LOG, max_level=LogLevel.INFO),), "tcplog": True}, True, False),
        (
            {
                "logs": (replace(LOG, max_level=LogLevel.ERR),),
                "tcplog": True,
                "log_separate_errors": True,
            },
            True,
            False,
        ),
        ({"tcplog": True}, False, False),
    ],
)
def test_events_are_wanted_when_somebody_writes_a_line_of_them(words, end, connect):
    row = frontend_of(**words)
    assert (row.want_end_event, row.want_connect_event) == (end, connect)


FIXED = server("a")
WILDCARD = Endpoint(AddressKind.ANY, "", 1000)


@pytest.mark.parametrize(
    ("one", "endpoint", "words", "wanted"),
    [
        (FIXED, WILDCARD, {}, False),
        (FIXED, WILDCARD, {"logs": (LOG,), "tcplog": True}, False),
        (FIXED, WILDCARD, {"logs": (LOG,)}, True),
        (FIXED, ipv4("0.0.0.0", 1000), {"logs": (LOG,)}, True),
        (FIXED, Endpoint(AddressKind.IPV6, "0::0", 1000), {"logs": (LOG,)}, True),
        (FIXED, Endpoint(AddressKind.FD, "3"), {"logs": (LOG,)}, True),
        (FIXED, ipv4("127.0.0.1", 1000), {"logs": (LOG,)}, False),
        (FIXED, Endpoint(AddressKind.IPV6, "fe80::1%eth0", 1000), {"logs": (LOG,)}, False),
        (FIXED, UNIX, {"logs": (LOG,)}, False),
        (FOLLOWS, ipv4("127.0.0.1", 1000), {}, True),
        (SHIFTED, ipv4("127.0.0.1", 1000), {}, True),
        (SHIFTED, UNIX, {}, False),
        (SHIFTED, Endpoint(AddressKind.FD, "3"), {}, True),
    ],
)
def test_destinations_are_recorded_only_for_who_reads_them(one, endpoint, words, wanted):
    plan = plan_of(listen(one, binds=(Bind(PLACE, endpoint),), **words))
    assert plan.listeners[0].want_destination is wanted


def test_a_transparent_listener_meets_many_addresses():
    bind = Bind(PLACE, ipv4("127.0.0.1", 1000), transparent=True)
    plan = plan_of(listen(FIXED, binds=(bind,), logs=(LOG,)))
    assert plan.listeners[0].want_destination


# ---- cost ----


@pytest.mark.parametrize("balance", [Balance(), Balance(Algorithm.SOURCE), CONSISTENT])
def test_a_transition_among_a_thousand_servers_is_quick(balance):
    servers = [
        server(f"s{n}", n + 1, endpoint=ipv4(f"10.0.{n >> 8}.{n & 255}", 80), weight=n % 7 + 1)
        for n in range(1000)
    ]
    config = Config(Global(), (listen(*servers, balance=balance),))
    numbers = assign(config)
    weights = {("l", one.name): one.weight for one in servers}

    def seconds_with_down(name: str) -> float:
        now = {**weights, ("l", name): 0}
        begun = time.process_time()
        compile_plan(config, numbers, now.__getitem__, generation=1, maxconn=1)
        return time.process_time() - begun

    seconds_with_down("s0")  # makes the circle
    assert min(seconds_with_down(f"s{n}") for n in range(1, 6)) < 0.05
