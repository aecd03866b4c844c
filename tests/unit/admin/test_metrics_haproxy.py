"""The metrics beside those of a real HAProxy's exporter, in the same configuration: each name
that it has for a TCP proxy is there, of the same kind, with the same labels and states."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lbsplice.admin.metrics import Exposition
from lbsplice.admin.view import Flow, ListenerView
from tests.support.admin import small_view
from tests.support.program import reserved_port
from tests.support.waiting import wait_until

HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PATIENCE_S = 30.0

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="there is no haproxy")

CONFIG = """\
defaults
 mode tcp
 timeout connect 1s
 timeout client 1m
 timeout server 1m
listen page
 mode http
 bind 127.0.0.1:{page}
 http-request use-service prometheus-exporter
frontend f
 bind 127.0.0.1:{first}
 default_backend b
backend b
 server s1 127.0.0.1:1 check
listen l
 bind 127.0.0.1:{second}
 option socket-stats
 server s1 127.0.0.1:1 check
 server s2 127.0.0.1:2 check backup maxconn 5
"""
PROXIES = ("f", "b", "l")
CHECKED = [  # rows that there are once a check has ended
    f'haproxy_server_check_duration_seconds{{proxy="{proxy}",server="{server}"}}'
    for proxy, server in (("b", "s1"), ("l", "s1"), ("l", "s2"))
]


@dataclass
class Family:
    """What a family's rows look like, without their values."""

    kind: str
    text: str
    labels: set[frozenset[str]] = field(default_factory=set)
    states: set[str] = field(default_factory=set)
    proxies: set[str] = field(default_factory=set)


def families(text: str) -> dict[str, Family]:
    """By the names of samples; proxies other than those of the test are left out."""
    found: dict[str, Family] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            proxy = sample.labels.get("proxy")
            if proxy is not None and proxy not in PROXIES:
                continue
            made = found.setdefault(sample.name, Family(family.type, family.documentation))
            made.labels.add(frozenset(sample.labels))
            made.states |= {sample.labels["state"]} if "state" in sample.labels else set()
            made.proxies |= {proxy} if proxy else set()
    return found


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Family]]:
    assert HAPROXY is not None
    directory: Path = tmp_path_factory.mktemp("haproxy")
    with ExitStack() as stack:
        held = [stack.enter_context(closing(reserved_port())) for _ in range(3)]
        page, first, second = (each.getsockname()[1] for each in held)
        (directory / "cfg").write_text(CONFIG.format(page=page, first=first, second=second))
        output = stack.enter_context((directory / "output").open("w"))
        running = stack.enter_context(
            subprocess.Popen([HAPROXY, "-db", "-f", directory / "cfg"], stderr=output)
        )
        stack.callback(running.kill)

        def scraped() -> str | None:
            assert running.poll() is None, (directory / "output").read_text()
            try:
                url = f"http://127.0.0.1:{page}/"
                with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                    text = str(answer.read().decode())
            except OSError:
                return None
            return text if all(each in text for each in CHECKED) else None

        yield families(wait_until(scraped, "haproxy is scraped", PATIENCE_S) or "")


@pytest.fixture(scope="module")
def ours() -> dict[str, Family]:
    listener = ListenerView("l", 4, 1, "sock-1", "127.0.0.1:80", "OPEN", Flow(1, 2, 3))
    view = small_view(listeners=(listener,))
    assert {"l", "b"} <= set(view.backends)
    return families(Exposition().text(view, "1", "3.2.0").decode())


def test_every_name_is_there(theirs: dict[str, Family], ours: dict[str, Family]) -> None:
    assert len(theirs) > 150
    assert set(theirs) - set(ours) == set()


def test_each_is_of_the_same_kind(theirs: dict[str, Family], ours: dict[str, Family]) -> None:
    assert {name: ours[name].kind for name in theirs} == {
        name: family.kind for name, family in theirs.items()
    }


def test_each_has_the_same_labels(theirs: dict[str, Family], ours: dict[str, Family]) -> None:
    assert {name: ours[name].labels for name in theirs} == {
        name: family.labels for name, family in theirs.items()
    }


def test_each_has_the_same_states(theirs: dict[str, Family], ours: dict[str, Family]) -> None:
    assert {name: ours[name].states for name in theirs} == {
        name: family.states for name, family in theirs.items()
    }


def test_each_is_told_of_the_same_proxies(
    theirs: dict[str, Family], ours: dict[str, Family]
) -> None:
    assert {name: ours[name].proxies for name in theirs} == {
        name: family.proxies for name, family in theirs.items()
    }


def test_the_texts_of_help_are_our_own(theirs: dict[str, Family], ours: dict[str, Family]) -> None:
    same = {name for name in theirs if ours[name].text.strip(". ") == theirs[name].text.strip(". ")}
    assert same == set()
