"""The metrics as Prometheus reads them (text format 0.0.4), out of a View."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbsplice.admin.metrics_block import Blocks, head, label
from lbsplice.admin.metrics_kind import Metric
from lbsplice.admin.metrics_process import OWN, PROCESS
from lbsplice.admin.metrics_table import (
    BACKEND,
    CHECK,
    CHECK_STATES,
    COUNTED,
    FRONTEND,
    LISTENER,
    OWN_SERVER,
    SERVER,
    SERVER_STATES,
    server_state,
)
from lbsplice.admin.view import BackendView, ServerView, View
from lbsplice.errors import LbspliceError
from lbsplice.terms import CheckStatus

CONTENT_TYPE = "text/plain; version=0.0.4"
SCOPES = ("global", "frontend", "listener", "backend", "server", "sticktable", "resolver")
_KEPT = 12  # tables: those of two different questions; each may be megabytes


class QueryError(LbspliceError):
    """A question that can not be answered: an unknown scope."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a scrape asks for, in HAProxy's parameters. `servers`, `proxies` and `metrics`
    empty: all; `without` are metrics to leave out."""

    scopes: frozenset[str] = frozenset(SCOPES)
    proxies: frozenset[str] = frozenset()
    servers: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    no_maint: bool = False

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> Query:
        """Those of an URL, in order. What is not known is passed over, except for a scope:
        QueryError."""
        scopes: set[str] | None = None
        chosen: dict[str, set[str]] = {"proxy": set(), "server": set(), "+": set(), "-": set()}
        no_maint = False
        for name, value in parameters:
            if name == "scope":
                scopes = _with_scope(scopes, value)
            elif name in ("proxy", "server"):
                chosen[name].add(value)
            elif name == "metrics":
                for word in filter(None, value.split(",")):
                    sign = "-" if word.startswith("-") else "+"
                    chosen[sign].add(word.lstrip("+- "))
            elif name == "no-maint":
                no_maint = True
        proxies, servers, wanted, unwanted = (frozenset(words) for words in chosen.values())
        asked = frozenset(SCOPES) if scopes is None else frozenset(scopes)
        return cls(asked, proxies, servers, wanted, unwanted, no_maint)

    def wants(self, name: str) -> bool:
        return name not in self.without and (not self.metrics or name in self.metrics)


def _with_scope(scopes: set[str] | None, value: str) -> set[str]:
    if value == "*":
        return set(SCOPES)
    if not value:
        return set()
    if value not in SCOPES:
        raise QueryError(f"no scope '{value}'; there are {', '.join(SCOPES)} and *")
    return (scopes or set()) | {value}


class Exposition:
    """Makes the text of scrapes, and keeps what the next one can use again."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, Query], Blocks] = {}

    def text(self, view: View, version: str, followed: str, query: Query | None = None) -> bytes:
        """All that is asked for, in one."""
        return b"".join(self.parts(view, version, followed, query))

    def parts(
        self, view: View, version: str, followed: str, query: Query | None = None
    ) -> list[bytes]:
        """All that is asked for: the text is the parts one after the other, which may be kept
        and are shared. `version` is lbsplice's own, `followed` HAProxy's."""
        query = query or Query()
        parts: list[bytes] = []
        if "global" in query.scopes:
            parts += self._rows("global", query, PROCESS + OWN, [("", view.process)])
            parts += _counted(_of_the_process(view, version, followed), query)
        if "frontend" in query.scopes:
            fronts = [(label("proxy", f.name), f) for f in _chosen(view.frontends, query)]
            parts += self._rows("frontend", query, FRONTEND, fronts)
        if "listener" in query.scopes:
            listeners = [
                (f"{label('proxy', each.frontend)},{label('listener', each.name)}", each)
                for each in view.listeners
                if not query.proxies or each.frontend in query.proxies
            ]
            parts += self._rows("listener", query, LISTENER, listeners)
        backends: list[BackendView] = list(_chosen(view.backends, query))
        if "backend" in query.scopes:
            backs = [(label("proxy", b.name), b) for b in backends]
            parts += self._rows("backend", query, BACKEND, backs)
            parts += _counted(_of_backends(backends), query)
        if "server" in query.scopes:
            servers = _servers(backends, query)
            checked = [(labels, server) for labels, server in servers if server.checked]
            parts += self._rows("server", query, SERVER + OWN_SERVER, servers)
            parts += self._rows("check", query, CHECK, checked)
        return parts

    def _rows(
        self, scope: str, query: Query, metrics: Sequence[Metric], rows: Sequence[tuple[str, Any]]
    ) -> list[bytes]:
        if not rows:
            return []
        table = self._tables.pop((scope, query), None)
        labels = [each for each, _ in rows]
        if table is None or table.labels != labels:
            table = Blocks(labels, [m for m in metrics if query.wants(m.name)])
        self._tables[(scope, query)] = table  # the last one used stands last
        while len(self._tables) > _KEPT:
            del self._tables[next(iter(self._tables))]
        return table.of([each for _, each in rows])


# ---- what is asked for ----


def _chosen(by_name: Mapping[str, Any], query: Query) -> list[Any]:
    return [each for name, each in by_name.items() if not query.proxies or name in query.proxies]


def _servers(backends: Sequence[BackendView], query: Query) -> list[tuple[str, ServerView]]:
    return [
        (_server_label(*server.key), server)
        for backend in backends
        for server in backend.servers
        if (not query.servers or server.key[1] in query.servers)
        and not (query.no_maint and server.word.startswith("MAINT"))
    ]


_server_labels: dict[tuple[str, str], str] = {}


def _server_label(backend: str, name: str) -> str:
    made = _server_labels.get((backend, name))
    if made is None:
        if len(_server_labels) > 100_000:
            _server_labels.clear()
        made = f"{label('proxy', backend)},{label('server', name)}"
        _server_labels[(backend, name)] = made
    return made


# ---- families with labels of their own ----

_Rows = dict[str, list[tuple[str, int]]]


def _of_the_process(view: View, version: str, followed: str) -> _Rows:
    process = view.process
    return {
        "haproxy_process_build_info": [(label("version", followed), 1)],
        "haproxy_process_node": [(label("node", process.node), 1)],
        "haproxy_process_description": [(label("desc", process.description), 1)],
        "lbsplice_build_info": [(label("version", version), 1)],
        "lbsplice_sessions_killed_total": [
            (label("cause", cause), count) for cause, count in process.kills.items()
        ],
    }


def _of_backends(backends: Sequence[BackendView]) -> _Rows:
    states, checks = [], []
    for backend in backends:
        own = label("proxy", backend.name)
        words = Counter(server.word for server in backend.servers)
        found: Counter[str] = Counter()
        for word, count in words.items():
            found[server_state(word)] += count
        results = [server.check_status for server in backend.servers if server.checked]
        ended = {status.value: results.count(status) for status in CheckStatus}
        states += [(f"{own},{label('state', each)}", found[each]) for each in SERVER_STATES]
        checks += [(f"{own},{label('state', each)}", ended.get(each, 0)) for each in CHECK_STATES]
    return {
        "haproxy_backend_agg_server_status": states,
        "haproxy_backend_agg_server_check_status": states,
        "haproxy_backend_agg_check_status": checks,
    }


def _counted(rows: _Rows, query: Query) -> list[bytes]:
    blocks = []
    for name, kind, text in COUNTED:
        if rows.get(name) and query.wants(name):
            lines = (f"{name}{{{own}}} {value}\n" for own, value in rows[name])
            blocks.append((head(name, kind, text) + "".join(lines)).encode())
    return blocks
