"""`lbsplice explain`: what it says of a session in each situation."""

from dataclasses import replace

import pytest

from lbsplice.admin.explain import Case, Question, explain
from lbsplice.admin.explain_text import as_object, text
from lbsplice.admin.giving_up import System
from lbsplice.admin.kernel_leg import KeepAliveInForce, KernelLeg
from lbsplice.config.files import Source
from lbsplice.config.parse import parse
from lbsplice.terms import AdminState
from tests.support.admin import server_view, session_view

CONFIG = """
defaults
    mode tcp
    retries 2
    timeout connect 4s
    timeout client 1h
    timeout server 1h
listen l
    bind 127.0.0.1:8080
    server kills 127.0.0.1:81 check inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
    server keeps 127.0.0.1:82 check inter 2s fastinter 500ms fall 3
    server unchecked 127.0.0.1:83
"""

QUIET = KernelLeg("127.0.0.1:8080", "127.0.0.1:40001", "ESTABLISHED", timer="off")
ALIVE = replace(QUIET, timer="keepalive", expires_ms=20_000, keepalive=KeepAliveInForce(30, 10, 3))
UNHEARD = replace(
    QUIET, timer="on", expires_ms=700, send_queue=3_000, retransmits=3, last_ack_ms=2_500
)
CLOSED_WINDOW = replace(QUIET, timer="probe", expires_ms=400, send_queue=9_000, unsent=9_000)


@pytest.fixture(scope="module")
def config():
    outcome = parse([Source("lb.cfg", CONFIG)], {})
    assert outcome.config is not None, outcome.messages
    return outcome.config


@pytest.fixture
def ask(config):
    """Explain a session of the server called so, whose health is as in `server`."""

    def asked(name="kills", kernel=(QUIET, QUIET), server=None, **session):
        fall = {"kills": 2, "keeps": 3, "unchecked": 3}[name]
        stands = {"rise": 1, "fall": fall, "health": fall, "checked": name != "unchecked"}
        view = server_view(("l", name), **{**stands, **(server or {})})
        one = session_view(7, server=("l", name), **session)
        return explain(Question(one, kernel, view, config, System()))

    return asked


def test_checks_that_end_sessions_decide_when_the_server_is_gone(ask):
    ending = ask().of(Case.SERVER_GONE)
    # Two failures of 200 ms each, 200 ms apart; the first begins within 200 ms.
    assert (ending.best_ms, ending.worst_ms) == (600, 800)
    assert "its checks mark the server down (`fall 2`)" in ending.what


def test_a_server_that_is_failing_already_is_down_sooner(ask):
    ending = ask(server={"status": "UP 1/2", "health": 1}).of(Case.SERVER_GONE)
    assert (ending.best_ms, ending.worst_ms) == (200, 400)


def test_checks_that_end_nothing_are_told_of(ask):
    ending = ask("keeps").of(Case.SERVER_GONE)
    assert ending.worst_ms == 3_599_100  # the timeouts, then
    assert "without `on-marked-down shutdown-sessions` that ends no session" in ending.note


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"is_up": False, "status": "DOWN", "health": 0}, "DOWN already"),
        ({"admin": AdminState.MAINT, "status": "MAINT"}, ""),
    ],
)
def test_a_server_that_is_not_up_is_not_marked_down_again(ask, changes, note):
    ending = ask(server=changes).of(Case.SERVER_GONE)
    assert "timeout" in ending.what
    assert note in ending.note


def test_without_any_check_keepalive_and_timeout_it_never_ends(ask):
    found = ask("unchecked", timeout_client=0, timeout_server=0, expires_ms=None)
    assert "Its server l/unchecked is not checked." in found.why
    assert found.of(Case.SERVER_GONE).never
    assert (
        "`check` with `on-marked-down shutdown-sessions` would" in found.of(Case.SERVER_GONE).what
    )
    assert found.of(Case.CLIENT_GONE).never
    assert "clitcpka" in found.of(Case.CLIENT_GONE).what
    assert found.of(Case.SILENCE).never
    assert "never" in text(found)


def test_keepalive_decides_on_the_clients_side(ask):
    ending = ask(kernel=(ALIVE, QUIET)).of(Case.CLIENT_GONE)
    assert ending.worst_ms == 30_000 + 3 * 10_000
    assert "keepalive: 30s of silence, then 3 probes 10s apart" in ending.what
    assert "if the server says something to it, keepalive stops, and the kernel" in ending.note
    ending = ask().of(Case.CLIENT_GONE)
    assert "if the server says something to it, the kernel gives that up" in ending.note


def test_a_mark_down_resets_both_sides(ask):
    ending = ask().of(Case.SERVER_DOWN)
    assert ending.worst_ms == 0
    assert "at once: both sides are reset" in text(ask())


