"""Orders are pending until every thread has obeyed."""

from __future__ import annotations

from lbsplice.kill_orders import KillOrder, KillOrders


def test_an_order_is_pending_until_the_last_thread_has_answered():
    orders = KillOrders(3)
    orders.give(KillOrder(5, 1.0))
    assert not orders.answered(5, 0)
    assert not orders.answered(5, 2)
    assert orders.pending == (KillOrder(5, 1.0),)
    assert orders.answered(5, 1)
    assert orders.pending == ()


def test_the_answer_of_one_order_does_not_count_for_the_next():
    orders = KillOrders(2)
    orders.give(KillOrder(5, 1.0))
    orders.answered(5, 0)
    orders.give(KillOrder(5, 2.0))
    for thread in (0, 1):
        assert not orders.answered(5, thread)
    assert orders.pending == (KillOrder(5, 2.0),)
    assert orders.answered(5, 1)


def test_answers_that_nobody_waits_for_are_passed_over():
    orders = KillOrders(1)
    assert not orders.answered(5, 0)
    orders.give_one_by_one(KillOrder(5, 1.0), 0)
    assert not orders.answered(5, 0)
    assert orders.pending == (KillOrder(5, 1.0),)


def test_sessions_that_are_ended_one_by_one_are_done_with_a_plan():
    orders = KillOrders(2)
    orders.give_one_by_one(KillOrder(5, 1.0), 0)
    assert not orders.taken(100), "its plan is not published yet"
    orders.give_one_by_one(KillOrder(5, 1.0), 7)
    assert not orders.taken(6)
    assert orders.taken(7)
    assert orders.pending == ()
