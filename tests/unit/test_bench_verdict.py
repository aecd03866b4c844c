"""How scripts/bench judges what it measured, and how scripts/test counts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.sidebyside import show
from scripts.sidebyside.rows import ROWS, Judged, Outcome, Row

ROOT = Path(__file__).resolve().parents[2]


def row(judged: Judged, budget: float) -> Row:
    return replace(ROWS[0], judged=judged, budget=budget)


def test_the_ratio_is_the_median_of_the_rounds_ratios_not_of_the_values() -> None:
    outcome = Outcome(row(Judged.RATIO_AT_LEAST, 1.3), (10.0, 20.0, 90.0), (10.0, 10.0, 30.0))
    assert outcome.ratio == 2.0


@pytest.mark.parametrize(
    ("judged", "budget", "ours", "theirs", "met"),
    [
        (Judged.RATIO_AT_LEAST, 1.3, 13.0, 10.0, True),
        (Judged.RATIO_AT_LEAST, 1.3, 12.9, 10.0, False),
        (Judged.RATIO_AT_MOST, 0.08, 8.0, 100.0, True),
        (Judged.RATIO_AT_MOST, 0.08, 8.1, 100.0, False),
        (Judged.VALUE_AT_MOST, 50.0, 50.0, 1.0, True),
        (Judged.VALUE_AT_MOST, 50.0, 50.1, 1.0, False),
        (Judged.VALUE_AT_LEAST, 0.95, 0.95, 1.0, True),
        (Judged.VALUE_AT_LEAST, 0.95, 0.94, 1.0, False),
        (Judged.RATIO_AT_MOST, 1.0, 5.0, 0.0, False),
    ],
)
def test_a_budget_is_met_up_to_its_bound(
    judged: Judged, budget: float, ours: float, theirs: float, met: bool
) -> None:
    assert Outcome(row(judged, budget), (ours,), (theirs,)).met is met


def test_nothing_is_said_of_a_ratio_when_one_proxy_was_measured() -> None:
    outcome = Outcome(row(Judged.RATIO_AT_LEAST, 1.3), (1.0,), ())
    assert outcome.ratio is None
    assert outcome.met is None
    assert show.table([outcome], "lbsplice", "-").row_count == 1


def test_the_budgets_are_those_of_the_design() -> None:
    assert {r.name: f"{r.judged.value} {r.budget:g}" for r in ROWS} == {
        "bulk-up": "ratio >= 1.3",
        "bulk-down": "ratio >= 1.3",
        "messages": "ratio >= 1.2",
        "sessions": "ratio >= 1.05",
        "memory": "ratio <= 0.08",
        "kill": "value <= 50",
        "scraped": "value >= 0.95",
        "scraping": "value <= 0.25",
        "silent": "ratio <= 1",
    }


@pytest.mark.parametrize(
    ("report", "counted"),
    [
        ('<a><testsuite tests="9" failures="1" errors="2" skipped="3"/></a>', "3 3 3"),
        ("<a><testsuite tests=", "0 1 0"),
        (None, "0 1 0"),
    ],
)
def test_a_run_of_tests_without_a_whole_report_counts_as_failed(
    tmp_path: Path, report: str | None, counted: str
) -> None:
    path = tmp_path / "report.xml"
    if report is not None:
        path.write_text(report)
    said = subprocess.run(
        [sys.executable, ROOT / "scripts/lib/count.py", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == counted


@pytest.mark.parametrize("name", ["run", "test", "bench", "sanitize", "lib/prepare.sh"])
def test_the_scripts_are_read_without_complaint(name: str) -> None:
    subprocess.run(["bash", "-n", ROOT / "scripts" / name], check=True)
