"""The command: shapes of its output, exit statuses, patches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lbsplice.cli.main import commands
from lbsplice.config.files import Source
from lbsplice.lint.analysis import analyse
from lbsplice.lint.fix import fixed, patch
from lbsplice.lint.rules import IDS, RULES
from lbsplice.lint.wording import listed, span, spoken
from lbsplice.sysctl.values import Sysctls
from tests.unit.lint.corpus import CORPUS, FILES, analysis_of

PAGES = Path(__file__).parents[3] / "docs" / "lint"
HANGS = str(CORPUS / "amqp-hangs.cfg")
FIXABLE = CORPUS / "keepalive-values-only.cfg"


def run(*words, **more):
    return CliRunner().invoke(commands, ["lint", *map(str, words)], **more)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([HANGS], 1),
        ([HANGS, "--fail-on", "error"], 0),
        ([CORPUS / "amqp-cured.cfg"], 0),
        ([CORPUS / "unequal-timeouts.cfg"], 0),
        ([CORPUS / "unequal-timeouts.cfg", "--fail-on", "note"], 1),
        ([CORPUS / "names.cfg", "--fail-on", "error"], 1),
        (["/nonexistent/a.cfg"], 2),
        ([HANGS, "--sysctl", "/nonexistent"], 2),
        ([HANGS, "--json", "--sarif"], 2),
    ],
)
def test_exit_statuses(words, status):
    assert run(*words).exit_code == status


def test_text_names_the_place_the_setting_and_the_page():
    shown = run(HANGS).stdout
    assert f"{HANGS}:14: warning L1: " in shown
    assert "hang for up to 1 h" not in shown
    assert "hang for up to 3 h (timeout server 3h)" in shown
    assert "docs/lint/L1.md" in shown
    assert "idle old sessions" in shown
    assert "idle old sessions" not in run(HANGS, "--no-table").stdout


def test_text_has_colours_only_on_a_terminal_and_can_not_move_the_cursor(tmp_path):
    nasty = tmp_path / "a.cfg"
    nasty.write_text("listen l\n    bind :1\n    server a\x1b[2J[/red]b 10.0.0.1:1 track zzz\n")
    shown = run(nasty).stdout
    assert "\x1b" not in shown
    assert "a\\x1b[2J[/red]b" in shown


def test_json_has_everything():
    told = json.loads(run(HANGS, "--json").stdout)
    assert [f["id"] for f in told["findings"]] == ["L1"]
    assert told["findings"][0]["line"] == 14
    first = told["detection"][0]
    assert (first["server"], first["connect_ms"], first["refused_ms"]) == (
        "rabbit1",
        5000,
        [2000, 3000],
    )
    assert [(e["dies"], e["sessions"]) for e in first["estimates"]] == [
        ("server", "new"),
        ("server", "idle"),
        ("server", "unacked"),
        ("client", "idle"),
        ("client", "unacked"),
    ]
    never = json.loads(run(CORPUS / "no-timeouts.cfg", "--json").stdout)
    assert never["detection"][0]["estimates"][1]["worst_ms"] is None


def test_another_hosts_sysctls_are_used(tmp_path):
    other = tmp_path / "sysctls"
    other.write_text("net.ipv4.tcp_retries2 = 5\nsysctl: permission denied\n")
    told = json.loads(run(HANGS, "--json", "--sysctl", other).stdout)
    assert told["detection"][0]["estimates"][2]["best_ms"] == 12_600
    other.write_text("what is this\n")
    assert run(HANGS, "--sysctl", other).exit_code == 2


def test_sarif_has_the_shape_that_code_hosts_want():
    told = json.loads(run(FIXABLE, CORPUS / "typos.cfg", "--sarif").stdout)
    assert told["version"] == "2.1.0"
    (only,) = told["runs"]
    rules = only["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(IDS)
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("note", "warning", "error")
        (location,) = result["locations"]
        assert location["physicalLocation"]["region"]["startLine"] >= 1
        assert location["physicalLocation"]["artifactLocation"]["uri"].startswith("file:///")
    fix = only["results"][0]["fixes"][0]["artifactChanges"][0]["replacements"][0]
    assert fix["insertedContent"]["text"] == "    option clitcpka\n"


def test_sarif_replaces_lines_and_keeps_their_ends(tmp_path):
    file = tmp_path / "a.cfg"
    file.write_bytes(b"defaults\r\n    timeout client 5000\r\n    timeout server 5000 # \xff")
    (only,) = json.loads(run(file, "--sarif").stdout)["runs"]
    first, second = only["results"]
    (replacement,) = first["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["deletedRegion"] == {"startLine": 2}
    assert replacement["insertedContent"] == {"text": "    timeout client 5000ms"}
    assert "fixes" not in second  # a byte that JSON can not hold


def _fixable():
    return [path for path in FILES if any(f.edits for f in analysis_of(path).findings)]


def test_there_is_something_to_fix():
    assert len(_fixable()) >= 4


@pytest.mark.parametrize("path", _fixable(), ids=lambda path: path.stem)
def test_a_fix_mends_what_it_should_and_nothing_else(path):
    before = analysis_of(path)
    wanted = {f.rule for f in before.findings if f.edits}
    texts = fixed(before.sources, before.findings)
    after = analyse([Source(path.name, texts[path.name])], {}, Sysctls())
    assert not [f.message for f in after.findings if f.edits]
    # A keepalive that is switched on may turn out to be too slow.
    known = {f.rule for f in before.findings if not f.edits} | {"L3"}
    assert {f.rule for f in after.findings} - wanted <= known
    times = [[(e.side, e.session) for e in d.estimates] for d in after.detections]
    assert times == [[(e.side, e.session) for e in d.estimates] for d in before.detections]


def test_the_patch_is_one_that_patch_takes(tmp_path):
    copy = tmp_path / "a.cfg"
    copy.write_bytes(FIXABLE.read_bytes().replace(b"\n", b"\r\n"))
    done = run(copy, "--diff")
    again = tmp_path / "b.cfg"
    again.write_bytes(copy.read_bytes())
    subprocess.run(
        ["patch", "--binary", again.name],
        input=done.stdout_bytes,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert b"    option clitcpka\r\n    clitcpka-idle" in again.read_bytes()
    copy.chmod(0o640)
    assert run(copy, "--fix").exit_code == 0
    assert copy.read_bytes() == again.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cfg", "b.cfg"]
    assert run(copy, "--fix").stdout == ""


def test_with_fix_what_counts_is_what_is_left(tmp_path):
    copy = tmp_path / "a.cfg"
    copy.write_bytes(FIXABLE.read_bytes())
    assert run(copy).exit_code == 1
    assert run(copy, "--fix").exit_code == run(copy).exit_code == 0
    hangs = tmp_path / "b.cfg"
    hangs.write_bytes((CORPUS / "amqp-hangs.cfg").read_bytes())
    assert run(hangs, "--fix").exit_code == run(hangs).exit_code
    assert run("-", "--fix", input=FIXABLE.read_bytes()).exit_code == 1  # nothing is written


def test_a_directory_without_files_is_no_clean_configuration(tmp_path):
    (tmp_path / "notes.txt").write_text("listen l\n")
    done = run(tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"there is no *.cfg file in {tmp_path}" in done.stderr
    (tmp_path / "a.cfg").write_text("")
    assert run(tmp_path).exit_code == 0


def test_two_servers_of_one_name_are_told_apart(tmp_path):
    file = tmp_path / "a.cfg"
    server = "server a 10.0.0.1:1"
    file.write_text(f"listen l\n bind :1\n {server} check\n {server}\n server b 10.0.0.1:2 check\n")
    shown = run(file).stdout
    assert "servers a (line 3) and b" in shown
    assert "server a (line 4)" in shown


def test_patch_takes_a_name_with_a_blank(tmp_path):
    file = tmp_path / "my own.cfg"
    file.write_text("defaults\n    timeout connect 5000\n")
    source = Source(file.name, file.read_text())
    texts = fixed([source], analyse([source], {}, Sysctls()).findings)
    told = patch([source], texts).encode()
    subprocess.run(["patch", "-p0"], input=told, cwd=tmp_path, check=True, capture_output=True)
    assert file.read_text() == texts[file.name]


def test_a_patch_keeps_a_missing_last_newline():
    source = Source("a.cfg", "defaults\n    timeout connect 5000")
    analysis = analyse([source], {}, Sysctls())
    texts = fixed([source], analysis.findings)
    assert texts["a.cfg"].endswith("timeout connect 5000ms")
    assert patch([source], texts).count("No newline at end of file") == 2


def test_standard_input_is_read_and_never_written():
    done = run("-", "--fix", input="defaults\n    timeout connect 5000\n")
    assert "5000ms" in done.stdout
    assert "no file to change" in done.stderr


def test_it_starts_without_the_extension_and_the_netlink_library():
    code = (
        "import sys; from lbsplice.cli.main import main\n"
        f"try: main(['lint', {HANGS!r}])\nexcept SystemExit: pass\n"
        "print([m for m in ('lbsplice._native', 'pyroute2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_finding_has_its_page(rule):
    page = (PAGES / f"{rule.id}.md").read_text()
    assert page.startswith(f"# {rule.id}: {rule.title}\n")
    assert len(page.split()) > 80


def test_times_and_lists_as_people_say_them():
    assert [spoken(t) for t in (0, 350, 1_500, 59_990, 60_000, 200_000, 7_875_000, None)] == [
        "0 s",
        "0.35 s",
        "1.5 s",
        "59.99 s",
        "1 min",
        "3 min 20 s",
        "2 h 11 min",
        "never",
    ]
    assert spoken(86_400_000 * 5) == "5 d"
    assert (span(1000, 2000), span(1000, 1000), span(None, None)) == ("1 s to 2 s", "1 s", "never")
    assert [listed(list("abcdef"[:n])) for n in (0, 1, 2, 4, 5)] == [
        "",
        "a",
        "a and b",
        "a, b, c and d",
        "a, b, c and 2 more",
    ]