def test_what_the_client_has_not_got_yet_is_delivered_first(ask):
    busy = replace(CLOSED_WINDOW, send_queue=5_000)
    ending = ask(kernel=(busy, QUIET)).of(Case.SERVER_DOWN)
    assert (ending.best_ms, ending.worst_ms) == (0, 1_000)
    assert "5.0 kB that it already has for the client go out first" in ending.note


def test_a_mark_down_without_the_action_ends_nothing(ask):
    ending = ask("keeps").of(Case.SERVER_DOWN)
    assert ending.never
    assert "stays open: `on-marked-down shutdown-sessions` is not set" in text(ask("keeps"))


def test_a_silent_side_is_named(ask):
    found = ask(kernel=(QUIET, UNHEARD))
    why = " ".join(found.why)
    assert "The server looks gone: 3.0 kB are queued for it" in why
    assert "are queued for it, sent again 3 times; it was last heard 2.5s ago." in why
    assert found.legs[1].waits.startswith("for the acknowledgment of 3.0 kB, sent again 3 times")


def test_what_the_kernel_sends_in_vain_ends_a_session_on_which_nothing_moves(ask):
    found = ask(kernel=(QUIET, UNHEARD))
    gone, silence = found.of(Case.SERVER_GONE), found.of(Case.SILENCE)
    assert "net.ipv4.tcp_retries2" in silence.what
    assert 0 < silence.worst_ms < found.of(Case.CLIENT_GONE).worst_ms
    assert ask(kernel=(QUIET, CLOSED_WINDOW)).of(Case.SILENCE).what.startswith("timeout")
    assert "its checks" in gone.what


def test_an_end_that_is_not_acknowledged_is_no_byte(ask):
    leg = replace(UNHEARD, state="FIN_WAIT1", send_queue=1)
    found = ask(kernel=(QUIET, leg))
    assert "The server looks gone: it was told that the client has ended" in " ".join(found.why)
    assert found.legs[1].waits.startswith("for the acknowledgment of our end, sent again 3 times")
    assert leg.as_object()["unacknowledged"] == 0
    waiting = replace(leg, send_queue=101, unsent=101).as_object()
    assert (waiting["unsent"], waiting["unacknowledged"]) == (100, 0)
    partly = replace(leg, send_queue=301, unsent=101).as_object()
    assert (partly["unsent"], partly["unacknowledged"]) == (100, 200)
    leg = replace(leg, send_queue=101)
    assert leg.as_object()["unacknowledged"] == 100
    assert "for the acknowledgment of 100 B" in ask(kernel=(QUIET, leg)).legs[1].waits


def test_a_side_that_does_not_read_is_not_called_gone(ask):
    found = ask(kernel=(CLOSED_WINDOW, QUIET))
    assert "The client is alive and does not read: 9.0 kB are queued for it." in found.why
    assert not any("gone" in sentence for sentence in found.why)


def test_probes_without_an_answer_are_no_closed_window(ask):
    stuck = replace(CLOSED_WINDOW, probes=2, last_ack_ms=4_000)
    found = ask(kernel=(QUIET, stuck))
    assert "and 2 probes got no answer; it was last heard 4.0s ago." in " ".join(found.why)
    assert "for an answer to 2 probes about 9.0 kB that can not be sent" in found.legs[1].waits


def test_a_half_closed_session_says_which_side_is_left(ask):
    legs = session_view(7).legs
    found = ask(legs=(replace(legs[0], ended=True, shut=True), legs[1]))
    assert "The client has ended its direction; the server has not and may still send." in found.why


def test_a_session_that_is_connecting_says_how_long_that_may_take(ask):
    found = ask(
        state="connecting", expires_ms=3_000, timeout_connect=4_000, retries=1, kernel=(QUIET, None)
    )
    assert "The attempt is given up in 3.0s; with 1 retry left" in found.why[1]
    assert "within 7.0s" in found.why[1]
    assert found.of(Case.SILENCE) is None
    assert "it goes to another server" in found.of(Case.SERVER_DOWN).what


def test_a_removed_server_is_said_to_be_one(config):
    one = session_view(7, server=("l", "gone"))
    found = explain(Question(one, (QUIET, QUIET), None, config, System()))
    assert "Its server l/gone is not in the configuration any more; the session stays." in found.why
    assert "not in the configuration any more" in found.of(Case.SERVER_DOWN).what


def test_a_unix_socket_has_no_kernel_view(ask):
    found = ask(kernel=(None, QUIET))
    assert "not a TCP socket" in found.legs[0].waits
    assert found.of(Case.CLIENT_GONE).worst_ms == 3_599_100


def test_the_object_has_what_the_text_has(ask):
    found = ask(kernel=(ALIVE, UNHEARD))
    told = as_object(found)
    assert told["why"] == list(found.why)
    assert [leg["side"] for leg in told["legs"]] == ["client", "server"]
    assert told["legs"][0]["timers"][1]["name"] == "keepalive probe"
    assert {end["case"] for end in told["endings"]} == {case.value for case in Case}
    for sentence in found.why:
        assert sentence in text(found)
