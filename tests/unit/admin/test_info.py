"""`show info` has HAProxy's keys in HAProxy's order, and ours behind them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lbsplice import __version__
from lbsplice.admin import info
from tests.support.admin import process_view, small_view

CORPUS = Path(__file__).parents[2] / "corpus" / "admin"
RENAMED = {"TotalSplicdedBytesOut": "TotalSplicedBytesOut"}  # since 3.0
SINCE_3 = [
    *("TotalWarnings", "MaxconnReached", "BootTime_ms", "Niced_tasks", "CurrStreams"),
    *("CumStreams", "BlockedTrafficWarnings", "PatternsAdded", "PatternsFreed"),
    "NbThreadGroups",
]


def keys(text):
    return [line.partition(": ")[0] for line in text.splitlines()]


def test_keys_are_haproxys_at_their_positions_and_of_their_types():
    theirs = [
        tuple(line.split(":")[:3])
        for line in (CORPUS / "info-typed-2.6.txt").read_text().splitlines()
    ]
    ours = {tuple(line.split(":")[:3]) for line in info.typed(small_view()).splitlines()}
    for where, tag, kind in theirs:
        position, name, number = where.split(".")
        assert (f"{position}.{RENAMED.get(name, name)}.{number}", tag, kind) in ours


def test_what_version_3_added_follows_and_our_own_is_last():
    shown = keys(info.plain(small_view()))
    after = shown[shown.index("Tainted") + 1 :]
    assert after[: len(SINCE_3)] == SINCE_3
    assert all(name.startswith("lbsplice_") for name in after[len(SINCE_3) :])
    assert f"lbsplice_version: {__version__}\n" in info.plain(small_view())


def test_what_old_clients_look_at():
    shown = info.plain(small_view()).splitlines()
    assert shown[:2] == ["Name: HAProxy", "Version: 3.2.0"]
    assert all(line.count(": ") == 1 for line in shown)
    for name in ("SslRate", "CompressBpsIn", "ZlibMemUsage", "MaxZlibMemUsage"):
        assert f"{name}: 0" in shown


def test_values_are_the_processs():
    shown = dict(line.split(": ", 1) for line in info.plain(small_view()).splitlines())
    assert shown["Uptime"] == "0d 1h02m05s"
    assert shown["Uptime_sec"] == "3725"
    assert (shown["Pid"], shown["Nbthread"], shown["Maxconn"]) == ("4321", "2", "1000")
    assert (shown["CurrConns"], shown["CumConns"], shown["SessRate"]) == ("2", "10", "1")
    assert (shown["node"], shown["description"]) == ("lb1", "")


def test_a_description_can_not_add_a_line():
    view = replace(small_view(), process=process_view(description="a\nStopping: 1"))
    assert keys(info.plain(view)).count("Stopping") == 1


@pytest.mark.parametrize("said", ["east: rack 4", "a:  b", ": :  :", "x:"])
def test_a_description_has_nothing_that_cuts_a_line_in_three(said):
    view = replace(small_view(), process=process_view(description=said, node="n: 1"))
    for text in (info.plain(view), info.plain(view, desc=True)):
        assert all(line.count(": ") == 1 for line in text.splitlines())
    assert said in info.typed(view)


def test_a_description_that_is_no_utf_8_is_json_all_the_same():
    said = b"caf\xe9".decode("utf-8", "surrogateescape")
    view = replace(small_view(), process=process_view(description=said))
    figures = json.loads(info.json(view).encode())
    assert "caf\ufffd" in [each["value"]["value"] for each in figures]


def test_kills_are_told_by_letter():
    view = replace(small_view(), process=process_view(kills={"K": 1, "D": 3}))
    assert "lbsplice_kills: D=3 K=1\n" in info.plain(view)


def test_fractions_where_they_are_asked_for():
    assert "Uptime_sec: 3725.500000\n" in info.plain(small_view(), fractions=True)
    typed = info.typed(small_view(), fractions=True)
    assert "8.Uptime_sec.1:MDP:flt:3725.500000\n" in typed
    assert "26.ConnRate.1:MRP:flt:1\n" in typed
    assert "6.Pid.1:SGP:u32:4321\n" in typed


def test_json_has_the_same_figures_as_the_typed_output():
    for fractions in (False, True):
        figures = json.loads(info.json(small_view(), fractions=fractions))
        typed = info.typed(small_view(), fractions=fractions).splitlines()
        assert [f"{each['field']['pos']}.{each['field']['name']}.1" for each in figures] == [
            line.split(":")[0] for line in typed
        ]
        assert [each["value"]["type"] for each in figures] == [line.split(":")[2] for line in typed]


def test_desc_tells_what_each_figure_is():
    assert info.plain(small_view(), desc=True).startswith('Name: HAProxy:"The product"\n')
    assert '6.Pid.1:SGP:u32:4321:"Process id' in info.typed(small_view(), desc=True)
