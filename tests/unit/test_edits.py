"""What operators changed of the configuration, over crashes and reloads."""

from __future__ import annotations

import json
from dataclasses import replace

from lbsplice.config.model import AddressKind, Endpoint
from lbsplice.edits import Edits, FrontendEdit
from lbsplice.plain import made, plain
from tests.unit.config_reading import TIMEOUTS, config

MOVED = Endpoint(AddressKind.IPV4, "10.0.0.9", 80)


def listen(*servers, maxconn=100):
    lines = "".join(f" server {each}\n" for each in servers)
    return config(f"listen l\n{TIMEOUTS} maxconn {maxconn}\n{lines}")


FILE = listen("a 10.0.0.1:80", "b 10.0.0.2:80")
A, B = FILE.proxies[0].servers
NEW = replace(A, name="n", id=3, disabled=True)
EVERY = (
    Edits(maxconn=50, limit=1000)
    .with_address(("l", "a"), A.endpoint, MOVED)
    .with_server("l", NEW)
    .without_server(("l", "b"), configured=True)
    .with_frontend(FrontendEdit("l", paused=True, limited=True, configured=100, maxconn=7))
)


def servers(config):
    return {each.name: each.endpoint.host for each in config.proxies[0].servers}


def test_nothing_changes_nothing():
    assert Edits().applied(FILE) is FILE


def test_everything_is_applied():
    config = EVERY.applied(FILE)
    assert servers(config) == {"a": "10.0.0.9", "n": "10.0.0.1"}
    assert config.proxies[0].maxconn == 7
    assert EVERY.quiet == {"l"}
    assert EVERY.maxconn_of(1000) == 50
    assert EVERY.maxconn_of(20) == 20


def test_the_journal_brings_it_back():
    assert made(Edits, json.loads(json.dumps(plain(EVERY)))) == EVERY


def test_a_reload_of_the_same_file_keeps_what_was_set_and_drops_what_came_and_went():
    after = EVERY.over_reload(FILE, 1000)
    assert servers(after.applied(FILE)) == {"a": "10.0.0.9", "b": "10.0.0.2"}
    assert after.applied(FILE).proxies[0].maxconn == 7
    assert after.quiet == {"l"}
    assert after.maxconn_of(1000) == 50


def test_the_file_wins_where_it_was_changed():
    file = listen("a 10.0.0.5:80", "b 10.0.0.2:80", maxconn=30)
    after = EVERY.over_reload(file, 2000)
    assert servers(after.applied(file)) == {"a": "10.0.0.5", "b": "10.0.0.2"}
    assert after.applied(file).proxies[0].maxconn == 30
    assert after.maxconn_of(2000) == 2000


def test_a_frontend_that_was_shut_is_back_after_a_reload():
    edits = Edits().with_frontend(FrontendEdit("l", shut=True))
    assert edits.quiet == {"l"}
    assert edits.over_reload(FILE, 0) == Edits()


def test_what_is_gone_from_the_file_is_forgotten():
    other = config(f"listen x\n{TIMEOUTS} server a 10.0.0.1:80\n")
    assert EVERY.over_reload(other, 2000) == Edits()


def test_a_server_that_comes_home_is_not_moved_any_more():
    edits = Edits().with_address(("l", "a"), A.endpoint, MOVED)
    assert edits.with_address(("l", "a"), A.endpoint, A.endpoint) == Edits()


def test_a_server_that_was_added_is_removed_without_a_trace():
    edits = Edits().with_server("l", NEW)
    assert edits.without_server(("l", "n"), configured=False) == Edits()


def test_one_of_the_same_name_takes_the_place_of_one_that_was_removed():
    edits = Edits().without_server(("l", "b"), configured=True)
    again = replace(B, endpoint=MOVED)
    assert servers(edits.with_server("l", again).applied(FILE)) == {
        "a": "10.0.0.1",
        "b": "10.0.0.9",
    }
