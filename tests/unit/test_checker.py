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
from lbsplice.health.checker import Checker, watched
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
    spread = setup.global_.spread_checks

    async def run():
        roster = Roster(setup)
        script = iter(answers)

        async def probe(where, limit_s):
            seen.append((round(loop.time() - began, 3), where.address[1]))
            await asyncio.sleep(cost)
            return next(script)

        def on_result(key, result):
            roster.check_result(key, result, loop.time())

        checker = Checker(
            watched(setup),
            on_result,
            state_of=roster.state,
            spread_checks=spread,
            probe=probe,
            draw=draw,
        )
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
        checker = Checker(watched(setup), broken, state_of=roster.state)
        task = checker.start()
        await asyncio.wait([task], timeout=5)
        assert isinstance(task.exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            await checker.stop()
        await checker.stop()

    asyncio.run(run())


# ---- another configuration, another process ----


class Bench:
    """A checker in fake time whose probes are noted and answer after `cost` seconds."""

    def __init__(self, setup, *, due=None, cost=0.0):
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.roster = Roster(setup)
        self.cost = cost
        self.seen = []
        self.checker = Checker(
            watched(setup),
            lambda key, result: self.roster.check_result(key, result, self.loop.time()),
            state_of=lambda key: self.roster.state(key),
            probe=self.probe,
            draw=lambda: 0.5,
            due={key: self.began + at for key, at in (due or {}).items()},
        )
        self.checker.start()

    async def probe(self, where, limit_s):
        at = round(self.loop.time() - self.began, 3)
        self.seen.append((at, where.address[1], round(limit_s, 3)))
        await asyncio.sleep(min(self.cost, limit_s))
        return PASSED

    async def until(self, seconds):
        await asyncio.sleep(self.began + seconds - self.loop.time())

    def due(self):
        return {key: round(at - self.began, 3) for key, at in self.checker.due.items()}


def in_fake_time(run):
    loop = FakeClockLoop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


def test_who_takes_over_goes_on_when_the_next_check_is_due():
    setup = config(checked("s1", ("127.0.0.1", 1)), checked("s2", ("127.0.0.1", 2)))

    async def run():
        it = Bench(setup, due={("b", "s1"): 0.7, ("b", "s2"): 1.4})
        await it.until(2.0)
        assert it.due() == {("b", "s1"): 2.7, ("b", "s2"): 3.4}
        await it.checker.stop()
        return it.seen

    assert in_fake_time(run) == [(0.7, 1, 2.0), (1.4, 2, 2.0)]


@pytest.mark.parametrize(("ago", "left"), [(0.0, 2.0), (0.5, 1.5), (1.9, 0.5), (60.0, 0.5)])
def test_a_check_that_was_under_way_is_begun_anew_with_what_is_left_of_its_time(ago, left):
    async def run():
        it = Bench(config(checked()), due={KEY: -ago}, cost=9)
        await it.until(0.1)
        assert it.due() == {KEY: -ago}, "the next to take over knows as well"
        await it.until(left + 2.1)
        await it.checker.stop()
        return it.seen

    assert in_fake_time(run) == [(0.0, 1, left), (left + 2.0, 1, 2.0)]


def test_a_crash_every_second_does_not_put_a_check_off_for_ever():
    """A silent server with `inter 2s`, asked by one process after the other."""

    async def run():
        due, results = {}, []
        loop = asyncio.get_running_loop()
        roster = Roster(config(checked(fall=1)))

        async def silent(where, limit_s):
            await asyncio.sleep(limit_s)
            return FAILED

        for _ in range(4):
            checker = Checker(
                watched(config(checked(fall=1))),
                lambda key, result: results.append(loop.time()),
                state_of=roster.state,
                probe=silent,
                due=due,
            )
            checker.start()
            await asyncio.sleep(0.9)
            due = checker.due
            await checker.stop()
        return results

    assert len(in_fake_time(run)) == 1


def test_a_reload_does_not_disturb_who_is_checked_as_before():
    before = config(checked("s1", ("127.0.0.1", 1)), checked("s2", ("127.0.0.1", 2)))
    slower = checked("s2", ("127.0.0.1", 2), inter=4000)
    after = config(checked("s1", ("127.0.0.1", 1)), slower, checked("s3", ("127.0.0.1", 3)))

    async def run():
        it = Bench(before, due={("b", "s1"): 0.0, ("b", "s2"): 0.0}, cost=0.2)
        await it.until(0.1)  # both are being asked
        it.roster = Roster(after)
        it.checker.replace(watched(after), 0)
        await it.until(2.3)
        await it.checker.stop()
        return it.seen

    seen = in_fake_time(run)
    assert [at for at, port, _ in seen if port == 1] == [0.0, 2.2]
    assert [at for at, port, _ in seen if port == 2] == [0.0, 0.1], "begun anew, then 4 s"
    assert [port for _, port, _ in seen].count(3) == 1


def test_who_is_not_watched_any_more_is_not_asked_and_not_remembered():
    async def run():
        it = Bench(config(checked("s1", ("127.0.0.1", 1)), checked("s2", ("127.0.0.1", 2))))
        await it.until(0.1)
        it.checker.replace(watched(config(checked("s2", ("127.0.0.1", 2)))), 0)
        await it.until(9.0)
        assert set(it.checker.due) == {("b", "s2")}
        await it.checker.stop()
        return [port for _, port, _ in it.seen]

    assert in_fake_time(run).count(1) == 1


def test_checks_that_were_stopped_go_on_where_they_were():
    async def run():
        it = Bench(config(checked()))
        await it.until(0.5)
        await it.checker.stop()
        await it.until(1.0)
        it.checker.start()
        await it.until(2.5)
        await it.checker.stop()
        return [at for at, _, _ in it.seen]

    assert in_fake_time(run) == [0.0, 2.0]


def test_servers_that_are_leaving_are_watched_too():
    left = config(checked("gone#4")).proxies
    assert [each.key for each in watched(config(checked()), left)] == [KEY, ("b", "gone#4")]


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
