"""A configuration becomes tables: who may be chosen, where to connect, what is told."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from lbsplice.config.model import (
    AddressKind,
    Balance,
    Bind,
    Config,
    Endpoint,
    Global,
    KeepAlive,
    Log,
    LogTarget,
    Place,
    Proxy,
    ProxyKind,
    Server,
    Source,
    Timeouts,
)
from lbsplice.errors import PlanError
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.slots import assign
from lbsplice.plan.tables import (
    NO_SLOT,
    BackendRow,
    FrontendRow,
    KeepAliveRow,
    Plan,
    PortRule,
    Redispatch,
    SlotRow,
)
from lbsplice.terms import Algorithm, HashMethod, LogLevel

PLACE = Place("lb.cfg", 14)
LOG = Log(PLACE, LogTarget.STDOUT, None, "local0")
CONSISTENT = Balance(Algorithm.SOURCE, hash_method=HashMethod.CONSISTENT, avalanche=True)


def ipv4(host: str, port: int | None = None, *, relative: bool = False) -> Endpoint:
    return Endpoint(AddressKind.IPV4, host, port, relative)


def server(name: str, number: int = 1, **words: object) -> Server:
    words.setdefault("endpoint", ipv4(f"10.0.0.{number}", 80))
    return Server(PLACE, name, number, **words)  # type: ignore[arg-type]


def listen(*servers: Server, **words: object) -> Proxy:
    words.setdefault("binds", (Bind(PLACE, ipv4("127.0.0.1", 1000)),))
    return Proxy(PLACE, ProxyKind.LISTEN, "l", 2, servers=servers, **words)  # type: ignore[arg-type]


def plan_of(*proxies: Proxy, weights: Mapping[str, int] | None = None) -> Plan:
    config = Config(Global(), proxies)
    configured = {(proxy.name, one.name): one.weight for proxy in proxies for one in proxy.servers}
    now = {**configured, **{("l", name): weight for name, weight in (weights or {}).items()}}
    return compile_plan(config, assign(config), now.__getitem__, generation=3, maxconn=500)


def backend_of(*servers: Server, weights: Mapping[str, int] | None = None, **words) -> BackendRow:
    (backend,) = plan_of(listen(*servers, **words), weights=weights).backends
    return backend


def slot_of(one: Server, **words: object) -> SlotRow:
    (slot,) = plan_of(listen(one, **words)).slots
    return slot


def frontend_of(**words: object) -> FrontendRow:
    (frontend,) = plan_of(listen(server("a"), **words)).frontends
    return frontend


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


FOLLOWS = server("a", endpoint=ipv4("10.0.0.1"))
SHIFTED = server("a", endpoint=ipv4("10.0.0.1", 100, relative=True))
FIXED = server("a")
WILDCARD = Endpoint(AddressKind.ANY, "", 1000)
UNIX = Endpoint(AddressKind.UNIX, "/run/lb.sock")


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


# ---- where to connect ----


def test_an_ipv4_server():
    slot = slot_of(server("a", endpoint=ipv4("10.1.2.3", 8080)))
    expected = struct.pack("=H", socket.AF_INET) + b"\x1f\x90" + bytes([10, 1, 2, 3]) + bytes(8)
    assert slot.address == expected
    assert (slot.port_rule, slot.port_offset) == (PortRule.FIXED, 0)


def test_an_ipv6_server():
    slot = slot_of(server("a", endpoint=Endpoint(AddressKind.IPV6, "fe80::1%7", 80)))
    address = socket.inet_pton(socket.AF_INET6, "fe80::1")
    assert slot.address == struct.pack("=H", socket.AF_INET6) + b"\0\x50" + bytes(
        4
    ) + address + struct.pack("=I", 7)


def test_a_unix_server():
    slot = slot_of(server("a", endpoint=UNIX))
    assert slot.address == struct.pack("=H", socket.AF_UNIX) + b"/run/lb.sock\0"
    assert slot.port_rule is PortRule.FIXED


def test_an_abstract_server_is_padded_as_haproxy_does():
    slot = slot_of(server("a", endpoint=Endpoint(AddressKind.ABSTRACT, "lb")))
    assert slot.address == struct.pack("=H", socket.AF_UNIX) + b"\0lb" + bytes(105)


@pytest.mark.parametrize(("one", "offset"), [(FOLLOWS, 0), (SHIFTED, 100)])
def test_a_port_that_follows_the_clients(one, offset):
    slot = slot_of(one)
    assert (slot.port_rule, slot.port_offset) == (PortRule.OFFSET, offset)
    assert slot.address[2:4] == b"\0\0"


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        (Endpoint(AddressKind.NAME, "db.example", 80), "'db.example' was not resolved"),
        (Endpoint(AddressKind.ANY, "", 80), "not supported"),
        (ipv4("0.0.0.0", 80), "not supported"),
        (Endpoint(AddressKind.IPV6, "::", 80), "not supported"),
        (Endpoint(AddressKind.FD, "3"), "fd@3"),
        (Endpoint(AddressKind.IPV6, "fe80::1%eth0", 80), "zone"),
        (Endpoint(AddressKind.UNIX, "/" + "x" * 108), "too long"),
        (ipv4("10.0.0.1", 65536), "65536 is out of range"),
        (ipv4("10.0.0", 80), "not an address"),
    ],
)
def test_what_can_not_be_connected_to_is_an_error_with_its_place(endpoint, says):
    with pytest.raises(PlanError, match=r"^lb\.cfg:14: server 'l/a': ") as caught:
        slot_of(server("a", endpoint=endpoint))
    assert says in str(caught.value)


# ---- where from, and how ----

ADDRESS = struct.pack("=H", socket.AF_INET) + b"\0\0" + bytes([10, 9, 9, 9]) + bytes(8)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source(ipv4("10.9.9.9")), (ADDRESS, 0, 0, "")),
        (Source(ipv4("10.9.9.9", 99)), (ADDRESS, 99, 99, "")),
        (Source(ipv4("10.9.9.9"), 1000, 2000), (ADDRESS, 1000, 2000, "")),
        (Source(ipv4("10.9.9.9"), interface="eth1"), (ADDRESS, 0, 0, "eth1")),
        (Source(ipv4("0.0.0.0"), interface="eth1"), (b"", 0, 0, "eth1")),
        (Source(Endpoint(AddressKind.ANY, ""), interface="eth1"), (b"", 0, 0, "eth1")),
        (Source(ipv4("0.0.0.0"), 5, 6), (struct.pack("=H", 2) + bytes(14), 5, 6, "")),
    ],
)
def test_the_source_of_connections(source, expected):
    slot = slot_of(server("a"), source=source)
    assert (
        slot.source,
        slot.source_port_low,
        slot.source_port_high,
        slot.source_interface,
    ) == expected


def test_a_servers_source_overrides_its_backends():
    slot = slot_of(server("a", source=Source(ipv4("10.9.9.9"))), source=Source(ipv4("10.8.8.8")))
    assert slot.source == ADDRESS


def test_a_unix_server_has_no_source():
    slot = slot_of(server("a", endpoint=UNIX), source=Source(ipv4("10.9.9.9"), interface="eth1"))
    assert (slot.source, slot.source_interface) == (b"", "")


def test_a_source_of_the_other_family_is_an_error():
    source = Source(Endpoint(AddressKind.IPV6, "fd00::1"))
    with pytest.raises(PlanError, match="another address family"):
        slot_of(server("a"), source=source)


def test_an_interface_name_that_no_kernel_takes_is_an_error():
    with pytest.raises(PlanError, match="too long for an interface"):
        slot_of(server("a"), source=Source(ipv4("0.0.0.0"), interface="x" * 16))


def test_keepalive_values_count_only_with_the_option():
    values = KeepAlive(enabled=False, idle=10, interval=5, count=3)
    assert slot_of(server("a"), server_keepalive=values).keepalive == KeepAliveRow()
    on = slot_of(server("a"), server_keepalive=replace(values, enabled=True)).keepalive
    assert on == KeepAliveRow(enabled=True, idle=10, interval=5, count=3)
    bare = slot_of(server("a"), server_keepalive=KeepAlive(enabled=True)).keepalive
    assert bare == KeepAliveRow(enabled=True)


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
