"""The tables of keywords: complete against HAProxy's own list, each entry acted upon."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from lbsplice.config import bind, globals, pages, proxies
from lbsplice.config import server as server_module
from lbsplice.config.keyword_tables import TABLES
from lbsplice.config.keywords import Group, Keyword, Support, hint, make_table, nearest
from lbsplice.config.messages import Severity
from tests.unit.config_reading import read

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")

LINES = {
    Group.SECTION: "{name} x\n",
    Group.GLOBAL: "global\n {name} x\n",
    Group.PROXY: "listen l\n {name} x\n",
    Group.OPTION: "listen l\n option {name}\n",
    Group.TIMEOUT: "listen l\n timeout {name} 1s\n",
    Group.BIND: "listen l\n bind :80 {name} x\n",
    Group.SERVER: "listen l\n server s 1.2.3.4:5 {name} x\n",
    Group.BALANCE: "listen l\n balance {name}\n",
    Group.STATS: "listen l\n mode http\n bind :80\n stats {name}\n",
}


def _entries(support: Support) -> list[Keyword]:
    return [k for table in TABLES.values() for k in table.values() if k.support is support]


def _said(keyword: Keyword) -> list[tuple[Severity, str]]:
    text = LINES[keyword.group].format(name=keyword.name)
    return [(m.severity, m.text) for m in read(text).messages]


@pytest.mark.parametrize("keyword", _entries(Support.REFUSED), ids=lambda k: k.group.value + k.name)
def test_what_is_refused_says_so_and_why(keyword: Keyword) -> None:
    severity, text = _said(keyword)[0]
    assert severity is Severity.ALERT
    assert keyword.name in text
    assert text.endswith(f"is not supported by lbsplice: {keyword.why}.")


@pytest.mark.parametrize("keyword", _entries(Support.IGNORED), ids=lambda k: k.group.value + k.name)
def test_what_is_ignored_warns_and_says_why(keyword: Keyword) -> None:
    said = _said(keyword)
    assert said[0][0] is Severity.WARNING
    assert said[0][1].endswith(f"{keyword.name}' ignored: {keyword.why}.")
    assert all(severity is Severity.WARNING for severity, _ in said)


def test_what_is_used_has_a_reader() -> None:
    readers = {
        Group.GLOBAL: set(globals._READERS),
        Group.PROXY: set(proxies._READERS),
        Group.BIND: set(bind._READERS) | set(bind._FLAGS),
        Group.SERVER: set(server_module._READERS),
        Group.STATS: set(pages._READERS),
    }
    for group, names in readers.items():
        used = {k.name for k in TABLES[group].values() if k.support is Support.USED}
        assert used == names, group


def _haproxy_keywords() -> list[tuple[Group, str]]:
    """What `haproxy -dKcfg` lists, as far as our groups go."""
    assert HAPROXY is not None
    listed = subprocess.run(
        [HAPROXY, "-dKcfg", "-c", "-f", "/dev/null"], capture_output=True, text=True, check=False
    ).stdout
    found: list[tuple[Group, str]] = []
    section = ""
    for line in listed.splitlines():
        words = line.split()
        if not words or not line.startswith("\t"):
            section = words[0] if words else section
        elif section == "global":
            found.append((Group.GLOBAL, words[0]))
        elif section == "listen" and words[0] == "bind":
            found.append((Group.BIND, words[3] if words[2] == "ssl" else words[2]))
        elif section == "listen" and words[0] == "server":
            found.append((Group.SERVER, words[3]))
        elif section == "listen" and words[0] == "option":
            found.append((Group.OPTION, words[1]))
        elif section == "listen" and not re.match("(http|tcp)-(re|after)", words[0]):
            found.append((Group.PROXY, words[0]))
    return found


@pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
def test_tables_hold_every_keyword_that_haproxy_lists() -> None:
    listed = _haproxy_keywords()
    assert len(listed) > 200
    assert [(group, name) for group, name in listed if name not in TABLES[group]] == []


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("bnd", "bind"),
        ("severs", "server"),
        ("timeot", "timeout"),
        ("x", None),
        ("completely-else", None),
        ("bind" * 1000, None),
    ],
)
def test_nearest(word: str, near: str | None) -> None:
    assert nearest(word, ("bind", "server", "timeout")) == near


def test_hint_is_in_haproxys_words() -> None:
    assert hint("bindd", ("bind",)) == "; did you mean 'bind' maybe ?"
    assert hint("qqqq", ("bind",)) == ""


def test_a_keyword_can_not_stand_twice() -> None:
    with pytest.raises(ValueError, match="proxy keyword a stands twice"):
        make_table(Group.PROXY, "a b", refused={"why": "a"})
