"""The statistics page and the metrics over HTTP, on listening sockets handed in, in the
event loop of the control plane. Nothing here is imported without such a page."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from lbsplice import __version__
from lbsplice.admin import stat
from lbsplice.admin.control import Control
from lbsplice.admin.http_actions import Outcome, Status, carry_out
from lbsplice.admin.http_door import Door, PageCounts
from lbsplice.admin.http_events import Viewers
from lbsplice.admin.http_head import FILES, SECURITY, TYPES, asset, document
from lbsplice.admin.http_live import scoped
from lbsplice.admin.http_request import (
    Asked,
    What,
    asked,
    foreign,
    may_change,
    origin_form,
    rule_for,
    user_of,
)
from lbsplice.admin.http_stream import streamed
from lbsplice.admin.metrics import CONTENT_TYPE, Exposition, Query, QueryError
from lbsplice.admin.view import View
from lbsplice.config.model import PageAction, StatsPage
from lbsplice.limits import PAGE_CONNECTIONS
from lbsplice.plan.slots import ListenerKey
from lbsplice.terms import HAPROXY_VERSION

FORM_S = 10.0
MOST_FORM = 65_536


class StatsServer:
    """Serves all pages of a configuration. `pages` gives those in force, `counts` what
    they have served, by name."""

    def __init__(self, control: Control, pages: Callable[[], Sequence[StatsPage]]) -> None:
        self.counts: dict[str, PageCounts] = {}
        self._control = control
        self._pages = pages
        self._secret = secrets.token_bytes(32)
        self._exposition = Exposition()
        self._viewers = Viewers(control.view)
        self._doors: dict[ListenerKey, Door] = {}

    async def start(self, sockets: Mapping[ListenerKey, socket.socket]) -> None:
        """Serve on those of the sockets that are a page's; they stay the caller's."""
        names = {page.name for page in self._pages() if not page.proxy.disabled}
        for key, sock in sockets.items():
            if key[0] in names:
                counts = self.counts.setdefault(key[0], PageCounts())
                door = Door(sock, counts, partial(self._answer, key[0]), self._most(key[0]))
                self._doors[key] = door
                await door.open()

    async def replace(self, sockets: Mapping[ListenerKey, socket.socket]) -> None:
        """After a reload: doors whose socket is the same stay open, with their guests."""
        names = {page.name for page in self._pages() if not page.proxy.disabled}
        for key, door in list(self._doors.items()):
            if sockets.get(key) is door.origin and key[0] in names:
                door.most = self._most(key[0])
            else:
                del self._doors[key]
                await door.close()
        await self.start({key: one for key, one in sockets.items() if key not in self._doors})

    async def close(self) -> None:
        """End every connection."""
        await self._viewers.close()
        while self._doors:
            await self._doors.popitem()[1].close()

    def _page(self, name: str) -> StatsPage | None:
        return next((page for page in self._pages() if page.name == name), None)

    def _most(self, name: str) -> int:
        page = self._page(name)
        wanted = page.proxy.maxconn if page is not None else None
        return min(wanted or PAGE_CONNECTIONS, PAGE_CONNECTIONS)

    # ---- requests ----

    async def _answer(self, name: str, request: web.BaseRequest) -> web.StreamResponse:
        counts = self.counts[name]
        counts.requests += 1
        page = self._page(name)
        response = await self._served(page, request) if page is not None else _plain(404, "gone")
        if isinstance(response, web.Response):
            response.headers.update(SECURITY)
            counts.bytes_out += len(response.body) if isinstance(response.body, bytes) else 0
        else:
            counts.bytes_out += response.body_length  # it has been sent
        return response

    async def _served(self, page: StatsPage, request: web.BaseRequest) -> web.StreamResponse:
        target, source = origin_form(request.raw_path), _source(request)
        path = target.partition("?")[0]
        if path == page.monitor_uri:
            return _plain(200, "lbsplice is alive")
        rule = rule_for(page, path, source)
        if rule.action is PageAction.DENY:
            return _plain(rule.status, "denied by a rule")
        if rule.action is PageAction.METRICS:
            return await self._metrics(request)
        wanted = asked(page, target)
        if wanted is None:
            return _plain(404, "nothing is here")  # where the page is may be a secret
        user = user_of(page, request.headers.get("Authorization", ""))
        if user is None:
            response = _plain(401, "a user and a password are asked for")
            response.headers["WWW-Authenticate"] = f'Basic realm="{page.realm}", charset="UTF-8"'
            return response
        admin = may_change(page, path, source)
        if request.method == "POST":
            return await self._change(page, request, user, admin)
        if request.method not in ("GET", "HEAD"):
            return _plain(405, "GET, HEAD and POST are answered")
        return await self._shown(page, request, wanted, user, admin)

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            query = Query.of(parse_qsl(urlsplit(request.raw_path).query, keep_blank_values=True))
        except QueryError as why:
            return _plain(400, str(why))
        parts = self._exposition.parts(self._control.view(), __version__, HAPROXY_VERSION, query)
        headers = {**SECURITY, "Content-Type": CONTENT_TYPE}
        return await streamed(request, headers, parts, sum(map(len, parts)))

    async def _shown(
        self, page: StatsPage, request: web.BaseRequest, wanted: Asked, user: str, admin: bool
    ) -> web.StreamResponse:
        if wanted.what in FILES:
            return _text(wanted.what, asset(wanted.what.value))
        token = self._token(page, user) if admin else ""
        if wanted.what is What.TOKEN:
            return _text(What.TOKEN, f"{token}\n") if admin else _plain(403, "not an admin")
        scope = _scope(page)
        if wanted.what is What.EVENTS:
            every = (page.refresh or 1000) / 1000
            return await self._viewers.serve(request, page.name, scope, every, SECURITY, token)
        view = scoped(self._control.view(), scope)
        if wanted.what is What.PAGE:
            settings = {
                "uri": page.uri,
                "admin": admin,
                "token": token,
                "frozen": wanted.norefresh,
                "legends": page.show_legends,
                "up": wanted.up,
                "noMaint": wanted.no_maint,
                "scope": wanted.scope or "",
                "done": _outcome_word(request.raw_path),
            }
            process = view.process
            return _text(
                What.PAGE,
                document(
                    page,
                    node=process.node,
                    description=process.description,
                    settings=settings,
                ),
            )
        refresh = {}
        if page.refresh and not wanted.norefresh:
            refresh = {"Refresh": str(max(1, page.refresh // 1000))}
        headers = {**SECURITY, **refresh, "Content-Type": f"{TYPES[wanted.what]}; charset=utf-8"}
        text = (each.encode() for each in _stat_text(page, view, wanted))
        return await streamed(request, headers, text)

    # ---- changes ----

    async def _change(
        self, page: StatsPage, request: web.BaseRequest, user: str, admin: bool
    ) -> web.Response:
        """HAProxy's form. Who asks for JSON is told in JSON, others are sent to the page."""
        if not admin:
            return self._told(page, request, Outcome(Status.DENIED, "not an admin"), 403)
        strange = foreign(page, request.headers)
        if strange is not None:
            return self._told(page, request, Outcome(Status.DENIED, strange), 403)
        try:
            body = await asyncio.wait_for(_body(request), FORM_S)
        except asyncio.TimeoutError:
            return _plain(408, "the form did not come")
        if len(body) > MOST_FORM:
            return self._told(page, request, Outcome(Status.TOO_MUCH, "too long a form"), 413)
        form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        given = request.headers.get("X-Token") or dict(form).get("token", "")
        if not hmac.compare_digest(_bytes(given), _bytes(self._token(page, user))):
            why = f"the form lacks its token, which {page.uri};token tells"
            return self._told(page, request, Outcome(Status.DENIED, why), 403)
        asker = f"{_source(request) or 'unix'} (page {page.name}{f', user {user}' if user else ''})"
        outcome = carry_out(self._control, form, _scope(page), asker)
        return self._told(page, request, outcome)

    def _told(
        self, page: StatsPage, request: web.BaseRequest, outcome: Outcome, status: int = 200
    ) -> web.Response:
        if request.headers.get("Accept") == "application/json":
            told = {"status": outcome.status.value, "text": outcome.text}
            return web.json_response(told, status=status)
        if status != 200:
            return _plain(status, outcome.text)
        address = f"{page.uri};st={outcome.status.value}"
        return web.Response(status=303, headers={"Location": address})

    def _token(self, page: StatsPage, user: str) -> str:
        return hmac.new(self._secret, f"{page.name}\0{user}".encode(), "sha256").hexdigest()


