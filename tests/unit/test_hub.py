"""Which line goes to which target; the targets are sinks that remember."""

from dataclasses import replace

import pytest

from lbsplice.config.model import (
    AddressKind,
    Endpoint,
    Global,
    Log,
    LogTarget,
    ProxyKind,
)
from lbsplice.errors import EnvironmentLacks
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.slots import assign
from lbsplice.report import hub as hub_module
from lbsplice.report.hub import Hub
from lbsplice.report.sinks import sink_key
from lbsplice.terms import LogFormat, LogLevel
from tests.support.records import PLACE, config, connected, ended, listen, refused, udp_log

NOW = 1795238402_733423_999


class Memory:
    """A sink that keeps its lines; a `full` one drops them."""

    def __init__(self, number):
        self.number = number
        self.lines = []
        self.full = False
        self.closed = False
        self.sent = self.dropped = 0

    def send(self, line):
        assert not self.closed
        assert line.endswith(b"\n")
        if self.full:
            self.dropped += 1
        else:
            self.sent += 1
            self.lines.append(line[:-1].decode())

    def close(self):
        self.closed = True

    def fileno(self):
        return -1 if self.closed else self.number


@pytest.fixture
def sinks(monkeypatch):
    """Every sink that was opened, by the port of its target."""
    opened = {}

    def open_memory(key):
        _, address = key
        if address.port == 666:
            raise EnvironmentLacks("log : no socket")
        assert address.port not in opened or opened[address.port].closed
        opened[address.port] = Memory(1000 + address.port)
        return opened[address.port]

    monkeypatch.setattr(hub_module, "open_sink", open_memory)
    return opened


def raw(port, **fields):
    return udp_log(port, format=LogFormat.RAW, **fields)


def hub_of(configuration, **settings):
    hub = Hub(configuration.global_, pid=4711, clock=lambda: NOW, **settings)
    hub.replace(configuration, assign(configuration))
    return hub


def test_session_goes_to_each_target_of_its_frontend(sinks):
    hub = hub_of(
        config(
            listen("a", tcplog=True, logs=(raw(1), raw(2))),
            listen("b", tcplog=True, logs=(raw(3),)),
        )
    )
    hub.session(ended(frontend=0))
    hub.sessions([ended(frontend=1), ended(frontend=1), connected(frontend=1)])
    assert [len(sinks[port].lines) for port in (1, 2, 3)] == [1, 1, 2]
    assert "] a a/s1 " in sinks[2].lines[0]


def test_a_target_is_opened_once_however_often_it_is_named(sinks):
    shared = raw(1)
    configuration = config(
        listen("a", logs=(shared, raw(1, facility="daemon"))),
        listen("b", logs=(shared,)),
        logs=(shared,),
    )
    hub_of(configuration)
    assert list(sinks) == [1]


def test_level_decides_at_each_target(sinks):
    logs = (raw(1), raw(2, max_level=LogLevel.NOTICE))
    hub = hub_of(config(listen(tcplog=True, log_separate_errors=True, logs=logs)))
    hub.sessions([ended(), refused()])
    assert [len(sinks[port].lines) for port in (1, 2)] == [2, 1]


def test_proxy_line_goes_to_that_proxys_targets_under_its_tag(sinks):
    hub = hub_of(
        config(
            listen("a", logs=(udp_log(1),), log_tag="own"),
            listen("b", logs=(udp_log(2),)),
            log_tag="common",
        )
    )
    hub.proxy_line("a", LogLevel.ALERT, "Server a/s1 is DOWN.")
    hub.proxy_line("b", LogLevel.NOTICE, "Server b/s1 is UP.\n")
    hub.proxy_line("nobody", LogLevel.NOTICE, "x")
    assert sinks[1].lines[0].startswith("<129>")
    assert sinks[1].lines[0].endswith(" own[4711]: Server a/s1 is DOWN.")
    assert sinks[2].lines[0].endswith(" common[4711]: Server b/s1 is UP.")


def test_without_log_tag_the_tag_is_the_programs_name(sinks):
    hub = hub_of(config(listen(logs=(udp_log(1),))), tag="haproxy")
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    assert sinks[1].lines[0].endswith(" haproxy[4711]: x")
    hub = hub_of(config(listen(logs=(udp_log(2),))))
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    assert sinks[2].lines[0].endswith(" lbsplice[4711]: x")


def test_own_hostname_is_asked_for(sinks, monkeypatch):
    monkeypatch.setattr(hub_module.socket, "gethostname", lambda: "vm")
    for name, shown in (("", " vm lbsplice["), ("lb1", " lb1 lbsplice[")):
        hub = hub_of(config(listen(logs=(udp_log(1),)), log_send_hostname=name))
        hub.proxy_line("www", LogLevel.NOTICE, "x")
        assert shown in sinks[1].lines[0]
        hub.close()


def test_frontend_and_backend_of_one_name_have_their_own_targets(sinks):
    front = listen(
        "x", kind=ProxyKind.FRONTEND, servers=(), default_backend="x", tcplog=True, logs=(raw(1),)
    )
    back = listen("x", kind=ProxyKind.BACKEND, binds=(), logs=(raw(2),))
    for order in ((front, back), (back, front)):
        hub = hub_of(config(*order))
        hub.session(ended())
        hub.proxy_line("x", LogLevel.ALERT, "Server x/s1 is DOWN.")
        assert [len(sinks[port].lines) for port in (1, 2)] == [1, 1]
        hub.close()


