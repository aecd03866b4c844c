"""Drafts into a `Config`: numbers given, `log global` replaced, options spelled out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from lbsplice.config.drafts import ProxyDraft
from lbsplice.config.model import Config, Global, Log, Proxy, ProxyKind, Server, StatsPage

FIRST_PROXY_ID = 2
"""HAProxy keeps 1 for itself."""

_Item = TypeVar("_Item")


def number(
    items: Iterable[_Item], given: Callable[[_Item], int | None], first: int
) -> list[tuple[_Item, int]]:
    """Number what has no number of its own, as HAProxy does: the place in the order of
    declaration, or the next number that nobody has been given."""
    ordered = list(items)
    taken = {n for item in ordered if (n := given(item)) is not None}
    numbered: list[tuple[_Item, int]] = []
    following = first
    for item in ordered:
        own = given(item)
        if own is None:
            while following in taken:
                following += 1
            own = following
            taken.add(own)
        numbered.append((item, own))
        following += 1
    return numbered


def assemble(global_: Global, drafts: Sequence[ProxyDraft]) -> Config:
    """The configuration that checked drafts stand for. Every draft has a kind."""
    numbered = number(drafts, lambda draft: draft.id, FIRST_PROXY_ID)
    return Config(
        global_,
        tuple(_proxy(draft, global_.logs, own) for draft, own in numbered if not draft.is_page),
        pages=tuple(
            _page(draft, _proxy(draft, global_.logs, own), position)
            for position, (draft, own) in enumerate(numbered)
            if draft.is_page
        ),
    )


def _page(draft: ProxyDraft, proxy: Proxy, position: int) -> StatsPage:
    page = StatsPage(
        replace(proxy, default_backend=None, servers=()),
        position,
        rules=tuple(draft.rules),
        monitor_uri=draft.monitor_uri,
    )
    stats = draft.settings.stats
    if stats is None:
        return page
    return replace(page, **{each.name: getattr(stats, each.name) for each in fields(stats)})


def resolved_logs(draft: ProxyDraft, global_logs: tuple[Log, ...]) -> tuple[Log, ...]:
    """Where this proxy logs to: `log global` is replaced by the global targets, once."""
    logs: list[Log] = []
    for log in draft.settings.logs:
        for one in global_logs if log is None else (log,):
            if one not in logs:
                logs.append(one)
    return tuple(logs)


def _proxy(draft: ProxyDraft, global_logs: tuple[Log, ...], own: int) -> Proxy:
    assert draft.kind is not None
    s = draft.settings
    front, back = draft.has_frontend, draft.has_backend
    nothing = Proxy(draft.place, draft.kind, draft.name, own)
    timeouts = replace(
        s.timeouts,
        **({} if front else {"client": None, "client_fin": None}),
        **({} if back else dict.fromkeys(("connect", "server", "server_fin", "check", "tunnel"))),
    )
    proxy = replace(
        nothing,
        description=draft.description,
        disabled=s.disabled,
        timeouts=timeouts,
        logs=resolved_logs(draft, global_logs),
        log_tag=s.log_tag,
        nolinger=s.option("nolinger"),
    )
    if front:
        proxy = replace(
            proxy,
            binds=tuple(draft.binds),
            default_backend=_default_backend(draft),
            maxconn=s.maxconn,
            backlog=s.backlog,
            client_keepalive=replace(s.client_keepalive, enabled=s.option("clitcpka")),
            smart_accept=s.option("tcp-smart-accept"),
            tcplog=s.option("tcplog"),
            dontlognull=s.option("dontlognull"),
            dontlog_normal=s.option("dontlog-normal"),
            logasap=s.option("logasap"),
            log_separate_errors=s.option("log-separate-errors"),
            socket_stats=s.option("socket-stats"),
        )
    if back:
        proxy = replace(
            proxy,
            servers=_servers(draft),
            balance=s.balance,
            allbackups=s.option("allbackups"),
            retries=s.retries,
            redispatch=s.redispatch,
            abortonclose=s.option("abortonclose"),
            server_keepalive=replace(s.server_keepalive, enabled=s.option("srvtcpka")),
            smart_connect=s.option("tcp-smart-connect"),
            source=s.source,
            log_health_checks=s.option("log-health-checks"),
            state_file=s.state_file,
            state_file_name=draft.state_file_name,
        )
    return proxy


def _default_backend(draft: ProxyDraft) -> str | None:
    """None also where a `listen` names itself."""
    if draft.settings.default_backend is None:
        return None
    name = draft.settings.default_backend[0]
    return None if draft.kind is ProxyKind.LISTEN and name == draft.name else name


def _servers(draft: ProxyDraft) -> tuple[Server, ...]:
    return tuple(
        server.finish(own)
        for server, own in number(draft.servers, lambda server: server.settings.id, 1)
    )
