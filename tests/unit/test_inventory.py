"""What keeps its number over reloads, and what leaves."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from lbsplice.memory import inventory_of, inventory_text
from lbsplice.plan.compile import compile_plan
from lbsplice.plan.inventory import Inventory
from lbsplice.plan.leaving import Leaving, server_key
from tests.unit.config_reading import TIMEOUTS, config


def listen(name, *servers, binds=("127.0.0.1:80",), more=""):
    lines = [f" bind {each}" for each in binds] + [f" server {each}" for each in servers]
    return f"listen {name}\n{TIMEOUTS}{more}" + "\n".join(lines) + "\n"


def leaving_servers(inventory):
    return [server_key(proxy) for proxy in inventory.leaving.servers]


def test_first_is_like_a_reload_of_nothing():
    one = config(listen("l", "a 10.0.0.1:1", "b 10.0.0.2:1"))
    assert Inventory.empty().after(one) == Inventory.first(one)


def test_the_same_configuration_again_changes_nothing():
    one = config(listen("l", "a 10.0.0.1:1", "b 10.0.0.2:1"))
    before = Inventory.first(one)
    assert before.after(one) == before


def test_a_removed_server_leaves_under_a_name_of_its_own():
    before = Inventory.first(config(listen("l", "a 10.0.0.1:1", "b 10.0.0.2:1")))
    after = before.after(config(listen("l", "b 10.0.0.2:1")))
    assert leaving_servers(after) == [("l", "a#0")]
    assert after.numbers.slots == {("l", "b"): 1, ("l", "a#0"): 0}
    assert not after.leaving.frontends
    assert not after.leaving.backends


def test_a_server_at_another_address_is_another_server():
    before = Inventory.first(config(listen("l", "a 10.0.0.1:1")))
    after = before.after(config(listen("l", "a 10.0.0.9:1")))
    assert after.numbers.slots == {("l", "a"): 1, ("l", "a#0"): 0}
    assert after.same_servers(before) == {("l", "a#0"): ("l", "a")}
    third = after.after(config(listen("l", "a 10.0.0.8:1")))
    assert third.numbers.slots == {("l", "a"): 2, ("l", "a#0"): 0, ("l", "a#1"): 1}


def test_a_server_that_comes_back_is_the_one_that_left():
    one = config(listen("l", "a 10.0.0.1:1"))
    before = Inventory.first(one)
    between = before.after(config(listen("l", "a 10.0.0.9:1")))
    after = between.after(one)
    assert after.numbers.slots == {("l", "a"): 0, ("l", "a#1"): 1}
    assert after.same_servers(between) == {("l", "a"): ("l", "a#0"), ("l", "a#1"): ("l", "a")}


def test_changed_settings_change_no_number():
    before = Inventory.first(config(listen("l", "a 10.0.0.1:1 weight 3 check")))
    after = before.after(config(listen("l", "a 10.0.0.1:1 weight 7", more=" balance leastconn\n")))
    assert after.numbers == before.numbers
    assert not after.leaving


def test_a_removed_proxy_leaves_whole():
    before = Inventory.first(config(listen("old", "a 10.0.0.1:1"), listen("l", "b 10.0.0.2:1")))
    after = before.after(config(listen("l", "b 10.0.0.2:1")))
    assert [proxy.name for proxy in after.leaving.frontends] == ["old"]
    assert [proxy.name for proxy in after.leaving.backends] == ["old"]
    assert leaving_servers(after) == [("old", "a#0")]
    assert after.numbers.frontends == {"old": 0, "l": 1}
    plan = compile_plan(
        after.config,
        after.numbers,
        lambda key: 1,
        generation=1,
        maxconn=9,
        leaving=after.leaving,
    )
    assert {row.number for row in plan.frontends} == {0, 1}
    assert {row.number: row.usable for row in plan.backends} == {0: (), 1: (1,)}
    assert {row.number: row.weight for row in plan.slots} == {0: 0, 1: 1}
    assert [row.frontend for row in plan.listeners] == [1]


def test_a_disabled_proxy_leaves_and_returns_with_its_numbers():
    on = listen("l", "a 10.0.0.1:1")
    before = Inventory.first(config(on))
    off = before.after(config(on + " disabled\n"))
    assert leaving_servers(off) == [("l", "a#0")]
    back = off.after(config(on))
    assert back == before


def test_numbers_of_what_is_leaving_are_not_given_again():
    before = Inventory.first(config(listen("old", "a 10.0.0.1:1")))
    after = before.after(config(listen("new", "a 10.0.0.1:1")))
    assert after.numbers.frontends == {"old": 0, "new": 1}
    assert after.numbers.backends == {"old": 0, "new": 1}
    assert after.numbers.slots == {("old", "a#0"): 0, ("new", "a"): 1}
    again = after.after(config(listen("new", "a 10.0.0.1:1"), listen("third", "a 10.0.0.1:1")))
    assert again.numbers.slots[("third", "a")] == 2


def test_what_has_no_sessions_any_more_is_forgotten_backends_last():
    before = Inventory.first(config(listen("old", "a 10.0.0.1:1", "b 10.0.0.2:1")))
    after = before.after(config(listen("new", "c 10.0.0.3:1")))
    servers = after.leaving.servers
    one = after.without(Leaving(after.leaving.frontends, after.leaving.backends, servers[:1]))
    assert leaving_servers(one) == [("old", "b#1")]
    assert [proxy.name for proxy in one.leaving.backends] == ["old"]
    assert set(one.numbers.frontends) == {"new"}
    none = one.without(one.leaving)
    assert not none.leaving
    assert none.numbers == after.numbers.__class__(
        {("new", 0): 1}, {"new": 1}, {"new": 1}, {("new", "c"): 2}
    )
    assert none.without(none.leaving) is none


def test_a_listener_is_the_same_where_its_address_is():
    before = Inventory.first(config(listen("l", binds=("127.0.0.1:80", "127.0.0.1:81"))))
    swapped = before.after(config(listen("l", binds=("127.0.0.1:81", "127.0.0.1:82"))))
    assert swapped.numbers.listeners == {("l", 0): 1, ("l", 1): 2}


CONFIGS = st.lists(
    st.dictionaries(
        st.sampled_from("pqr"),
        st.dictionaries(st.sampled_from("ab"), st.integers(1, 2), max_size=2),
        min_size=1,
        max_size=3,
    ),
    min_size=2,
    max_size=6,
)


@given(CONFIGS)
def test_any_reloads_keep_every_server_its_slot_and_give_no_slot_twice(texts):
    known = {}
    inventory = Inventory.empty()
    for proxies in texts:
        text = "".join(
            listen(name, *(f"{server} 10.0.0.{host}:1" for server, host in servers.items()))
            for name, servers in proxies.items()
        )
        before, inventory = inventory, inventory.after(config(text))
        slots = inventory.numbers.slots
        assert len(set(slots.values())) == len(slots)
        for (backend, name), slot in slots.items():
            plain = name.partition("#")[0]
            proxy = next(
                p
                for p in (*inventory.config.proxies, *inventory.leaving.servers)
                if p.name == backend and any(s.name == name for s in p.servers)
            )
            (endpoint,) = [s.endpoint for s in proxy.servers if s.name == name]
            assert known.setdefault(slot, (backend, plain, endpoint)) == (backend, plain, endpoint)
        assert set(before.numbers.slots.values()) <= set(slots.values())
        again = inventory_of(json.loads(json.dumps(inventory_text(inventory))))
        assert again.numbers == inventory.numbers
        assert again.leaving == inventory.leaving
        assert again.config.proxies == inventory.config.proxies
