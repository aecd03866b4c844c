"""What is wrong with a configuration as a whole, once every line has been read:
names that mean nothing or two things, servers that can not be checked, timeouts that
are missing. In HAProxy's words."""

from __future__ import annotations

from collections.abc import Sequence

from lbsplice.config.assemble import resolved_logs
from lbsplice.config.drafts import ProxyDraft
from lbsplice.config.keyword_tables import HTTP
from lbsplice.config.keywords import hint
from lbsplice.config.messages import Report
from lbsplice.config.model import AddressKind, Endpoint, Global, PageAction, Place
from lbsplice.config.server import ServerDraft

_MISSING_TIMEOUTS = """\
missing timeouts for {title}.
   | While not properly invalid, you will certainly encounter various problems
   | with such a configuration. To fix this, please ensure that all following
   | timeouts are set to a non-zero value: 'client', 'connect', 'server'."""


# fmt: off
_OF_A_PAGE = frozenset((
    "mode", "bind", "stats", "http-request", "timeout", "option", "log", "log-tag", "maxconn",
    "backlog", "disabled", "enabled", "id", "description", "acl", "monitor-uri",
    "balance", "retries",
    "clitcpka-cnt", "clitcpka-idle", "clitcpka-intvl",
))
# fmt: on


def check_pages(drafts: Sequence[ProxyDraft], report: Report) -> None:
    """`mode http` is for statistics pages alone, with nothing else in their sections."""
    told: set[Place] = set()
    for draft in drafts:
        place = draft.settings.http
        for text, where in draft.faults if draft.is_page else draft.refused:
            report.alert(text, where)
        if draft.is_page:
            for keyword, where in draft.said:
                if keyword not in _OF_A_PAGE:
                    report.alert(
                        f"'{keyword}' is not supported by lbsplice in 'mode http': such a section "
                        "serves the statistics page and the metrics, nothing else.",
                        where,
                    )
        elif place is not None and place not in told:
            told.add(place)
            report.alert(
                f"'mode http' is not supported by lbsplice: {HTTP}. Use 'mode tcp'.", place
            )


def check_names(drafts: Sequence[ProxyDraft], report: Report, first_draft: int = 0) -> None:
    """Names and ids that stand twice; told of the drafts from `first_draft` on. A
    frontend and a backend may share a name."""
    fronts: dict[str, ProxyDraft] = {}
    backs: dict[str, ProxyDraft] = {}
    ids: dict[int, ProxyDraft] = {}
    for index, draft in enumerate(drafts):
        clash = (draft.has_frontend and fronts.get(draft.name)) or (
            draft.has_backend and backs.get(draft.name)
        )
        if clash and index >= first_draft:
            report.alert(
                f"{draft.title} has the same name as {clash.title} declared at {clash.place}.",
                draft.place,
            )
        if draft.has_frontend:
            fronts.setdefault(draft.name, draft)
        if draft.has_backend:
            backs.setdefault(draft.name, draft)
        if draft.id is not None:
            first = ids.setdefault(draft.id, draft)
            if first is not draft and index >= first_draft:
                report.alert(
                    f"proxy {draft.name} reuses same custom id as proxy {first.name} "
                    f"(declared at {first.place}).",
                    draft.place,
                )


def check_meaning(global_: Global, drafts: Sequence[ProxyDraft], report: Report) -> None:
    """Everything else, proxy by proxy. Disabled proxies are left in peace."""
    backends = {draft.name for draft in drafts if draft.has_backend}
    for draft in drafts:
        if draft.settings.disabled:
            continue
        if draft.is_page:
            _check_page(draft, {each.name for each in drafts}, report)
        elif draft.has_frontend:
            _check_frontend(draft, global_, backends, report)
        if draft.has_backend and not draft.is_page:
            _check_servers(draft, report)
        _check_http(draft, report)
        if not draft.is_page and _lacks_timeouts(draft):
            report.warn(_MISSING_TIMEOUTS.format(title=draft.title))


def _check_page(draft: ProxyDraft, names: set[str], report: Report) -> None:
    if not draft.binds:
        report.warn(f"{draft.title} has no 'bind' directive: nobody can reach its page.")
    stats = draft.settings.stats
    if stats is None:
        return
    if stats.admin and not stats.accounts:
        report.warn(
            f"'stats admin' of {draft.title} without 'stats auth': whoever meets its condition "
            "can stop servers. Add 'stats auth USER:PASSWORD'.",
            draft.place,
        )
    for name in stats.scope:
        if name not in names and name != ".":
            report.warn(
                f"'stats scope' of {draft.title} names '{name}', which is no proxy"
                f"{hint(name, sorted(names))}.",
                draft.place,
            )


def _check_http(draft: ProxyDraft, report: Report) -> None:
    """What only `mode http` gives a meaning to, in HAProxy's words."""
    if draft.settings.http is not None:
        return
    if draft.settings.stats is not None and any(word == "stats" for word, _ in draft.said):
        report.warn(f"'stats' statement ignored for {draft.title} as it requires HTTP mode.")
    if any(rule.action is PageAction.METRICS for rule in draft.rules):
        report.warn(f"'http-request' rules ignored for {draft.title} as they require HTTP mode.")


def _check_frontend(draft: ProxyDraft, global_: Global, backends: set[str], report: Report) -> None:
    if draft.settings.default_backend is not None:
        name, place = draft.settings.default_backend
        if name not in backends:
            report.alert(
                f"Proxy '{draft.name}': unable to find required default_backend: '{name}'"
                f"{hint(name, sorted(backends))}.",
                place,
            )
    if not draft.binds and not draft.has_backend:
        report.warn(
            f"{draft.title} has no 'bind' directive. Please declare it as a backend if this "
            "was intended."
        )
    if draft.settings.option("tcplog") and not resolved_logs(draft, global_.logs):
        report.warn(f"log format ignored for {draft.title} since it has no log address.")


def _check_servers(draft: ProxyDraft, report: Report) -> None:
    seen: dict[str, ServerDraft] = {}
    for server in draft.servers:
        first = seen.setdefault(server.name, server)
        if first is not server:
            report.alert(
                f"proxy '{draft.name}', another server named '{server.name}' was already defined "
                f"at line {first.place.line}, please use distinct names.",
                server.place,
            )
        if server.settings.check.enabled and not _can_be_checked(server):
            report.alert(
                f"proxy '{draft.name}': server '{server.name}' has neither service port nor "
                "check port.",
                server.place,
            )


def _can_be_checked(server: ServerDraft) -> bool:
    check = server.settings.check
    if check.port is not None:
        return True
    if check.address is None and _is_local(server.endpoint):
        return True
    return server.endpoint.port is not None and not server.endpoint.relative


def _is_local(endpoint: Endpoint) -> bool:
    return endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT)


def _lacks_timeouts(draft: ProxyDraft) -> bool:
    timeouts = draft.settings.timeouts
    if draft.has_frontend and not timeouts.client:
        return True
    if not (draft.has_backend and draft.servers):
        return False
    return not timeouts.connect or not (timeouts.server or timeouts.tunnel)
