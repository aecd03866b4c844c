"""`lab crash` on paper: its kills, its bytes, its verdicts, its options."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from io import StringIO
from itertools import islice
from signal import SIGKILL, SIGSEGV

import pytest
from click.testing import CliRunner
from rich.console import Console

from lbsplice.cli import lab as command
from lbsplice.lab import crash
from lbsplice.lab.crash_results import (
    CrashResult,
    crash_moral,
    crash_object,
    kill_rows,
    size_text,
    span,
)
from lbsplice.lab.crash_scene import (
    CrashSettings,
    Gap,
    Kill,
    Ports,
    configuration,
    longest_within,
    planned,
)
from lbsplice.lab.crash_show import JsonCrashShow, PlainCrashShow, TerminalCrashShow
from lbsplice.lab.crash_traffic import blocks
from lbsplice.lab.crash_verdict import (
    CrashObserved,
    KillSeen,
    SessionFate,
    Verdict,
    judge_crash,
    kills_seen,
    verdict_on,
)
from lbsplice.lab.loglines import Adoption, read_adoption
from lbsplice.lab.scene import Happening, Proxy, Tone, Who
from lbsplice.lab.verdict import End

LBSPLICE = CrashSettings(size=1000)
HAPROXY = CrashSettings(proxy=Proxy.HAPROXY, size=1000)
KILL = KillSeen(1.0, 41, "SIGKILL", 12.0, 14.5, 13.0)
ALIVE = SessionFate(End.GOES_ON, 100, 0)
SURVIVED = CrashObserved(
    kills=(KILL, replace(KILL, at_s=2.0, pid=42, pause_ms=20.5)),
    received=1000,
    verdict=Verdict.WHOLE,
    seconds=3.0,
    lines=ALIVE,
    idle=replace(ALIVE, answered=2),
    new_session=True,
    running=True,
)
CUT = SessionFate(End.FIN, 7, 0)
LOST = CrashObserved(
    kills=(replace(KILL, adopted_ms=None),),
    received=400,
    verdict=Verdict.LOST,
    seconds=1.0,
    end=End.RESET,
    lines=CUT,
    idle=CUT,
)


def failed(settings, observed):
    return [claim.text for claim in judge_crash(settings, observed) if not claim.held]


# ---- the plan


def test_kills_come_about_every_so_often_and_in_order():
    moments = [at for at, _ in islice(planned(CrashSettings(every_s=2.0)), 50)]
    assert moments == sorted(moments)
    for number, at in enumerate(moments, 1):
        assert at == pytest.approx(2.0 * number, abs=0.4)


def test_the_seed_decides_the_kills():
    plans = [list(islice(planned(CrashSettings(seed=seed)), 20)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    assert len({number for _, number in plans[0]}) == 4


@pytest.mark.parametrize("size", [9, 65536, 65537, 3_000_000])
def test_a_transfer_has_the_bytes_it_should_have(size):
    whole = b"".join(blocks(3, size))
    assert len(whole) == size
    assert whole == b"".join(blocks(3, size))
    assert whole != b"".join(blocks(4, size))


def test_no_block_of_a_transfer_comes_twice():
    digests = [hashlib.sha256(block).digest() for block in blocks(1, 64 << 20)]
    assert len(set(digests)) == len(digests) == 1024


def test_every_name_is_listened_under_on_loopback():
    text = configuration({"a": Ports(1, 2), "b": Ports(3, 4)})
    assert text.count("bind 127.0.0.1:") == 2
    assert "server b 127.0.0.1:4 check" in text


# ---- what is seen


def test_a_gap_counts_where_it_ends():
    gaps = [Gap(0.0, 0.1), Gap(0.9, 1.2), Gap(3.0, 3.05)]
    assert longest_within(gaps, 0.0, 1.0) == pytest.approx(100)
    assert longest_within(gaps, 1.0, 2.0) == pytest.approx(300)
    assert longest_within(gaps, 2.0, 9.0) == pytest.approx(50)
    assert longest_within(gaps, 1.5, 2.5) is None


def test_a_gap_that_covers_all_of_a_span_counts_there_too():
    assert longest_within([Gap(0.9, 3.5)], 1.0, 2.0) == pytest.approx(2600)


def test_each_kill_has_what_followed_up_to_the_next():
    kills = [Kill(1.0, 41, SIGKILL), Kill(2.0, 42, SIGSEGV)]
    pauses = [Gap(0.99, 1.01), Gap(1.5, 1.502), Gap(2.0, 2.5)]
    first, second = kills_seen(kills, {41: 9.0}, pauses, [])
    assert (first.signal, first.adopted_ms, first.answer_ms) == ("SIGKILL", 9.0, None)
    assert first.pause_ms == pytest.approx(20)
    assert (second.signal, second.adopted_ms) == ("SIGSEGV", None)
    assert second.pause_ms == pytest.approx(500)
    assert kills_seen([], {}, pauses, []) == ()


@pytest.mark.parametrize(
    ("received", "digests", "end", "verdict"),
    [
        (9, ("a", "a"), None, Verdict.WHOLE),
        (9, ("a", "b"), None, Verdict.DAMAGED),
        (10, ("a", "a"), None, Verdict.DAMAGED),
        (4, ("", ""), End.FIN, Verdict.LOST),
        (4, ("", ""), End.RESET, Verdict.LOST),
        (4, ("", ""), End.HANGS, Verdict.HANGS),
    ],
)
def test_the_verdict_on_a_transfer(received, digests, end, verdict):
    assert verdict_on(received, 9, digests, end) is verdict


def test_the_log_tells_of_an_adoption():
    line = (
        "worker 4711 was killed by signal 9 (SIGKILL); its successor took over 3 sessions "
        "within 12 ms."
    )
    assert read_adoption(line) == Adoption(4711, 3, 12.0)
    assert read_adoption(line.replace("3 sessions", "1 session")) == Adoption(4711, 1, 12.0)
    assert read_adoption("Server lines/lines is UP.") is None


# ---- the verdict


@pytest.mark.parametrize(("settings", "observed"), [(LBSPLICE, SURVIVED), (HAPROXY, LOST)])
def test_what_should_happen_is_accepted(settings, observed):
    assert failed(settings, observed) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"verdict": Verdict.DAMAGED}, "come back"),
        ({"verdict": Verdict.LOST}, "come back"),
        ({"verdict": Verdict.HANGS}, "come back"),
        ({"kills": ()}, "every worker"),
        ({"kills": (KILL, replace(KILL, adopted_ms=None))}, "every worker"),
        ({"lines": replace(ALIVE, wrong=1)}, "with lines"),
        ({"lines": replace(ALIVE, end=End.RESET)}, "with lines"),
        ({"lines": replace(ALIVE, end=End.HANGS)}, "with lines"),
        ({"idle": replace(ALIVE, end=End.HANGS)}, "idle"),
        ({"new_session": False}, "new session"),
        ({"running": False}, "same process"),
        ({"left_behind": 1}, "no process behind"),
    ],
)
def test_each_thing_that_goes_wrong_is_named(change, complaint):
    (text,) = failed(LBSPLICE, replace(SURVIVED, **change))
    assert complaint in text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"verdict": Verdict.WHOLE}, "transfer is cut"),
        ({"kills": ()}, "transfer is cut"),
        ({"lines": ALIVE}, "with lines is cut"),
        ({"idle": ALIVE}, "idle session is cut"),
    ],
)
def test_an_haproxy_that_loses_nothing_is_not_what_is_expected(change, complaint):
    (text,) = failed(HAPROXY, replace(LOST, **change))
    assert complaint in text


# ---- how it is told


def result_of(settings, observed):
    return CrashResult(observed, judge_crash(settings, observed))


def test_the_table_has_every_kill_and_what_they_come_to():
    before, first, second, middle, worst = kill_rows(SURVIVED)
    assert before[1] == "before"
    assert first == ("1", "+1.000 s", "SIGKILL", "41", "12.0 ms", "14.5 ms", "13.0 ms")
    assert second[3] == "42"
    assert (middle[0], middle[5]) == ("median", "17.5 ms")
    assert (worst[0], worst[5]) == ("worst", "20.5 ms")


def test_one_kill_has_no_median():
    assert len(kill_rows(LOST)) == 2


def test_the_moral_says_what_became_of_it():
    assert "nothing lost" in crash_moral(LBSPLICE, result_of(LBSPLICE, SURVIVED))
    told = crash_moral(HAPROXY, result_of(HAPROXY, LOST))
    assert told.startswith("Lost: 1 kill, and the transfer ended after 400 B of 1000 B (reset).")
    assert "Not all" not in told
    bad = replace(SURVIVED, verdict=Verdict.DAMAGED)
    assert "Not all happened" in crash_moral(LBSPLICE, result_of(LBSPLICE, bad))


def test_the_object_for_programs_carries_the_verdict_and_the_kills():
    timeline = [Happening(None, Who.IDLE, "sends line 1"), Happening(0.5, Who.OPERATOR, "kill")]
    told = crash_object(LBSPLICE, "lbsplice 1", result_of(LBSPLICE, SURVIVED), timeline)
    assert (told["held"], told["verdict"], len(told["kills"])) == (True, "whole", 2)
    assert told["kills"][0]["pause_ms"] == 14.5
    assert [line["since_start_ms"] for line in told["timeline"]] == [None, 500]


@pytest.mark.parametrize(
    ("count", "text"),
    [(7, "7 B"), (1536, "1.5 KiB"), (512 << 20, "512 MiB"), (3 << 30, "3 GiB")],
)
def test_a_size_for_people(count, text):
    assert size_text(count) == text


def test_a_span_for_people():
    assert (span(None), span(4.25)) == ("-", "4.2 ms")


def shown(show, settings, observed):
    """Play a scene to someone who shows it."""
    show.opens(settings, "a proxy 1.0")
    show.happens(Happening(1.0, Who.OPERATOR, "kill -KILL 41", Tone.FAULT))
    show.moves(500)
    show.closes(result_of(settings, observed))
    show.leaves()


@pytest.mark.parametrize(
    ("settings", "observed", "moral"),
    [(LBSPLICE, SURVIVED, "2 kills, 1000 B each way"), (HAPROXY, LOST, "Lost: 1 kill")],
)
def test_a_pipe_and_a_terminal_are_told_the_same(settings, observed, moral):
    plain, terminal = StringIO(), StringIO()
    shown(PlainCrashShow(plain), settings, observed)
    console = Console(file=terminal, force_terminal=True, width=200, color_system=None)
    shown(TerminalCrashShow(console), settings, observed)
    for text in (plain.getvalue(), terminal.getvalue()):
        assert "a proxy 1.0" in text
        assert "kill -KILL 41" in text
        assert "SIGKILL" in text
        assert moral in text


def test_a_program_is_told_once_and_in_json():
    output = StringIO()
    shown(JsonCrashShow(output), LBSPLICE, SURVIVED)
    told = json.loads(output.getvalue())
    assert (told["command"], told["version"], told["held"]) == ("lab crash", "a proxy 1.0", True)
    assert told["timeline"][0]["what"] == "kill -KILL 41"


# ---- the options


def invoke(*arguments):
    return CliRunner().invoke(command.lab, ["crash", *arguments])


class Silent:
    def opens(self, settings, proxy_version): ...
    def happens(self, happening): ...
    def moves(self, received): ...
    def closes(self, result): ...
    def leaves(self): ...


@pytest.fixture
def plays(monkeypatch):
    """What was to be played, and how it comes out."""
    asked = []

    def play(settings, report, progress):
        asked.append(settings)
        return result_of(settings, SURVIVED)

    monkeypatch.setattr(crash, "play_crash", play)
    monkeypatch.setattr(command, "_crash_show", lambda as_json: Silent())
    return asked


def test_options_are_what_is_played(plays):
    assert invoke().exit_code == 0
    words = ["--every", "0.5", "--size", "10m", "--seconds", "4", "--seed", "9"]
    assert invoke(*words).exit_code == 0
    assert plays == [CrashSettings(), CrashSettings(Proxy.LBSPLICE, 0.5, 10 << 20, 4.0, 9)]


def test_the_exit_status_is_1_when_something_else_happened(plays, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: "/bin/true")
    assert invoke("--proxy", "haproxy").exit_code == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--size", "10x"], "unexpected character 'x'"),
        (["--size", "0"], "something to transfer"),
        (["--seconds", "1.5"], "nobody would be killed"),
        (["--every", "0"], "--every"),
        (["--proxy", "nginx"], "--proxy"),
    ],
)
def test_what_makes_no_sense_is_refused(plays, words, says):
    told = invoke(*words)
    assert told.exit_code == 2
    assert says in told.output
    assert plays == []


def test_a_missing_haproxy_is_told_with_what_would_help(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    told = invoke("--proxy", "haproxy")
    assert told.exit_code == 1
    assert told.output == "Error: haproxy is not installed: `apt-get install haproxy` would help\n"


def test_root_is_not_asked_for(plays, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert invoke().exit_code == 0