def test_process_line_goes_to_the_global_targets_also_before_a_configuration(sinks):
    hub = Hub(Global(logs=(raw(1),)), pid=1, clock=lambda: NOW)
    hub.process_line(LogLevel.INFO, "begins")
    hub.session(ended())  # nobody's yet
    hub.proxy_line("www", LogLevel.ALERT, "nobody's")
    assert sinks[1].lines == ["begins"]


def test_reload_keeps_sinks_that_stay_and_closes_those_that_go(sinks):
    old = config(listen(logs=(raw(1), raw(2))))
    new = config(listen(logs=(raw(2), raw(3))))
    hub = hub_of(old)
    first, second = sinks[1], sinks[2]
    first.full = True
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    hub.replace(new, assign(new, assign(old)))
    hub.proxy_line("www", LogLevel.NOTICE, "y")
    assert first.closed
    assert second.lines == ["x", "y"]
    assert sinks[3].lines == ["y"]
    assert hub.dropped == 1, "what a closed target dropped stays counted"


def test_sessions_of_a_removed_frontend_go_where_they_went(sinks):
    old = config(listen("old", tcplog=True, logs=(raw(1),)))
    new = config(listen("new", tcplog=True, logs=(raw(2),)))
    hub = hub_of(old)
    after = Inventory.first(old).after(new)
    hub.replace(new, after.numbers, after.leaving)
    hub.sessions([ended(), ended(frontend=1, backend=1, slot=1)])
    assert "] old old/s1 " in sinks[1].lines[0]
    assert "] new new/s1 " in sinks[2].lines[0]


def test_reload_that_fails_changes_nothing(sinks):
    old = config(listen(logs=(raw(1),)))
    new = config(listen(logs=(raw(2), raw(666))))
    hub = hub_of(old)
    with pytest.raises(EnvironmentLacks):
        hub.replace(new, assign(new, assign(old)))
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    assert sinks[1].lines == ["x"]
    hub.close()
    assert sinks[2].closed


def test_drops_are_counted_for_each_target_and_in_all(sinks):
    logs = (raw(1), raw(2))
    hub = hub_of(config(listen(tcplog=True, logs=logs)))
    sinks[2].full = True
    hub.sessions([ended()] * 5)
    assert hub.dropped == 5
    assert hub.dropped_by_target == {sink_key(logs[0]): 0, sink_key(logs[1]): 5}


def test_after_close_nothing_is_held_and_nothing_is_said(sinks):
    hub = hub_of(config(listen(tcplog=True, logs=(raw(1),)), logs=(raw(2),)))
    assert hub.descriptors == (1002, 1001)
    sinks[1].full = True
    hub.session(ended())
    hub.close()
    hub.session(ended())
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    hub.process_line(LogLevel.NOTICE, "x")
    assert sinks[1].closed
    assert sinks[2].closed
    assert hub.descriptors == ()
    assert hub.dropped == 1


def test_an_address_that_was_not_resolved_is_our_own_error():
    name = Endpoint(AddressKind.NAME, "loghost", 514)
    with pytest.raises(ValueError, match="loghost"):
        Hub(Global(logs=(Log(PLACE, LogTarget.UDP, name, "local0"),)), pid=1)


def test_a_line_of_another_facility_to_the_same_target_is_its_own(sinks):
    log = udp_log(1, format=LogFormat.PRIORITY)
    hub = hub_of(config(listen(logs=(log, replace(log, facility="daemon")))))
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    assert sinks[1].lines == ["<133>x", "<29>x"]


def test_a_reload_that_has_to_make_do_keeps_the_targets_of_before(sinks):
    old = config(listen(logs=(raw(1),)), logs=(raw(4),))
    new = config(listen(logs=(raw(666),)), listen("new", logs=(raw(666),)), logs=(raw(666),))
    hub = hub_of(old)
    hub.replace(new, assign(new, assign(old)), make_do=True)
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    hub.proxy_line("new", LogLevel.NOTICE, "nobody's")
    hub.process_line(LogLevel.NOTICE, "y")
    assert sinks[1].lines == ["x"]
    assert sinks[4].lines == ["y"]


def test_what_was_prepared_is_used(sinks):
    setup = config(listen(logs=(raw(1),)))
    hub = Hub(setup.global_, pid=1, clock=lambda: NOW)
    hub.prepare(setup)
    opened = sinks[1]
    hub.replace(setup, assign(setup))
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    assert opened.lines == ["x"]


def test_another_pid_stands_in_the_lines_from_then_on(sinks):
    hub = hub_of(config(listen(logs=(udp_log(1),))))
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    hub.set_pid(99)
    hub.proxy_line("www", LogLevel.NOTICE, "x")
    assert ["[4711]" in line for line in sinks[1].lines] == [True, False]
    assert "[99]" in sinks[1].lines[1]


def test_servers_that_are_gone_are_told_of_where_their_backend_told(sinks):
    old = config(listen("old", logs=(raw(1),)))
    new = config(listen("new", logs=(raw(2),)))
    hub = hub_of(old)
    after = Inventory.first(old).after(new)
    hub.replace(new, after.numbers, after.leaving)
    hub.proxy_line("old", LogLevel.ALERT, "Server old/s1 (no longer configured) is DOWN")
    assert len(sinks[1].lines) == 1
    hub.replace(new, assign(new))
    hub.proxy_line("old", LogLevel.ALERT, "nobody's")
    assert sinks[1].closed
