"""Reading a configuration in a test, in few words."""

from __future__ import annotations

from lbsplice.config.files import Source
from lbsplice.config.messages import Severity
from lbsplice.config.model import Config, Proxy, Server
from lbsplice.config.parse import Outcome, parse

TIMEOUTS = " timeout connect 1s\n timeout client 1s\n timeout server 1s\n"


def read(*texts: str, env: dict[str, str] | None = None) -> Outcome:
    return parse([Source(f"{n}.cfg", text) for n, text in enumerate(texts, 1)], env or {})


def config(*texts: str, env: dict[str, str] | None = None) -> Config:
    """A configuration that must be good; warnings are let pass."""
    outcome = read(*texts, env=env)
    assert outcome.config is not None, [m.text for m in outcome.messages]
    return outcome.config


def listen(*lines: str) -> Proxy:
    body = "".join(f" {line}\n" for line in lines)
    return config(f"listen l\n{TIMEOUTS}{body}").proxies[0]


def server(words: str, *before: str) -> Server:
    return listen(*before, f"server s 1.2.3.4:80 {words}").servers[0]


def alerts(*texts: str) -> list[str]:
    return [m.text for m in read(*texts).messages if m.severity is Severity.ALERT]


def warnings(*texts: str) -> list[str]:
    return [m.text for m in read(*texts).messages if m.severity is Severity.WARNING]
