"""`-c` on good and bad configurations: HAProxy and lbsplice give the same exit status, and
the first error's words. Where lbsplice follows 3.2 or does less, its own words stand here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from lbsplice.cli.run import run
from tests.support.sidebyside import HAPROXY, haproxy_is_the_oracle

pytestmark = pytest.mark.skipif(not haproxy_is_the_oracle(), reason="needs HAProxy 2.6")

TIMES = " timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
DEFAULTS = f"defaults\n mode tcp\n{TIMES}"
LISTEN = f"{DEFAULTS}listen l\n bind 127.0.0.1:1\n server s 127.0.0.1:2"

SAME = {
    "the simplest": f"{LISTEN}\n",
    "checks and the action": f"{LISTEN} check inter 1s on-marked-down shutdown-sessions\n",
    "named defaults": (
        f"defaults a\n mode tcp\n{TIMES}listen l from a\n bind :1\n server s 127.0.0.1:2\n"
    ),
    "a frontend and its backend": (
        f"{DEFAULTS}frontend f\n bind :1\n default_backend b\nbackend b\n server s 127.0.0.1:2\n"
    ),
    "quotes and variables": (
        f'{DEFAULTS}listen "l"\n bind "127.0.0.1:${{UNSET-7}}"\n server s 127.0.0.1:2\n'
    ),
    "unix sockets": f"{DEFAULTS}listen l\n bind unix@/tmp/in mode 600\n server s /tmp/out\n",
    "ranges and lists": f"{DEFAULTS}listen l\n bind :1-3,127.0.0.1:9\n server s 127.0.0.1:+1\n",
    "every timeout": (
        f"{LISTEN}\n timeout tunnel 1h\n timeout client-fin 1s\n timeout server-fin 1s\n"
        " timeout check 1s\n"
    ),
    "keepalive": f"{LISTEN}\n option clitcpka\n clitcpka-idle 10\n clitcpka-cnt 3\n",
    "conditions": f".if defined(NOTHING)\n nonsense\n.endif\n{LISTEN}\n",
    "hashing": f"{LISTEN}\n balance source\n hash-type consistent\n",
    "no timeouts": "defaults\n mode tcp\nlisten l\n bind :1\n server s 127.0.0.1:2\n",
    "an unknown keyword": f"{LISTEN}\n bindd :2\n",
    "an unknown global": "global\n maxcon 10\n",
    "an unknown section": "listenn l\n bind :1\n",
    "words before a section": "bind :1\n",
    "an unknown server word": f"{LISTEN} chek\n",
    "an unknown bind word": f"{DEFAULTS}listen l\n bind :1 nam x\n server s 127.0.0.1:2\n",
    "an unknown option": f"{LISTEN}\n option tcplogg\n",
    "an unknown mode": f"{LISTEN}\n mode tpc\n",
    "a rise of zero": f"{LISTEN} check rise 0\n",
    "a time without sense": f"{LISTEN}\n timeout check 10x\n",
    "no server address": f"{LISTEN}\n server t\n",
    "a bad port": f"{DEFAULTS}listen l\n bind 127.0.0.1:70000\n server s 127.0.0.1:2\n",
    "no port": f"{DEFAULTS}listen l\n bind 127.0.0.1\n server s 127.0.0.1:2\n",
    "two servers of a name": f"{LISTEN}\n server s 127.0.0.1:3\n",
    "two proxies of a name": f"{LISTEN}\nlisten l\n bind :3\n server s 127.0.0.1:2\n",
    "a backend that is not there": f"{DEFAULTS}frontend f\n bind :1\n default_backend b\n",
    "defaults that are not there": f"{DEFAULTS}listen l from x\n bind :1\n server s 127.0.0.1:2\n",
    "a listen without a name": f"{DEFAULTS}listen\n bind :1\n",
    "a bad character in a name": f"{DEFAULTS}listen a/b\n bind :1\n",
    "an open quote": f'{LISTEN}\n description "open\n',
    "a bad log facility": "global\n log 127.0.0.1 local9\n",
    "a bad log level": "global\n log 127.0.0.1 local0 loud\n",
    "a bad action": f"{LISTEN} on-marked-down nothing\n",
    "an open condition": f".if defined(A)\n{LISTEN}\n",
    "an end without a condition": f"{LISTEN}\n.endif\n",
    "a server in a frontend": f"{DEFAULTS}frontend f\n bind :1\n server s 127.0.0.1:2\n",
    "a bind in a backend": f"{DEFAULTS}backend b\n bind :1\n server s 127.0.0.1:2\n",
}

OWN = {
    "a file without a proxy (3.2)": ("global\n", 2, 0, ""),
    "an old listen line": (f"{DEFAULTS}listen l 127.0.0.1:1\n server s 127.0.0.1:2\n", 1, 0, ""),
    "http": (f"{DEFAULTS}listen l\n mode http\n bind :1\n", 0, 1, "mode http"),
    "tls": (f"{LISTEN} ssl verify none\n", 0, 1, "TLS"),
    "acl": (f"{LISTEN}\n acl a src 10.0.0.0/8\n", 0, 1, "'acl'"),
    "a server that is where the client went": (f"{LISTEN}\n server t :2\n", 0, 1, "not yet"),
    "its own algorithms": (f"{LISTEN}\n balance roundrobbin\n", 1, 1, "mean 'roundrobin'"),
    "a hint": (f"{LISTEN}\n timeout conect 10s\n", 1, 1, "did you mean 'connect'"),
    "the range": (f"{LISTEN} weight 300\n", 1, 1, "weight 300 is out of range (0..256)"),
    "a value of zero": (f"{LISTEN} check inter 0\n", 1, 1, "value 0 for argument 'inter'"),
    "a weight without a number": (f"{LISTEN} weight\n", 0, 1, "'weight' expects"),
    "a number that is none": (f"global\n maxconn many\n{LISTEN}\n", 0, 1, "whole number"),
}
"""Their status, ours, and words of our error, where lbsplice does less than HAProxy, or says
more, or takes no word for a number."""


class Verdict(NamedTuple):
    status: int
    error: str  # of the first [ALERT], without pid, path, and blanks around colons
    line: int | None  # that it names


def verdict(status: int, said: str) -> Verdict:
    alerts = [line for line in said.splitlines() if line.startswith("[ALERT]")]
    text = re.sub(r"^\[ALERT\]\s+\(\d+\) : ", "", alerts[0]) if alerts else ""
    place = re.search(r"(?i)(parsing )?\[[^]]*/lb.cfg:(\d+)\]\s*: ", text)
    text = re.sub(r"(?i)((parsing )?\[[^]]*/lb.cfg:\d+\]\s*: )+", "", text)
    text = re.sub(r"\S+/lb.cfg", "FILE", text)
    return Verdict(status, re.sub(r"\s*:\s+", " : ", text).rstrip("."), place and int(place[2]))


def theirs(file: Path) -> Verdict:
    done = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    return verdict(done.returncode, done.stderr)


def ours(file: Path, capfd: pytest.CaptureFixture[str]) -> Verdict:
    status = run(["-c", "-f", str(file)])
    return verdict(status, capfd.readouterr().err)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lb.cfg"


@pytest.mark.parametrize("what", SAME)
def test_both_judge_alike(what: str, file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.write_text(SAME[what])
    mine, its = ours(file, capfd), theirs(file)
    assert mine[:2] == its[:2]
    assert mine.line == its.line or its.line is None  # HAProxy does not always name it


@pytest.mark.parametrize("what", OWN)
def test_where_they_differ_it_is_meant(
    what: str, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text, their_status, our_status, words = OWN[what]
    file.write_text(text)
    assert theirs(file).status == their_status
    mine = ours(file, capfd)
    assert mine.status == our_status
    assert words in mine.error
