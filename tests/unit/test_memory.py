"""What the journal holds, as values and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lbsplice.edits import Edits
from lbsplice.health.judge import CheckResult
from lbsplice.kill_orders import KillOrder, SessionOrder
from lbsplice.memory import Bases, Memory, Texts, inventory_text
from lbsplice.plain import PlainError
from lbsplice.plan.inventory import Inventory
from lbsplice.roster import Roster
from lbsplice.terms import AdminState, Cause, CheckStatus
from tests.unit.config_reading import TIMEOUTS, config

CONFIG = config(f"listen l\n{TIMEOUTS} server a 10.0.0.1:1 check\n server b 10.0.0.2:1\n")
A, B = ("l", "a"), ("l", "b")


def memory():
    roster = Roster(CONFIG, 5.0)
    roster.check_result(A, CheckResult(False, CheckStatus.L4_TIMEOUT, 200, "no"), 6.0)
    roster.set_admin(B, AdminState.DRAIN, 7.0)
    roster.set_weight(A, 9)
    return Memory(
        inventory_text(Inventory.first(CONFIG)),
        generation=12,
        accepting=False,
        ending=Cause.KILLED,
        states=roster.states,
        due={A: 8.25},
        kills=(KillOrder(0, 6.5),),
        bases=Bases(slots=((3, (1, 2, 3)),)),
    )


def written(one):
    return json.loads(json.dumps(one.to_json()))


def test_everything_comes_back():
    assert Memory.from_json(written(memory())) == memory()


def test_texts_say_the_same_as_the_values_whatever_changed_between():
    texts, one = Texts(), memory()
    later = replace(
        one,
        states={**one.states, A: replace(one.states[A], health=0)},
        due={A: 9.5},
        sessions=(SessionOrder(77, 8.0),),
        history="[1]",
        edits=Edits(maxconn=5, limit=9),
    )
    for each in (one, one, later, replace(later, states={A: later.states[A]}), one):
        assert Memory.from_json(json.loads(texts.of(each))) == each


def test_an_older_release_wrote_less():
    assert Memory.from_json({"version": 1}) == Memory("{}")


def test_a_later_release_wrote_more():
    content = written(memory()) | {"later": [1]}
    content["servers"][0]["state"]["mood"] = "good"
    assert Memory.from_json(content) == memory()


def test_what_can_not_be_read_is_left_out():
    content = written(memory())
    content["servers"][0]["state"]["admin"] = "hibernating"
    content["kills"].append({"slot": "x"})
    found = Memory.from_json(content)
    assert set(found.states) == {B}
    assert found.kills == memory().kills


@pytest.mark.parametrize(
    "content", [{}, {"version": "1"}, {"version": 2}, {"version": 1, "inventory": 3}]
)
def test_what_is_not_ours_is_refused(content):
    with pytest.raises(PlainError):
        Memory.from_json(content)


def test_a_state_that_has_its_defaults_is_written_short():
    state = replace(Roster(CONFIG).state(A))
    content = written(Memory("{}", states={A: state}))["servers"][0]
    assert set(content["state"]) == {"admin", "health", "rise", "fall", "checked", "config_weight"}
