"""What a request of a browser asks a statistics page for, and whether it may: pure.

Addresses are HAProxy's: whatever begins with `stats uri` is the page, and words behind
semicolons say what of it."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from urllib.parse import urlsplit

from lbsplice.config.model import PageAction, PageRule, StatsPage
from lbsplice.config.page_conditions import holds


class What(Enum):
    """What of a page is asked for; the value is the word in the address."""

    PAGE = ""
    CSV = "csv"
    JSON = "json"
    TYPED = "typed"
    EVENTS = "events"
    WORDS = "words.js"
    SCRIPT = "page.js"
    ACTIONS = "actions.js"
    STYLE = "page.css"
    TOKEN = "token"


@dataclass(frozen=True, slots=True)
class Asked:
    """`norefresh` is a page that stays as it is; `up` and `no_maint` leave servers out."""

    what: What = What.PAGE
    norefresh: bool = False
    up: bool = False
    no_maint: bool = False
    scope: str | None = None


def origin_form(target: str) -> str:
    """A request's target without the scheme and the name that it may begin with; nothing of
    it is decoded, for conditions are about what was sent."""
    scheme, found, rest = target.partition("://")
    if not found or "/" in scheme:
        return target
    return rest[rest.index("/") :] if "/" in rest else "/"


def rule_for(page: StatsPage, path: str, source: str) -> PageRule:
    """The first rule that holds for a request for `path`; `source` is its address."""
    held = (rule for rule in page.rules if holds(rule.condition, path, source))
    return next(held, PageRule(PageAction.ALLOW))


def asked(page: StatsPage, target: str) -> Asked | None:
    """What a request's target (with its query) asks for; None if it is not the page."""
    if page.uri is None or not target.startswith(page.uri):
        return None
    words = target[len(page.uri) :].split(";")[1:]
    known = {what.value: what for what in What}
    what = What.PAGE
    for word in words:
        what = known.get(word, what) if word else what
    scope = next((word[6:] for word in words if word.startswith("scope=")), None)
    return Asked(what, "norefresh" in words, "up" in words, "no-maint" in words, scope or None)


def user_of(page: StatsPage, authorization: str) -> str | None:
    """Who asks, by a request's Authorization; None for somebody that may not. Without
    `stats auth` everybody may, and has no name."""
    if not page.accounts:
        return ""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    found = None
    for user, password in page.accounts:  # all of them: the time taken tells nothing
        if hmac.compare_digest(given, f"{user}:{password}".encode("utf-8", "surrogateescape")):
            found = user
    return found


def may_change(page: StatsPage, path: str, source: str) -> bool:
    """Whether `stats admin` lets this request change states."""
    return any(holds(condition, path, source) for condition in page.admin)


def foreign(page: StatsPage, headers: Mapping[str, str]) -> str | None:
    """Why a request to change something may come from a page of somebody else that a
    browser has open; None if it does not. A token is asked for besides.

    Without a password the name in `Host` has to be an address or localhost: with any other
    name, somebody else's page could have that name in a browser and read our token."""
    host = headers.get("Host", "")
    site = headers.get("Sec-Fetch-Site", "")
    if site and site not in ("same-origin", "none"):
        return f"the request comes from another site (Sec-Fetch-Site: {site})"
    origin = headers.get("Origin")
    if origin is not None and (not host or _host_of(origin) != host.lower()):
        return f"the request comes from another site (Origin: {origin})"
    if not page.accounts and not _is_address(host):
        return f"without 'stats auth' states can be changed at an IP address only, not '{host}'"
    return None


def _host_of(origin: str) -> str:
    """Name and port of an `Origin`; empty for `null` and for what is none."""
    scheme, _, host = origin.lower().partition("://")
    return host if scheme in ("http", "https") else ""


def _is_address(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ip_address(name)
    except ValueError:
        return host.lower().rpartition(":")[0] == "localhost" or host.lower() == "localhost"
    return True