def _scope(page: StatsPage) -> tuple[str, ...]:
    return tuple(page.name if name == "." else name for name in page.scope)


def _stat_text(page: StatsPage, view: View, wanted: Asked) -> Iterator[str]:
    filters = stat.Filter(up=wanted.up, no_maint=wanted.no_maint, legends=page.show_legends)
    if wanted.scope:
        names = [name for name in view.proxies if wanted.scope in name]
        view = scoped(view, names or ["\0"])
    make = {What.CSV: stat.csv, What.JSON: stat.json, What.TYPED: stat.typed}[wanted.what]
    return make(view, filters)


def _outcome_word(target: str) -> str:
    word = target.rpartition(";st=")[2] if ";st=" in target else ""
    return word if word in {status.value for status in Status} else ""


def _source(request: web.BaseRequest) -> str:
    return (request.remote or "").partition("%")[0]


def _bytes(text: str) -> bytes:
    """Headers may hold what is no text."""
    return text.encode("utf-8", "replace")


async def _body(request: web.BaseRequest) -> bytes:
    """All of it, or a little more than may be."""
    body = b""
    while len(body) <= MOST_FORM and (more := await request.content.read(MOST_FORM)):
        body += more
    return body


def _plain(status: int, text: str) -> web.Response:
    return web.Response(
        status=status, body=_bytes(f"{text}\n"), content_type="text/plain", charset="utf-8"
    )


def _text(what: What, text: str) -> web.Response:
    return web.Response(text=text, content_type=TYPES[what], charset="utf-8")
