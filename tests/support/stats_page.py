"""The statistics page before a Control of literal values, in a thread of its own:

with page_of(small_view(), "stats enable", "stats uri /s") as page:
    page.get("/s;csv").text
    page.control.shown = replace(...)
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode

from lbsplice.admin.http import StatsServer
from lbsplice.admin.view import View
from lbsplice.config.model import StatsPage
from tests.support.admin import StandInControl
from tests.unit.config_reading import config

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def stats_page(*lines: str) -> StatsPage:
    """The page of a section `listen stats` with these lines."""
    body = "".join(f" {line}\n" for line in lines)
    return config(f"listen stats\n mode http\n bind 127.0.0.1:1\n{body}").pages[0]


@dataclass
class ServedPage:
    """A page that is served; requests to it come from 127.0.0.1."""

    control: StandInControl
    pages: tuple[StatsPage, ...]
    listener: socket.socket
    server: StatsServer | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, target: str, method: str = "GET", **headers: str) -> Answer:
        return self.request(method, target, None, headers)

    def post(self, target: str, form: Mapping[str, str], **headers: str) -> Answer:
        """Header names are given with `_` for `-`."""
        return self.request("POST", target, urlencode(form), headers)

    def request(
        self, method: str, target: str, body: str | None, headers: Mapping[str, str]
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.putrequest(method, target, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None:
                connection.putheader("Content-Type", "application/x-www-form-urlencoded")
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode() if body is not None else None)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def token(self, uri: str, **headers: str) -> str:
        return self.get(f"{uri};token", **headers).text.strip()

    def run(self, coroutine: object) -> object:
        """Run a coroutine in the server's loop."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)  # type: ignore[arg-type]
        return future.result(DEADLINE_S)


@contextmanager
def page_of(view: View, *lines: str) -> Iterator[ServedPage]:
    """Serve a page with these lines before this view; end it afterwards."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = ServedPage(StandInControl(view), (stats_page(*lines),), listener)
    thread = threading.Thread(target=served.loop.run_forever)
    thread.start()
    served.server = StatsServer(served.control, lambda: served.pages)
    try:
        served.run(served.server.start({("stats", 0): listener}))
        yield served
    finally:
        served.run(served.server.close())
        served.loop.call_soon_threadsafe(served.loop.stop)
        thread.join(DEADLINE_S)
        served.loop.close()
        listener.close()
