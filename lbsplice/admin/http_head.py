"""The files of the statistics page, and the headers that every answer has."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files

from lbsplice import __version__
from lbsplice.admin.http_request import What
from lbsplice.config.model import StatsPage

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "lbsplice",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

FILES = (What.WORDS, What.SCRIPT, What.ACTIONS, What.STYLE)

TYPES = {
    What.PAGE: "text/html",
    What.CSV: "text/plain",
    What.TYPED: "text/plain",
    What.JSON: "application/json",
    What.WORDS: "text/javascript",
    What.SCRIPT: "text/javascript",
    What.ACTIONS: "text/javascript",
    What.STYLE: "text/css",
    What.EVENTS: "text/event-stream",
    What.TOKEN: "text/plain",
}


_GAP = re.compile(r"\{\{(\w+)\}\}")
_NAMES = ("page.html", *(what.value for what in FILES))
_ASSETS = {  # read at once: behind a chroot they are not there
    name: (files("lbsplice.admin") / "page" / name).read_text("utf-8") for name in _NAMES
}


def asset(name: str) -> str:
    """A file of the page."""
    return _ASSETS[name]


def document(
    page: StatsPage, *, node: str, description: str, settings: Mapping[str, object]
) -> str:
    """The page itself; `settings` are what its scripts need to know."""
    words = {
        "uri": page.uri or "",
        "title": page.show_node or node or "lbsplice",
        "node": (page.show_node or node) if page.show_node is not None else "",
        "description": (page.show_desc or description) if page.show_desc is not None else "",
        "version": "" if page.hide_version else __version__,
        "settings": json.dumps(settings),
    }
    return _GAP.sub(lambda gap: html.escape(words[gap[1]]), asset("page.html"))
