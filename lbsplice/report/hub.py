"""Every line of the log goes through here: it knows which targets a proxy has, and holds
one sink for each distinct one. Used on the control plane's thread alone."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lbsplice.config.messages import Message, Severity, render
from lbsplice.config.model import Config, Global, Log, Proxy
from lbsplice.errors import EnvironmentLacks
from lbsplice.plan.leaving import Leaving
from lbsplice.plan.slots import Numbers
from lbsplice.report.record import Record
from lbsplice.report.sessionlog import SessionLog, one_line
from lbsplice.report.sinks import DescriptorSink, Sink, SinkKey, open_sink, sink_key
from lbsplice.report.syslog import DEFAULT_TAG, Framer, encode
from lbsplice.terms import LogLevel


@dataclass(frozen=True, slots=True)
class _Target:
    """A `log` line of one proxy, or of all proxies that have it with one tag."""

    framer: Framer
    sink: Sink


class _Instead:
    """The targets that a hub has now, where new ones can not be had."""

    def __init__(self, hub: Hub) -> None:
        self._global = hub._global_targets
        self._by_proxy = hub._by_proxy

    def of(self, proxy: Proxy | None) -> tuple[_Target, ...]:
        return self._global if proxy is None else self._by_proxy.get(proxy.name, ())


class Hub:
    """The log of one process. `pid` stands in its lines; `tag` is the program's name,
    for configurations without `log-tag`; `clock` is the wall clock in ns since 1970.
    `aloud` says lines about proxies and servers on standard error too, as HAProxy does in
    the foreground; a terminal that stands still loses them.

    It begins with the global targets, which it opens at once (before a chroot); proxies
    are known from the first `replace` on. Raises EnvironmentLacks if a socket can not be
    made."""

    def __init__(
        self,
        global_: Global,
        *,
        pid: int,
        tag: str = DEFAULT_TAG,
        clock: Callable[[], int] = time.time_ns,
        aloud: bool = False,
    ) -> None:
        self._pid = pid
        self._tag = tag
        self._clock = clock
        self._aloud = DescriptorSink(2) if aloud else None
        self._sinks: dict[SinkKey, Sink] = {}
        self._made: dict[tuple[Log, str, str | None], _Target] = {}
        self._dropped_by_closed = 0
        self.warnings = 0  # lines about proxies and servers that HAProxy calls so
        self._session_log: SessionLog | None = None
        self._by_frontend: dict[int, tuple[_Target, ...]] = {}
        self._by_proxy: dict[str, tuple[_Target, ...]] = {}
        self._global_targets = self._targets(global_.logs, global_, None)

    def prepare(self, config: Config) -> None:
        """Open what the proxies of a configuration log to, for the `replace` that follows:
        before a chroot, or before a limit is lowered. Raises EnvironmentLacks."""
        for proxy in config.proxies:
            self._targets(proxy.logs, config.global_, proxy)

    def replace(
        self,
        config: Config,
        numbers: Numbers,
        leaving: Leaving | None = None,
        *,
        make_do: bool = False,
    ) -> None:
        """Take a configuration; what is leaving is still told of, to the targets it had.

        Raises EnvironmentLacks if a socket can not be made; then nothing has changed. With
        `make_do` the proxy goes on with the targets that it had before, if any."""
        left = leaving or Leaving()
        global_ = config.global_
        session_log = SessionLog(config, numbers, self._session_log, leaving=left)
        instead = _Instead(self) if make_do else None
        global_targets = self._targets(global_.logs, global_, None, instead)
        by_frontend = {
            number: self._targets(proxy.logs, global_, proxy, instead)
            for number, proxy in session_log.frontends.items()
        }
        by_proxy = {}
        # A frontend may have a backend's name; what is told of a proxy by its name is
        # mostly its servers' news.
        configured = sorted(config.proxies, key=lambda proxy: proxy.has_backend)
        for proxy in (*left.backends, *configured):
            by_proxy[proxy.name] = self._targets(proxy.logs, global_, proxy, instead)
        self._session_log = session_log
        self._global_targets = global_targets
        self._by_frontend = by_frontend
        self._by_proxy = by_proxy
        self._close_unused()

    @property
    def pid(self) -> int:
        """The pid in the lines."""
        return self._pid

    def set_pid(self, pid: int) -> None:
        """The pid for the lines from now on."""
        self._pid = pid
        for target in self._made.values():
            target.framer.set_pid(pid)

    def _targets(
        self,
        logs: Iterable[Log],
        global_: Global,
        proxy: Proxy | None,
        instead: _Instead | None = None,
    ) -> tuple[_Target, ...]:
        tag = one_line((proxy.log_tag if proxy else None) or global_.log_tag or self._tag)
        try:
            return tuple(self._target(log, tag, global_.log_send_hostname) for log in logs)
        except EnvironmentLacks:
            if instead is None:
                raise
            return instead.of(proxy)

    def _target(self, log: Log, tag: str, hostname: str | None) -> _Target:
        key = (log, tag, hostname)
        if key not in self._made:
            sends = socket.gethostname() if hostname == "" else hostname
            framer = Framer(log, tag=tag, hostname=sends, pid=self._pid)
            self._made[key] = _Target(framer, self._sink(log))
        return self._made[key]

    def _sink(self, log: Log) -> Sink:
        key = sink_key(log)
        if key not in self._sinks:
            self._sinks[key] = open_sink(key)
        return self._sinks[key]

    def _close_unused(self) -> None:
        proxies = (*self._by_frontend.values(), *self._by_proxy.values())
        used = {id(each) for targets in (self._global_targets, *proxies) for each in targets}
        self._made = {key: each for key, each in self._made.items() if id(each) in used}
        sinks = {id(each.sink) for each in self._made.values()}
        for key, sink in list(self._sinks.items()):
            if id(sink) not in sinks:
                self._dropped_by_closed += sink.dropped
                sink.close()
                del self._sinks[key]

    # ---- lines ----

    def session(self, record: Record) -> None:
        """Tell of one session: it has ended, or it has connected."""
        self.sessions((record,))

    def sessions(self, records: Iterable[Record]) -> None:
        """Tell of many sessions. Records that have no line are passed over; the next one is
        asked for when the line of the one before has been sent."""
        if self._session_log is None:
            deque(records, 0)
            return
        now = self._clock()
        for frontend, level, text in self._session_log.lines(records):
            _send(self._by_frontend[frontend], level, text, now)

    def proxy_line(self, proxy_name: str, level: LogLevel, text: str) -> None:
        """Say something of a proxy or of its servers, to that proxy's targets. A proxy
        without any, or of no configuration yet, is passed over."""
        text = one_line(text)
        _send(self._by_proxy.get(proxy_name, ()), level, text, self._clock())
        severity = Severity.ALERT if level is LogLevel.EMERG else Severity.WARNING
        self.warnings += severity is Severity.WARNING
        if self._aloud is not None:
            self._aloud.send(encode(render(Message(severity, text, area=""), self._pid) + "\n"))

    def process_line(self, level: LogLevel, text: str) -> None:
        """Say something of the process as a whole, to the global targets."""
        _send(self._global_targets, level, one_line(text), self._clock())

    # ---- the rest ----

    @property
    def dropped(self) -> int:
        """Lines that their target did not take, once for each target, since the start."""
        return self._dropped_by_closed + sum(sink.dropped for sink in self._sinks.values())

    @property
    def dropped_by_target(self) -> dict[SinkKey, int]:
        """The same for each target that is in use."""
        return {key: sink.dropped for key, sink in self._sinks.items()}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors it holds."""
        sinks = [*self._sinks.values(), *([self._aloud] if self._aloud else [])]
        return tuple(sink.fileno() for sink in sinks if sink.fileno() >= 0)

    def close(self) -> None:
        """Close every target. Lines that come later are passed over."""
        self._session_log = None
        self._global_targets = ()
        self._by_frontend = {}
        self._by_proxy = {}
        self._close_unused()
        if self._aloud is not None:
            self._aloud.close()


def _send(targets: tuple[_Target, ...], level: LogLevel, text: str, now: int) -> None:
    body = encode(text)
    for target in targets:
        line = target.framer.frame(level, body, now)
        if line is not None:
            target.sink.send(line)
