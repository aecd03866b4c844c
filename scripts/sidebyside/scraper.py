"""Somebody who asks a proxy for `show stat` and `/metrics`, again and again."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from types import TracebackType

from .failure import BenchError
from .proxies import SCRAPED_SERVERS, Proxy

SCRAPES_PER_S = 10


class Scraper:
    """Asks for both so many times a second, in a thread; a context manager that ends it.
    What fails is raised at its end and by `wait_for`."""

    def __init__(self, proxy: Proxy) -> None:
        self.rounds = 0
        self._proxy = proxy
        self._stop = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None:
            self._raise()

    def wait_for(self, rounds: int) -> None:
        """Return when it has asked so many times."""
        deadline = time.monotonic() + 30 + rounds / SCRAPES_PER_S
        while self.rounds < rounds:
            self._raise()
            if time.monotonic() > deadline:
                raise BenchError(f"{self._proxy.program.name} was scraped {self.rounds} times only")
            time.sleep(0.01)

    def _raise(self) -> None:
        if self._failed is not None:
            raise BenchError(
                f"{self._proxy.program.name} can not be scraped: {self._failed}"
            ) from self._failed

    def _run(self) -> None:
        at = time.monotonic()
        try:
            while not self._stop.wait(max(0.0, at - time.monotonic())):
                at = max(at + 1 / SCRAPES_PER_S, time.monotonic())
                self._ask_socket()
                self._ask_http()
                self.rounds += 1
        except (OSError, http.client.HTTPException, BenchError) as why:
            self._failed = why

    def _ask_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(5)
            asked.connect(str(self._proxy.stats_socket))
            asked.sendall(b"show stat\n")
            lines = 0
            while data := asked.recv(1 << 20):
                lines += data.count(b"\n")
        if lines < SCRAPED_SERVERS:
            raise BenchError(f"show stat has {lines} lines")

    def _ask_http(self) -> None:
        asked = http.client.HTTPConnection("127.0.0.1", self._proxy.stats_port, timeout=5)
        try:
            asked.request("GET", "/metrics")
            answer = asked.getresponse()
            text = answer.read()
        finally:
            asked.close()
        if answer.status != 200 or text.count(b"\n") < SCRAPED_SERVERS:
            raise BenchError(f"/metrics: status {answer.status}, {len(text)} bytes")
