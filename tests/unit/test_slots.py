"""Numbers stay with what stays, and are not given again too early."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from lbsplice.config.model import (
    AddressKind,
    Bind,
    Config,
    Endpoint,
    Global,
    Place,
    Proxy,
    ProxyKind,
    Server,
)
from lbsplice.plan.slots import Numbers, assign

PLACE = Place("lb.cfg", 1)
ENDPOINT = Endpoint(AddressKind.IPV4, "10.0.0.1", 80)


def listen(name: str, *servers: str, binds: int = 1, kind: ProxyKind = ProxyKind.LISTEN) -> Proxy:
    return Proxy(
        PLACE,
        kind,
        name,
        2,
        binds=tuple(Bind(PLACE, ENDPOINT) for _ in range(binds)),
        servers=tuple(Server(PLACE, server, i + 1, ENDPOINT) for i, server in enumerate(servers)),
    )


def config(*proxies: Proxy) -> Config:
    return Config(Global(), proxies)


def test_a_first_generation_counts_from_zero():
    numbers = assign(config(listen("a", "x", "y", binds=2), listen("b", "x")))
    assert numbers.frontends == {"a": 0, "b": 1}
    assert numbers.backends == {"a": 0, "b": 1}
    assert numbers.listeners == {("a", 0): 0, ("a", 1): 1, ("b", 0): 2}
    assert numbers.slots == {("a", "x"): 0, ("a", "y"): 1, ("b", "x"): 2}


def test_a_frontend_has_no_backend_number_and_the_other_way_round():
    numbers = assign(
        config(
            listen("f", kind=ProxyKind.FRONTEND), listen("b", "x", binds=0, kind=ProxyKind.BACKEND)
        )
    )
    assert numbers.frontends == {"f": 0}
    assert numbers.backends == {"b": 0}
    assert numbers.slots == {("b", "x"): 0}


def test_disabled_proxies_have_numbers_too():
    off = dataclasses.replace(listen("a", "x"), disabled=True)
    assert assign(config(off)).slots == {("a", "x"): 0}


def test_what_stays_keeps_its_number_wherever_it_stands():
    before = assign(config(listen("a", "x", "y", "z")))
    after = assign(config(listen("new", "n"), listen("a", "z", "x")), before)
    assert after.slots[("a", "z")] == 2
    assert after.slots[("a", "x")] == 0


def test_a_removed_number_rests_for_one_generation():
    first = assign(config(listen("a", "x", "y")))
    second = assign(config(listen("a", "y", "n")), first)
    assert second.slots == {("a", "y"): 1, ("a", "n"): 2}
    third = assign(config(listen("a", "y", "n", "m")), second)
    assert third.slots[("a", "m")] == 0


def test_a_server_that_comes_back_is_a_new_one():
    first = assign(config(listen("a", "x", "y")))
    second = assign(config(listen("a", "y")), first)
    third = assign(config(listen("a", "y", "x", "z")), second)
    assert third.slots == {("a", "y"): 1, ("a", "x"): 0, ("a", "z"): 2}


def test_a_slot_with_sessions_is_not_given_to_a_new_server():
    first = assign(config(listen("a", "x", "y")))
    second = assign(config(listen("a", "y")), first)
    taken = Numbers(slots={("a", "x#0"): 0})
    third = assign(config(listen("a", "y", "n")), second, taken=taken)
    assert third.slots == {("a", "y"): 1, ("a", "n"): 2}


def test_a_number_leads_back_to_its_key():
    numbers = assign(config(listen("a", "x", binds=2), listen("b", "x")))
    assert numbers.slot_keys[1] == ("b", "x")
    assert numbers.frontend_names[1] == "b"
    assert numbers.backend_names[0] == "a"
    assert numbers.listener_keys[1] == ("a", 1)


names = st.sets(st.sampled_from("abcdefgh"))


@given(st.lists(names, min_size=1, max_size=8))
def test_over_any_reloads_numbers_are_unique_stable_and_rested(generations: list[set[str]]):
    before = Numbers()
    for servers in generations:
        after = assign(config(listen("p", *sorted(servers))), before)
        assert len(set(after.slots.values())) == len(servers)
        for key in after.slots:
            if key in before.slots:
                assert after.slots[key] == before.slots[key]
            else:
                assert after.slots[key] not in before.slots.values()
        before = after
