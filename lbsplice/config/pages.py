"""The lines of a statistics page: `stats ...`, `http-request ...` and `monitor-uri`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lbsplice.config.drafts import ProxyDraft, StatsSettings
from lbsplice.config.keyword_tables import HTTP, STATS
from lbsplice.config.messages import Report
from lbsplice.config.model import PageAction, PageCondition, PageRule, PageTerm
from lbsplice.config.page_conditions import read_condition
from lbsplice.config.statement import Statement, integer_in, known
from lbsplice.errors import ConfigError, UnitError
from lbsplice.units import parse_duration

SERVICE = "prometheus-exporter"
_EXPECTS = (
    "expects 'admin', 'uri', 'realm', 'auth', 'scope', 'enable', 'hide-version', 'show-node', "
    "'show-desc' or 'show-legends'"
)
_Acls = Mapping[str, PageTerm]
_ACTIONS = {action.value: action for action in PageAction}


def read_stats(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """Take one `stats` line in; any of them enables the page. Raises `ConfigError`."""
    name = line.word(1)
    if not name:
        raise ConfigError(f"missing keyword in 'stats', {_EXPECTS}.")
    unknown = f"unknown stats parameter '{name}', {_EXPECTS}"
    is_used = known(STATS, name, f"stats {name}", unknown, report, line.place)
    is_first = [word for word, _ in draft.said].count("stats") <= 1
    before = draft.settings.stats
    if before is None or is_first:
        before = StatsSettings()  # a section's own lines replace those of its defaults
    draft.settings.stats = _READERS[name](line, before, draft.acls) if is_used else before


def read_http_request(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """`http-request use-service prometheus-exporter`, `allow` and `deny`. Raises `ConfigError`."""
    action = line.word(1)
    refusal = (
        f"'http-request{f' {action}' if action else ''}' is not supported by lbsplice: {HTTP}."
    )
    if action not in _ACTIONS:
        raise ConfigError(refusal)
    if action != "use-service":
        draft.only_in_page(refusal, line.place)
    try:
        draft.rules.append(_rule(_ACTIONS[action], line.words[2:], draft.acls))
    except ConfigError as error:
        if action == "use-service":
            raise
        draft.wrong_in_page(str(error), line.place)


def _rule(action: PageAction, words: Sequence[str], acls: Mapping[str, PageTerm]) -> PageRule:
    what, status = f"'http-request {action.value}'", 403
    if action is PageAction.METRICS:
        words = _service(words)
        what = f"'http-request {action.value} {SERVICE}'"
    elif action is PageAction.DENY:
        words, status = _deny_status(words)
    condition = read_condition(words, what, acls) if words else PageCondition()
    return PageRule(action, condition, status)


def _service(words: Sequence[str]) -> Sequence[str]:
    """What stands behind the service's name."""
    what = "'http-request use-service'"
    if not words:
        raise ConfigError(f"{what} expects a service name.")
    if words[0] != SERVICE:
        raise ConfigError(f"{what} : unknown service '{words[0]}'; lbsplice has '{SERVICE}'.")
    return words[1:]


def _deny_status(words: Sequence[str]) -> tuple[Sequence[str], int]:
    """What stands behind `deny_status N` or `status N`, and N."""
    if not words or words[0] not in ("deny_status", "status"):
        return words, 403
    status = integer_in(
        f"'http-request deny' : '{words[0]}' : ", "".join(words[1:2]), low=200, high=599
    )
    return words[2:], status


def read_monitor_uri(line: Statement, draft: ProxyDraft, report: Report) -> None:
    """`monitor-uri URI`. Raises `ConfigError`."""
    refusal = f"'monitor-uri' is not supported by lbsplice: {HTTP}."
    if draft.kind is None:
        raise ConfigError(refusal)
    draft.only_in_page(refusal, line.place)
    if not line.word(1):
        raise ConfigError("'monitor-uri' expects an URI.")
    line.at_most(1)
    draft.monitor_uri = line.word(1)


# ---- stats ----


def _enable(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    line.at_most(1, "stats enable")
    return stats


def _uri(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    if not line.word(2):
        raise ConfigError("'uri' needs an URI prefix.")
    line.at_most(2, "stats uri")
    return replace(stats, uri=line.word(2))


def _refresh(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    if not line.word(2):
        raise ConfigError("'refresh' needs an interval (in seconds).")
    line.at_most(2, "stats refresh")
    try:
        return replace(stats, refresh=parse_duration(line.word(2), unit="s") or None)
    except UnitError as error:
        raise ConfigError(f"'stats refresh' : {error}") from None


def _auth(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    user, colon, password = line.word(2).partition(":")
    if not (user and colon):
        raise ConfigError("'auth' needs a user:password account.")
    line.at_most(2, "stats auth")
    return replace(stats, accounts=(*stats.accounts, (user, password)))


def _realm(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    realm = line.word(2)
    if not realm:
        raise ConfigError("'realm' needs an realm name.")
    line.at_most(2, "stats realm")
    if not realm.isprintable() or '"' in realm or "\\" in realm:
        raise ConfigError("'realm' : quotes, backslashes and control characters are not possible.")
    return replace(stats, realm=realm)


def _admin(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    condition = read_condition(line.words[2:], "'stats admin'", acls)
    return replace(stats, admin=(*stats.admin, condition))


def _scope(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    if not line.word(2):
        raise ConfigError("'scope' needs a proxy name.")
    line.at_most(2, "stats scope")
    return replace(stats, scope=(*stats.scope, line.word(2)))


def _flag(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    line.at_most(1, f"stats {line.word(1)}")
    if line.word(1) == "hide-version":
        return replace(stats, hide_version=True)
    return replace(stats, show_legends=True)


def _text(line: Statement, stats: StatsSettings, acls: _Acls) -> StatsSettings:
    text = " ".join(line.words[2:])
    if line.word(1) == "show-desc":
        return replace(stats, show_desc=text)
    return replace(stats, show_node=text)


_READERS: dict[str, Callable[[Statement, StatsSettings, _Acls], StatsSettings]] = {
    "enable": _enable,
    "uri": _uri,
    "refresh": _refresh,
    "auth": _auth,
    "realm": _realm,
    "admin": _admin,
    "scope": _scope,
    "hide-version": _flag,
    "show-legends": _flag,
    "show-desc": _text,
    "show-node": _text,
}
