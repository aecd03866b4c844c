"""When the checker asks whom, against a clock of its own, and where its checks go."""

import asyncio
import heapq
import selectors

import pytest

from lbsplice.config.model import (
    AddressKind,
    Check,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
    Server,
    Source,
)
from lbsplice.errors import ConfigError
from lbsplice.health.checker import Checker
from lbsplice.health.judge import CheckResult
from lbsplice.health.target import target_of
from lbsplice.roster import Roster
from lbsplice.terms import AdminState, CheckStatus

PLACE = Place("t.cfg", 1)
KEY = ("b", "s1")
PASSED = CheckResult(True, CheckStatus.L4_OK, 0)
FAILED = CheckResult(False, CheckStatus.L4_TIMEOUT, 0)


class FakeClockLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while there is work and jumps to the next timer when not."""

    def __init__(self):
        super().__init__(selectors.SelectSelector())
        self.now = 1000.0
        self._select, self._selector.select = self._selector.select, self._jump

    def time(self):
        return self.now

    def _jump(self, timeout=None):
        events = self._select(0)
        if not events and timeout and self._scheduled:
            live = [each for each in self._scheduled if not each.cancelled()]
            heapq.heapify(live)
            self.now = max(self.now, live[0].when()) if live else self.now
        return events


def config(*servers, spread=0, **words):
    proxy = Proxy(PLACE, ProxyKind.BACKEND, "b", 2, servers=servers, **words)
    return Config(Global(spread_checks=spread), (proxy,))


def checked(name="s1", address=("127.0.0.1", 1), disabled=False, **words):
    endpoint = Endpoint(AddressKind.IPV4, *address)
    return Server(PLACE, name, 1, endpoint, check=Check(enabled=True, **words), disabled=disabled)


def pace(setup, answers, *, seconds, draw=lambda: 0.5, admin=None, cost=0.0):
    """Run a checker against scripted answers in fake time; (time, server) of each check."""
    loop = FakeClockLoop()
    began, seen = loop.time(), []

    async def run():
        roster = Roster(setup)
        script = iter(answers)

        async def probe(where, limit_s):
            seen.append((round(loop.time() - began, 3), where.address[1]))
            await asyncio.sleep(cost)
            return next(script)

        def on_result(key, result):
            roster.check_result(key, result, loop.time())

        checker = Checker(setup, on_result, state_of=roster.state, probe=probe, draw=draw)
        checker.start()
        for at, key, state in admin or ():
            await asyncio.sleep(began + at - loop.time())
            roster.set_admin(key, state, loop.time())
        await asyncio.sleep(began + seconds - loop.time())
        await checker.stop()

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return seen


def times(seen):
    return [at for at, _ in seen]


def test_the_pace_follows_the_health():
    setup = config(checked(inter=2000, fastinter=300, downinter=5000, rise=2, fall=3))
    answers = [PASSED, FAILED, FAILED, FAILED, PASSED, PASSED, PASSED, PASSED]
    seen = times(pace(setup, answers, seconds=11.0))
    #               up   2/3  1/3  down 1/2  up   up
    assert seen == [0.0, 2.0, 2.3, 2.6, 7.6, 7.9, 9.9]


def test_a_check_starts_one_interval_after_the_end_of_the_last():
    setup = config(checked(inter=1000, fall=1, rise=1))
    assert times(pace(setup, [FAILED] * 9, seconds=4, cost=0.7)) == [0.0, 1.7, 3.4]


def test_first_checks_are_spread_in_the_order_of_the_configuration():
    setup = config(*(checked(f"s{n}", ("127.0.0.1", n), inter=2000) for n in range(1, 5)))
    assert pace(setup, [PASSED] * 9, seconds=1.9) == [(0.0, 1), (0.5, 2), (1.0, 3), (1.5, 4)]


def test_spread_checks_moves_each_interval():
    setup = config(checked(inter=1000, fall=1), spread=50)
    draws = iter([0.0, 1.0, 0.5, 0.5])
    seen = pace(setup, [PASSED] * 9, seconds=3.4, draw=lambda: next(draws))
    assert times(seen) == [0.0, 0.5, 2.0, 3.0]


def test_a_server_in_maintenance_is_left_alone_until_it_is_back():
    setup = config(checked(inter=1000, disabled=True))
    admin = [(2.5, KEY, AdminState.READY), (5.5, KEY, AdminState.MAINT)]
    assert times(pace(setup, [PASSED] * 9, seconds=9, admin=admin)) == [3.0, 4.0, 5.0]


def test_unchecked_servers_and_disabled_backends_are_not_asked():
    plain = Server(PLACE, "s1", 1, Endpoint(AddressKind.IPV4, "127.0.0.1", 1))
    assert pace(config(plain), [], seconds=9) == []
    assert pace(config(checked(), disabled=True), [], seconds=9) == []


def test_an_error_of_ours_ends_the_checks_and_is_raised():
    setup = config(checked(inter=100))

    async def run():
        def broken(key, result):
            raise ZeroDivisionError

        roster = Roster(setup)
        checker = Checker(setup, broken, state_of=roster.state)
        task = checker.start()
        await asyncio.wait([task], timeout=5)
        assert isinstance(task.exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            await checker.stop()
        await checker.stop()

    asyncio.run(run())


# ---- where a check goes ----


def endpoint(host, port=None, kind=AddressKind.IPV4, relative=False):
    return Endpoint(kind, host, port, relative)


def aimed(where, *, port=None, address=None, source=None, backend_source=None):
    check = Check(enabled=True, port=port, address=address)
    it = Server(PLACE, "s1", 1, where, check=check, source=source)
    return target_of(Proxy(PLACE, ProxyKind.BACKEND, "b", 2, source=backend_source), it)


def test_port_and_addr_override_the_servers():
    here = endpoint("127.0.0.1", 81)
    assert aimed(here).address == ("127.0.0.1", 81)
    assert aimed(here, port=82).address == ("127.0.0.1", 82)
    assert aimed(here, address=endpoint("127.0.0.2")).address == ("127.0.0.2", 81)
    assert aimed(here, address=endpoint("127.0.0.2", 83)).address == ("127.0.0.2", 83)
    assert aimed(endpoint("127.0.0.1", 1, relative=True), port=82).address == ("127.0.0.1", 82)
    assert aimed(endpoint("::1", 81, AddressKind.IPV6)).address[:2] == ("::1", 81)
    assert aimed(endpoint("/s", kind=AddressKind.UNIX)).address == "/s"
    assert aimed(endpoint("s", kind=AddressKind.ABSTRACT)).address == "\0s".ljust(108, "\0")


def test_the_source_is_the_servers_else_the_backends_and_never_with_a_port():
    mine = Source(endpoint("127.0.0.8", 700), 700, 800, "lo")
    theirs = Source(endpoint("127.0.0.9"))
    here = endpoint("127.0.0.1", 81)
    assert aimed(here, source=mine, backend_source=theirs).source == ("127.0.0.8", 0)
    assert aimed(here, source=mine).interface == "lo"
    assert aimed(here, backend_source=theirs).source == ("127.0.0.9", 0)


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (endpoint("127.0.0.1"), "no port"),
        (endpoint("127.0.0.1", 5, relative=True), "no port"),
        (endpoint("db", 5, AddressKind.NAME), "no address"),
        (endpoint("x" * 108, kind=AddressKind.UNIX), "longer than"),
    ],
)
def test_a_check_that_has_nowhere_to_go_is_a_config_error(where, text):
    with pytest.raises(ConfigError, match=text):
        aimed(where)
