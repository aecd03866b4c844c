"""What must and must not be found: our own configurations, HAProxy's examples, and every
word that HAProxy itself knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lbsplice.config.files import Source, read_sources
from lbsplice.config.keyword_tables import BIND, GLOBAL, OPTION, PROXY, SERVER
from lbsplice.lint.analysis import analyse
from lbsplice.lint.finding import Severity
from lbsplice.lint.rules import IDS
from lbsplice.lint.vocabulary import BIND_FLAGS, SERVER_FLAGS
from lbsplice.sysctl.values import Sysctls
from tests.unit.lint.corpus import FILES, analysis_of, expected, expected_notes, found

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
EXAMPLES = sorted(Path("/usr/share/doc/haproxy/examples").glob("*.cfg"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exactly_what_is_marked_is_found(path):
    analysis = analysis_of(path)
    assert found(analysis) == expected(path), [f.message for f in analysis.findings]
    notes = expected_notes(path)
    assert {note.place.line for note in analysis.notes} == set(notes)
    assert all(notes[note.place.line] in note.text for note in analysis.notes)


def test_there_are_enough_of_them_and_every_rule_has_its_case():
    assert len(FILES) >= 40
    seen = {
        mark.split()[1] for path in FILES for marks in expected(path).values() for mark in marks
    }
    assert seen == set(IDS)
    assert sum(1 for path in FILES if not expected(path)) >= 10


def test_suppressed_findings_are_counted():
    counts = {path.stem: analysis_of(path).suppressed for path in FILES}
    assert {name: count for name, count in counts.items() if count} == {
        "suppressed": 2,
        "suppressed-file": 2,
    }


TRUE_ALARMS = {
    # HAProxy itself refuses to start with these two numbers, see the test below.
    "option-http_proxy.cfg": [("L11", 7)],
}


@pytest.mark.skipif(not EXAMPLES, reason="HAProxy's examples are not installed")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_false_alarm_on_haproxys_own_examples(path):
    analysis = analyse(read_sources([str(path)]), {}, Sysctls())
    alarms = [(f.rule, f.place.line) for f in analysis.findings if f.severity is not Severity.NOTE]
    assert alarms == TRUE_ALARMS.get(path.name, [])
    assert not analysis.notes


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_what_l11_says_of_descriptors_haproxy_says_too(tmp_path):
    text = (
        "global\n    maxconn 20000\n    ulimit-n 16384\ndefaults\n    timeout client 1s\n"
        f"    timeout server 1s\n    timeout connect 1s\nlisten l\n    bind unix@{tmp_path}/s\n"
    )
    (tmp_path / "l.cfg").write_text(text)
    assert "L11" in {f.rule for f in analyse([Source("l.cfg", text)], {}, Sysctls()).findings}
    done = subprocess.run(
        [HAPROXY, "-db", "-f", tmp_path / "l.cfg"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode != 0
    assert "too low for maxconn" in done.stderr


def _dumped():
    """HAProxy's own words: (group, word, has a value)."""
    shown = subprocess.run(
        [HAPROXY, "-dKcfg", "-q", "-c", "-f", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    ).stdout
    section = ""
    for line in shown.splitlines():
        words = line.split()
        if not line.startswith("\t"):
            section = line.strip()
        elif section == "crt-list":
            continue
        elif words[0] in ("bind", "server"):
            rest = words[2 if words[0] == "bind" else 3 :]
            if rest[0] == "ssl" and len(rest) > 1 and rest[1][0] not in "+[":
                rest = rest[1:]
            yield words[0], rest[0], any(word.startswith("+") for word in rest[1:])
        elif words[0] == "option":
            yield "option", words[1], False
        else:
            yield ("global" if section == "global" else "proxy"), words[0], False


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_every_word_that_haproxy_knows_is_known():
    tables = {"bind": BIND, "server": SERVER, "option": OPTION, "global": GLOBAL}
    flags = {"bind": BIND_FLAGS, "server": SERVER_FLAGS}
    dumped = [entry for entry in _dumped() if entry[0] != "proxy" or entry[1] in PROXY]
    assert len(dumped) > 300
    for group, word, has_value in dumped:
        assert group == "proxy" or word in tables[group], (group, word)
        if group in flags and word != "usesrc":
            assert (word not in flags[group]) == has_value, (group, word)
